//! `model-foundry parse`: what would be read in a log.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use model_foundry::{Event, LineReading, Output, OutputParser, Value};
use serde_json::{Map, json};

use crate::patterns::Patterns;
use crate::terminal::{BAD, FAINT, GOOD, PLAIN, STRONG, number, one_line, plain, plain_json};

/// How much is read at once, in bytes.
const PIECE: usize = 64 << 10;

#[derive(clap::Args)]
#[command(after_help = "\
Each line of the answer is a line of the log with the recognizer that read it: record, pairs, bar, table, block, counted
row, pattern or traceback. `~` marks a step that the log does not print. `model-foundry import` writes the same into a
run folder.")]
pub(crate) struct Arguments {
    /// The log, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Show every line, and say why nothing was read in it
    #[arg(long)]
    explain: bool,

    /// Print JSON Lines
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    patterns: Patterns,
}

/// Opens a log; `-` is standard input.
pub(crate) fn open(file: &Path) -> Result<Box<dyn Read>> {
    if file == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let opened = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    anyhow::ensure!(!opened.metadata()?.is_dir(), "{} is a folder", file.display());
    Ok(Box::new(opened))
}

/// Calls `each` with the pieces of a log; `file` is its name.
pub(crate) fn pieces(
    mut log: impl Read,
    file: &Path,
    mut each: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match log.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(length) => each(&piece[..length])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let Arguments { file, explain, json, patterns } = arguments;
    let mut parser = OutputParser::with_patterns(None, &patterns.json(None)?)?;
    let mut out = io::BufWriter::new(anstream::stdout().lock());
    let mut show = |reading: &LineReading| -> Result<()> {
        if explain || !reading.events.is_empty() {
            if json { write_json(&mut out, reading) } else { write_text(&mut out, reading, explain) }?;
        }
        Ok(())
    };
    let mut last = 0;
    pieces(open(&file)?, &file, |bytes| {
        for reading in parser.explain(Output::Stdout, bytes)? {
            last = reading.line;
            show(&reading)?;
        }
        Ok(())
    })?;
    let events = parser.finish()?;
    if !events.is_empty() {
        let reason = "the log has ended".to_owned();
        show(&LineReading { line: last, reason, events, ..LineReading::default() })?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn write_text(out: &mut dyn Write, reading: &LineReading, explain: bool) -> io::Result<()> {
    if explain {
        let by = if reading.recognizer.is_empty() { "-" } else { &reading.recognizer };
        writeln!(out, "{FAINT}{:>6}{PLAIN}  {}", reading.line, plain(&reading.text))?;
        writeln!(out, "{FAINT}        {by}: {}{PLAIN}", reading.reason)?;
    }
    for event in &reading.events {
        let line = if explain { String::new() } else { reading.line.to_string() };
        match event {
            Event::Metrics(metrics) => {
                let mark = if metrics.step_inferred { "~" } else { "" };
                write!(out, "{FAINT}{line:>6}{PLAIN}  {GOOD}step {mark}{}{PLAIN}", metrics.step)?;
                if let Some(step) = metrics.epoch_step {
                    write!(out, " ({step} of the epoch)")?;
                }
                if let Some(epoch) = metrics.epoch {
                    write!(out, "  epoch {}", number(epoch))?;
                }
                for field in &metrics.metrics {
                    let value = match &field.value {
                        Value::Float(float) => float.to_string(),
                        Value::Integer(integer) => integer.to_string(),
                        other => format!("{other:?}"),
                    };
                    write!(out, "  {} {STRONG}{value}{PLAIN}", plain(&field.name))?;
                }
                writeln!(out)?;
            }
            Event::Error(error) => writeln!(
                out,
                "{FAINT}{line:>6}{PLAIN}  {BAD}{}{PLAIN}: {}",
                plain(&error.error_type),
                one_line(&error.error_message, 300)
            )?,
        }
    }
    Ok(())
}

fn write_json(out: &mut dyn Write, reading: &LineReading) -> io::Result<()> {
    let events: Vec<serde_json::Value> = reading.events.iter().map(as_json).collect();
    let line = json!({
        "line": reading.line,
        "text": reading.text,
        "recognizer": (!reading.recognizer.is_empty()).then_some(&reading.recognizer),
        "reason": reading.reason,
        "events": events,
    });
    writeln!(out, "{}", plain_json(&line.to_string()))
}

/// An event in the form of its line in metrics.jsonl or errors.jsonl.
fn as_json(event: &Event) -> serde_json::Value {
    match event {
        Event::Metrics(line) => {
            let mut row = Map::new();
            row.insert("step".into(), line.step.into());
            if let Some(epoch) = line.epoch {
                row.insert("epoch".into(), epoch.into());
            }
            if line.step_inferred {
                row.insert("step_inferred".into(), true.into());
            }
            if let Some(step) = line.epoch_step {
                row.insert("epoch_step".into(), step.into());
            }
            let mut metrics = Map::new();
            let mut non_finite = Map::new();
            for field in &line.metrics {
                let value = match &field.value {
                    Value::Integer(integer) => (*integer).into(),
                    Value::Float(float) if float.is_finite() => (*float).into(),
                    Value::Float(float) => {
                        let name = if float.is_nan() { "NaN" } else if *float > 0.0 { "inf" } else { "-inf" };
                        non_finite.insert(field.name.clone(), name.into());
                        serde_json::Value::Null
                    }
                    Value::Json(text) => {
                        serde_json::from_str(text).unwrap_or_else(|_| text.as_str().into())
                    }
                    other => format!("{other:?}").into(),
                };
                metrics.insert(field.name.clone(), value);
            }
            row.insert("metrics".into(), metrics.into());
            if !non_finite.is_empty() {
                row.insert("non_finite".into(), non_finite.into());
            }
            row.into()
        }
        Event::Error(error) => json!({
            "error_type": error.error_type,
            "error_message": error.error_message,
            "traceback": error.text,
        }),
    }
}
