//! A run folder that is open in this process.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use model_foundry::{
    Error, ExperimentConfig, Format, Heritage, Level, Run, RunBuilder, Status, StructuredLogger,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::config::reader;
use crate::errors::raised;
use crate::fork::{generation, lock, outside, runtime};
use crate::values::fields;

/// A run. It ends when the last logger that holds it is gone, or when it is finished.
#[pyclass(frozen, weakref, name = "Run", module = "model_foundry._native")]
pub(crate) struct OpenRun {
    heritage: Heritage,
    failed: AtomicBool,
    ended: AtomicBool,
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
        outside(py, || work(&self.run()?)).map_err(raised)
    }

    /// The run, opened anew where this process was forked since. The caller is [`outside`].
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
                if self.ended.load(Ordering::Relaxed) {
                    return Err(Error::Invalid("the run has ended: open another".into()));
                }
                let run = self.heritage.open(&runtime()?)?;
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
        // The context is Python's, and comes with each record.
        for (field, _) in logger.context() {
            logger.clear_context_field(&field);
        }
        open.loggers.push(logger.clone());
        Ok(logger)
    }

    fn end(&self, status: Option<Status>) {
        self.ended.store(true, Ordering::Relaxed);
        let Some(open) = lock(&self.open).take() else { return };
        if open.generation != generation() {
            return open.abandon();
        }
        let failed = self.failed.load(Ordering::Relaxed);
        let status = status.unwrap_or(if failed { Status::Failed } else { Status::Completed });
        open.run.finish(status, None);
    }
}

impl Open {
    /// Leave what the parent opened to the parent.
    fn abandon(self) {
        std::mem::forget(self.loggers);
        self.run.abandon();
    }
}

impl Drop for OpenRun {
    fn drop(&mut self) {
        self.end(None);
    }
}

#[pymethods]
impl OpenRun {
    /// Open a run folder. `config` is the experiment's configuration as JSON.
    #[new]
    fn new(py: Python<'_>, experiment: String, folder: PathBuf, config: String) -> PyResult<Self> {
        let opened = outside(py, || {
            let ExperimentConfig { logging, whole } =
                reader()?.read(&config, Format::Json, "the configuration")?;
            let builder: RunBuilder = Run::builder(&experiment)
                .folder(folder)
                .experiment_config(ExperimentConfig { logging, whole })
                .runtime(runtime()?);
            builder.open()
        });
        let run = opened.map_err(raised)?;
        let heritage = run.heritage();
        let open = Open { generation: generation(), run, loggers: Vec::new() };
        Ok(Self {
            heritage,
            failed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            open: Mutex::new(Some(open)),
        })
    }

    /// The base context of a structured logger: experiment, git_hash, device, and the rank where there is
    /// one.
    fn base_context(&self, py: Python<'_>) -> PyResult<Vec<(String, String)>> {
        let manifest = self.with(py, |run| Ok(run.manifest()))?;
        Ok(vec![
            ("experiment".into(), manifest.experiment),
            ("git_hash".into(), manifest.git_hash),
            ("device".into(), manifest.device),
        ])
    }

    /// Log a structured record to main.log and the console, by the levels of the configuration.
    fn log(
        &self,
        py: Python<'_>,
        name: &str,
        level: i32,
        message: &str,
        context: &Bound<'_, PyAny>,
        more: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let mut all = fields(context)?;
        all.extend(fields(more)?);
        let level = level_of(level);
        outside(py, || self.structured(name)?.log(level, message, &all)).map_err(raised)
    }

    /// Write what is buffered.
    fn flush(&self, py: Python<'_>) {
        outside(py, || {
            if let Some(open) = &*lock(&self.open)
                && open.generation == generation()
            {
                open.run.flush();
            }
        });
    }

    /// The attempt will have failed when it ends.
    fn mark_failed(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// End the attempt: well, unless it was marked as failed.
    fn close(&self, py: Python<'_>) {
        outside(py, || self.end(None));
    }

    /// End the attempt: "completed", "failed" or "interrupted".
    fn finish(&self, py: Python<'_>, status: &str) -> PyResult<()> {
        let status = match status {
            "completed" => Status::Completed,
            "failed" => Status::Failed,
            "interrupted" => Status::Interrupted,
            other => {
                return Err(PyValueError::new_err(format!(
                    "the status {other:?} is none of completed, failed and interrupted"
                )));
            }
        };
        outside(py, || self.end(Some(status)));
        Ok(())
    }

    /// Whether it has ended.
    #[getter]
    fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// The attempt at the experiment, from 1.
    #[getter]
    fn attempt(&self, py: Python<'_>) -> PyResult<u32> {
        self.with(py, |run| Ok(run.attempt()))
    }

    /// Which process this is among several, where there are several.
    #[getter]
    fn rank(&self, py: Python<'_>) -> PyResult<Option<u32>> {
        self.with(py, |run| Ok(run.rank()))
    }

    /// How often the component failed and was started anew.
    #[getter]
    fn component_failures(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |run| Ok(run.component_failures()))
    }

    /// How many appends failed, and how many records are lost.
    fn storage(&self, py: Python<'_>) -> PyResult<(u64, u64)> {
        let tally = self.with(py, |run| Ok(run.storage()))?;
        Ok((tally.failures, tally.refused))
    }
}

/// The level that a number of Python's logging module reaches.
pub(crate) fn level_of(number: i32) -> Level {
    match number {
        ..20 => Level::Debug,
        20..30 => Level::Info,
        30..40 => Level::Warning,
        40..50 => Level::Error,
        50.. => Level::Critical,
    }
}
