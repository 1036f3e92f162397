//! `model-foundry bench`: what logging costs on this machine.
//!
//! The sandboxed component and the same logic linked natively take turns in one process, so that a noisy
//! machine hits both alike; each figure is the median over the turns.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use model_foundry::{Durability, fields};
use serde::Serialize;

use model_foundry_bench::workloads::{
    self, BATCH, Batches, Disabled, LINES, Lines, Long, NAMES, Records, Steps, config, open, values,
};

use crate::output::Output;
use crate::terminal::{FAINT, PLAIN, STRONG, number};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many steps the run has that is reopened and read back
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    steps: u64,

    /// Where the files go for the time being: the disk to be measured [default: the system's folder for
    /// temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    #[command(flatten)]
    output: Output,
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
    line_of_output_ns: f64,
    line_of_output_native_ns: f64,
    loop_immediate_percent: f64,
    loop_buffered_percent: f64,
    reopen_indexed_ms: f64,
    scan_mb_per_s: f64,
    history_mb_per_s: f64,
    range_ms: f64,
    stats_ms: f64,
    start_ms: f64,
    file_mb: f64,
    steps: u64,
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let base = arguments.dir.unwrap_or_else(std::env::temp_dir);
    let folder = base.join(format!("model-foundry-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let figures = measure(&folder, arguments.steps);
    std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let figures = figures?;
    arguments.output.print(&figures, |out| Ok(print(out, &figures)?))?;
    Ok(ExitCode::SUCCESS)
}

fn print(out: &mut dyn std::io::Write, f: &Figures) -> std::io::Result<()> {
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
    row(
        "a line of a trainer's output, read",
        ns(f.line_of_output_ns),
        ratio(f.line_of_output_ns, f.line_of_output_native_ns),
    )?;
    row(
        "time lost at 1,000 steps a second, immediate",
        format!("{:.3} %", f.loop_immediate_percent),
        format!("buffered {:.3} %", f.loop_buffered_percent),
    )?;
    let run = format!("{} steps, {:.0} MB", crate::terminal::count(f.steps), f.file_mb);
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
    let (step_immediate_ns, step_native_ns) = one_step(folder, "step", false)?;
    let (step_discarded_ns, step_native_discarded_ns) = one_step(folder, "discard", true)?;
    let (step_buffered_ns, step_native_batch_ns) = batches(folder)?;
    let (enqueue_p50_ns, enqueue_p999_ns) = enqueue(folder)?;
    let threads_8_ratio = threads(folder)?;
    let (structured_ns, structured_native_ns) = structured(folder)?;
    let disabled_ns = disabled(folder)?;
    let (line_of_output_ns, line_of_output_native_ns) = lines_of_output()?;
    let loop_immediate_percent = training_loop(folder, Durability::Immediate)?;
    let loop_buffered_percent = training_loop(folder, Durability::Buffered)?;
    let long = Long::write(folder, steps)?;
    let (first, last) = long.some_steps();
    let folder_of_long = long.folder.display().to_string();
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
        line_of_output_ns,
        line_of_output_native_ns,
        loop_immediate_percent,
        loop_buffered_percent,
        scan_mb_per_s: scan(&long)?,
        reopen_indexed_ms: milliseconds(5, || long.reopen())?,
        history_mb_per_s: long.bytes as f64 / 1e3 / milliseconds(3, || long.history())?,
        range_ms: process(&[
            "history",
            &folder_of_long,
            "--steps",
            &format!("{first}..{last}"),
            "--json",
        ])?,
        stats_ms: process(&["stats", &folder_of_long, "loss", "--json"])?,
        start_ms: start(folder)?,
        file_mb: long.bytes as f64 / 1e6,
        steps,
    })
}

/// Alternates between two workloads. The median time of one call of each, in nanoseconds.
fn alternate<W>(
    calls: u64,
    work: &mut W,
    one: fn(&mut W, u64) -> Result<()>,
    other: fn(&mut W, u64) -> Result<()>,
) -> Result<(f64, f64)> {
    const TURNS: u64 = 31;
    let mut times = (Vec::new(), Vec::new());
    let mut time = |call: fn(&mut W, u64) -> Result<()>, from: u64| -> Result<f64> {
        let start = Instant::now();
        for number in from..from + calls {
            call(work, number)?;
        }
        Ok(start.elapsed().as_nanos() as f64 / calls as f64)
    };
    for turn in 0..TURNS {
        times.0.push(time(one, turn * calls)?);
        times.1.push(time(other, turn * calls)?);
    }
    Ok((median(&mut times.0), median(&mut times.1)))
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// The median time of some rounds, in milliseconds. Dropping what they return is not part of it.
fn milliseconds<R>(rounds: u32, mut work: impl FnMut() -> Result<R>) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        let _done = black_box(work()?);
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(&mut times))
}

fn one_step(folder: &Path, name: &str, discard: bool) -> Result<(f64, f64)> {
    let mut steps = Steps::new(folder, name, discard)?;
    alternate(4_000, &mut steps, |steps, step| steps.component(step), Steps::native)
}

/// The background cost of a step, in batches.
fn batches(folder: &Path) -> Result<(f64, f64)> {
    let mut batches = Batches::new(folder, false)?;
    let (one, other) =
        alternate(40, &mut batches, |batches, _| batches.component(), |b, _| b.native())?;
    Ok((one / BATCH as f64, other / BATCH as f64))
}

/// How long it takes to read the clock twice, in nanoseconds.
fn clock_cost() -> f64 {
    let mut empty: Vec<f64> =
        (0..100_000).map(|_| black_box(Instant::now()).elapsed().as_nanos() as f64).collect();
    median(&mut empty)
}

/// How long the training thread waits in a call under `buffered`, in nanoseconds: the 50th and the 99.9th
/// percentile.
fn enqueue(folder: &Path) -> Result<(f64, f64)> {
    const CALLS: usize = 100_000;
    let run = open(folder, "enqueue", config(Durability::Buffered))?;
    let columns = run.metrics().columns(&NAMES)?;
    let clock_cost = clock_cost();
    let mut waits = Vec::with_capacity(CALLS);
    for step in 0..CALLS as u64 {
        let row = values(step);
        let start = Instant::now();
        columns.log(step, 0.0, &row)?;
        waits.push(start.elapsed().as_nanos() as f64);
        // Trainers compute between steps.
        while start.elapsed() < Duration::from_micros(5) {
            std::hint::spin_loop();
        }
    }
    waits.sort_by(f64::total_cmp);
    let at = |share: f64| (waits[(share * (CALLS - 1) as f64) as usize] - clock_cost).max(0.0);
    Ok((at(0.5), at(0.999)))
}

/// The share of its time that a loop with a thousand steps per second spends in logging, in percent.
fn training_loop(folder: &Path, durability: Durability) -> Result<f64> {
    const STEP: Duration = Duration::from_millis(1);
    const STEPS: u32 = 1_500;
    let run = open(folder, &format!("loop-{durability:?}"), config(durability))?;
    let columns = run.metrics().columns(&NAMES)?;
    let clock_cost = Duration::from_nanos(clock_cost() as u64);
    let mut lost = Duration::ZERO;
    let start = Instant::now();
    for step in 0..STEPS {
        let row = values(step.into());
        let before = Instant::now();
        columns.log(step.into(), 0.0, &row)?;
        lost += before.elapsed().saturating_sub(clock_cost);
        while start.elapsed() < STEP * (step + 1) {
            std::hint::spin_loop();
        }
    }
    Ok(100.0 * lost.as_secs_f64() / start.elapsed().as_secs_f64())
}

/// The rows that 8 threads log per second, divided by the rows of one thread.
fn threads(folder: &Path) -> Result<f64> {
    const ROWS: u64 = 160_000;
    let time = |threads: u64, round: u64| {
        let name = format!("threads-{threads}-{round}");
        milliseconds(1, || workloads::threads(folder, &name, threads, ROWS))
    };
    let mut ratios = Vec::new();
    for round in 0..5 {
        let one = time(1, round)?;
        ratios.push(one / time(8, round)?);
    }
    Ok(median(&mut ratios))
}

fn structured(folder: &Path) -> Result<(f64, f64)> {
    let mut records = Records::new(folder)?;
    alternate(2_000, &mut records, |records, step| records.component(step), Records::native)
}

fn disabled(folder: &Path) -> Result<f64> {
    let mut disabled = Disabled::new(folder)?;
    let (one, _) = alternate(200_000, &mut disabled, |disabled, _| disabled.log(), |_, _| Ok(()))?;
    Ok(one)
}

/// The time of reading a line of a trainer's output.
fn lines_of_output() -> Result<(f64, f64)> {
    const CALLS: u64 = 20;
    let texts: Vec<String> = (0..CALLS).map(Lines::text).collect();
    let mut work = (Lines::new()?, texts);
    let (one, other) = alternate(
        CALLS,
        &mut work,
        |(lines, texts), call| lines.component(&texts[(call % CALLS) as usize]),
        |(lines, texts), call| {
            lines.native(&texts[(call % CALLS) as usize]);
            Ok(())
        },
    )?;
    Ok((one / LINES as f64, other / LINES as f64))
}

/// The speed of reading a whole file without an index, in MB/s.
fn scan(long: &Long) -> Result<f64> {
    let mut rates = Vec::new();
    for _ in 0..3 {
        let reader = long.unindexed()?;
        let start = Instant::now();
        long.statistics(reader)?;
        rates.push(long.bytes as f64 / 1e6 / start.elapsed().as_secs_f64());
    }
    Ok(median(&mut rates))
}

fn start(folder: &Path) -> Result<f64> {
    let run = open(folder, "small", config(Durability::Immediate))?;
    run.metrics().log_step(1, 0, &fields! { loss: 1.0 })?;
    drop(run);
    process(&["show", &folder.join("small").display().to_string(), "--json"])
}

/// How long a whole process of this program takes, in milliseconds. Its output is discarded.
fn process(arguments: &[&str]) -> Result<f64> {
    let program = std::env::current_exe()?;
    milliseconds(11, || {
        let status = Command::new(&program).args(arguments).stdout(Stdio::null()).status()?;
        anyhow::ensure!(status.success(), "`model-foundry {}` failed", arguments.join(" "));
        Ok(())
    })
}
