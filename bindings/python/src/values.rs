//! Conversion of Python values to the values of fields and metrics.

use model_foundry::{Field, Value};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple};

/// Maximum nesting of lists and objects. Deeper ones become their text.
const DEEPEST: usize = 64;

/// The items of a mapping as fields. A mapping is anything with a method `items`.
pub(crate) fn fields(mapping: &Bound<'_, PyAny>) -> PyResult<Vec<Field>> {
    let mut fields = Vec::new();
    each_item(mapping, &mut |name, value| {
        fields.push(Field { name: text(name), value: value_of(value) });
    })?;
    Ok(fields)
}

/// Convert a value. One that JSON cannot represent becomes its text.
pub(crate) fn value_of(value: &Bound<'_, PyAny>) -> Value {
    if value.is_none() {
        return Value::Null;
    }
    if let Ok(boolean) = value.cast::<PyBool>() {
        return Value::Boolean(boolean.is_true());
    }
    if let Ok(float) = value.cast::<PyFloat>() {
        return Value::Float(float.value());
    }
    if let Ok(integer) = value.cast::<PyInt>() {
        return match integer.extract::<i64>() {
            Ok(integer) => Value::Integer(integer),
            Err(_) => match digits(integer) {
                Some(digits) => Value::Json(digits),
                None => Value::Text(text(value)),
            },
        };
    }
    if value.is_instance_of::<PyString>() {
        return Value::Text(text(value));
    }
    if let Some(scalar) = scalar(value) {
        return value_of(&scalar);
    }
    if is_mapping(value) || value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        return Value::Json(to_json(value));
    }
    Value::Text(text(value))
}

/// A value as JSON.
#[pyfunction]
pub(crate) fn to_json(value: &Bound<'_, PyAny>) -> String {
    let mut json = String::new();
    write(&mut json, value, &mut Vec::new());
    json
}

/// The Python value of a scalar of NumPy, PyTorch or JAX. None for an array of several elements.
pub(crate) fn scalar<'py>(value: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    if !has_dtype(value)? {
        return None;
    }
    let item = value.call_method0(intern!(value.py(), "item")).ok()?;
    // `item` returns a scalar again if Python has no type for its value.
    (!has_dtype(&item)?).then_some(item)
}

fn has_dtype(value: &Bound<'_, PyAny>) -> Option<bool> {
    // Looking up a missing attribute takes a microsecond, so plain values are sorted out first.
    Some(!is_plain(value) && value.hasattr(intern!(value.py(), "dtype")).ok()?)
}

/// Whether a value is exactly a float, an int, a bool, a str or None, and of no subclass.
pub(crate) fn is_plain(value: &Bound<'_, PyAny>) -> bool {
    value.is_exact_instance_of::<PyFloat>()
        || value.is_exact_instance_of::<PyInt>()
        || value.is_exact_instance_of::<PyBool>()
        || value.is_exact_instance_of::<PyString>()
        || value.is_none()
}

/// An object's text. If its `str` and `repr` both fail, a placeholder with its type's name.
pub(crate) fn text(value: &Bound<'_, PyAny>) -> String {
    let shown = match value.cast::<PyString>() {
        Ok(string) => Ok(string.clone()),
        Err(_) => value.str().or_else(|_| value.repr()),
    };
    match shown {
        Ok(shown) => shown.to_string_lossy().into_owned(),
        Err(_) => {
            let name = value.get_type().name().map(|name| name.to_string());
            format!("<{} object>", name.unwrap_or_else(|_| "unknown".into()))
        }
    }
}

fn each_item(
    mapping: &Bound<'_, PyAny>,
    each: &mut dyn FnMut(&Bound<'_, PyAny>, &Bound<'_, PyAny>),
) -> PyResult<()> {
    // Not for a subclass, which may override `items`.
    if let Ok(dict) = mapping.cast_exact::<PyDict>() {
        // A copy, because the code of a value may change the dict while it is read.
        for (name, value) in &dict.copy()? {
            each(&name, &value);
        }
        return Ok(());
    }
    for item in mapping.call_method0(intern!(mapping.py(), "items"))?.try_iter()? {
        let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item?.extract()?;
        each(&name, &value);
    }
    Ok(())
}

/// Write a value as JSON. `around` has the addresses of the lists and objects that contain it: one that
/// contains itself becomes its text there.
fn write(json: &mut String, value: &Bound<'_, PyAny>, around: &mut Vec<usize>) {
    let is_object = is_mapping(value);
    if is_object || value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        let identity = value.as_ptr() as usize;
        if around.len() < DEEPEST && !around.contains(&identity) {
            let before = json.len();
            around.push(identity);
            let written = if is_object {
                write_object(json, value, around)
            } else {
                write_array(json, value, around)
            };
            around.pop();
            if written.is_ok() {
                return;
            }
            // Iterating over it failed, so its text is written instead.
            json.truncate(before);
        }
        return write_string(json, &text(value));
    }
    match value_of(value) {
        Value::Null => json.push_str("null"),
        Value::Boolean(boolean) => json.push_str(if boolean { "true" } else { "false" }),
        Value::Integer(integer) => json.push_str(&integer.to_string()),
        Value::Float(float) => match serde_json::Number::from_f64(float) {
            Some(number) => json.push_str(&number.to_string()),
            // Only the numbers of a record itself are listed under `non_finite`.
            None => write_string(json, non_finite_name(float)),
        },
        Value::Text(text) => write_string(json, &text),
        Value::Json(text) => json.push_str(&text),
    }
}

/// Write text as a JSON string.
fn write_string(json: &mut String, text: &str) {
    // Writing text into memory cannot fail.
    json.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// The name of NaN or an infinity, as Python's json module writes it.
fn non_finite_name(float: f64) -> &'static str {
    if float.is_nan() {
        "NaN"
    } else if float > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

fn is_mapping(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyDict>() || value.is_instance_of::<PyMapping>()
}

fn write_object(
    json: &mut String,
    value: &Bound<'_, PyAny>,
    around: &mut Vec<usize>,
) -> PyResult<()> {
    json.push('{');
    let mut first = true;
    each_item(value, &mut |name, value| {
        if !std::mem::take(&mut first) {
            json.push(',');
        }
        write_string(json, &text(name));
        json.push(':');
        write(json, value, around);
    })?;
    json.push('}');
    Ok(())
}

fn write_array(
    json: &mut String,
    value: &Bound<'_, PyAny>,
    around: &mut Vec<usize>,
) -> PyResult<()> {
    json.push('[');
    for (at, element) in value.try_iter()?.enumerate() {
        if at > 0 {
            json.push(',');
        }
        write(json, &element?, around);
    }
    json.push(']');
    Ok(())
}

/// An integer of any size in decimal; None if it is too long for Python to convert.
fn digits(integer: &Bound<'_, PyInt>) -> Option<String> {
    let int = integer.py().get_type::<PyInt>();
    // `int.__repr__`, because a subclass may override it: the text of an enum member is its name.
    let digits = int.call_method1(intern!(integer.py(), "__repr__"), (integer,)).ok()?;
    digits.extract().ok()
}
