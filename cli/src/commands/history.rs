//! `model-foundry history`: the metrics of a run, step by step.

use std::io::{self, BufWriter, Write as _};
use std::process::ExitCode;

use anyhow::Result;

use crate::arguments::{Folder, Selection};
use crate::output::report_left_out;
use crate::terminal::{number, one_line, plain, plain_json};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    folder: Folder,

    #[command(flatten)]
    selection: Selection,

    /// Only these metrics, in this order (not with --json)
    #[arg(long = "metric", value_name = "NAME", conflicts_with = "json")]
    metrics: Vec<String>,

    /// Print the lines of metrics.jsonl, epoch summaries included
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let mut reader = arguments.folder.open()?;
    let mut out = BufWriter::with_capacity(1 << 18, io::stdout().lock());
    let query = arguments.selection.query();
    let columns = if arguments.json {
        Vec::new()
    } else if arguments.metrics.is_empty() {
        let (statistics, _) = reader.statistics(query, &[])?;
        let mut columns: Vec<String> = Vec::new();
        for metric in statistics {
            if !columns.contains(&metric.name) {
                columns.push(metric.name);
            }
        }
        columns
    } else {
        arguments.metrics
    };
    let mut written = Ok(());
    if !arguments.json {
        write!(out, "{:>9} {:>8}", "step", "epoch")?;
        for column in &columns {
            write!(out, " {:>width$}", one_line(column, 40), width = width(column))?;
        }
        writeln!(out)?;
    }
    let report = reader.history(query, &mut |block| {
        written = if arguments.json {
            out.write_all(plain_json(block).as_bytes())
        } else {
            block.lines().try_for_each(|line| write_row(&mut out, line, &columns))
        };
        written.is_ok()
    })?;
    written?;
    out.flush()?;
    report_left_out(reader.folder(), &report);
    Ok(ExitCode::SUCCESS)
}

/// The width of a metric's column.
fn width(name: &str) -> usize {
    name.chars().count().clamp(10, 40)
}

fn write_row(out: &mut impl io::Write, line: &str, columns: &[String]) -> io::Result<()> {
    let Ok(entry) = serde_json::from_str::<serde_json::Value>(line) else { return Ok(()) };
    let text = |value: Option<&serde_json::Value>, non_finite: Option<&serde_json::Value>| match (
        value,
        non_finite.and_then(serde_json::Value::as_str),
    ) {
        (_, Some(name)) => name.to_owned(),
        (None, None) => String::new(),
        (Some(serde_json::Value::Number(n)), None) if n.is_f64() => {
            number(n.as_f64().unwrap_or_default())
        }
        (Some(serde_json::Value::String(text)), None) => plain(text).into_owned(),
        (Some(other), None) => plain(&other.to_string()).into_owned(),
    };
    // A summary is of an epoch.
    let step = entry.get("step").map_or_else(|| "summary".to_owned(), |step| text(Some(step), None));
    write!(out, "{step:>9} {:>8}", text(entry.get("epoch"), None))?;
    let metrics = entry.get("metrics").or_else(|| entry.get("summary"));
    for column in columns {
        let value = metrics.and_then(|metrics| metrics.get(column));
        let non_finite = entry.get("non_finite").and_then(|names| names.get(column));
        write!(out, " {:>width$}", text(value, non_finite), width = width(column))?;
    }
    writeln!(out)
}
