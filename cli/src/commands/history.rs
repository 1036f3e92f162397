//! `model-foundry history`: the metrics of a run, step by step.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use anyhow::Result;
use model_foundry::{Query, RunReader};

use crate::arguments::{Folder, Selection};
use crate::lines::{Members, value_text};
use crate::names;
use crate::output::report_left_out;
use crate::terminal::{number, one_line, plain, plain_json};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    folder: Folder,

    #[command(flatten)]
    selection: Selection,

    /// Only these metrics, in this order; a pattern such as 'train/*' stands for several
    #[arg(long = "metric", value_name = "NAME")]
    metrics: Vec<String>,

    /// Print the lines of metrics.jsonl, epoch summaries included
    #[arg(long)]
    json: bool,

    /// Print comma-separated values: a row for each line of metrics.jsonl, a column for each metric
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let mut reader = arguments.folder.open()?;
    let query = arguments.selection.query();
    let columns = if arguments.json && arguments.metrics.is_empty() {
        Vec::new()
    } else {
        columns(&mut reader, query, &arguments)?
    };
    let out = BufWriter::with_capacity(1 << 18, io::stdout().lock());
    let mut rows: Box<dyn Rows> = match () {
        () if arguments.csv => Box::new(Csv::begin(out, columns)?),
        () if arguments.json => Box::new(Json { out, columns }),
        () => Box::new(Table::begin(out, columns)?),
    };
    let mut written = Ok(());
    let report = reader.history(query, &mut |block| {
        written = rows.block(block);
        written.is_ok()
    })?;
    written?;
    rows.flush()?;
    report_left_out(reader.folder(), &report);
    Ok(ExitCode::SUCCESS)
}

/// The names of the metrics that are printed: those that are wanted, or all.
fn columns(reader: &mut RunReader, query: Query, arguments: &Arguments) -> Result<Vec<String>> {
    let (statistics, _) = reader.statistics(query, &[])?;
    let mut known: Vec<String> = Vec::new();
    for metric in statistics {
        if !known.contains(&metric.name) {
            known.push(metric.name);
        }
    }
    let wanted = &arguments.metrics;
    if wanted.is_empty() && !arguments.csv {
        return Ok(known);
    }
    let is_known = |name: &String| known.iter().any(|known| names::matches(name, known));
    if wanted.is_empty() || !wanted.iter().all(is_known) {
        // Metrics whose values are texts have no statistics.
        add_names(reader, query, &mut known)?;
    }
    if wanted.is_empty() { Ok(known) } else { names::select(&known, wanted) }
}

/// Add the names of all metrics of a run's lines.
fn add_names(reader: &mut RunReader, query: Query, known: &mut Vec<String>) -> Result<()> {
    let mut seen: HashSet<String> = known.iter().cloned().collect();
    reader.history(query, &mut |block| {
        for entry in block.lines().filter_map(Entry::of) {
            for (name, _) in entry.metrics.iter().flat_map(Members::iter) {
                if !seen.contains(name) {
                    seen.insert(name.to_owned());
                    known.push(name.to_owned());
                }
            }
        }
        true
    })?;
    Ok(())
}

/// Prints blocks of lines of metrics.jsonl.
trait Rows {
    fn block(&mut self, lines: &str) -> io::Result<()>;
    fn flush(&mut self) -> io::Result<()>;
}

/// One line of metrics.jsonl.
struct Entry<'a> {
    members: Members<'a>,
    metrics: Option<Members<'a>>,
    non_finite: Option<Members<'a>>,
}

impl<'a> Entry<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let members = Members::of(line)?;
        let metrics = members.object("metrics").or_else(|| members.object("summary"));
        let non_finite = members.object("non_finite");
        Some(Self { members, metrics, non_finite })
    }

    /// A metric's value as text, and whether it is a number; none if the line has none.
    fn value(&self, name: &str) -> Option<String> {
        // NaN and the infinities are null, and named beside.
        let non_finite = self.non_finite.as_ref().and_then(|names| names.get(name));
        non_finite.or_else(|| self.metrics.as_ref()?.get(name)).map(value_text)
    }

    fn member(&self, name: &str) -> String {
        self.members.get(name).map(value_text).unwrap_or_default()
    }
}

/// The lines themselves, or only some of their metrics.
struct Json<W> {
    out: W,
    columns: Vec<String>,
}

impl<W: Write> Json<W> {
    /// A line with the wanted metrics only; none without any.
    fn some(&self, line: &str) -> Option<String> {
        let wanted = |name: &str| self.columns.iter().any(|column| column == name);
        let entry = Entry::of(line)?;
        entry.metrics.as_ref()?.json_of(wanted)?;
        let mut members = Vec::new();
        for (name, value) in entry.members.iter() {
            let value = match name {
                "metrics" | "summary" | "non_finite" => Members::of(value)?.json_of(wanted),
                _ => Some(value.to_owned()),
            };
            members.extend(value.map(|value| format!("\"{name}\":{value}")));
        }
        Some(format!("{{{}}}\n", members.join(",")))
    }
}

impl<W: Write> Rows for Json<W> {
    fn block(&mut self, lines: &str) -> io::Result<()> {
        if self.columns.is_empty() {
            return self.out.write_all(plain_json(lines).as_bytes());
        }
        for line in lines.lines() {
            if let Some(line) = self.some(line) {
                self.out.write_all(plain_json(&line).as_bytes())?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Comma-separated values, as in RFC 4180. A summary of an epoch has no step.
struct Csv<W: Write> {
    out: csv::Writer<W>,
    columns: Vec<String>,
}

/// What a line says of itself, before its metrics.
const OF_LINE: [&str; 5] = ["step", "epoch", "timestamp", "attempt", "rank"];

impl<W: Write> Csv<W> {
    fn begin(out: W, columns: Vec<String>) -> Result<Self> {
        let mut out = csv::Writer::from_writer(out);
        let names = columns.iter().map(|name| plain(name));
        out.write_record(OF_LINE.map(Into::into).into_iter().chain(names).map(Cow::into_owned))?;
        Ok(Self { out, columns })
    }
}

impl<W: Write> Rows for Csv<W> {
    fn block(&mut self, lines: &str) -> io::Result<()> {
        for entry in lines.lines().filter_map(Entry::of) {
            let of_line = OF_LINE.map(|name| match (name, entry.member(name)) {
                // The first attempt is not written.
                ("attempt", none) if none.is_empty() => "1".to_owned(),
                (_, value) => value,
            });
            let values = self.columns.iter().map(|name| entry.value(name).unwrap_or_default());
            let fields = of_line.into_iter().chain(values);
            self.out.write_record(fields.map(|field| plain(&field).into_owned()))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A table for people.
struct Table<W> {
    out: W,
    columns: Vec<String>,
}

impl<W: Write> Table<W> {
    fn begin(mut out: W, columns: Vec<String>) -> Result<Self> {
        write!(out, "{:>9} {:>8}", "step", "epoch")?;
        for column in &columns {
            write!(out, " {:>width$}", one_line(column, 40), width = width(column))?;
        }
        writeln!(out)?;
        Ok(Self { out, columns })
    }
}

impl<W: Write> Rows for Table<W> {
    fn block(&mut self, lines: &str) -> io::Result<()> {
        for entry in lines.lines().filter_map(Entry::of) {
            // A summary is of an epoch.
            let step = entry.members.get("step").unwrap_or("summary");
            write!(self.out, "{step:>9} {:>8}", short(&entry.member("epoch")))?;
            for column in &self.columns {
                let value = entry.value(column).map(|value| short(&value)).unwrap_or_default();
                write!(self.out, " {value:>width$}", width = width(column))?;
            }
            writeln!(self.out)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The width of a metric's column.
fn width(name: &str) -> usize {
    name.chars().count().clamp(10, 40)
}

/// A value with few digits, if it is a number with a decimal point or an exponent.
fn short(value: &str) -> String {
    let is_float = value.contains(['.', 'e', 'E']);
    match value.parse::<f64>() {
        Ok(float) if is_float => number(float),
        _ => plain(value).into_owned(),
    }
}
