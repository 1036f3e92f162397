//! Reading a run folder back. Nothing in it is changed; only the index of a large metrics.jsonl is kept
//! beside it, where that may be written.

use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
pub use model_foundry_guest::metrics::Query;
use wasmtime::Store;
use wasmtime::component::ResourceAny;

use crate::bindings::Logging;
use crate::bindings::exports::model_foundry::logging::metrics as component;
pub use crate::bindings::exports::model_foundry::logging::metrics::Series;
use crate::bindings::exports::model_foundry::logging::performance::{Peaks, Timing};
use crate::bindings::exports::model_foundry::logging::types;
use crate::errors::ErrorReport;
use crate::imports::clocks::Clock;
use crate::imports::files::{Files, name};
use crate::imports::{Powers, State};
use crate::locks;
use crate::manifest::{self, MANIFEST, Manifest, Status};
use crate::metrics::NamedStatistics;
use crate::runtime::Runtime;
use crate::sandbox::Sandbox;
use crate::{Error, Result};

/// About how many bytes of lines the component hands over at a time.
const BLOCK: u32 = 1 << 20;

/// Lines that were skipped because they are damaged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// How many.
    pub lines: u64,
    /// The first: file, line number and what is wrong with it.
    pub first: Option<(String, u64, String)>,
}

/// Reads a run folder.
pub struct RunReader {
    sandbox: Sandbox,
    dir: Dir,
    folder: PathBuf,
}

impl RunReader {
    /// Open a run folder to read it.
    ///
    /// # Errors
    ///
    /// [`Error::Path`] if there is no such folder, or no run in it.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        let dir = Dir::open_ambient_dir(&folder, ambient_authority()).map_err(|error| {
            Error::path(
                &folder,
                match error.kind() {
                    std::io::ErrorKind::NotFound => "there is no such run folder".to_owned(),
                    std::io::ErrorKind::NotADirectory => "this is no folder".to_owned(),
                    _ => format!("the run folder cannot be opened: {error}"),
                },
            )
        })?;
        let known = [MANIFEST, "metrics.jsonl", "main.log", "errors.jsonl", "performance.jsonl"];
        let shards = || {
            let files = Files::new(dir.try_clone().ok()?, None, false, false);
            files.parts(model_foundry_guest::imports::File::Metrics).ok()
        };
        if !known.iter().any(|name| dir.exists(name)) && shards().is_none_or(|s| s.is_empty()) {
            return Err(Error::path(&folder, "there is no run in this folder (no run.json)"));
        }
        let own = dir.try_clone().map_err(|error| Error::path(&folder, error))?;
        let powers = Powers::new(Files::new(own, None, false, false), Clock::System);
        let sandbox = Sandbox::start(&Runtime::shared()?, powers)?;
        Ok(Self { sandbox, dir, folder })
    }

    /// The run folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// The version of the folder's format, where it is newer than [`FORMAT_VERSION`](crate::FORMAT_VERSION):
    /// what this reader gives may then be incomplete, and it does not repair.
    pub fn newer_format(&self) -> Option<u32> {
        manifest::newer_version(&self.dir)
    }

    /// run.json; none where there is none. An attempt that is running by its word while no process holds
    /// the folder has died.
    ///
    /// # Errors
    ///
    /// [`Error::Path`] if it cannot be read.
    pub fn manifest(&self) -> Result<Option<Manifest>> {
        let manifest = Manifest::read(&self.dir)
            .map_err(|error| Error::path(self.folder.join(MANIFEST), error))?;
        Ok(manifest.map(|mut manifest| {
            if let Some(latest) = manifest.attempts.last_mut()
                && latest.status == Status::Running
                && locks::occupancy(&self.dir) == locks::Occupancy::Alone
            {
                latest.status = Status::Died;
            }
            manifest
        }))
    }

    /// The lines of metrics.jsonl that a query asks for, each as it stands in the file, in blocks of whole
    /// lines. `each` gets one block after another and ends the reading with false.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the query makes no sense, [`Error::Storage`] if the file cannot be read.
    pub fn history(&mut self, query: Query, each: &mut dyn FnMut(&str) -> bool) -> Result<Damage> {
        let reader = self.open_metrics(query)?;
        loop {
            let block = self.answer(|guest, store| {
                guest.model_foundry_logging_metrics().reader().call_next(store, reader, BLOCK)
            })?;
            match block {
                Some(block) => {
                    if !each(&block) {
                        break;
                    }
                }
                None => break,
            }
        }
        self.damage(reader)
    }

    /// The entries of metrics.jsonl that a query asks for, parsed.
    ///
    /// # Errors
    ///
    /// As [`history`](Self::history).
    pub fn entries(
        &mut self,
        query: Query,
    ) -> Result<Vec<serde_json::Map<String, serde_json::Value>>> {
        let mut entries = Vec::new();
        let mut problem = None;
        self.history(query, &mut |block| {
            for line in block.lines() {
                match serde_json::from_str(line) {
                    Ok(entry) => entries.push(entry),
                    Err(error) => problem = Some(error),
                }
            }
            true
        })?;
        match problem {
            None => Ok(entries),
            Some(error) => {
                Err(Error::Component(format!("a line that it gave is no JSON: {error}")))
            }
        }
    }

    /// Statistics of the named metrics, or of all where none are named, in order of first appearance.
    ///
    /// # Errors
    ///
    /// As [`history`](Self::history).
    pub fn statistics(
        &mut self,
        query: Query,
        names: &[String],
    ) -> Result<(Vec<NamedStatistics>, Damage)> {
        let reader = self.open_metrics(query)?;
        let statistics = self.answer(|guest, store| {
            guest.model_foundry_logging_metrics().reader().call_statistics(store, reader, names)
        })?;
        Ok((statistics, self.damage(reader)?))
    }

    /// Every metric's statistics, and each thinned out to at most `points` points for a small chart.
    ///
    /// # Errors
    ///
    /// As [`history`](Self::history).
    pub fn overview(
        &mut self,
        query: Query,
        points: u32,
    ) -> Result<(Vec<NamedStatistics>, Vec<Series>, Damage)> {
        let reader = self.open_metrics(query)?;
        let (statistics, series) = self.answer(|guest, store| {
            guest.model_foundry_logging_metrics().reader().call_overview(store, reader, points)
        })?;
        Ok((statistics, series, self.damage(reader)?))
    }

    /// Everything in errors.jsonl over all ranks: counts, the earliest error, and the newest `count`.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if the file cannot be read.
    pub fn errors(&mut self, count: u32) -> Result<ErrorReport> {
        self.answer(|guest, store| guest.model_foundry_logging_errors().call_read(store, count))
    }

    /// The timings of performance.jsonl, slowest in total first, in seconds.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if the file cannot be read.
    pub fn timings(&mut self) -> Result<Vec<Timing>> {
        self.answer(|guest, store| guest.model_foundry_logging_performance().call_timings(store))
    }

    /// The peaks over the memory samples of performance.jsonl, in bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if the file cannot be read.
    pub fn memory_peaks(&mut self) -> Result<Peaks> {
        self.answer(|guest, store| {
            guest.model_foundry_logging_performance().call_memory_peaks(store)
        })
    }

    fn open_metrics(&mut self, query: Query) -> Result<ResourceAny> {
        let Query { first_step, last_step, summaries, all_attempts } = query;
        let query = component::Query { first_step, last_step, summaries, all_attempts };
        self.answer(|guest, store| {
            guest.model_foundry_logging_metrics().reader().call_open(store, query)
        })
    }

    fn damage(&mut self, reader: ResourceAny) -> Result<Damage> {
        let component::Damage { lines, first } = self.answer(|guest, store| {
            let damage =
                guest.model_foundry_logging_metrics().reader().call_damage(&mut *store, reader)?;
            reader.resource_drop(store)?;
            Ok(Ok(damage))
        })?;
        let first = first.map(|(part, line, problem)| {
            (name(model_foundry_guest::imports::File::Metrics, part.into()), line, problem)
        });
        Ok(Damage { lines, first })
    }

    pub(crate) fn answer<R>(
        &mut self,
        call: impl FnOnce(&Logging, &mut Store<State>) -> wasmtime::Result<Result<R, types::Error>>,
    ) -> Result<R> {
        Ok(self.sandbox.call(call)??)
    }
}
