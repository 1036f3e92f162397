//! A run folder that is open in this process.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use model_foundry::{
    Console, Error, ExperimentConfig, ForkState, Format, Level, Resume, Run, RunBuilder, RunReader,
    Status, StructuredLogger, large_integers,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// The number of SIGINT on every system that this package supports.
const SIGINT: i32 = 2;

use crate::config::reader;
use crate::errors::raised;
use crate::exit_status::correct_at_exit;
use crate::fork::{generation, lock, runtime, without_gil};
use crate::values::{fields, text};

/// A run. It ends when it is finished, or when the last logger that holds it is dropped.
#[pyclass(frozen, weakref, name = "Run", module = "model_foundry._native")]
pub(crate) struct OpenRun {
    fork_state: ForkState,
    failed: AtomicBool,
    ended: AtomicBool,
    /// Nothing can be logged any more.
    closed: AtomicBool,
    open: Mutex<Option<Open>>,
}

struct Open {
    generation: u64,
    run: Run,
    /// The structured loggers by name.
    loggers: Vec<StructuredLogger>,
}

impl OpenRun {
    /// Work with the run, outside the interpreter's lock.
    pub(crate) fn with<R: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&Run) -> model_foundry::Result<R> + Send,
    ) -> PyResult<R> {
        without_gil(py, || work(&self.run()?)).map_err(raised)
    }

    /// The run, opened again if this process was forked since it was opened. The caller is [`without_gil`].
    pub(crate) fn run(&self) -> model_foundry::Result<Run> {
        Ok(self.renew(&mut lock(&self.open))?.run.clone())
    }

    fn renew<'a>(&self, open: &'a mut Option<Open>) -> model_foundry::Result<&'a mut Open> {
        let now = generation();
        if open.as_ref().is_some_and(|open| open.generation != now)
            && let Some(old) = open.take()
        {
            old.abandon();
        }
        match open {
            Some(open) => Ok(open),
            None => {
                if self.closed.load(Ordering::Relaxed) {
                    return Err(Error::Invalid("the run has ended: open another".into()));
                }
                // A forked process joins its parent's attempt, and what comes after an attempt's end joins that.
                let run = self.fork_state.open(&runtime()?)?;
                Ok(open.insert(Open { generation: now, run, loggers: Vec::new() }))
            }
        }
    }

    fn structured(&self, name: &str) -> model_foundry::Result<StructuredLogger> {
        let mut open = lock(&self.open);
        let open = self.renew(&mut open)?;
        if let Some(logger) = open.loggers.iter().find(|logger| logger.name() == name) {
            return Ok(logger.clone());
        }
        let logger = open.run.logger(name);
        // Python holds the context, and passes it with each record.
        for field in logger.context() {
            logger.clear_context_field(&field.name);
        }
        open.loggers.push(logger.clone());
        Ok(logger)
    }

    fn end_attempt(&self, status: Option<Status>, exit_code: Option<i32>) {
        self.ended.store(true, Ordering::Relaxed);
        let Some(open) = lock(&self.open).take() else { return };
        if open.generation != generation() {
            return open.abandon();
        }
        let failed = self.failed.load(Ordering::Relaxed);
        let status = status.unwrap_or(if failed { Status::Failed } else { Status::Completed });
        match status {
            Status::Interrupted => open.run.finish_by_signal(SIGINT, exit_code),
            status => open.run.finish(status, exit_code),
        }
    }
}

impl Open {
    /// Leave a parent's run to the parent: release nothing that it opened.
    fn abandon(self) {
        std::mem::forget(self.loggers);
        self.run.forget_parent();
    }
}

impl Drop for OpenRun {
    fn drop(&mut self) {
        self.end_attempt(None, None);
    }
}

#[pymethods]
impl OpenRun {
    /// Open a run: in `folder`, or as a new run in `runs_dir`. `config` is the experiment's configuration as JSON,
    /// `resume` an earlier run ("" for the newest), and `versions` those of the training's libraries. Without `console`
    /// its records are not printed, but what failed is.
    #[new]
    #[pyo3(signature = (
        experiment, folder, config, runs_dir=None, resume=None, versions=Vec::new(), console=true,
        id=None,
    ))]
    #[expect(clippy::too_many_arguments, reason = "Python passes them by name")]
    fn new(
        py: Python<'_>,
        experiment: String,
        folder: Option<PathBuf>,
        config: String,
        runs_dir: Option<PathBuf>,
        resume: Option<String>,
        versions: Vec<(String, String)>,
        console: bool,
        id: Option<String>,
    ) -> PyResult<Self> {
        let opened = without_gil(py, || {
            let ExperimentConfig { logging, whole } =
                reader()?.read(&config, Format::Json, "the configuration")?;
            let mut builder: RunBuilder = Run::builder(&experiment)
                .experiment_config(ExperimentConfig { logging, whole })
                .resume(match resume {
                    None => Resume::No,
                    Some(run) if run.is_empty() => Resume::Newest,
                    Some(run) => Resume::Run(run),
                })
                .runtime(runtime()?);
            if !console {
                builder = builder.console(Console::Failures(Arc::new(|failure| {
                    // There is nowhere else to report it.
                    let _ = writeln!(std::io::stderr(), "{failure}");
                })));
            }
            for (name, version) in &versions {
                builder = builder.version(name, version);
            }
            if let Some(id) = id {
                builder = builder.id(id);
            }
            if let Some(runs_dir) = runs_dir {
                builder = builder.runs_dir(runs_dir);
            }
            if let Some(folder) = folder {
                builder = builder.folder(folder);
            }
            builder.open()
        });
        let run = opened.map_err(raised)?;
        let fork_state = run.fork_state();
        let open = Open { generation: generation(), run, loggers: Vec::new() };
        Ok(Self {
            fork_state,
            failed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            open: Mutex::new(Some(open)),
        })
    }

    /// The base context of a structured logger: experiment, git_hash and device.
    fn base_context(&self, py: Python<'_>) -> PyResult<Vec<(String, String)>> {
        let manifest = self.with(py, |run| Ok(run.manifest()))?;
        Ok(vec![
            ("experiment".into(), manifest.experiment),
            ("git_hash".into(), manifest.git_hash),
            ("device".into(), manifest.device),
        ])
    }

    /// Whether a record of this level is logged.
    fn wants(&self, py: Python<'_>, level: i32) -> PyResult<bool> {
        self.with(py, |run| Ok(run.wants(level_of(level))))
    }

    /// Log a structured record to main.log and the console, according to the configured levels.
    fn log(
        &self,
        py: Python<'_>,
        name: &str,
        level: i32,
        message: &Bound<'_, PyAny>,
        context: &Bound<'_, PyAny>,
        more: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let message = text(message)?;
        let mut all = fields(context)?;
        all.extend(fields(more)?);
        let level = level_of(level);
        without_gil(py, || self.structured(name)?.log(level, &message, &all)).map_err(raised)
    }

    /// Write what is buffered.
    fn flush(&self, py: Python<'_>) {
        without_gil(py, || {
            if let Some(open) = &*lock(&self.open)
                && open.generation == generation()
            {
                open.run.flush();
            }
        });
    }

    /// Let the attempt count as failed when it ends.
    fn mark_failed(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// End the attempt as completed, or as failed if the process's exit code is not 0.
    fn end_with_process(&self, py: Python<'_>) {
        without_gil(py, || {
            let open = lock(&self.open);
            let run = open.as_ref().filter(|open| open.generation == generation());
            let run = run.map(|open| open.run.clone());
            drop(open);
            self.end_attempt(None, None);
            if let Some(run) = run.filter(|_| !self.failed.load(Ordering::Relaxed)) {
                correct_at_exit(run);
            }
        });
    }

    /// Log nothing any more.
    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// End the attempt, as completed unless it was marked as failed. What is logged later belongs to it too.
    fn end(&self, py: Python<'_>) {
        without_gil(py, || self.end_attempt(None, None));
    }

    /// End the attempt with a status: "completed", "failed" or "interrupted" (by SIGINT).
    #[pyo3(signature = (status, exit_code=None))]
    fn finish(&self, py: Python<'_>, status: &str, exit_code: Option<i32>) -> PyResult<()> {
        let status = match status {
            "completed" => Status::Completed,
            "failed" => Status::Failed,
            "interrupted" => Status::Interrupted,
            other => {
                return Err(PyValueError::new_err(format!(
                    "unknown status {other:?}: use completed, failed or interrupted"
                )));
            }
        };
        without_gil(py, || self.end_attempt(Some(status), exit_code));
        Ok(())
    }

    /// Add sections to the configuration that run.json records, or change them. `sections` is a JSON object.
    fn configure(&self, py: Python<'_>, sections: &str) -> PyResult<()> {
        let sections = object(sections)?;
        self.with(py, |run| run.configure(&sections))
    }

    /// Add to the parameters that run.json records, or change them. `parameters` is a JSON object.
    fn add_parameters(&self, py: Python<'_>, parameters: &str) -> PyResult<()> {
        let parameters = object(parameters)?;
        self.with(py, |run| run.add_parameters(&parameters))
    }

    /// Add to the results of the attempt that run.json records, or change them. `results` is a JSON object.
    fn add_results(&self, py: Python<'_>, results: &str) -> PyResult<()> {
        let results = object(results)?;
        self.with(py, |run| run.add_results(&results))
    }

    /// The run folder: where it is now, if it was moved or renamed.
    #[getter]
    fn folder(&self, py: Python<'_>) -> PyResult<PathBuf> {
        self.with(py, |run| Ok(run.current_folder()))
    }

    /// The last step that any attempt of the run has logged; None without one.
    fn last_step(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        self.with(py, |run| RunReader::of(run.run_folder()?)?.last_step())
    }

    /// Whether nothing can be logged any more.
    #[getter]
    fn closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// The run's id; None if run.json has none.
    #[getter]
    fn id(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.with(py, |run| Ok(run.manifest().id))
    }

    /// Whether it has ended.
    #[getter]
    fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// The number of the attempt, 1 or more.
    #[getter]
    fn attempt(&self, py: Python<'_>) -> PyResult<u32> {
        self.with(py, |run| Ok(run.attempt()))
    }

    /// The rank of this process; None if it is the only one.
    #[getter]
    fn rank(&self, py: Python<'_>) -> PyResult<Option<u32>> {
        self.with(py, |run| Ok(run.rank()))
    }

    /// Number of times that the component failed and was restarted.
    #[getter]
    fn component_failures(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |run| Ok(run.component_failures()))
    }

    /// Number of appends that failed, and number of records that are lost.
    fn storage(&self, py: Python<'_>) -> PyResult<(u64, u64)> {
        let tally = self.with(py, |run| Ok(run.storage()))?;
        Ok((tally.failures, tally.refused))
    }
}

/// A JSON object. Integers of more than 64 bits become text, which keeps their digits.
fn object(text: &str) -> PyResult<serde_json::Map<String, serde_json::Value>> {
    serde_json::from_str(&large_integers::quoted(text))
        .map_err(|error| PyValueError::new_err(format!("not a JSON object: {error}")))
}

/// The highest level whose number in Python's logging module is not above `number`, or else DEBUG.
pub(crate) fn level_of(number: i32) -> Level {
    match number {
        ..20 => Level::Debug,
        20..30 => Level::Info,
        30..40 => Level::Warning,
        40..50 => Level::Error,
        50.. => Level::Critical,
    }
}
