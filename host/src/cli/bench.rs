//! `model-foundry bench`: what logging costs on this machine.
//!
//! The sandboxed component and the same logic linked natively take turns in one process, so that a noisy
//! machine hits both alike; each figure is the median over the turns.

use std::hint::black_box;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use model_foundry::{
    Clock, Columns, Console, Disk, Durability, Level, LoggingConfig, NativeImports, Query, Run,
    RunReader, Value, fields,
};
use model_foundry_guest as logic;
use model_foundry_guest::imports::Imports as _;
use model_foundry_guest::value::each;
use serde::Serialize;

use super::terminal::{FAINT, PLAIN, STRONG, number};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many steps the run has that is reopened and read back
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    steps: u64,

    /// Where the files go for the time being: the disk to be measured [default: the system's folder for
    /// temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The figures. Times of one call in nanoseconds, others as named.
#[derive(Serialize)]
struct Figures {
    step_immediate_ns: f64,
    step_native_ns: f64,
    step_discarded_ns: f64,
    step_native_discarded_ns: f64,
    step_buffered_ns: f64,
    step_native_batch_ns: f64,
    enqueue_p50_ns: f64,
    enqueue_p999_ns: f64,
    threads_8_ratio: f64,
    structured_ns: f64,
    structured_native_ns: f64,
    disabled_ns: f64,
    reopen_indexed_ms: f64,
    scan_mb_per_s: f64,
    history_mb_per_s: f64,
    range_ms: f64,
    stats_ms: f64,
    start_ms: f64,
    file_mb: f64,
    steps: u64,
}

/// A step as a small training has it.
const NAMES: [&str; 5] = ["loss", "grad_norm", "learning_rate", "tokens_per_second", "accuracy"];

fn values(step: u64) -> [f64; 5] {
    let x = step as f64;
    [2.0 / (1.0 + x * 1e-3) + x.sin() * 1e-2, 1.2 + x.cos() * 0.1, 3e-4, 51_234.25, 0.731]
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let base = arguments.dir.unwrap_or_else(std::env::temp_dir);
    let folder = base.join(format!("model-foundry-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let figures = measure(&folder, arguments.steps);
    std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let figures = figures?;
    let mut out = anstream::stdout().lock();
    if arguments.json {
        serde_json::to_writer_pretty(&mut out, &figures)?;
        writeln!(out)?;
    } else {
        print(&mut out, &figures)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn print(out: &mut impl std::io::Write, f: &Figures) -> std::io::Result<()> {
    let mut row = |what: &str, figure: String, beside: String| {
        writeln!(out, "  {what:<58} {STRONG}{figure:>10}{PLAIN}  {FAINT}{beside}{PLAIN}")
    };
    let ns = |ns: f64| format!("{} ns", number(ns.round()));
    let ratio = |one: f64, other: f64| format!("native {}, ratio {:.2}", ns(other), one / other);
    row(
        "a step of 5 metrics, immediate (write(2) included)",
        ns(f.step_immediate_ns),
        ratio(f.step_immediate_ns, f.step_native_ns),
    )?;
    row(
        "the same, discarded",
        ns(f.step_discarded_ns),
        ratio(f.step_discarded_ns, f.step_native_discarded_ns),
    )?;
    row(
        "the same, buffered, in the background",
        ns(f.step_buffered_ns),
        ratio(f.step_buffered_ns, f.step_native_batch_ns),
    )?;
    row(
        "what the training thread waits, buffered",
        ns(f.enqueue_p50_ns),
        format!("p99.9 {}", ns(f.enqueue_p999_ns)),
    )?;
    row(
        "8 threads at once, buffered ÷ 1 thread",
        format!("{:.2}", f.threads_8_ratio),
        String::new(),
    )?;
    row(
        "a structured record of 3 + 5 fields",
        ns(f.structured_ns),
        ratio(f.structured_ns, f.structured_native_ns),
    )?;
    row("a record below the level", format!("{:.1} ns", f.disabled_ns), String::new())?;
    let run = format!("{} steps, {:.0} MB", super::terminal::count(f.steps), f.file_mb);
    row("reopen, with the index", format!("{:.1} ms", f.reopen_indexed_ms), run)?;
    row("read without an index", format!("{:.0} MB/s", f.scan_mb_per_s), String::new())?;
    row("the whole history", format!("{:.0} MB/s", f.history_mb_per_s), String::new())?;
    row("300 steps out of it, whole process", format!("{:.1} ms", f.range_ms), String::new())?;
    row("statistics of one metric, whole process", format!("{:.1} ms", f.stats_ms), String::new())?;
    row(
        "start of the program (show of a small run)",
        format!("{:.1} ms", f.start_ms),
        String::new(),
    )
}

fn measure(folder: &Path, steps: u64) -> Result<Figures> {
    let config = LoggingConfig { log_to_wandb: false, ..LoggingConfig::default() };
    let (step_immediate_ns, step_native_ns) = one_step(folder, "step", &config, false)?;
    let (step_discarded_ns, step_native_discarded_ns) = one_step(folder, "discard", &config, true)?;
    let (step_buffered_ns, step_native_batch_ns) = batches(folder, &config)?;
    let buffered = LoggingConfig { durability: Durability::Buffered, ..config.clone() };
    let (enqueue_p50_ns, enqueue_p999_ns) = enqueue(folder, &buffered)?;
    let threads_8_ratio = threads(folder, &buffered)?;
    let (structured_ns, structured_native_ns) = structured(folder, &config)?;
    let disabled_ns = disabled(folder, &config)?;
    let long = Long::write(folder, &config, steps)?;
    Ok(Figures {
        step_immediate_ns,
        step_native_ns,
        step_discarded_ns,
        step_native_discarded_ns,
        step_buffered_ns,
        step_native_batch_ns,
        enqueue_p50_ns,
        enqueue_p999_ns,
        threads_8_ratio,
        structured_ns,
        structured_native_ns,
        disabled_ns,
        scan_mb_per_s: long.scan()?,
        reopen_indexed_ms: long.reopen()?,
        history_mb_per_s: long.history()?,
        range_ms: long.process(&["history", "--steps", &long.some_steps()])?,
        stats_ms: long.process(&["stats"])?,
        start_ms: start(folder, &config)?,
        file_mb: long.bytes as f64 / 1e6,
        steps,
    })
}

fn open(folder: &Path, name: &str, config: &LoggingConfig) -> Result<Run> {
    let builder = Run::builder(name).folder(folder.join(name)).console(Console::Silent);
    Ok(builder.config(config.clone()).open()?)
}

/// A native folder beside the component's.
fn native(folder: &Path, name: &str, disk: Option<Box<dyn Disk>>) -> Result<NativeImports> {
    let folder = folder.join(name).join("native");
    std::fs::create_dir_all(&folder)?;
    Ok(NativeImports::open(&folder, Clock::System, disk)?)
}

/// Takes everything and keeps nothing.
struct Nothing;

impl Disk for Nothing {
    fn write(&mut self, _: &std::fs::File, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(black_box(bytes).len())
    }

    fn sync(&mut self, _: &std::fs::File) -> std::io::Result<()> {
        Ok(())
    }
}

/// Two pieces of work by turns: the median time of one call of each, in nanoseconds.
fn by_turns(
    calls: u64,
    mut one: impl FnMut(u64) -> Result<()>,
    mut other: impl FnMut(u64) -> Result<()>,
) -> Result<(f64, f64)> {
    const TURNS: u64 = 31;
    let mut times = (Vec::new(), Vec::new());
    let time = |work: &mut dyn FnMut(u64) -> Result<()>, from: u64| -> Result<f64> {
        let start = Instant::now();
        for call in from..from + calls {
            work(call)?;
        }
        Ok(start.elapsed().as_nanos() as f64 / calls as f64)
    };
    for turn in 0..TURNS {
        times.0.push(time(&mut one, turn * calls)?);
        times.1.push(time(&mut other, turn * calls)?);
    }
    Ok((median(&mut times.0), median(&mut times.1)))
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn native_metrics(
    imports: &NativeImports,
) -> Result<(logic::metrics::MetricsLogger<NativeImports>, u32)> {
    use logic::metrics::{Column, Kind, MetricsLogger, Options};
    let part = logic::imports::Part { rank: None, rotated: 0 };
    let mut logger = MetricsLogger::open(imports, Options { attempt: 1, part, wandb: None })?;
    let column = |name: &str| Column { name: name.to_owned(), kind: Kind::Float };
    let columns = logger.columns(NAMES.map(column).to_vec())?;
    Ok((logger, columns))
}

fn one_step(
    folder: &Path,
    name: &str,
    config: &LoggingConfig,
    discard: bool,
) -> Result<(f64, f64)> {
    let disk = || -> Option<Box<dyn Disk>> { if discard { Some(Box::new(Nothing)) } else { None } };
    let mut builder = Run::builder(name).folder(folder.join(name)).console(Console::Silent);
    if let Some(disk) = disk() {
        builder = builder.disk(disk);
    }
    let run = builder.config(config.clone()).open()?;
    let columns = run.metrics().columns(&NAMES)?;
    let imports = native(folder, name, disk())?;
    let (mut logger, numbers) = native_metrics(&imports)?;
    by_turns(
        4_000,
        |step| Ok(columns.log(step, 0.0, &values(step))?),
        |step| Ok(logger.log_row(numbers, imports.now(), step, 0.0, &values(step))?),
    )
}

/// The background cost of a step: batches of 256 rows in one call.
fn batches(folder: &Path, config: &LoggingConfig) -> Result<(f64, f64)> {
    const ROWS: usize = 256;
    let run = open(folder, "batches", config)?;
    let columns = run.metrics().columns(&NAMES)?;
    let imports = native(folder, "batches", None)?;
    let (mut logger, numbers) = native_metrics(&imports)?;
    let rows = |call: u64| -> (Vec<u64>, Vec<f64>) {
        let steps: Vec<u64> = (0..ROWS as u64).map(|row| call * ROWS as u64 + row).collect();
        let values = steps.iter().flat_map(|&step| values(step)).collect();
        (steps, values)
    };
    let (batch_steps, batch_values) = rows(1);
    let (times, epochs) = (vec![1_700_000_000_000_000; ROWS], vec![0.0; ROWS]);
    let (one, other) = by_turns(
        40,
        |_| Ok(columns.log_many(&times, &batch_steps, &epochs, &batch_values)?),
        |_| Ok(logger.log_rows(numbers, &times, &batch_steps, &epochs, &batch_values)?),
    )?;
    Ok((one / ROWS as f64, other / ROWS as f64))
}

/// What a call costs the training thread under `buffered`: the 50th and the 99.9th percentile, less what
/// it costs to look at the clock.
fn enqueue(folder: &Path, config: &LoggingConfig) -> Result<(f64, f64)> {
    const CALLS: usize = 100_000;
    let run = open(folder, "enqueue", config)?;
    let columns = run.metrics().columns(&NAMES)?;
    let mut empty: Vec<f64> =
        (0..CALLS).map(|_| black_box(Instant::now()).elapsed().as_nanos() as f64).collect();
    let looking = median(&mut empty);
    let mut waits = Vec::with_capacity(CALLS);
    for step in 0..CALLS as u64 {
        let row = values(step);
        let start = Instant::now();
        columns.log(step, 0.0, &row)?;
        waits.push(start.elapsed().as_nanos() as f64);
        // A training computes between steps.
        while start.elapsed() < Duration::from_micros(5) {
            std::hint::spin_loop();
        }
    }
    waits.sort_by(f64::total_cmp);
    let at = |share: f64| (waits[(share * (CALLS - 1) as f64) as usize] - looking).max(0.0);
    Ok((at(0.5), at(0.999)))
}

/// The rows that 8 threads get kept in a second, by those of one.
fn threads(folder: &Path, config: &LoggingConfig) -> Result<f64> {
    const ROWS: u64 = 160_000;
    let rate = |threads: u64, round: u64| -> Result<f64> {
        let run = open(folder, &format!("threads-{threads}-{round}"), config)?;
        let columns = run.metrics().columns(&NAMES)?;
        let log = |columns: &Columns, thread: u64| -> Result<()> {
            for step in 0..ROWS / threads {
                columns.log(step * threads + thread, 0.0, &values(step))?;
            }
            Ok(())
        };
        let start = Instant::now();
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|thread| {
                    let (columns, log) = (&columns, &log);
                    scope.spawn(move || log(columns, thread))
                })
                .collect();
            workers.into_iter().try_for_each(|worker| {
                worker.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?
            })
        })?;
        run.flush();
        let rate = ROWS as f64 / start.elapsed().as_secs_f64();
        let kept = run.metrics().statistics("loss")?.count;
        anyhow::ensure!(kept == ROWS, "{} of {ROWS} rows were lost", ROWS - kept);
        Ok(rate)
    };
    let mut ratios = Vec::new();
    for round in 0..5 {
        let one = rate(1, round)?;
        ratios.push(rate(8, round)? / one);
    }
    Ok(median(&mut ratios))
}

fn structured(folder: &Path, config: &LoggingConfig) -> Result<(f64, f64)> {
    let run = open(folder, "structured", config)?;
    let logger = run.logger("bench");
    let imports = native(folder, "structured", None)?;
    let mut native =
        logic::structured::StructuredLogger::new(&imports, "bench", config, logger.context());
    let fields = |step: u64| {
        fields! { step, loss: 0.25, epoch: 1, phase: "train", accuracy: 0.731 }
    };
    by_turns(
        2_000,
        |step| Ok(logger.log(Level::Debug, "a step was made", &fields(step))?),
        |step| {
            native
                .log(imports.now(), Level::Debug, "a step was made", each(&fields(step)))
                .map(drop)
                .map_err(Into::into)
        },
    )
}

fn disabled(folder: &Path, config: &LoggingConfig) -> Result<f64> {
    let config =
        LoggingConfig { file_level: Level::Info, console_level: Level::Info, ..config.clone() };
    let run = open(folder, "disabled", &config)?;
    let logger = run.logger("bench");
    let fields = [("step".to_owned(), Value::Integer(1))];
    let (one, _) = by_turns(
        200_000,
        |_| Ok(black_box(&logger).debug(black_box("not wanted"), black_box(&fields))?),
        |_| Ok(()),
    )?;
    Ok(one)
}

/// A long run, to be read back.
struct Long {
    folder: PathBuf,
    bytes: u64,
    steps: u64,
}

impl Long {
    fn write(folder: &Path, config: &LoggingConfig, steps: u64) -> Result<Self> {
        const ROWS: u64 = 4096;
        let run = open(folder, "long", config)?;
        let columns = run.metrics().columns(&NAMES)?;
        for first in (0..steps).step_by(ROWS as usize) {
            let batch: Vec<u64> = (first..(first + ROWS).min(steps)).collect();
            let times: Vec<u64> =
                batch.iter().map(|step| 1_700_000_000_000_000 + step * 1_000).collect();
            let rows: Vec<f64> = batch.iter().flat_map(|&step| values(step)).collect();
            columns.log_many(&times, &batch, &vec![0.0; batch.len()], &rows)?;
        }
        drop((columns, run));
        let folder = folder.join("long");
        let bytes = std::fs::metadata(folder.join("metrics.jsonl"))?.len();
        Ok(Self { folder, bytes, steps })
    }

    /// Steps in the middle, 300 of them.
    fn some_steps(&self) -> String {
        let first = self.steps / 2;
        format!("{first}..{}", first + 299)
    }

    /// MB/s of reading everything, without an index.
    fn scan(&self) -> Result<f64> {
        let mut rates = Vec::new();
        for _ in 0..3 {
            let _ = std::fs::remove_file(self.folder.join("metrics.idx"));
            let mut reader = RunReader::open(&self.folder)?;
            let start = Instant::now();
            reader.statistics(Query::default(), &[])?;
            rates.push(self.bytes as f64 / 1e6 / start.elapsed().as_secs_f64());
        }
        Ok(median(&mut rates))
    }

    /// Milliseconds until the run is open to be logged to and its statistics are known.
    fn reopen(&self) -> Result<f64> {
        let config = LoggingConfig { log_to_wandb: false, ..LoggingConfig::default() };
        let mut times = Vec::new();
        for _ in 0..5 {
            let start = Instant::now();
            let builder = Run::builder("long").folder(&self.folder).console(Console::Silent);
            let run = builder.config(config.clone()).open()?;
            black_box(run.metrics().statistics("loss")?);
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        Ok(median(&mut times))
    }

    /// MB/s of the whole history as JSON Lines.
    fn history(&self) -> Result<f64> {
        let mut rates = Vec::new();
        for _ in 0..3 {
            let mut reader = RunReader::open(&self.folder)?;
            let query = Query { summaries: true, ..Query::default() };
            let start = Instant::now();
            let mut bytes = 0;
            reader.history(query, &mut |block| {
                bytes += black_box(block).len();
                true
            })?;
            rates.push(bytes as f64 / 1e6 / start.elapsed().as_secs_f64());
        }
        Ok(median(&mut rates))
    }

    /// Milliseconds of a whole process of this program that reads it.
    fn process(&self, arguments: &[&str]) -> Result<f64> {
        let (command, rest) = arguments.split_first().context("a command is needed")?;
        let folder = self.folder.display().to_string();
        let mut all = vec![*command, folder.as_str()];
        all.extend(rest);
        if *command == "stats" {
            all.push("loss");
        }
        all.push("--json");
        process(&all)
    }
}

fn start(folder: &Path, config: &LoggingConfig) -> Result<f64> {
    let run = open(folder, "small", config)?;
    run.metrics().log_step(1, 0, &fields! { loss: 1.0 })?;
    drop(run);
    process(&["show", &folder.join("small").display().to_string(), "--json"])
}

/// Milliseconds of a whole process of this program, its output discarded.
fn process(arguments: &[&str]) -> Result<f64> {
    let program = std::env::current_exe()?;
    let mut times = Vec::new();
    for _ in 0..11 {
        let start = Instant::now();
        let status = Command::new(&program).args(arguments).stdout(Stdio::null()).status()?;
        anyhow::ensure!(status.success(), "`model-foundry {}` failed", arguments.join(" "));
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(&mut times))
}
