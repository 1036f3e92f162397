//! The metrics logger.
//!
//! A trainer logs the same names at every step. They become columns once. After that a step is a few numbers,
//! which are read from the dict into a buffer on the stack.

use std::path::PathBuf;
use std::ptr;
use std::sync::{Arc, Mutex};

use model_foundry::{Column, Columns, Field, Kind, Query, Run, RunFolder, RunReader, Statistics};
use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyInt, PyString};

use crate::errors::raised;
use crate::fork::{generation, lock, without_gil};
use crate::run::OpenRun;
use crate::values::{handled, is_mapping, is_plain, metrics as metrics_of, scalar, value_of, warn};

/// Maximum number of cached column sets. A cache does not help a trainer that logs new names at every step.
const MOST_COLUMN_SETS: usize = 32;

/// Logs the metrics of steps. The public class is a subclass.
#[pyclass(frozen, subclass, name = "Metrics", module = "model_foundry._native")]
pub(crate) struct Metrics {
    run: Mutex<Option<Py<OpenRun>>>,
    /// The folder of the run, to read it also when it has ended.
    folder: Mutex<Option<RunFolder>>,
    column_sets: Mutex<ColumnSets>,
}

/// Cached column sets, the last used first.
struct ColumnSets {
    /// The generation of the process that made them.
    generation: u64,
    recent: Vec<Arc<ColumnSet>>,
}

/// The columns for one list of names, with the string objects that the names were when it was made.
struct ColumnSet {
    names: Vec<Py<PyString>>,
    integers: u32,
    columns: Columns,
    run: Run,
}

/// A step's metrics as a row.
struct Row {
    /// The names' addresses. Comparing them is enough to find the column set of names that were seen before.
    names: [usize; Column::WIDEST],
    values: [f64; Column::WIDEST],
    /// A bit for each value that is an integer.
    integers: u32,
    width: usize,
}

impl Row {
    const EMPTY: Self =
        Self { names: [0; Column::WIDEST], values: [0.0; Column::WIDEST], integers: 0, width: 0 };

    /// Read a step's metrics as numbers. With `run` this may run the code of values, which may change the dict.
    #[inline]
    #[expect(
        unsafe_code,
        reason = "counting references would take longer than reading the numbers"
    )]
    fn read(&mut self, metrics: &Bound<'_, PyDict>, run: bool) -> PyResult<Read> {
        let (mut position, mut name, mut value) = (0, ptr::null_mut(), ptr::null_mut());
        // SAFETY: the dict is alive and the interpreter's lock is held.
        while unsafe {
            ffi::PyDict_Next(metrics.as_ptr(), &mut position, &mut name, &mut value) != 0
        } {
            // SAFETY: both references are valid until code changes the dict, and no code has run since.
            let (name, value) = unsafe {
                (Borrowed::from_ptr(metrics.py(), name), Borrowed::from_ptr(metrics.py(), value))
            };
            if !name.is_exact_instance_of::<PyString>() || self.width == Column::WIDEST {
                return Ok(Read::NoRow);
            }
            self.names[self.width] = name.as_ptr() as usize;
            let number = match plain_number(&value) {
                None if is_plain(&value) => None,
                None if !run => return Ok(Read::ToRun),
                // An owned reference, so that the value lives while its code runs.
                None => scalar(&value.to_owned())?.as_ref().and_then(plain_number),
                number => number,
            };
            let Some((number, is_integer)) = number else { return Ok(Read::NoRow) };
            self.values[self.width] = number;
            self.integers |= u32::from(is_integer) << self.width;
            self.width += 1;
        }
        Ok(Read::Row)
    }
}

/// How a step's metrics can be logged.
#[derive(PartialEq)]
enum Read {
    /// As a row: all are numbers that a float represents, and all names are strings.
    Row,
    /// Unknown until the code of a value has run.
    ToRun,
    /// By name: there are too many, or a value or a name does not fit a row.
    NoRow,
}

/// The number in a value, if no code has to run for it, and whether it is an integer. A bool is not a number.
#[inline]
fn plain_number(value: &Bound<'_, PyAny>) -> Option<(f64, bool)> {
    // The most likely type first: one comparison is enough to recognize exactly a float.
    if let Ok(float) = value.cast_exact::<PyFloat>() {
        return Some((float.value(), false));
    }
    if let Ok(integer) = value.cast_exact::<PyInt>() {
        let integer: i64 = integer.extract().ok()?;
        return (-Column::EXACT..=Column::EXACT)
            .contains(&integer)
            .then_some((integer as f64, true));
    }
    // A subclass of float, such as numpy.float64.
    value.cast::<PyFloat>().ok().map(|float| (float.value(), false))
}

impl ColumnSet {
    #[inline]
    fn is_of(&self, row: &Row) -> bool {
        self.integers == row.integers
            && self.names.len() == row.width
            && self
                .names
                .iter()
                .zip(&row.names)
                .all(|(known, name)| known.as_ptr() as usize == *name)
    }

    /// Like [`is_of`](Self::is_of), but compares the text of the names.
    fn says(&self, metrics: &Bound<'_, PyDict>, row: &Row) -> bool {
        self.integers == row.integers
            && self.names.len() == row.width
            && self.names.iter().zip(metrics.iter()).all(|(known, (name, _))| {
                // Comparing exact strings runs no Python code.
                known.bind(metrics.py()).as_any().eq(&name).unwrap_or(false)
            })
    }
}

impl Metrics {
    /// A reader of the run folder, wherever it is now; none if it was deleted. The caller is [`without_gil`].
    fn reader(&self) -> model_foundry::Result<Option<RunReader>> {
        crate::fork::runtime()?;
        let folder = match &*lock(&self.folder) {
            Some(folder) => folder.again()?,
            None => None,
        };
        folder.map(RunReader::of).transpose()
    }

    fn open(&self, py: Python<'_>) -> PyResult<Py<OpenRun>> {
        let run = lock(&self.run).as_ref().map(|run| run.clone_ref(py));
        run.ok_or_else(|| PyValueError::new_err("the metrics logger is closed: open another"))
    }

    /// The column set of a row; None if the cache is full or the run refuses the columns.
    #[inline]
    fn column_set(
        &self,
        metrics: &Bound<'_, PyDict>,
        row: &Row,
    ) -> PyResult<Option<Arc<ColumnSet>>> {
        let mut column_sets = lock(&self.column_sets);
        if column_sets.generation == generation()
            && let Some(first) = column_sets.recent.first()
            && first.is_of(row)
        {
            return Ok(Some(first.clone()));
        }
        let found = column_sets.find(metrics, row);
        drop(column_sets);
        match found {
            Lookup::Known(column_set) => Ok(Some(column_set)),
            Lookup::Full => Ok(None),
            Lookup::None => self.new_column_set(metrics, row),
        }
    }

    #[cold]
    fn new_column_set(
        &self,
        metrics: &Bound<'_, PyDict>,
        row: &Row,
    ) -> PyResult<Option<Arc<ColumnSet>>> {
        let py = metrics.py();
        let names: Vec<Bound<'_, PyString>> =
            metrics.keys().iter().map(Bound::cast_into).collect::<Result<_, _>>()?;
        let columns: Vec<Column> = names
            .iter()
            .enumerate()
            .map(|(at, name)| Column {
                name: name.to_string_lossy().into_owned(),
                kind: if row.integers & (1 << at) == 0 { Kind::Float } else { Kind::Integer },
            })
            .collect();
        let open = self.open(py)?;
        // If there are too many columns, the step is logged by name instead of being lost.
        let named =
            open.get().with(py, |run| Ok((run.metrics().typed_columns(columns)?, run.clone())));
        let Ok((columns, run)) = named else { return Ok(None) };
        let names = names.into_iter().map(Bound::unbind).collect();
        let column_set = Arc::new(ColumnSet { names, integers: row.integers, columns, run });
        lock(&self.column_sets).recent.insert(0, column_set.clone());
        Ok(Some(column_set))
    }

    /// Log a step whose epoch is left out, whose arguments are in another order, or whose metrics are no plain dict.
    #[cold]
    fn log_step_of(
        &self,
        py: Python<'_>,
        arguments: [Option<&Bound<'_, PyAny>>; 3],
    ) -> PyResult<()> {
        let mut metrics = None;
        let mut numbers = Vec::new();
        for argument in arguments.into_iter().flatten().filter(|argument| !argument.is_none()) {
            if metrics.is_none() && is_mapping(argument)? {
                if numbers.is_empty() {
                    warn(
                        py,
                        "the metrics came before the step: call log_step(step, metrics) or \
                         log_step(step, epoch, metrics)",
                    )?;
                }
                metrics = Some(argument);
            } else {
                numbers.push(argument);
            }
        }
        let mut numbers = numbers.into_iter();
        let none = py.None().into_bound(py);
        let step = step_of(numbers.next().unwrap_or(&none))?;
        // Without a mapping the third argument is what was to be logged.
        let other = arguments[2].filter(|_| metrics.is_none());
        let epoch = epoch_of(numbers.next().filter(|epoch| other.is_none_or(|it| !it.is(epoch))))?;
        match (metrics, other) {
            (Some(metrics), _) => match metrics.cast_exact::<PyDict>() {
                Ok(dict) => self.log_row(py, step, epoch, dict),
                Err(_) => self.log_by_name(step, epoch, metrics),
            },
            (None, Some(other)) if !other.is_none() => self.log_by_name(step, epoch, other),
            (None, _) => self.log_row(py, step, epoch, &PyDict::new(py)),
        }
    }

    #[inline]
    fn log_row(
        &self,
        py: Python<'_>,
        step: u64,
        epoch: Option<f64>,
        dict: &Bound<'_, PyDict>,
    ) -> PyResult<()> {
        let copy;
        let (mut dict, mut row) = (dict, Row::EMPTY);
        let mut read = row.read(dict, false)?;
        if read == Read::ToRun {
            // The code that runs may change the dict. Reading a copy keeps names and values together.
            copy = dict.copy()?;
            (dict, row) = (&copy, Row::EMPTY);
            read = row.read(dict, true)?;
        }
        if read == Read::Row
            && let Some(column_set) = self.column_set(dict, &row)?
        {
            let values = &row.values[..row.width];
            let logged = if column_set.run.may_wait() {
                without_gil(py, || column_set.columns.log(step, epoch, values))
            } else {
                column_set.columns.log(step, epoch, values)
            };
            return logged.map_err(raised);
        }
        self.log_by_name(step, epoch, dict.as_any())
    }

    /// Log by name: for everything that does not fit a row.
    #[cold]
    fn log_by_name(
        &self,
        step: u64,
        epoch: Option<f64>,
        metrics: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = metrics.py();
        let fields = metrics_or_text(metrics)?;
        let open = self.open(py)?;
        open.get().with(py, |run| run.metrics().log_step(step, epoch, &fields))
    }
}

enum Lookup {
    Known(Arc<ColumnSet>),
    Full,
    None,
}

impl ColumnSets {
    #[cold]
    fn find(&mut self, metrics: &Bound<'_, PyDict>, row: &Row) -> Lookup {
        let now = generation();
        if self.generation != now {
            self.generation = now;
            // Dropping a column set may end its run, and only the parent may end the parent's runs.
            std::mem::forget(std::mem::take(&mut self.recent));
        }
        let of =
            |column_set: &Arc<ColumnSet>| column_set.is_of(row) || column_set.says(metrics, row);
        match self.recent.iter().position(of) {
            Some(at) => {
                self.recent[..=at].rotate_right(1);
                Lookup::Known(self.recent[0].clone())
            }
            None if self.recent.len() >= MOST_COLUMN_SETS => Lookup::Full,
            None => Lookup::None,
        }
    }
}

#[pymethods]
impl Metrics {
    #[new]
    #[pyo3(signature = (*_arguments, **_named))]
    fn new(_arguments: &Bound<'_, PyAny>, _named: Option<&Bound<'_, PyAny>>) -> Self {
        Self {
            run: Mutex::new(None),
            folder: Mutex::new(None),
            column_sets: Mutex::new(ColumnSets { generation: generation(), recent: Vec::new() }),
        }
    }

    /// Log to this run from now on.
    fn _open(&self, py: Python<'_>, run: &Bound<'_, OpenRun>) {
        // Without it the metrics are logged, and only reading them fails.
        let folder = run.get().with(py, Run::run_folder);
        *lock(&self.folder) = folder.ok();
        let before = lock(&self.run).replace(run.clone().unbind());
        drop(before);
    }

    /// Read this folder, and log nothing.
    fn _read_only(&self, folder: PathBuf) {
        // Without it there is nothing to read.
        *lock(&self.folder) = RunFolder::open(folder).ok();
    }

    /// The run; None once this is closed.
    #[getter]
    fn _run(&self, py: Python<'_>) -> Option<Py<OpenRun>> {
        lock(&self.run).as_ref().map(|run| run.clone_ref(py))
    }

    /// Release the run.
    fn _close(&self) {
        let column_sets = std::mem::take(&mut lock(&self.column_sets).recent);
        if lock(&self.column_sets).generation == generation() {
            drop(column_sets);
        } else {
            std::mem::forget(column_sets);
        }
        let run = lock(&self.run).take();
        drop(run);
    }

    /// Log the metrics of a step, by name. The line is in the file when this returns, unless the durability
    /// is "buffered".
    ///
    /// `step` is an integer from 0 to 2**64 - 1; steps may come in any order, and more than once. `epoch` is a
    /// number, which may be a fraction, or None; it may be left out: `log_step(10, {"loss": 2.5})`. `metrics` is a
    /// mapping of names to values; it is only read.
    ///
    /// Raises ValueError for any other step, and once the logger is closed. A failing disk never raises, and no
    /// value does. An epoch that is no finite number, and metrics that are no mapping or come before the step, cause
    /// a warning, and are recorded as far as they can be.
    ///
    /// >>> import tempfile
    /// >>> from model_foundry import MetricsLogger
    /// >>> metrics = MetricsLogger("tiny-lm", tempfile.mkdtemp())
    /// >>> metrics.log_step(10, 0.5, {"loss": 2.5, "tokens": 8500, "done": False})
    /// >>> metrics.log_step(11, {"loss": 2.25})
    /// >>> metrics.log_step(-1, {})
    /// Traceback (most recent call last):
    /// ...
    /// ValueError: `step` must be a non-negative integer, got -1
    #[pyo3(signature = (step, epoch=None, metrics=None))]
    fn log_step(
        &self,
        py: Python<'_>,
        step: &Bound<'_, PyAny>,
        epoch: Option<&Bound<'_, PyAny>>,
        metrics: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        // The usual call first: of everything else, a dict is only one case.
        let Some(dict) = metrics.and_then(|metrics| metrics.cast_exact::<PyDict>().ok()) else {
            return self.log_step_of(py, [Some(step), epoch, metrics]);
        };
        self.log_row(py, step_of(step)?, epoch_of(epoch)?, dict)
    }

    /// Log an epoch's summary: a line with the epoch and without a step.
    ///
    /// `epoch` is a finite number, `summary` a mapping of names to values as in log_step. Raises ValueError for
    /// any other epoch, and once the logger is closed.
    ///
    /// >>> import tempfile
    /// >>> from model_foundry import MetricsLogger
    /// >>> metrics = MetricsLogger("tiny-lm", tempfile.mkdtemp())
    /// >>> metrics.log_epoch_summary(3, {"val_loss": 2.25})
    /// >>> metrics.get_metrics_history()[0]["summary"]
    /// {'val_loss': 2.25}
    fn log_epoch_summary(
        &self,
        py: Python<'_>,
        epoch: &Bound<'_, PyAny>,
        summary: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let Some(epoch) = number_of(epoch)?.filter(|epoch| epoch.is_finite()) else {
            return Err(PyValueError::new_err(format!(
                "`epoch` must be a finite number, got {}",
                crate::values::text(epoch)?
            )));
        };
        let summary = metrics_or_text(summary)?;
        let open = self.open(py)?;
        open.get().with(py, |run| run.metrics().log_epoch_summary(epoch, &summary))
    }

    /// Count, mean, min, max and standard deviation of a metric, also once this is closed.
    fn _statistics(&self, py: Python<'_>, name: &str) -> PyResult<(u64, f64, f64, f64, f64)> {
        let of = |found: Statistics| (found.count, found.mean, found.min, found.max, found.std);
        let open = lock(&self.run).as_ref().map(|run| run.clone_ref(py));
        if let Some(open) = open {
            return open.get().with(py, |run| run.metrics().statistics(name).map(of));
        }
        let query = Query { summaries: true, ..Query::default() };
        let read = without_gil(py, || {
            let Some(mut reader) = self.reader()? else { return Ok(Vec::new()) };
            Ok(reader.statistics(query, &[name.to_owned()])?.0)
        });
        let found = read.map_err(raised)?.into_iter().next();
        Ok(found.map_or((0, 0.0, 0.0, 0.0, 0.0), |found| of(found.statistics)))
    }

    /// The names of the metrics that were logged.
    fn _names(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let read = without_gil(py, || {
            let Some(mut reader) = self.reader()? else { return Ok(Vec::new()) };
            let query = Query { summaries: true, ..Query::default() };
            Ok(reader.statistics(query, &[])?.0)
        });
        Ok(read.map_err(raised)?.into_iter().map(|found| found.name).collect())
    }

    /// The lines of metrics.jsonl from one step to another, both included, in blocks. Without steps all lines,
    /// with the epoch summaries.
    fn _history(&self, py: Python<'_>, steps: Option<(u64, u64)>) -> PyResult<Vec<String>> {
        let query = Query {
            first_step: steps.map(|(first, _)| first),
            last_step: steps.map(|(_, last)| last),
            summaries: steps.is_none(),
            all_attempts: steps.is_none(),
            attempt: None,
        };
        let read = without_gil(py, || {
            let mut blocks = Vec::new();
            if let Some(mut reader) = self.reader()? {
                reader.history(query, &mut |block| {
                    blocks.push(block.to_owned());
                    true
                })?;
            }
            Ok(blocks)
        });
        read.map_err(raised)
    }

    /// The run folder: where it is now, if it was moved or renamed. None before a run was opened.
    #[getter]
    fn _folder(&self) -> Option<PathBuf> {
        lock(&self.folder).as_ref().map(RunFolder::current_path)
    }
}

#[inline]
fn step_of(step: &Bound<'_, PyAny>) -> PyResult<u64> {
    // The plain case first: extracting a u64 would convert even a plain integer.
    if let Some((number, true)) = plain_number(step)
        && number >= 0.0
    {
        return Ok(number as u64);
    }
    let py = step.py();
    if let Some(step) = handled(py, step.extract())? {
        return Ok(step);
    }
    // A scalar of NumPy or PyTorch, an integer that was computed as a float, or one that was read as text.
    let text = || step.cast::<PyString>().ok()?.to_string_lossy().trim().parse().ok();
    if let Some(step) = text() {
        return Ok(step);
    }
    let whole = handled(py, step.extract::<f64>())?
        .filter(|step| step.fract() == 0.0 && (0.0..=Column::EXACT as f64).contains(step));
    match whole {
        Some(step) => Ok(step as u64),
        None => Err(PyValueError::new_err(format!(
            "`step` must be a non-negative integer, got {}",
            crate::values::text(step)?
        ))),
    }
}

/// The epoch of a step. What is no finite number is left out, with a warning.
#[inline]
fn epoch_of(epoch: Option<&Bound<'_, PyAny>>) -> PyResult<Option<f64>> {
    let Some(epoch) = epoch.filter(|epoch| !epoch.is_none()) else { return Ok(None) };
    match number_of(epoch)? {
        // NaN stands for no epoch.
        Some(number) if !number.is_infinite() => Ok(Some(number).filter(|number| !number.is_nan())),
        _ => {
            let shown = crate::values::text(epoch)?;
            let message =
                format!("the epoch {shown} is no finite number: the step is recorded without it");
            warn(epoch.py(), &message)?;
            Ok(None)
        }
    }
}

/// The number in a value: a Python number, a scalar of NumPy, PyTorch or JAX, or text.
fn number_of(value: &Bound<'_, PyAny>) -> PyResult<Option<f64>> {
    // The plain case first: extracting an f64 from an integer would make a float object.
    if let Some((number, _)) = plain_number(value) {
        return Ok(Some(number));
    }
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(text.to_string_lossy().trim().parse().ok());
    }
    handled(value.py(), value.extract())
}

/// The items of a mapping as metrics. What is no mapping, or one that cannot be read, is one metric with its text, so
/// that it is not lost.
fn metrics_or_text(metrics: &Bound<'_, PyAny>) -> PyResult<Vec<Field>> {
    let py = metrics.py();
    if metrics.is_none() {
        return Ok(Vec::new());
    }
    if let Some(fields) = handled(py, metrics_of(metrics))? {
        return Ok(fields);
    }
    let kind = metrics.get_type();
    warn(py, &format!("metrics must be a mapping of names to values, got {kind}"))?;
    Ok(vec![Field::new("metrics", value_of(metrics)?)])
}
