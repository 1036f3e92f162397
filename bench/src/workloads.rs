//! What is measured, without a clock: the sandboxed component's work, and the same logic's linked natively.
//! `model-foundry bench` and the benchmarks in bench/benches/ both time these.

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use model_foundry::{
    Clock, Columns, Console, Disk, Durability, Field, Level, LoggingConfig, Output, OutputParser,
    Query, Run, RunReader, StructuredLogger, fields,
};
use model_foundry_guest as logic;
use model_foundry_guest::imports::Imports as _;
use model_foundry_guest::value::each;

use crate::native::NativeImports;

/// A step as a small training has it.
pub const NAMES: [&str; 5] =
    ["loss", "grad_norm", "learning_rate", "tokens_per_second", "accuracy"];

/// A step's metrics.
pub fn values(step: u64) -> [f64; 5] {
    let x = step as f64;
    [2.0 / (1.0 + x * 1e-3) + x.sin() * 1e-2, 1.2 + x.cos() * 0.1, 3e-4, 51_234.25, 0.731]
}

/// The configuration that everything is measured under, but for its durability: without the copy for Weights
/// & Biases, which the native logic would not write.
pub fn config(durability: Durability) -> LoggingConfig {
    LoggingConfig { log_to_wandb: false, durability, ..LoggingConfig::default() }
}

/// A run in a folder of its own.
pub fn open(folder: &Path, name: &str, config: LoggingConfig) -> Result<Run> {
    let builder = Run::builder(name).folder(folder.join(name)).console(Console::Silent);
    Ok(builder.config(config).open()?)
}

/// The lines of a trainer's output that are read in one call.
pub const LINES: u64 = 200;

/// Reading a trainer's output: logger lines, dicts, redrawn bars, evaluations, and one line in four without a metric.
pub struct Lines {
    component: OutputParser,
    native: logic::console::Parser,
}

impl Lines {
    pub fn new() -> Result<Self> {
        Ok(Self { component: OutputParser::new(None)?, native: logic::console::Parser::new(None) })
    }

    /// The lines of call `number`.
    pub fn text(number: u64) -> String {
        let mut text = String::new();
        for step in (number * LINES / 8 + 1..).take(LINES as usize / 8) {
            let loss = values(step)[0];
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "2026-11-22 12:00:00,123 - INFO - trainer - step {step}/1000000 | loss: {loss:.4} | grad norm: 1.21 | lr: 3.0e-04\n\
                 {{'loss': {loss:.4}, 'grad_norm': 1.2174, 'learning_rate': 4.91e-05, 'epoch': 0.05}}\n\
                 \r  2%|\u{2588}         | {step}/1000000 [00:06<05:51,  1.58it/s, loss={loss:.3}]\
                 \r  2%|\u{2588}         | {step}/1000000 [00:06<05:51,  1.58it/s, loss={loss:.3}, lr=0.0003]\n\
                 iter {step}: loss {loss:.4}, time 12.31ms, mfu 3.42%\n\
                 Validation: loss {loss:.4}, accuracy 0.731\n\
                 Saving model checkpoint to ./out/checkpoint-{step} (1.2 GB), 2 old checkpoints deleted\n\
                 Loading data from shard 17 of 64: this may take a while, depending on the network and the cache\n"
            );
        }
        text
    }

    pub fn component(&mut self, text: &str) -> Result<()> {
        black_box(self.component.feed(Output::Stdout, text.as_bytes())?);
        Ok(())
    }

    pub fn native(&mut self, text: &str) {
        black_box(self.native.feed(Output::Stdout, text.as_bytes()));
    }
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

/// Steps of five metrics, written at once.
pub struct Steps {
    columns: Columns,
    imports: NativeImports,
    native: logic::metrics::MetricsLogger<NativeImports>,
    native_columns: u32,
}

impl Steps {
    /// Steps that reach the disk, or are discarded in its place.
    pub fn new(folder: &Path, name: &str, discard: bool) -> Result<Self> {
        use logic::metrics::{Column, Kind, MetricsLogger, Options};
        let disk =
            || -> Option<Box<dyn Disk>> { if discard { Some(Box::new(Nothing)) } else { None } };
        let mut builder = Run::builder(name).folder(folder.join(name)).console(Console::Silent);
        if let Some(disk) = disk() {
            builder = builder.disk(disk);
        }
        let run = builder.config(config(Durability::Immediate)).open()?;
        let imports = native(folder, name, disk())?;
        let options = Options {
            attempt: 1,
            config: serde_json::to_string(&config(Durability::Immediate))?,
            ..Options::default()
        };
        let mut native = MetricsLogger::open(&imports, &options)?;
        let column = |name: &str| Column { name: name.to_owned(), kind: Kind::Float };
        let native_columns = native.column_set(NAMES.map(column).to_vec())?;
        Ok(Self { columns: run.metrics().columns(&NAMES)?, imports, native, native_columns })
    }

    pub fn component(&self, step: u64) -> Result<()> {
        Ok(self.columns.log(step, 0.0, &values(step))?)
    }

    pub fn native(&mut self, step: u64) -> Result<()> {
        let time = self.imports.now();
        Ok(self.native.log_row(self.native_columns, time, step, 0.0, &values(step))?)
    }
}

/// How many rows go into a call in the background.
pub const BATCH: usize = 256;

/// Batches of rows, as `buffered` writes them in the background.
pub struct Batches {
    steps: Steps,
    times: Vec<u64>,
    numbers: Vec<u64>,
    epochs: Vec<f64>,
    values: Vec<f64>,
}

impl Batches {
    /// Batches that reach the disk, or are discarded in its place.
    pub fn new(folder: &Path, discard: bool) -> Result<Self> {
        let numbers: Vec<u64> = (0..BATCH as u64).collect();
        Ok(Self {
            steps: Steps::new(folder, "batches", discard)?,
            times: vec![1_700_000_000_000_000; BATCH],
            epochs: vec![0.0; BATCH],
            values: numbers.iter().flat_map(|&step| values(step)).collect(),
            numbers,
        })
    }

    pub fn component(&self) -> Result<()> {
        let Self { steps, times, numbers, epochs, values } = self;
        Ok(steps.columns.log_many(times, numbers, epochs, values)?)
    }

    pub fn native(&mut self) -> Result<()> {
        let Self { steps, times, numbers, epochs, values } = self;
        Ok(steps.native.log_rows(steps.native_columns, times, numbers, epochs, values)?)
    }
}

/// Records of three base fields and five of their own.
pub struct Records {
    logger: StructuredLogger,
    imports: NativeImports,
    native: logic::structured::StructuredLogger<NativeImports>,
}

impl Records {
    pub fn new(folder: &Path) -> Result<Self> {
        let config = config(Durability::Immediate);
        let logger = open(folder, "structured", config.clone())?.logger("bench");
        let imports = native(folder, "structured", None)?;
        let native =
            logic::structured::StructuredLogger::new(&imports, "bench", &config, logger.context());
        Ok(Self { logger, imports, native })
    }

    fn fields(step: u64) -> Vec<Field> {
        fields! { step, loss: 0.25, epoch: 1, phase: "train", accuracy: 0.731 }
    }

    pub fn component(&self, step: u64) -> Result<()> {
        Ok(self.logger.log(Level::Debug, "a step was made", &Self::fields(step))?)
    }

    pub fn native(&mut self, step: u64) -> Result<()> {
        let (time, fields) = (self.imports.now(), Self::fields(step));
        self.native.log(time, Level::Debug, "a step was made", each(&fields))?;
        Ok(())
    }
}

/// Records that no level lets through.
pub struct Disabled {
    logger: StructuredLogger,
    fields: [Field; 1],
}

impl Disabled {
    pub fn new(folder: &Path) -> Result<Self> {
        let config = LoggingConfig {
            file_level: Level::Info,
            console_level: Level::Info,
            ..config(Durability::Immediate)
        };
        let logger = open(folder, "disabled", config)?.logger("bench");
        Ok(Self { logger, fields: [Field::new("step", 1)] })
    }

    pub fn log(&self) -> Result<()> {
        Ok(black_box(&self.logger).debug(black_box("not wanted"), black_box(&self.fields))?)
    }
}

/// The rows that so many threads get kept under `buffered`, every one of them.
pub fn threads(folder: &Path, name: &str, threads: u64, rows: u64) -> Result<()> {
    let run = open(folder, name, config(Durability::Buffered))?;
    let columns = run.metrics().columns(&NAMES)?;
    let log = |columns: &Columns, thread: u64| -> Result<()> {
        for step in 0..rows / threads {
            columns.log(step * threads + thread, 0.0, &values(step))?;
        }
        Ok(())
    };
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
    let kept = run.metrics().statistics("loss")?.count;
    anyhow::ensure!(kept == rows, "{} of {rows} rows were lost", rows - kept);
    Ok(())
}

/// A long run, to be read back.
pub struct Long {
    pub folder: PathBuf,
    pub bytes: u64,
    pub steps: u64,
}

impl Long {
    pub fn write(folder: &Path, steps: u64) -> Result<Self> {
        const ROWS: u64 = 4096;
        let run = open(folder, "long", config(Durability::Immediate))?;
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

    /// Steps in the middle, 300 of them: the first and the last.
    pub fn some_steps(&self) -> (u64, u64) {
        (self.steps / 2, self.steps / 2 + 299)
    }

    /// A reader of it, without an index.
    pub fn unindexed(&self) -> Result<RunReader> {
        let index = self.folder.join("metrics.idx");
        if index.exists() {
            std::fs::remove_file(&index).with_context(|| index.display().to_string())?;
        }
        Ok(RunReader::open(&self.folder)?)
    }

    /// Read all of it for the statistics of all metrics.
    pub fn statistics(&self, mut reader: RunReader) -> Result<()> {
        let (statistics, _) = reader.statistics(Query::default(), &[])?;
        anyhow::ensure!(statistics.len() == NAMES.len(), "a metric is missing");
        Ok(())
    }

    /// Open the run to log on, and know its statistics.
    pub fn reopen(&self) -> Result<Run> {
        let builder = Run::builder("long").folder(&self.folder).console(Console::Silent);
        let run = builder.config(config(Durability::Immediate)).open()?;
        anyhow::ensure!(run.metrics().statistics("loss")?.count == self.steps, "steps are missing");
        Ok(run)
    }

    /// The whole history as JSON Lines; its bytes.
    pub fn history(&self) -> Result<u64> {
        let mut bytes = 0;
        let query = Query { summaries: true, ..Query::default() };
        RunReader::open(&self.folder)?.history(query, &mut |block| {
            bytes += black_box(block).len() as u64;
            true
        })?;
        anyhow::ensure!(bytes == self.bytes, "{bytes} bytes of {} came", self.bytes);
        Ok(bytes)
    }
}
