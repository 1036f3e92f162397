//! Conversion of Python values to the values of fields and metrics.
//!
//! A value's own code may run, and may raise. An `Exception` shows that the value cannot be converted that way, and the
//! next way is tried; its text is the last. Anything else, such as KeyboardInterrupt or the SystemExit of a signal's
//! handler, is not about the value, and passes.

use std::collections::HashSet;

use model_foundry::{Field, Value};
use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyString, PyType};

/// Maximum nesting of lists and objects. Deeper ones become their text.
const DEEPEST: usize = 64;

/// The most elements of a list, an array or a set that are logged.
const MOST_ELEMENTS: usize = 10_000;

/// The most bytes of one value. A record of more than 16 MiB is refused, with everything else that is in it.
const LARGEST: usize = 2 << 20;

/// A value that is not too large for a record: text is cut, and of anything else its size is said.
fn bounded(py: Python<'_>, value: Value) -> PyResult<Value> {
    let (Value::Text(text) | Value::Json(text)) = &value else { return Ok(value) };
    let bytes = text.len();
    if bytes <= LARGEST {
        return Ok(value);
    }
    warn(
        py,
        &format!(
            "a value of {bytes} bytes was logged, and at most {LARGEST} are recorded of one: save it in a file, and \
             log the path"
        ),
    )?;
    Ok(Value::Text(match &value {
        Value::Text(text) => text[..text.floor_char_boundary(LARGEST)].to_owned(),
        _ => format!("<a value of {bytes} bytes>"),
    }))
}

/// What a value's code returned; none if it raised an `Exception`. Other exceptions pass.
pub(crate) fn handled<T>(py: Python<'_>, returned: PyResult<T>) -> PyResult<Option<T>> {
    match returned {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_instance_of::<PyException>(py) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a value has an attribute. To ask may run code, which may raise.
fn has(value: &Bound<'_, PyAny>, name: &Bound<'_, PyString>) -> PyResult<bool> {
    Ok(handled(value.py(), value.hasattr(name))?.unwrap_or(false))
}

/// The items of a mapping as fields. A mapping is anything with a method `items`; anything else, and a mapping that
/// cannot be read, is one field with its text, so that it is not lost.
pub(crate) fn fields(mapping: &Bound<'_, PyAny>) -> PyResult<Vec<Field>> {
    let read = || {
        let mut fields = Vec::new();
        each_item(mapping, &mut |name, value| {
            let value = bounded(mapping.py(), value_of(value)?)?;
            fields.push(Field { name: name.to_owned(), value });
            Ok(())
        })?;
        Ok(fields)
    };
    match handled(mapping.py(), read())? {
        Some(fields) => Ok(fields),
        None => Ok(vec![Field::new("context", value_of(mapping)?)]),
    }
}

/// The items of a mapping as metrics: those of a mapping inside it have its name before theirs, as in `train/loss`.
pub(crate) fn metrics(mapping: &Bound<'_, PyAny>) -> PyResult<Vec<Field>> {
    fn add(
        fields: &mut Vec<Field>,
        path: &str,
        mapping: &Bound<'_, PyAny>,
        depth: usize,
    ) -> PyResult<()> {
        each_item(mapping, &mut |name, value| {
            let name = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
            let is_nested = depth < DEEPEST
                && is_mapping(value)?
                && handled(value.py(), value.is_truthy())?.unwrap_or(true);
            if is_nested {
                return add(fields, &name, value, depth + 1);
            }
            fields.push(Field { name, value: bounded(value.py(), value_of(value)?)? });
            Ok(())
        })
    }
    let mut fields = Vec::new();
    add(&mut fields, "", mapping, 0)?;
    Ok(fields)
}

/// Convert a value. One that JSON cannot represent becomes its text.
pub(crate) fn value_of(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    if value.is_none() {
        return Ok(Value::Null);
    }
    if let Ok(boolean) = value.cast::<PyBool>() {
        return Ok(Value::Boolean(boolean.is_true()));
    }
    if let Ok(float) = value.cast::<PyFloat>() {
        return Ok(Value::Float(float.value()));
    }
    if let Ok(integer) = value.cast::<PyInt>() {
        return Ok(match integer.extract::<i64>() {
            Ok(integer) => Value::Integer(integer),
            Err(_) => match handled(value.py(), digits(integer))? {
                Some(digits) => Value::Json(digits),
                None => Value::Text(text(value)?),
            },
        });
    }
    if value.is_instance_of::<PyString>() {
        return Ok(Value::Text(text(value)?));
    }
    if is_masked(value)? {
        return Ok(Value::Null);
    }
    if let Some(scalar) = scalar(value)? {
        return value_of(&scalar);
    }
    if is_mapping(value)? || is_list(value)? || has_elements(value)? {
        return Ok(Value::Json(to_json(value)?));
    }
    Ok(Value::Text(text(value)?))
}

/// A value as JSON.
#[pyfunction]
pub(crate) fn to_json(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let mut json = String::new();
    write(&mut json, value, &mut Vec::new())?;
    Ok(json)
}

/// The Python value of a scalar of NumPy, PyTorch or JAX. None for an array of several elements.
pub(crate) fn scalar<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    if !has_dtype(value)? || is_masked(value)? {
        return Ok(None);
    }
    let py = value.py();
    let Some(item) = handled(py, value.call_method0(intern!(py, "item")))? else { return Ok(None) };
    if !has_dtype(&item)? {
        return Ok(Some(item));
    }
    // `item` returns a scalar again if Python has no type for its value: a float of more than 64 bits.
    handled(py, item.call_method0(intern!(py, "__float__")))
}

/// Whether a value is NumPy's masked constant, or a masked scalar.
fn is_masked(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = value.py();
    if is_plain(value) || !has(value, intern!(py, "mask"))? || !has_dtype(value)? {
        return Ok(false);
    }
    let masked = || -> PyResult<bool> {
        let is_scalar = value.getattr(intern!(py, "shape"))?.len()? == 0;
        Ok(is_scalar && value.getattr(intern!(py, "mask"))?.is_truthy()?)
    };
    Ok(handled(py, masked())?.unwrap_or(false))
}

/// Whether a value is an array, a tensor, a Series or a table, whose elements it gives as a list or a dict.
fn has_elements(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = value.py();
    Ok(has(value, intern!(py, "tolist"))?
        || has(value, intern!(py, "to_dict"))? && has(value, intern!(py, "columns"))?)
}

/// The elements of an array, a tensor, a Series or a table, as lists or a dict of lists. Of more than
/// [`MOST_ELEMENTS`] the first are given, in one list.
fn elements<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = value.py();
    if !has(value, intern!(py, "tolist"))? {
        return value.call_method1(intern!(py, "to_dict"), ("list",));
    }
    // PyTorch has a method `numel`, and its `size` is a method.
    let numel = value.call_method0(intern!(py, "numel")).and_then(|count| count.extract::<usize>());
    let count = match handled(py, numel)? {
        Some(count) => Some(count),
        None => handled(py, value.getattr(intern!(py, "size")).and_then(|size| size.extract()))?,
    };
    match count {
        Some(count) if count > MOST_ELEMENTS => {
            warn_of_truncation(py, count)?;
            let flat = handled(py, value.call_method1(intern!(py, "reshape"), (-1,)))?;
            let flat = flat.unwrap_or_else(|| value.clone());
            let some =
                flat.get_item(pyo3::types::PySlice::new(py, 0, MOST_ELEMENTS as isize, 1))?;
            some.call_method0(intern!(py, "tolist"))
        }
        _ => value.call_method0(intern!(py, "tolist")),
    }
}

fn warn_of_truncation(py: Python<'_>, count: usize) -> PyResult<()> {
    warn(
        py,
        &format!(
            "a value with {count} elements was logged: the first {MOST_ELEMENTS} are recorded. Log a statistic, or \
             save the array in a file"
        ),
    )
}

/// Warn as a UserWarning. A warning that is an error does not stop a training.
pub(crate) fn warn(py: Python<'_>, message: &str) -> PyResult<()> {
    let Ok(message) = std::ffi::CString::new(message) else { return Ok(()) };
    let category = py.get_type::<pyo3::exceptions::PyUserWarning>();
    handled(py, PyErr::warn(py, &category, &message, 1)).map(drop)
}

/// Whether a value is an instance of one of the abstract classes of `collections.abc`.
fn is_of(class: &PyOnceLock<Py<PyType>>, name: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let class = class.import(value.py(), "collections.abc", name)?;
    Ok(handled(value.py(), value.is_instance(class))?.unwrap_or(false))
}

/// Whether a value is a list, or like one: a tuple, a set, a deque, a range.
fn is_list(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    static SEQUENCE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static SET: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    if value.is_instance_of::<pyo3::types::PyList>()
        || value.is_instance_of::<pyo3::types::PyTuple>()
    {
        return Ok(true);
    }
    let is_bytes = value.is_instance_of::<pyo3::types::PyBytes>()
        || value.is_instance_of::<pyo3::types::PyByteArray>()
        || value.is_instance_of::<pyo3::types::PyMemoryView>();
    Ok(!is_bytes && (is_of(&SEQUENCE, "Sequence", value)? || is_of(&SET, "Set", value)?))
}

fn has_dtype(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    // Looking up a missing attribute takes a microsecond, so plain values are sorted out first.
    Ok(!is_plain(value) && has(value, intern!(value.py(), "dtype"))?)
}

/// Whether a value is exactly a float, an int, a bool, a str or None, and of no subclass.
pub(crate) fn is_plain(value: &Bound<'_, PyAny>) -> bool {
    value.is_exact_instance_of::<PyFloat>()
        || value.is_exact_instance_of::<PyInt>()
        || value.is_exact_instance_of::<PyBool>()
        || value.is_exact_instance_of::<PyString>()
        || value.is_none()
}

/// An object's text, with U+FFFD for lone surrogates. If its `str` and `repr` both fail, a placeholder with its type's
/// name.
pub(crate) fn text(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let py = value.py();
    let shown = match value.cast::<PyString>() {
        Ok(string) => Some(string.clone()),
        Err(_) => match handled(py, value.str())? {
            Some(shown) => Some(shown),
            None => handled(py, value.repr())?,
        },
    };
    Ok(match shown {
        Some(shown) => shown.to_string_lossy().into_owned(),
        None => format!("<{} object>", type_name(value)),
    })
}

fn type_name(value: &Bound<'_, PyAny>) -> String {
    let name = value.get_type().name().map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|_| "unknown".into())
}

/// Pass each item of a mapping to a function, with its key as text. Keys that become equal as text are kept apart: the
/// later one has its type after it.
fn each_item(
    mapping: &Bound<'_, PyAny>,
    each: &mut dyn FnMut(&str, &Bound<'_, PyAny>) -> PyResult<()>,
) -> PyResult<()> {
    let mut names = HashSet::new();
    let mut all_are_text = true;
    let mut pass = |name: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>| {
        let mut shown = text(name)?;
        all_are_text &= name.is_instance_of::<PyString>();
        // Keys that are text are all different.
        if !names.insert(shown.clone()) && !all_are_text {
            shown = format!("{shown} ({})", type_name(name));
            names.insert(shown.clone());
        }
        each(&shown, value)
    };
    // Not for a subclass, which may override `items`.
    if let Ok(dict) = mapping.cast_exact::<PyDict>() {
        // A copy, because the code of a value may change the dict while it is read.
        for (name, value) in &dict.copy()? {
            pass(&name, &value)?;
        }
        return Ok(());
    }
    for item in mapping.call_method0(intern!(mapping.py(), "items"))?.try_iter()? {
        let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item?.extract()?;
        pass(&name, &value)?;
    }
    Ok(())
}

/// Write a value as JSON. `around` has the addresses of the lists and objects that contain it: one that
/// contains itself becomes its text there.
fn write(json: &mut String, value: &Bound<'_, PyAny>, around: &mut Vec<usize>) -> PyResult<()> {
    let py = value.py();
    let is_text = is_plain(value) || value.is_instance_of::<PyString>();
    let is_object = !is_text && is_mapping(value)?;
    let is_array = !is_text && !is_object && is_list(value)?;
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
            if handled(py, written)?.is_some() {
                return Ok(());
            }
            // Iterating over it failed, so its text is written instead.
            json.truncate(before);
        }
        write_string(json, &text(value)?);
        return Ok(());
    }
    if !is_text && scalar(value)?.is_none() && !is_masked(value)? && has_elements(value)? {
        if let Some(elements) = handled(py, elements(value))?
            && !elements.is(value)
        {
            return write(json, &elements, around);
        }
        write_string(json, &text(value)?);
        return Ok(());
    }
    match value_of(value)? {
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
    Ok(())
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

pub(crate) fn is_mapping(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    static MAPPING: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    Ok(value.is_instance_of::<PyDict>() || is_of(&MAPPING, "Mapping", value)?)
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
        write(json, value, around)
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
    let count = handled(value.py(), value.len())?.unwrap_or(0);
    if count > MOST_ELEMENTS {
        warn_of_truncation(value.py(), count)?;
    }
    for (at, element) in value.try_iter()?.take(MOST_ELEMENTS).enumerate() {
        if at > 0 {
            json.push(',');
        }
        write(json, &element?, around)?;
    }
    json.push(']');
    Ok(())
}

/// An integer of any size in decimal. It fails if that is too long for Python to convert.
fn digits(integer: &Bound<'_, PyInt>) -> PyResult<String> {
    let int = integer.py().get_type::<PyInt>();
    // `int.__repr__`, because a subclass may override it: the text of an enum member is its name.
    let digits = int.call_method1(intern!(integer.py(), "__repr__"), (integer,))?;
    digits.extract()
}
