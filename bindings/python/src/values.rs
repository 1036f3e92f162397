//! Conversion of Python values to the values of fields and metrics.

use std::collections::HashSet;

use model_foundry::{Field, Value};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyMapping, PySequence, PyString, PyType};

/// Maximum nesting of lists and objects. Deeper ones become their text.
const DEEPEST: usize = 64;

/// The most elements of a list, an array or a set that are logged.
const MOST_ELEMENTS: usize = 10_000;

/// The items of a mapping as fields. A mapping is anything with a method `items`.
pub(crate) fn fields(mapping: &Bound<'_, PyAny>) -> PyResult<Vec<Field>> {
    let mut fields = Vec::new();
    each_item(mapping, &mut |name, value| {
        fields.push(Field { name: name.to_owned(), value: value_of(value) });
    })?;
    Ok(fields)
}

/// The items of a mapping as metrics: those of a mapping inside it have its name before theirs, as in `train/loss`.
pub(crate) fn metrics(mapping: &Bound<'_, PyAny>) -> PyResult<Vec<Field>> {
    fn add(
        fields: &mut Vec<Field>,
        path: &str,
        mapping: &Bound<'_, PyAny>,
        depth: usize,
    ) -> PyResult<()> {
        let mut result = Ok(());
        each_item(mapping, &mut |name, value| {
            let name = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
            let is_nested = depth < DEEPEST && is_mapping(value);
            if is_nested && value.is_truthy().unwrap_or(true) {
                let added = add(fields, &name, value, depth + 1);
                if result.is_ok() {
                    result = added;
                }
            } else {
                fields.push(Field { name, value: value_of(value) });
            }
        })?;
        result
    }
    let mut fields = Vec::new();
    add(&mut fields, "", mapping, 0)?;
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
    if is_masked(value) {
        return Value::Null;
    }
    if let Some(scalar) = scalar(value) {
        return value_of(&scalar);
    }
    if is_mapping(value) || is_list(value) || has_elements(value) {
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
    if !has_dtype(value)? || is_masked(value) {
        return None;
    }
    let py = value.py();
    let item = value.call_method0(intern!(py, "item")).ok()?;
    if !has_dtype(&item)? {
        return Some(item);
    }
    // `item` returns a scalar again if Python has no type for its value: a float of more than 64 bits.
    item.call_method0(intern!(py, "__float__")).ok()
}

/// Whether a value is NumPy's masked constant, or a masked scalar.
fn is_masked(value: &Bound<'_, PyAny>) -> bool {
    let masked = || -> Option<bool> {
        let py = value.py();
        if is_plain(value) || !value.hasattr(intern!(py, "mask")).ok()? || !has_dtype(value)? {
            return None;
        }
        let shape = value.getattr(intern!(py, "shape")).ok()?;
        let is_scalar = shape.len().ok()? == 0;
        Some(is_scalar && value.getattr(intern!(py, "mask")).ok()?.is_truthy().ok()?)
    };
    masked().unwrap_or(false)
}

/// Whether a value is an array, a tensor, a Series or a table, whose elements it gives as a list or a dict.
fn has_elements(value: &Bound<'_, PyAny>) -> bool {
    let py = value.py();
    let has = |name| value.hasattr(name).unwrap_or(false);
    has(intern!(py, "tolist")) || (has(intern!(py, "to_dict")) && has(intern!(py, "columns")))
}

/// The elements of an array, a tensor, a Series or a table, as lists or a dict of lists. Of more than
/// [`MOST_ELEMENTS`] the first are given, in one list.
fn elements<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = value.py();
    if !value.hasattr(intern!(py, "tolist"))? {
        return value.call_method1(intern!(py, "to_dict"), ("list",));
    }
    // PyTorch has a method `numel`, and its `size` is a method.
    let count = match value.call_method0(intern!(py, "numel")) {
        Ok(count) => count.extract::<usize>(),
        Err(_) => value.getattr(intern!(py, "size")).and_then(|size| size.extract()),
    };
    match count {
        Ok(count) if count > MOST_ELEMENTS => {
            warn_of_truncation(py, count);
            let flat =
                value.call_method1(intern!(py, "reshape"), (-1,)).unwrap_or_else(|_| value.clone());
            let some =
                flat.get_item(pyo3::types::PySlice::new(py, 0, MOST_ELEMENTS as isize, 1))?;
            some.call_method0(intern!(py, "tolist"))
        }
        _ => value.call_method0(intern!(py, "tolist")),
    }
}

fn warn_of_truncation(py: Python<'_>, count: usize) {
    let message = format!(
        "a value with {count} elements was logged: the first {MOST_ELEMENTS} are recorded. Log a statistic, or save \
         the array in a file"
    );
    if let Ok(message) = std::ffi::CString::new(message) {
        // A warning that is an error must not stop training.
        let category = py.get_type::<pyo3::exceptions::PyUserWarning>();
        let _ = PyErr::warn(py, &category, &message, 1);
    }
}

/// Whether a value is a list, or like one: a tuple, a set, a deque, a range.
fn is_list(value: &Bound<'_, PyAny>) -> bool {
    static SET: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let is_set = || {
        let set = SET.import(value.py(), "collections.abc", "Set").ok()?;
        value.is_instance(set).ok()
    };
    let is_bytes = value.is_instance_of::<pyo3::types::PyBytes>()
        || value.is_instance_of::<pyo3::types::PyByteArray>()
        || value.is_instance_of::<pyo3::types::PyMemoryView>();
    !is_bytes && (value.cast::<PySequence>().is_ok() || is_set().unwrap_or(false))
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

/// Pass each item of a mapping to a function, with its key as text. Keys that become equal as text are kept apart: the
/// later one has its type after it.
fn each_item(
    mapping: &Bound<'_, PyAny>,
    each: &mut dyn FnMut(&str, &Bound<'_, PyAny>),
) -> PyResult<()> {
    let mut names = HashSet::new();
    let mut all_are_text = true;
    let mut pass = |name: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>| {
        let mut shown = text(name);
        let is_text = name.is_instance_of::<PyString>();
        all_are_text &= is_text;
        // Keys that are text are all different.
        if !names.insert(shown.clone()) && !all_are_text {
            let kind = name.get_type().name().map(|name| name.to_string());
            shown = format!("{shown} ({})", kind.unwrap_or_else(|_| "other".into()));
            names.insert(shown.clone());
        }
        each(&shown, value);
    };
    // Not for a subclass, which may override `items`.
    if let Ok(dict) = mapping.cast_exact::<PyDict>() {
        // A copy, because the code of a value may change the dict while it is read.
        for (name, value) in &dict.copy()? {
            pass(&name, &value);
        }
        return Ok(());
    }
    for item in mapping.call_method0(intern!(mapping.py(), "items"))?.try_iter()? {
        let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item?.extract()?;
        pass(&name, &value);
    }
    Ok(())
}

/// Write a value as JSON. `around` has the addresses of the lists and objects that contain it: one that
/// contains itself becomes its text there.
fn write(json: &mut String, value: &Bound<'_, PyAny>, around: &mut Vec<usize>) {
    let is_text = is_plain(value) || value.is_instance_of::<PyString>();
    let is_object = !is_text && is_mapping(value);
    let is_array = !is_text && !is_object && is_list(value);
    if is_object || is_array {
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
    if !is_text && scalar(value).is_none() && !is_masked(value) && has_elements(value) {
        if let Ok(elements) = elements(value)
            && !elements.is(value)
        {
            return write(json, &elements, around);
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
        "inf"
    } else {
        "-inf"
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
        write_string(json, name);
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
    let count = value.len().unwrap_or(0);
    if count > MOST_ELEMENTS {
        warn_of_truncation(value.py(), count);
    }
    for (at, element) in value.try_iter()?.take(MOST_ELEMENTS).enumerate() {
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
