//! The page that `show` prints and `run` ends with: what a person wants to know after training.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use model_foundry::{
    Content, ErrorEntry, ErrorReport, Manifest, NamedStatistics, Omitted, Peaks, RUN_FILES,
    ReadReport, RunReader, Series, Status, Timing, rfc3339,
};
use serde::Serialize;

use crate::arguments::Attempts;
use crate::terminal::{
    BAD, FAINT, GOOD, NOTE, PLAIN, STRONG, bytes, count, counted, duration, local_time, note,
    number, offset, one_line, percentile, plain, plain_path, seconds, sparkline, table, table_text,
};

/// How wide the small charts are.
const CHART: u32 = 24;

/// How many metrics and timings the page lists; it counts the others.
const MOST_METRICS: usize = 40;
const MOST_TIMINGS: usize = 8;

/// What the page shows.
#[derive(Serialize)]
pub(crate) struct Page {
    run: Option<Manifest>,
    metrics: Vec<NamedStatistics>,
    #[serde(skip)]
    series: Vec<Series>,
    timings: Vec<Timing>,
    memory: Peaks,
    errors: ErrorReport,
    damaged_lines: u64,
    omitted: Omitted,
    #[serde(skip)]
    report: ReadReport,
    #[serde(skip)]
    last_write: Option<u64>,
}

impl Page {
    /// Read what the page shows.
    pub(crate) fn read(reader: &mut RunReader, attempts: &Attempts) -> Result<Self> {
        let (metrics, series, report) = reader.overview(attempts.query(), CHART)?;
        let errors = reader.errors(5)?;
        let (timings, memory) = reader.performance()?;
        Ok(Self {
            run: readable_manifest(reader),
            last_write: last_write(reader.folder()),
            metrics,
            series,
            timings,
            memory,
            damaged_lines: report.damage.lines + errors.damaged_lines,
            omitted: report.omitted,
            errors,
            report,
        })
    }

    /// What was left out of the metrics.
    pub(crate) fn report(&self) -> &ReadReport {
        &self.report
    }

    /// Print it.
    pub(crate) fn write(&self, out: &mut dyn Write, folder: &std::path::Path) -> io::Result<()> {
        self.write_head(out, folder)?;
        self.write_metrics(out)?;
        self.write_results(out)?;
        self.write_timings(out)?;
        self.write_memory(out)?;
        self.write_errors(out)?;
        self.write_storage(out)
    }

    fn write_head(&self, out: &mut dyn Write, folder: &std::path::Path) -> io::Result<()> {
        let Some(run) = &self.run else {
            return writeln!(
                out,
                "{STRONG}{}{PLAIN}  {FAINT}no run.json that can be read{PLAIN}",
                plain_path(folder)
            );
        };
        write!(out, "{STRONG}{}{PLAIN}", one_line(&run.experiment, 200))?;
        if let Some(latest) = run.latest() {
            let style = match latest.status {
                Status::Completed => GOOD,
                Status::Running => STRONG,
                Status::Interrupted | Status::Preempted => NOTE,
                _ => BAD,
            };
            write!(out, "  {style}{}{PLAIN}", one_line(latest.status.name(), 40))?;
            if let Some(signal) = latest.signal_name() {
                write!(out, " by {}", one_line(signal, 20))?;
                if signal == "SIGKILL" {
                    write!(out, " (often out of memory)")?;
                }
            } else if let Some(code) = latest.exit_code.filter(|code| *code != 0) {
                write!(out, " with exit code {code}")?;
            }
            let end = latest.end.clone().or_else(|| match latest.status {
                Status::Running => Some(rfc3339(now())),
                // Its process recorded no end; the last thing that it wrote is the best that is known.
                _ => self.last_write.map(rfc3339),
            });
            if let Some(took) = end.and_then(|end| took(&latest.start, &end)) {
                write!(out, " {} {}", in_or_after(&latest.status), duration(took))?;
            }
            if run.attempts.len() > 1 {
                write!(out, ", attempt {}", latest.attempt)?;
            }
        }
        writeln!(out, "  {FAINT}{}{PLAIN}", plain_path(folder))?;
        let commit = plain(&run.git_hash);
        let start = run.latest().map(|latest| latest.start.as_str()).unwrap_or_default();
        writeln!(
            out,
            "{FAINT}{} {} · {} · {} · commit {commit} · {}{PLAIN}",
            local_time(start),
            offset(start),
            plain(&run.host.name),
            plain(&run.device),
            one_line(&run.command.join(" "), 80),
        )
    }

    fn write_metrics(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.metrics.is_empty() {
            return writeln!(out, "\nno metrics were logged");
        }
        writeln!(out)?;
        let header = ["metric", "count", "last", "mean", "min", "max", "std", "trend"];
        let mut rows = table(&header, &[0, 7]);
        for metric in self.metrics.iter().take(MOST_METRICS) {
            let statistics = &metric.statistics;
            let of_samples = |figure: f64| match statistics.count {
                0 => "–".to_owned(),
                _ => number(figure),
            };
            let points = self.series.iter().find(|series| {
                series.name == metric.name && series.of_summaries == metric.of_summaries
            });
            rows.add_row([
                metric_name(metric, 40),
                count(statistics.count),
                of_samples(statistics.last),
                of_samples(statistics.mean),
                of_samples(statistics.min),
                of_samples(statistics.max),
                of_samples(statistics.std),
                sparkline(points.map_or(&[], |series| &series.points)),
            ]);
        }
        write!(out, "{}", table_text(&rows))?;
        if self.metrics.len() > MOST_METRICS {
            let more = self.metrics.len() - MOST_METRICS;
            writeln!(out, "  {FAINT}and {more} more: `model-foundry stats`{PLAIN}")?;
        }
        for metric in &self.metrics {
            let statistics = &metric.statistics;
            let kinds = [
                (statistics.nan, "NaN"),
                (statistics.positive_infinity, "+∞"),
                (statistics.negative_infinity, "−∞"),
            ];
            let kinds: Vec<String> = kinds
                .iter()
                .filter(|(times, _)| *times > 0)
                .map(|(times, kind)| format!("{} × {kind}", count(*times)))
                .collect();
            if let Some(step) = statistics.first_non_finite_step {
                writeln!(
                    out,
                    "  {NOTE}not finite:{PLAIN} {} was {}, first at {} {step}",
                    metric_name(metric, 60),
                    kinds.join(", "),
                    position(metric),
                )?;
            }
        }
        Ok(())
    }

    /// What the trainer recorded as results.
    fn write_results(&self, out: &mut dyn Write) -> io::Result<()> {
        let Some(latest) = self.run.as_ref().and_then(Manifest::latest) else { return Ok(()) };
        let results = latest.results.iter().map(|(name, value)| {
            let value = match value {
                serde_json::Value::String(text) => text.clone(),
                serde_json::Value::Number(n) if n.is_f64() => {
                    number(n.as_f64().unwrap_or_default())
                }
                other => other.to_string(),
            };
            format!("{} {}", one_line(name, 60), one_line(&value, 60))
        });
        let results: Vec<String> = results.collect();
        if results.is_empty() { Ok(()) } else { writeln!(out, "\nresults  {}", results.join(", ")) }
    }

    fn write_timings(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.timings.is_empty() {
            return Ok(());
        }
        writeln!(out)?;
        write!(out, "{}", timings_table(&self.timings[..self.timings.len().min(MOST_TIMINGS)]))?;
        if self.timings.len() > MOST_TIMINGS {
            let more = self.timings.len() - MOST_TIMINGS;
            writeln!(out, "  {FAINT}and {more} more: `model-foundry timings`{PLAIN}")?;
        }
        Ok(())
    }

    fn write_memory(&self, out: &mut dyn Write) -> io::Result<()> {
        let peaks = &self.memory;
        if peaks.samples == 0 {
            return Ok(());
        }
        write!(out, "\nmemory peak  process {}", bytes(peaks.process_resident))?;
        write!(out, ", machine {}", bytes(peaks.machine_used))?;
        for gpu in &peaks.gpus {
            write!(out, ", {} {} in use", plain(&gpu.name), bytes(gpu.used))?;
            if let Some(process) = gpu.process {
                write!(out, " ({} by the run)", bytes(process))?;
            }
        }
        writeln!(out, "  {FAINT}{}{PLAIN}", counted(peaks.samples, "sample"))
    }

    fn write_errors(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.errors.counts.is_empty() {
            return Ok(());
        }
        let kinds: Vec<String> = self
            .errors
            .counts
            .iter()
            .map(|kind| format!("{} × {}", count(kind.count), one_line(&kind.error_type, 60)))
            .collect();
        writeln!(out, "\n{BAD}errors{PLAIN}  {}", kinds.join(", "))?;
        if let Some(first) = &self.errors.first {
            let rank = first.rank.map(|rank| format!(" on rank {rank}")).unwrap_or_default();
            writeln!(
                out,
                "  first{rank}, {}: {}: {}",
                time(first),
                one_line(&first.error_type, 60),
                one_line(&first.error_message, 200)
            )?;
        }
        Ok(())
    }

    fn write_storage(&self, out: &mut dyn Write) -> io::Result<()> {
        let attempts = self.run.iter().flat_map(|run| &run.attempts);
        let (mut failures, mut refused, mut component, mut latest) = (0, 0, 0, None);
        for attempt in attempts {
            failures += attempt.storage_failures;
            refused += attempt.refused_records;
            component += attempt.component_failures;
            latest = attempt.storage_error.as_ref().or(latest);
        }
        if failures > 0 || refused > 0 {
            write!(out, "\n{BAD}storage{PLAIN}  {} failed", counted(failures, "append"))?;
            if refused > 0 {
                write!(out, "; {} lost", counted(refused, "record"))?;
            } else {
                write!(out, "; no record was lost")?;
            }
            if let Some(latest) = latest {
                write!(out, ": {}", one_line(latest, 200))?;
            }
            writeln!(out)?;
        }
        if component > 0 {
            let times = counted(component, "time");
            writeln!(out, "\n{BAD}component{PLAIN}  failed and was restarted {times}")?;
        }
        Ok(())
    }
}

/// A metric's name, of at most `width` columns. That of values in epoch summaries is marked.
pub(crate) fn metric_name(metric: &NamedStatistics, width: usize) -> String {
    let name = one_line(&metric.name, width);
    if metric.of_summaries { format!("{name} (epochs)") } else { name }
}

/// What the position of a metric's sample is: a step, or the epoch of a summary.
pub(crate) fn position(metric: &NamedStatistics) -> &'static str {
    if metric.of_summaries { "epoch" } else { "step" }
}

/// run.json, if it can be read: metrics can be shown without it. If it cannot be, that is reported.
fn readable_manifest(reader: &RunReader) -> Option<Manifest> {
    reader.manifest().unwrap_or_else(|error| {
        note(&format!("{error}"));
        None
    })
}

/// When an error was logged.
pub(crate) fn time(error: &ErrorEntry) -> String {
    error.timestamp.map_or_else(|| "at an unknown time".into(), |time| local_time(&rfc3339(time)))
}

/// A table of timings.
pub(crate) fn timings_table(timings: &[Timing]) -> String {
    let header = ["timing", "count", "total", "mean", "p50", "p95", "max"];
    let mut rows = table(&header, &[0]);
    for timing in timings {
        rows.add_row([
            one_line(&timing.name, 40),
            count(timing.count),
            seconds(timing.total),
            seconds(timing.mean),
            percentile(timing.p50, timing.percentiles_exact, seconds),
            percentile(timing.p95, timing.percentiles_exact, seconds),
            seconds(timing.max),
        ]);
    }
    table_text(&rows)
}

fn in_or_after(status: &Status) -> &'static str {
    match status {
        Status::Running => "for",
        Status::Completed => "in",
        _ => "after",
    }
}

/// From start to end.
fn took(start: &str, end: &str) -> Option<Duration> {
    let parse = |text: &str| Some(chrono::DateTime::parse_from_rfc3339(text).ok()?.to_utc());
    (parse(end)? - parse(start)?).to_std().ok()
}

/// Microseconds since 1970-01-01T00:00:00Z.
fn now() -> u64 {
    micros(SystemTime::now()).unwrap_or_default()
}

fn micros(time: SystemTime) -> Option<u64> {
    u64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_micros()).ok()
}

/// When a file that a run appends to was last written, in microseconds since 1970-01-01T00:00:00Z.
fn last_write(folder: &Path) -> Option<u64> {
    let files = std::fs::read_dir(folder).ok()?.flatten();
    let is_log = |name: &str| {
        RUN_FILES.iter().any(|file| {
            file.content == Content::Lines
                && name.starts_with(file.name.split('.').next().unwrap_or(file.name))
        })
    };
    let written = files.filter(|file| file.file_name().to_str().is_some_and(is_log));
    written.filter_map(|file| micros(file.metadata().ok()?.modified().ok()?)).max()
}
