//! The same work as `model-foundry bench` times, by criterion: `cargo bench --bench logging`. What was
//! predicted of each change for speed, and the result, are in README.md.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use criterion::{Criterion, Throughput};
use model_foundry::Durability;
use model_foundry_bench::workloads::{
    BATCH, Batches, Disabled, Long, NAMES, Records, Steps, config, open, threads, values,
};

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut criterion = Criterion::default().configure_from_args();
    writing(&mut criterion, folder.path())?;
    reading(&mut criterion, folder.path())?;
    criterion.final_summary();
    Ok(())
}

fn writing(criterion: &mut Criterion, folder: &Path) -> Result<()> {
    for (name, discard) in [("step/immediate", false), ("step/discarded", true)] {
        let mut steps = Steps::new(folder, &name.replace('/', "-"), discard)?;
        let mut group = criterion.benchmark_group(name);
        let mut step = 0..;
        group.bench_function("component", |bencher| {
            bencher.iter(|| steps.component(step.next().unwrap_or_default()));
        });
        group.bench_function("native", |bencher| {
            bencher.iter(|| steps.native(step.next().unwrap_or_default()));
        });
    }

    let mut batches = Batches::new(folder, false)?;
    let mut group = criterion.benchmark_group("step/buffered-background");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("component", |bencher| bencher.iter(|| batches.component()));
    group.bench_function("native", |bencher| bencher.iter(|| batches.native()));
    drop(group);

    let run = open(folder, "enqueue", config(Durability::Buffered))?;
    let columns = run.metrics().columns(&NAMES)?;
    // Back to back the queue would fill, and what is timed would be the writer.
    const UNHURRIED: u64 = 1024;
    criterion.bench_function("step/buffered-enqueue", |bencher| {
        bencher.iter_custom(|calls| {
            let mut waited = Duration::ZERO;
            for first in (0..calls).step_by(UNHURRIED as usize) {
                let start = Instant::now();
                for step in first..calls.min(first + UNHURRIED) {
                    let _ = black_box(columns.log(step, 0.0, &values(step)));
                }
                waited += start.elapsed();
                run.flush();
            }
            waited
        });
    });

    let mut group = criterion.benchmark_group("step/buffered-threads");
    group.sample_size(10);
    for (number, name) in [(1, "1"), (8, "8")] {
        let mut round = 0;
        group.throughput(Throughput::Elements(80_000));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                round += 1;
                threads(folder, &format!("threads-{number}-{round}"), number, 80_000)
            });
        });
    }
    drop(group);

    let mut records = Records::new(folder)?;
    let mut group = criterion.benchmark_group("structured");
    let mut step = 0..;
    group.bench_function("component", |bencher| {
        bencher.iter(|| records.component(step.next().unwrap_or_default()));
    });
    group.bench_function("native", |bencher| {
        bencher.iter(|| records.native(step.next().unwrap_or_default()));
    });
    drop(group);

    let disabled = Disabled::new(folder)?;
    criterion.bench_function("structured/disabled", |bencher| bencher.iter(|| disabled.log()));
    Ok(())
}

fn reading(criterion: &mut Criterion, folder: &Path) -> Result<()> {
    let long = Long::write(folder, 200_000)?;
    let mut group = criterion.benchmark_group("read");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(long.bytes));
    group.bench_function("without-index", |bencher| {
        bencher.iter_batched(
            || long.unindexed(),
            |reader| reader.and_then(|reader| long.statistics(reader)),
            criterion::BatchSize::PerIteration,
        );
    });
    group.bench_function("history", |bencher| bencher.iter(|| long.history()));
    drop(group);

    criterion.bench_function("open/indexed", |bencher| {
        bencher.iter_with_large_drop(|| long.reopen());
    });
    Ok(())
}
