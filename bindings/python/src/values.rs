//! Python's values as those of fields and metrics.

use model_foundry::{Field, Value};
use model_foundry_guest::json::{non_finite_name, write_float, write_integer, write_string};
use model_foundry_guest::line_buffer::LineBuffer;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple};

/// How deep lists and objects may nest; what is deeper becomes its text.
const DEEPEST: usize = 64;

/// A mapping's items as fields: a dict, one of its subclasses, or anything else that has items.
pub(crate) fn fields(mapping: &Bound<'_, PyAny>) -> PyResult<Vec<Field>> {
    let mut fields = Vec::new();
    each_item(mapping, &mut |name, value| {
        fields.push((text(name), value_of(value)));
    })?;
    Ok(fields)
}

/// A value; what JSON cannot hold becomes its text.
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
    let mut json = LineBuffer::new();
    write(&mut json, value, &mut Vec::new());
    json.into()
}

/// What a scalar of numpy, torch or jax holds. An array of several elements holds no one value.
pub(crate) fn scalar<'py>(value: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    if !has_dtype(value)? {
        return None;
    }
    let item = value.call_method0(intern!(value.py(), "item")).ok()?;
    // What has nothing simpler to give, gives itself.
    (!has_dtype(&item)?).then_some(item)
}

fn has_dtype(value: &Bound<'_, PyAny>) -> Option<bool> {
    // To be asked in vain for an attribute takes a microsecond.
    Some(!is_plain(value) && value.hasattr(intern!(value.py(), "dtype")).ok()?)
}

/// Whether a value is exactly Python's own: a number, a truth value, text or None.
pub(crate) fn is_plain(value: &Bound<'_, PyAny>) -> bool {
    value.is_exact_instance_of::<PyFloat>()
        || value.is_exact_instance_of::<PyInt>()
        || value.is_exact_instance_of::<PyBool>()
        || value.is_exact_instance_of::<PyString>()
        || value.is_none()
}

/// An object's text, whatever it does when it is asked for it.
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
    // A subclass may have items of its own.
    if let Ok(dict) = mapping.cast_exact::<PyDict>() {
        // A copy: a value's own code may change the dict while it is read.
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

/// Write a value as JSON. `around` are the lists and objects that it stands in, which it may be one of.
fn write(json: &mut LineBuffer, value: &Bound<'_, PyAny>, around: &mut Vec<usize>) {
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
            // Its own items failed.
            json.truncate(before);
        }
        return write_string(json, &text(value));
    }
    match value_of(value) {
        Value::Null => json.push_str("null"),
        Value::Boolean(boolean) => json.push_str(if boolean { "true" } else { "false" }),
        Value::Integer(integer) => write_integer(json, integer),
        Value::Float(float) => match non_finite_name(float) {
            None => write_float(json, float),
            // Only a record's own numbers have a place beside it for what JSON has none for.
            Some(name) => write_string(json, name),
        },
        Value::Text(text) => write_string(json, &text),
        Value::Json(text) => json.push_str(&text),
    }
}

fn is_mapping(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyDict>() || value.is_instance_of::<PyMapping>()
}

fn write_object(
    json: &mut LineBuffer,
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
    json: &mut LineBuffer,
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

/// A whole number of any size in decimal; none beyond what Python converts.
fn digits(integer: &Bound<'_, PyInt>) -> Option<String> {
    let int = integer.py().get_type::<PyInt>();
    // Its own and not a subclass' text: an enumeration's is its name.
    let digits = int.call_method1(intern!(integer.py(), "__repr__"), (integer,)).ok()?;
    digits.extract().ok()
}
