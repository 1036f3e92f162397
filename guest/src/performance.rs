//! Timings and memory samples.

use crate::config::LoggingConfig;
use crate::imports::{GpuInventory, Imports, RunFile};
use crate::json::{self, Reader, Token, unescape};
use crate::line_buffer::LineBuffer;
use crate::lines::{ParsedLine, Ranges};
use crate::names::Names;
use crate::rotation::RotatingLog;
use crate::statistics::{Statistics, Streams};
use crate::timestamp::Timestamps;
use crate::{Error, Result};
use model_foundry_types::{Finished, GpuPeak, MemorySample, Peaks, Timing};

/// How many distinct operations have statistics.
pub const MOST_OPERATIONS: usize = 4096;

/// Timings by operation.
#[derive(Clone, Debug)]
pub struct Timings {
    names: Names,
    statistics: Streams,
}

impl Default for Timings {
    fn default() -> Self {
        Self { names: Names::at_most(MOST_OPERATIONS), statistics: Streams::default() }
    }
}

impl Timings {
    fn add(&mut self, name: &str, seconds: f64) -> Result<()> {
        let Some(number) = self.names.id_or_insert(name) else {
            return Err(Error::Limit(format!(
                "more than {MOST_OPERATIONS} distinct operations: {name:?} is written to \
                 performance.jsonl but has no statistics; time fewer names"
            )));
        };
        let number = number as usize;
        if number == self.statistics.len() {
            self.statistics.push(Statistics::default());
        }
        self.statistics[number].add(0, seconds);
        Ok(())
    }

    /// One operation's statistics. An unknown operation has count 0.
    fn timing(&self, name: &str) -> Timing {
        let known = self.names.id(name).map(|number| &self.statistics[number as usize]);
        known.map_or_else(
            || Timing { name: name.to_owned(), ..Timing::default() },
            |statistics| summary(name, statistics),
        )
    }

    /// The statistics of all operations, the slowest in total first.
    pub fn slowest_first(&self) -> Vec<Timing> {
        let all = self.names.iter().zip(&*self.statistics);
        let mut all: Vec<Timing> = all.map(|(name, known)| summary(name, known)).collect();
        all.sort_by(|one, other| other.total.total_cmp(&one.total));
        all
    }

    /// The timings of performance.jsonl.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if the file cannot be read.
    pub fn read<I: Imports>(imports: &I) -> Result<Self> {
        Ok(PerformanceReader::open(imports)?.read()?.0.clone())
    }
}

fn add_sample(peaks: &mut Peaks, process_resident: u64, machine_used: u64, gpus: Vec<GpuPeak>) {
    peaks.samples += 1;
    peaks.process_resident = peaks.process_resident.max(process_resident);
    peaks.machine_used = peaks.machine_used.max(machine_used);
    for gpu in gpus {
        match peaks.gpus.iter_mut().find(|peak| peak.uuid == gpu.uuid) {
            Some(peak) => {
                peak.used = peak.used.max(gpu.used);
                peak.process = peak.process.max(gpu.process);
            }
            None => peaks.gpus.push(gpu),
        }
    }
}

/// Reads performance.jsonl, of all processes that wrote to it. A long file is read in several calls.
pub struct PerformanceReader<I> {
    lines: Ranges<I>,
    timings: Timings,
    peaks: Peaks,
    at_end: bool,
}

impl<I: Imports> PerformanceReader<I> {
    /// Open performance.jsonl as it is now.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if the host cannot report the file's size.
    pub fn open(imports: &I) -> Result<Self> {
        Ok(Self {
            lines: Ranges::all(imports, RunFile::PERFORMANCE)?,
            timings: Timings::default(),
            peaks: Peaks::default(),
            at_end: false,
        })
    }

    /// Read about `budget` bytes; true at the end. After an error it can be called again.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if the file cannot be read.
    pub fn advance(&mut self, mut budget: u64) -> Result<bool> {
        let Self { lines, timings, peaks, at_end } = self;
        *at_end = lines.each(&mut budget, &mut |line| match line.read(read_line) {
            Ok(ParsedLine { record: Some(Line::Timing { name, seconds }), .. }) => {
                // The call that logged a name above the limit returned the error.
                let _ = timings.add(&name, seconds);
            }
            Ok(ParsedLine {
                record: Some(Line::Memory { process_resident, machine_used, gpus }),
                ..
            }) => add_sample(peaks, process_resident, machine_used, gpus),
            Ok(ParsedLine { record: None, .. }) | Err(_) => {}
        })?;
        Ok(*at_end)
    }

    /// The timings and the peaks of the whole file.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if the file cannot be read.
    pub fn read(&mut self) -> Result<(&Timings, &Peaks)> {
        while !self.at_end {
            self.advance(u64::MAX)?;
        }
        Ok((&self.timings, &self.peaks))
    }
}

/// Records timings and takes memory samples.
pub struct PerformanceLogger<I> {
    imports: I,
    log: RotatingLog<I>,
    timings: Timings,
    /// The earlier content of the file, until it is read. It is read before this logger appends, since that may
    /// rotate the file.
    earlier: Option<PerformanceReader<I>>,
    timestamps: Timestamps,
    line: LineBuffer,
}

impl<I: Imports> PerformanceLogger<I> {
    /// Open performance.jsonl to append to it. Statistics include the timings that it holds.
    pub fn open(imports: &I, config: &LoggingConfig) -> Result<Self> {
        Ok(Self {
            imports: imports.clone(),
            log: RotatingLog::new(imports, RunFile::PERFORMANCE, config),
            timings: Timings::default(),
            earlier: Some(PerformanceReader::open(imports)?),
            timestamps: Timestamps::default(),
            line: LineBuffer::new(),
        })
    }

    /// Do a part of the work for all other calls: read about `budget` bytes of what was in the file before. True
    /// when nothing is left to read. After an error it can be called again.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if the file cannot be read.
    pub fn advance(&mut self, budget: u64) -> Result<bool> {
        if let Some(earlier) = &mut self.earlier {
            if !earlier.advance(budget)? {
                return Ok(false);
            }
            self.timings = std::mem::take(&mut earlier.timings);
            self.earlier = None;
        }
        Ok(true)
    }

    fn prepare(&mut self) -> Result<()> {
        while !self.advance(u64::MAX)? {}
        Ok(())
    }

    /// Record a duration in seconds, measured by the host or elsewhere.
    pub fn record(&mut self, name: &str, seconds: f64, failed: bool) -> Result<Finished> {
        check_duration(name, seconds)?;
        self.prepare()?;
        let counted = self.timings.add(name, seconds);
        self.start_line();
        self.line.push_str(",\"name\":");
        json::write_string(&mut self.line, name);
        self.line.push_str(",\"seconds\":");
        json::write_float(&mut self.line, seconds);
        self.line.push_str(if failed { ",\"failed\":true}\n" } else { "}\n" });
        self.log.append(&self.line, false)?;
        counted?;
        let ending = if failed { "failed after" } else { "completed in" };
        Ok(Finished { seconds, message: format!("{name} {ending} {seconds:.4}s") })
    }

    /// Count durations in the statistics without writing them.
    pub fn count(&mut self, name: &str, durations: &[f64]) -> Result<()> {
        self.prepare()?;
        for &seconds in durations {
            check_duration(name, seconds)?;
            self.timings.add(name, seconds)?;
        }
        Ok(())
    }

    /// Write a sample of memory to performance.jsonl.
    pub fn log_memory(&mut self, step: Option<u64>) -> Result<MemorySample> {
        self.prepare()?;
        let cpu = self.imports.system_memory();
        let gpu = self.imports.gpu_devices();
        let mut messages = Vec::new();
        self.start_line();
        let line = &mut self.line;
        if let Some(step) = step {
            line.push_str(",\"step\":");
            json::write_integer(line, step);
        }
        match &cpu {
            Ok(memory) => {
                line.push_str(",\"memory\":{");
                write_members(
                    line,
                    &[
                        ("process_resident", memory.process_resident),
                        ("process_virtual", memory.process_virtual),
                        ("machine_total", memory.machine_total),
                        ("machine_used", memory.machine_used),
                        ("machine_available", memory.machine_available),
                    ],
                );
                line.push('}');
                messages.push(format!(
                    "Memory - Process: {}, Machine: {} of {}",
                    gigabytes(memory.process_resident),
                    gigabytes(memory.machine_used),
                    gigabytes(memory.machine_total),
                ));
            }
            Err(reason) => {
                line.push_str(",\"memory_unavailable\":");
                json::write_string(line, reason);
            }
        }
        match &gpu {
            Ok(inventory) => write_gpus(line, inventory, &mut messages),
            Err(reason) => {
                line.push_str(",\"gpu_unavailable\":");
                json::write_string(line, reason);
            }
        }
        line.push_str("}\n");
        self.log.append(&self.line, false)?;
        Ok(MemorySample { cpu, gpu, messages })
    }

    /// One operation's statistics. An unknown operation has count 0.
    pub fn statistics(&mut self, name: &str) -> Result<Timing> {
        self.prepare()?;
        Ok(self.timings.timing(name))
    }

    /// The statistics of all operations, the slowest in total first.
    pub fn all_statistics(&mut self) -> Result<Vec<Timing>> {
        self.prepare()?;
        Ok(self.timings.slowest_first())
    }

    /// Discard the timings in memory; performance.jsonl stays.
    pub fn reset(&mut self) {
        self.timings = Timings::default();
        self.earlier = None;
    }

    /// Write timing_report.json.
    pub fn export_report(&mut self) -> Result<()> {
        let report = self.report()?;
        Ok(self.imports.replace(RunFile::TIMING_REPORT, report.as_bytes())?)
    }

    /// The content of timing_report.json: an object of operations, the slowest in total first.
    pub fn report(&mut self) -> Result<String> {
        let mut report = LineBuffer::from("{");
        for (at, timing) in self.all_statistics()?.into_iter().enumerate() {
            report.push_str(if at == 0 { "\n  " } else { ",\n  " });
            json::write_string(&mut report, &timing.name);
            report.push_str(": {\"count\": ");
            json::write_integer(&mut report, timing.count);
            for (key, seconds) in [
                ("mean", timing.mean),
                ("min", timing.min),
                ("max", timing.max),
                ("std", timing.std),
                ("total", timing.total),
                ("p50", timing.p50),
                ("p95", timing.p95),
                ("p99", timing.p99),
            ] {
                report.push_str(", ");
                json::write_string(&mut report, key);
                report.push_str(": ");
                json::write_float(&mut report, seconds);
            }
            report.push('}');
        }
        report.push_str("\n}\n");
        Ok(report.into())
    }

    fn start_line(&mut self) {
        let now = self.imports.now();
        self.line.clear();
        self.line.push_str("{\"timestamp\":\"");
        self.timestamps.write(&mut self.line, now);
        self.line.push('"');
    }
}

fn write_gpus(line: &mut LineBuffer, inventory: &GpuInventory, messages: &mut Vec<String>) {
    line.push_str(",\"gpus\":[");
    for (at, device) in inventory.devices.iter().enumerate() {
        line.push_str(if at == 0 { "{\"index\":" } else { ",{\"index\":" });
        json::write_integer(line, device.index);
        if let Some(instance) = device.mig_instance {
            line.push_str(",\"mig_instance\":");
            json::write_integer(line, instance);
        }
        line.push_str(",\"uuid\":");
        json::write_string(line, &device.uuid);
        line.push_str(",\"name\":");
        json::write_string(line, &device.name);
        line.push(',');
        write_members(
            line,
            &[
                ("total", device.total),
                ("used", device.used),
                ("free", device.free),
                ("reserved", device.reserved),
            ],
        );
        let allocated = match device.process {
            Some(bytes) => {
                line.push_str(",\"process\":");
                json::write_integer(line, bytes);
                gigabytes(bytes)
            }
            None => "unknown".into(),
        };
        line.push('}');
        messages.push(format!(
            "GPU memory - Allocated: {allocated}, Reserved: {} (GPU {}{}: {}; used {} of {})",
            gigabytes(device.reserved),
            device.index,
            device.mig_instance.map(|instance| format!(" MIG {instance}")).unwrap_or_default(),
            device.name,
            gigabytes(device.used),
            gigabytes(device.total),
        ));
    }
    line.push(']');
    if !inventory.lost.is_empty() {
        line.push_str(",\"gpus_lost\":[");
        for (at, lost) in inventory.lost.iter().enumerate() {
            if at > 0 {
                line.push(',');
            }
            json::write_string(line, lost);
            messages.push(format!("GPU memory - unavailable: {lost}"));
        }
        line.push(']');
    }
}

fn write_members(line: &mut LineBuffer, members: &[(&str, u64)]) {
    for (at, (name, number)) in members.iter().enumerate() {
        if at > 0 {
            line.push(',');
        }
        json::write_string(line, name);
        line.push(':');
        json::write_integer(line, *number);
    }
}

/// The statistics of an operation.
fn summary(name: &str, statistics: &Statistics) -> Timing {
    let figures = statistics.summary();
    Timing {
        name: name.to_owned(),
        count: figures.count,
        total: (figures.mean * figures.count as f64).min(f64::MAX),
        mean: figures.mean,
        min: figures.min,
        max: figures.max,
        std: figures.std,
        p50: figures.p50,
        p95: figures.p95,
        p99: figures.p99,
        percentiles_exact: figures.percentiles_exact,
    }
}

fn check_duration(name: &str, seconds: f64) -> Result<()> {
    if seconds.is_finite() && seconds >= 0.0 {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "the duration of {name:?} must be a non-negative number of seconds, got {seconds}"
    )))
}

/// Bytes in GB (10^9).
fn gigabytes(bytes: u64) -> String {
    format!("{:.2}GB", bytes as f64 / 1e9)
}

/// A line of performance.jsonl, read.
enum Line {
    Timing { name: String, seconds: f64 },
    Memory { process_resident: u64, machine_used: u64, gpus: Vec<GpuPeak> },
}

fn read_line(text: &str) -> Result<Option<Line>, json::Problem> {
    let (mut name, mut seconds, mut memory, mut gpus) = (None, None, None, Vec::new());
    let mut object = Reader::object(text)?;
    while let Some((key, value)) = object.next()? {
        match (key, value) {
            ("name", Token::Text(text)) => name = Some(unescape(text).into_owned()),
            ("seconds", Token::Number(text)) => seconds = text.parse().ok(),
            ("memory", Token::Object(text)) => memory = Some(text),
            ("gpus", Token::Array(text)) => gpus = read_gpus(text),
            _ => {}
        }
    }
    if let (Some(name), Some(seconds)) = (name, seconds) {
        return Ok(Some(Line::Timing { name, seconds }));
    }
    if memory.is_none() && gpus.is_empty() {
        return Ok(None);
    }
    let (mut process_resident, mut machine_used) = (0, 0);
    if let Some(memory) = memory {
        let mut object = Reader::object(memory)?;
        while let Some((key, value)) = object.next()? {
            match (key, value) {
                ("process_resident", Token::Number(text)) => {
                    process_resident = text.parse().unwrap_or(0);
                }
                ("machine_used", Token::Number(text)) => machine_used = text.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
    Ok(Some(Line::Memory { process_resident, machine_used, gpus }))
}

fn read_gpus(text: &str) -> Vec<GpuPeak> {
    #[derive(serde::Deserialize)]
    struct Gpu {
        name: String,
        uuid: String,
        used: u64,
        process: Option<u64>,
    }
    let gpus: Vec<Gpu> = serde_json::from_str(text).unwrap_or_default();
    gpus.into_iter()
        .map(|Gpu { name, uuid, used, process }| GpuPeak { name, uuid, used, process })
        .collect()
}
