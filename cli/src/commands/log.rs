//! `model-foundry log`: log records given as JSON Lines on standard input, from any language.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use model_foundry::{
    ConfigReader, Error, OnError, RecordParser, Run, RunFolder, Runtime, Status, StructuredLogger,
};

use crate::terminal::{BAD, PLAIN, counted, plain, print_error};

/// How many different problems of stored records are reported.
const MOST_PROBLEMS: usize = 10;

/// How many names of loggers are remembered. Messages of further ones are logged under the experiment's name.
const MOST_LOGGERS: usize = 1_000;

/// The longest line in bytes, which is that of a record.
const LONGEST: u64 = 16 << 20;

#[derive(clap::Args)]
#[command(after_help = "\
One record a line:
  {\"step\":1,\"epoch\":0,\"metrics\":{\"loss\":0.5}}
  {\"epoch\":0,\"summary\":{\"val_loss\":0.4}}
  {\"level\":\"INFO\",\"message\":\"saved\",\"fields\":{\"step\":1}}
  {\"error_type\":\"ValueError\",\"error_message\":\"…\",\"traceback\":\"…\",\"context\":{}}
NaN, Infinity and -Infinity are read as numbers, since Python writes them. A record may have its own \"timestamp\". The
lines of a run's files are records too, so that `cat runs/a/*.jsonl | model-foundry log --dir runs/b` copies a run.")]
pub(crate) struct Arguments {
    /// The run folder; created if it is missing
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,

    /// A configuration: .json, .toml, .yaml or .yml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Print a JSON object with the counts at the end
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let seen = std::sync::Arc::default();
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, seen)
        .context("cannot handle SIGXFSZ")?;
    let known = RunFolder::open(&arguments.dir).ok().and_then(|folder| folder.manifest().ok()?);
    let experiment = match known {
        Some(manifest) => manifest.experiment,
        None => {
            let name = std::path::absolute(&arguments.dir)?;
            name.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
        }
    };
    let mut builder = Run::builder(&experiment).folder(&arguments.dir).on_error(OnError::Return);
    if let Some(file) = &arguments.config {
        let config = ConfigReader::new(&Runtime::shared()?)?.read_file(file)?;
        builder = builder.experiment_config(config);
    }
    let run = builder.open()?;
    let mut records = RecordLogger {
        parser: RecordParser::new()?,
        loggers: HashMap::from([(String::new(), run.logger(&experiment))]),
        run,
    };
    let mut input = io::stdin().lock();
    let (mut number, mut good, mut bad) = (0_u64, 0_u64, 0_u64);
    let mut line = Vec::new();
    let mut reported = HashSet::new();
    loop {
        line.clear();
        let read = io::Read::take(&mut input, LONGEST).read_until(b'\n', &mut line);
        if read.context("standard input")? == 0 {
            break;
        }
        number += 1;
        if line.len() as u64 == LONGEST && line.last() != Some(&b'\n') {
            input.skip_until(b'\n').context("standard input")?;
            warn(number, "the line is longer than 16 MiB");
            bad += 1;
            continue;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        match records.log(&line) {
            Ok(()) => good += 1,
            // It waits for the storage, which the run reports once.
            Err(Problem::StorageFailed) => good += 1,
            // It is stored.
            Err(Problem::NotCounted(problem)) => {
                good += 1;
                if reported.insert(problem.clone()) && reported.len() <= MOST_PROBLEMS {
                    warn(number, &problem);
                }
            }
            Err(Problem::BadLine(problem)) => {
                warn(number, &problem);
                bad += 1;
            }
        }
    }
    let storage = records.run.storage();
    // Under `buffered` the storage fails after the call that logged the record.
    let lost = storage.waiting + storage.refused;
    let all_well = bad == 0 && lost == 0;
    let good = good.saturating_sub(lost);
    records.run.finish(if all_well { Status::Completed } else { Status::Failed }, None);
    if arguments.json {
        let counts = serde_json::json!({ "logged": good, "bad_lines": bad, "not_stored": lost });
        writeln!(io::stdout(), "{counts}")?;
    } else if !all_well {
        let (good, bad) = (counted(good, "record"), counted(bad, "line"));
        print_error(format_args!("logged {good}, rejected {bad}"));
        if let Some(reason) = storage.latest.filter(|_| lost > 0) {
            let lost = counted(lost, "record");
            print_error(format_args!("{lost} not stored: {}", plain(&reason)));
        }
    }
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn warn(line: u64, problem: &str) {
    print_error(format_args!("{BAD}line {line}:{PLAIN} {}", plain(problem)));
}

/// Why a line was not simply logged.
enum Problem {
    /// The line is not a record that can be logged.
    BadLine(String),
    /// The storage does not take the record now.
    StorageFailed,
    /// The record is stored, but it does not count in the statistics.
    NotCounted(String),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Storage(_) => Self::StorageFailed,
            Error::Limit(_) => Self::NotCounted(text),
            _ => Self::BadLine(text),
        }
    }
}

/// Logs one record after another.
struct RecordLogger {
    parser: RecordParser,
    run: Run,
    /// Those of messages that name their logger, and under "" that of the others.
    loggers: HashMap<String, StructuredLogger>,
}

impl RecordLogger {
    fn log(&mut self, line: &[u8]) -> Result<(), Problem> {
        let line = std::str::from_utf8(line)
            .map_err(|_| Problem::BadLine("the line is not UTF-8".to_owned()))?;
        let given = self.parser.parse(line)?;
        let name = given.logger.clone().filter(|_| self.loggers.len() < MOST_LOGGERS);
        let name = name.unwrap_or_default();
        let run = &self.run;
        let logger = self.loggers.entry(name).or_insert_with_key(|name| run.logger(name));
        Ok(run.log_given(line, given, logger)?)
    }
}
