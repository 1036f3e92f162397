//! Reading a run folder back. Nothing in it changes, except that an index of a large metrics.jsonl is saved if the
//! folder can be written.

use std::path::{Path, PathBuf};

use model_foundry_types::{
    Damage, ErrorReport, NamedStatistics, Omitted, Part, Peaks, Position, Purpose, Query, Row,
    Series, Timing, VerificationReport,
};
use wasmtime::Store;
use wasmtime::component::ResourceAny;

use crate::engine::bindings::Exports;
use crate::engine::bindings::exports::model_foundry::logging::metrics::GuestMetricsReader;
use crate::engine::runtime::Runtime;
use crate::engine::sandbox::{BUDGET, Sandbox, until_done};
use crate::folder::RunFolder;
use crate::folder::manifest::Manifest;
use crate::folder::run_files::FileId;
use crate::recording::guest_loggers::Answer;
use crate::services::clocks::Clock;
use crate::services::files::Files;
use crate::services::{HostServices, StoreData};
use crate::{Error, Result};

/// About how many bytes of lines the component returns at a time.
const BLOCK: u32 = 1 << 20;

/// How many rows the component returns at a time.
const ROWS: u32 = 4096;

/// What a reader of metrics left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadReport {
    /// The lines that are damaged.
    pub damage: Damage,
    /// What a later attempt logged again.
    pub omitted: Omitted,
}

/// Reads a run folder.
pub struct RunReader {
    sandbox: Sandbox,
    folder: RunFolder,
}

impl std::fmt::Debug for RunReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunReader").field("folder", &self.folder.path()).finish_non_exhaustive()
    }
}

impl RunReader {
    /// Open a run folder to read it.
    ///
    /// # Errors
    ///
    /// As [`RunFolder::open`]; [`Error::Component`] if the component cannot be started.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        Self::of(RunFolder::open(folder)?)
    }

    /// Read a folder that is already open.
    ///
    /// # Errors
    ///
    /// [`Error::Component`] if the component cannot be started.
    pub fn of(folder: RunFolder) -> Result<Self> {
        let files = Files::new(folder.try_clone_dir()?, None, false, false);
        let services = HostServices::new(files, Clock::System);
        Ok(Self { sandbox: Sandbox::start(&Runtime::shared()?, services)?, folder })
    }

    /// The path of the run folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn run_folder(&self) -> &RunFolder {
        &self.folder
    }

    /// A newer format of the folder, as [`RunFolder::newer_format`].
    pub fn newer_format(&self) -> Option<u32> {
        self.folder.newer_format()
    }

    /// run.json, as [`RunFolder::manifest`].
    ///
    /// # Errors
    ///
    /// [`Error::Path`] if it cannot be read.
    pub fn manifest(&self) -> Result<Option<Manifest>> {
        self.folder.manifest()
    }

    /// The lines of metrics.jsonl that a query selects, each as it is in the file, in blocks of whole lines. `each`
    /// gets one block after another, and ends the reading by returning false.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the query makes no sense, [`Error::Storage`] if the file cannot be read.
    pub fn history(
        &mut self,
        query: Query,
        each: &mut dyn FnMut(&str) -> bool,
    ) -> Result<ReadReport> {
        self.read_metrics(query, Purpose::Lines, |metrics| {
            while let Some(block) = metrics
                .call(|reader, store, handle| reader.call_next_lines(store, handle, BLOCK))?
            {
                // A block is empty if the query selects nothing of a long stretch of the file.
                if !block.is_empty() && !each(&block) {
                    break;
                }
            }
            metrics.report()
        })
    }

    /// The entries of metrics.jsonl that a query selects. `each` gets one row after another, and ends the reading by
    /// returning false.
    ///
    /// # Errors
    ///
    /// As [`history`](Self::history).
    pub fn rows(&mut self, query: Query, each: &mut dyn FnMut(Row) -> bool) -> Result<ReadReport> {
        self.read_metrics(query, Purpose::Lines, |metrics| {
            'all: while let Some(rows) =
                metrics.call(|reader, store, handle| reader.call_next_rows(store, handle, ROWS))?
            {
                for row in rows {
                    if !each(row) {
                        break 'all;
                    }
                }
            }
            metrics.report()
        })
    }

    /// The entries of metrics.jsonl that a query selects, each as the JSON object of its line.
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
            Some(error) => Err(Error::Component(format!(
                "the component returned a line that is not JSON: {error}"
            ))),
        }
    }

    /// The highest step in metrics.jsonl; `None` without a step.
    ///
    /// # Errors
    ///
    /// As [`history`](Self::history).
    pub fn last_step(&mut self) -> Result<Option<u64>> {
        self.read_metrics(Query::default(), Purpose::Lines, |metrics| {
            metrics.call(|reader, store, handle| reader.call_last_step(store, handle))
        })
    }

    /// Statistics of the named metrics, or of all metrics if none is named, in order of first appearance.
    ///
    /// # Errors
    ///
    /// As [`history`](Self::history).
    pub fn statistics(
        &mut self,
        query: Query,
        names: &[String],
    ) -> Result<(Vec<NamedStatistics>, ReadReport)> {
        self.read_metrics(query, Purpose::Statistics, |metrics| {
            let statistics = metrics
                .call(|reader, store, handle| reader.call_statistics(store, handle, names))?;
            Ok((statistics, metrics.report()?))
        })
    }

    /// The statistics of every metric, and each metric reduced to at most `points` points for a small chart.
    ///
    /// # Errors
    ///
    /// As [`history`](Self::history).
    pub fn overview(
        &mut self,
        query: Query,
        points: u32,
    ) -> Result<(Vec<NamedStatistics>, Vec<Series>, ReadReport)> {
        self.read_metrics(query, Purpose::Overview, |metrics| {
            let (statistics, series) = metrics
                .call(|reader, store, handle| reader.call_overview(store, handle, points))?;
            Ok((statistics, series, metrics.report()?))
        })
    }

    /// What errors.jsonl of all ranks holds: counts, the earliest error, and the newest `count`.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if the file cannot be read.
    pub fn errors(&mut self, count: u32) -> Result<ErrorReport> {
        let handle = self.call(|guest, store| {
            guest.model_foundry_logging_errors().error_reader().call_open(store, count)
        })?;
        self.with(handle, |reader| {
            reader.prepare(|guest, store| {
                let errors = guest.model_foundry_logging_errors();
                errors.error_reader().call_prepare(store, handle, BUDGET)
            })?;
            reader.call(|guest, store| {
                guest.model_foundry_logging_errors().error_reader().call_report(store, handle)
            })
        })
    }

    /// The timings of performance.jsonl in seconds, the slowest in total first.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if the file cannot be read.
    pub fn timings(&mut self) -> Result<Vec<Timing>> {
        self.performance().map(|(timings, _)| timings)
    }

    /// The peaks over the memory samples of performance.jsonl, in bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if the file cannot be read.
    pub fn memory_peaks(&mut self) -> Result<Peaks> {
        self.performance().map(|(_, peaks)| peaks)
    }

    /// Both [`timings`](Self::timings) and [`memory_peaks`](Self::memory_peaks), in one pass over the file.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if the file cannot be read.
    pub fn performance(&mut self) -> Result<(Vec<Timing>, Peaks)> {
        let handle = self.call(|guest, store| {
            guest.model_foundry_logging_performance().performance_reader().call_open(store)
        })?;
        self.with(handle, |reader| {
            reader.prepare(|guest, store| {
                let performance = guest.model_foundry_logging_performance();
                performance.performance_reader().call_prepare(store, handle, BUDGET)
            })?;
            let timings = reader.call(|guest, store| {
                let performance = guest.model_foundry_logging_performance();
                performance.performance_reader().call_timings(store, handle)
            })?;
            let peaks = reader.call(|guest, store| {
                let performance = guest.model_foundry_logging_performance();
                performance.performance_reader().call_memory_peaks(store, handle)
            })?;
            Ok((timings, peaks))
        })
    }

    /// Check one part of a run file from a position on.
    pub(crate) fn check(
        &mut self,
        file: FileId,
        part: Part,
        start: Position,
    ) -> Result<VerificationReport> {
        self.call(|guest, store| {
            let verification = guest.model_foundry_logging_verification();
            verification.call_check(store, file.get().name, part, start, BUDGET)
        })
    }

    /// Read metrics through a reader in the component, which is prepared for a purpose.
    fn read_metrics<R>(
        &mut self,
        query: Query,
        purpose: Purpose,
        read: impl FnOnce(&mut MetricsReader<'_>) -> Result<R>,
    ) -> Result<R> {
        let handle = self.call(|guest, store| {
            guest.model_foundry_logging_metrics().metrics_reader().call_open(store, query)
        })?;
        self.with(handle, |reader| {
            reader.prepare(|guest, store| {
                let metrics = guest.model_foundry_logging_metrics();
                metrics.metrics_reader().call_prepare(store, handle, purpose, BUDGET)
            })?;
            read(&mut MetricsReader { sandbox: &mut reader.sandbox, handle })
        })
    }

    /// Let the component read in several calls, until nothing is left to read.
    fn prepare(
        &mut self,
        call: impl Fn(&Exports, &mut Store<StoreData>) -> Answer<bool>,
    ) -> Result<()> {
        until_done(|| Ok(self.call(&call)?.then_some(())))
    }

    /// Work with a resource of the component, which is dropped at the end, whatever happened.
    fn with<R>(
        &mut self,
        handle: ResourceAny,
        work: impl FnOnce(&mut Self) -> Result<R>,
    ) -> Result<R> {
        let result = work(self);
        // After a trap the resource is gone, with the instance that had it.
        if !matches!(result, Err(Error::Trap(_))) {
            self.sandbox.call(|_, store| handle.resource_drop(store))?;
        }
        result
    }

    fn call<R>(
        &mut self,
        call: impl FnOnce(&Exports, &mut Store<StoreData>) -> Answer<R>,
    ) -> Result<R> {
        Ok(self.sandbox.call(call)??)
    }
}

/// A reader of metrics in the component.
struct MetricsReader<'a> {
    sandbox: &'a mut Sandbox,
    handle: ResourceAny,
}

impl MetricsReader<'_> {
    fn call<R>(
        &mut self,
        call: impl FnOnce(GuestMetricsReader<'_>, &mut Store<StoreData>, ResourceAny) -> Answer<R>,
    ) -> Result<R> {
        let handle = self.handle;
        let result = self.sandbox.call(|guest, store| {
            call(guest.model_foundry_logging_metrics().metrics_reader(), store, handle)
        });
        Ok(result??)
    }

    fn report(&mut self) -> Result<ReadReport> {
        let damage =
            self.call(|reader, store, handle| Ok(Ok(reader.call_damage(store, handle)?)))?;
        let omitted =
            self.call(|reader, store, handle| Ok(Ok(reader.call_omitted(store, handle)?)))?;
        Ok(ReadReport { damage, omitted })
    }
}
