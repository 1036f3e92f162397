//! `model-foundry stats`: statistics of a run's metrics.

use std::process::ExitCode;

use anyhow::{Result, bail};
use model_foundry::NamedStatistics;

use crate::arguments::{Attempts, Folder, Selection};
use crate::names;
use crate::output::{Output, report_left_out};
use crate::page::{metric_name, position};
use crate::terminal::{count, number, percentile, table, table_text};

#[derive(clap::Args)]
#[command(override_usage = "model-foundry stats [OPTIONS] [DIR] [METRIC]...")]
pub(crate) struct Arguments {
    /// The run folder, as in `show`, and the metrics [default: all]; a pattern such as 'train/*' stands for several
    #[arg(value_name = "DIR] [METRIC")]
    words: Vec<String>,

    #[command(flatten)]
    selection: Selection,

    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let (folder, metrics) = Folder::split(&arguments.words);
    let mut reader = folder.open()?;
    let query = arguments.selection.query();
    let (mut statistics, report) = if metrics.iter().any(|name| names::is_pattern(name)) {
        reader.statistics(query, &[])?
    } else {
        reader.statistics(query, metrics)?
    };
    if !metrics.is_empty() {
        let is_found = |name: &String| statistics.iter().any(|metric| names::matches(name, &metric.name));
        if !metrics.iter().all(is_found) {
            let all = Attempts::default().query();
            let known: Vec<String> =
                reader.statistics(all, &[])?.0.into_iter().map(|metric| metric.name).collect();
            names::select(&known, metrics)?;
            bail!("none of the steps has all of these metrics: {}", metrics.join(", "));
        }
        statistics.retain(|metric| metrics.iter().any(|name| names::matches(name, &metric.name)));
    }
    arguments.output.print(&statistics, |out| Ok(write!(out, "{}", as_table(&statistics))?))?;
    report_left_out(reader.folder(), &report);
    Ok(ExitCode::SUCCESS)
}

fn as_table(statistics: &[NamedStatistics]) -> String {
    let header = [
        "metric",
        "count",
        "mean",
        "std",
        "min",
        "p50",
        "p95",
        "p99",
        "max",
        "last",
        "non-finite",
    ];
    let mut rows = table(&header, &[0]);
    for metric in statistics {
        let s = &metric.statistics;
        let non_finite = s.nan + s.positive_infinity + s.negative_infinity;
        let mut row = vec![metric_name(metric, 60), count(s.count)];
        let percentile = |figure| percentile(figure, s.percentiles_exact, number);
        row.extend([number(s.mean), number(s.std), number(s.min)]);
        row.extend([s.p50, s.p95, s.p99].map(percentile));
        row.extend([number(s.max), number(s.last)]);
        if s.count == 0 {
            row[2..].fill("–".into());
        }
        row.push(match s.first_non_finite_step {
            Some(step) => format!("{} from {} {step}", count(non_finite), position(metric)),
            None => "0".into(),
        });
        rows.add_row(row);
    }
    table_text(&rows)
}
