//! `model-foundry log`: records given as JSON Lines on standard input, so that any language can log.

use std::io::{self, BufRead as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use model_foundry::{
    ConfigReader, Field, Level, MetricsLogger, OnError, Run, RunReader, Runtime, Status,
    StructuredLogger, Value,
};
use serde_json::{Map, Value as Json};

use super::terminal::{BAD, PLAIN, counted, plain};

/// The longest line that is taken, in bytes: that of a record.
const LONGEST: u64 = 16 << 20;

#[derive(clap::Args)]
#[command(after_help = "\
One record a line:
  {\"step\":1,\"epoch\":0,\"metrics\":{\"loss\":0.5}}
  {\"epoch\":0,\"summary\":{\"val_loss\":0.4}}
  {\"level\":\"INFO\",\"message\":\"saved\",\"fields\":{\"step\":1}}
  {\"error_type\":\"ValueError\",\"error_message\":\"…\",\"traceback\":\"…\",\"context\":{}}
NaN, Infinity and -Infinity may stand as numbers, as Python writes them.")]
pub(crate) struct Arguments {
    /// The run folder; made if it is missing
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
        .context("SIGXFSZ cannot be handled")?;
    let known = RunReader::open(&arguments.dir).ok().and_then(|reader| reader.manifest().ok()?);
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
    let mut taker = Taker { metrics: run.metrics(), logger: run.logger(&experiment), run };
    let mut input = io::stdin().lock();
    let (mut number, mut good, mut bad) = (0_u64, 0_u64, 0_u64);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = io::Read::take(&mut input, LONGEST).read_until(b'\n', &mut line);
        if read.context("standard input")? == 0 {
            break;
        }
        number += 1;
        if line.len() as u64 == LONGEST && line.last() != Some(&b'\n') {
            input.skip_until(b'\n').context("standard input")?;
            say(number, "the line is longer than 16 MiB");
            bad += 1;
            continue;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        match taker.take(&line) {
            Ok(()) => good += 1,
            Err(problem) => {
                say(number, &problem);
                bad += 1;
            }
        }
    }
    let storage = taker.run.storage();
    // Under `buffered` the storage's word comes after the record's.
    let lost = storage.waiting + storage.refused;
    let all_well = bad == 0 && lost == 0;
    taker.run.finish(if all_well { Status::Completed } else { Status::Failed }, None);
    if arguments.json {
        let counts = serde_json::json!({ "logged": good, "bad_lines": bad, "not_stored": lost });
        writeln!(io::stdout(), "{counts}")?;
    } else if !all_well {
        let (good, bad) = (counted(good, "record"), counted(bad, "line"));
        anstream::eprintln!("{good} logged, {bad} bad");
        if let Some(reason) = storage.latest.filter(|_| lost > 0) {
            anstream::eprintln!("{} not stored: {reason}", counted(lost, "record"));
        }
    }
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn say(line: u64, problem: &str) {
    anstream::eprintln!("{BAD}line {line}:{PLAIN} {}", plain(problem));
}

/// Takes one record after another.
struct Taker {
    run: Run,
    metrics: MetricsLogger,
    logger: StructuredLogger,
}

impl Taker {
    fn take(&mut self, line: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())?;
        let mut record = parse(text)?;
        if record.contains_key("metrics") {
            self.step(&mut record)
        } else if record.contains_key("summary") {
            self.summary(&mut record)
        } else if record.contains_key("message") {
            self.record(&mut record)
        } else if record.contains_key("error_type") {
            self.error(&mut record)
        } else {
            Err("it is no record: it needs metrics, a summary, a message or an error_type"
                .to_owned())
        }
    }

    fn step(&mut self, record: &mut Map<String, Json>) -> Result<(), String> {
        let step = record.remove("step").ok_or("metrics need a step")?;
        let step =
            step.as_u64().ok_or_else(|| format!("step {step} is no whole number from 0 on"))?;
        let epoch = match record.remove("epoch") {
            None | Some(Json::Null) => None,
            Some(epoch) => {
                Some(number(&epoch).ok_or_else(|| format!("epoch {epoch} is no number"))?)
            }
        };
        let metrics = fields(record.remove("metrics"), "metrics")?;
        nothing_else(record)?;
        self.metrics.log_step(step, epoch, &metrics).map_err(|error| error.to_string())
    }

    fn summary(&mut self, record: &mut Map<String, Json>) -> Result<(), String> {
        let epoch = record.remove("epoch").ok_or("a summary needs an epoch")?;
        let epoch = number(&epoch).ok_or_else(|| format!("epoch {epoch} is no number"))?;
        let summary = fields(record.remove("summary"), "summary")?;
        nothing_else(record)?;
        self.metrics.log_epoch_summary(epoch, &summary).map_err(|error| error.to_string())
    }

    fn record(&mut self, record: &mut Map<String, Json>) -> Result<(), String> {
        let level = match record.remove("level") {
            None => Level::Info,
            Some(Json::String(level)) => level.to_uppercase().parse().map_err(|()| {
                format!("level {level:?} is none of DEBUG, INFO, WARNING, ERROR, CRITICAL")
            })?,
            Some(other) => return Err(format!("level {other} is no text")),
        };
        let message = text(record.remove("message"), "message")?;
        let fields = fields(record.remove("fields"), "fields")?;
        nothing_else(record)?;
        self.logger.log(level, &message, &fields).map_err(|error| error.to_string())
    }

    fn error(&mut self, record: &mut Map<String, Json>) -> Result<(), String> {
        let error_type = text(record.remove("error_type"), "error_type")?;
        let message = text(record.remove("error_message"), "error_message")?;
        let traceback = text(record.remove("traceback"), "traceback")?;
        let context = fields(record.remove("context"), "context")?;
        nothing_else(record)?;
        let errors = self.run.errors();
        errors.log(&error_type, &message, &traceback, &context).map_err(|error| error.to_string())
    }
}

/// A field that nobody reads would be lost without a word.
fn nothing_else(record: &Map<String, Json>) -> Result<(), String> {
    match record.keys().next() {
        None => Ok(()),
        Some(key) => Err(format!("the field {key:?} does not belong to such a record")),
    }
}

fn text(value: Option<Json>, name: &str) -> Result<String, String> {
    match value {
        None | Some(Json::Null) => Ok(String::new()),
        Some(Json::String(text)) => Ok(text),
        Some(other) => Err(format!("{name} {other} is no text")),
    }
}

fn fields(value: Option<Json>, name: &str) -> Result<Vec<Field>, String> {
    match value {
        None | Some(Json::Null) => Ok(Vec::new()),
        Some(Json::Object(object)) => {
            Ok(object.into_iter().map(|(name, value)| (name, field(value))).collect())
        }
        Some(other) => Err(format!("{name} must be an object, not {other}")),
    }
}

fn field(value: Json) -> Value {
    match number(&value) {
        Some(float) if !float.is_finite() => Value::Float(float),
        _ => Value::from(unmarked(value)),
    }
}

/// A value whose marked words are plain again: nested in a list or an object they can only be text.
fn unmarked(value: Json) -> Json {
    match value {
        Json::String(text) => match text.strip_prefix(MARK) {
            Some(word) => word.into(),
            None => Json::String(text),
        },
        Json::Array(values) => values.into_iter().map(unmarked).collect(),
        Json::Object(members) => {
            members.into_iter().map(|(name, value)| (name, unmarked(value))).collect()
        }
        other => other,
    }
}

/// A number, one of the words for what is none among them.
fn number(value: &Json) -> Option<f64> {
    match value {
        Json::Number(number) => number.as_f64(),
        Json::String(text) => match text.strip_prefix(MARK)? {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// Stands before the words for numbers that JSON has not, as JSON text: no record has it by chance.
const MARK: &str = "\u{1}model-foundry:";

/// Parse a record. NaN and the infinities, which Python writes as bare words, are let in as marked text.
fn parse(text: &str) -> Result<Map<String, Json>, String> {
    let text = text.trim_end();
    match serde_json::from_str(text) {
        Ok(record) => Ok(record),
        Err(error) => match serde_json::from_str(&mark_non_finite(text)) {
            Ok(record) => Ok(record),
            Err(_) => {
                // The place is in the line, which is named: its column alone is of use.
                let problem = error.to_string();
                let what = problem.split(" at line ").next().unwrap_or(&problem);
                Err(format!("it is no JSON object: {what} at column {}", error.column().max(1)))
            }
        },
    }
}

fn mark_non_finite(text: &str) -> String {
    let mut marked = String::with_capacity(text.len() + 32);
    let (mut in_string, mut rest) = (false, text);
    while let Some(c) = rest.chars().next() {
        let word = ["-Infinity", "Infinity", "NaN"].into_iter().find(|word| rest.starts_with(word));
        if let (false, Some(word)) = (in_string, word) {
            marked.push_str(&format!("\"\\u0001{}{word}\"", &MARK[1..]));
            rest = &rest[word.len()..];
            continue;
        }
        let mut length = c.len_utf8();
        match c {
            '"' => in_string = !in_string,
            '\\' if in_string => length += rest[1..].chars().next().map_or(0, char::len_utf8),
            _ => {}
        }
        marked.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    marked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_s_words_for_what_is_no_number_are_let_in() {
        let record =
            parse(r#"{"a":NaN,"b":[-Infinity],"c":"NaN","d":Infinity,"e\"NaN":1}"#).unwrap();
        assert!(number(&record["a"]).unwrap().is_nan());
        assert_eq!(record["c"], Json::String("NaN".into()));
        assert_eq!(number(&record["c"]), None);
        assert_eq!(number(&record["d"]), Some(f64::INFINITY));
        assert_eq!(record["e\"NaN"], Json::from(1));
        assert!(parse("{\"a\":NaN").is_err());
    }
}
