//! `model-foundry stats`: statistics of a run's metrics.

use std::process::ExitCode;

use anyhow::{Result, bail};
use model_foundry::NamedStatistics;

use crate::arguments::{Folder, Selection};
use crate::output::{Output, report_left_out};
use crate::page::{metric_name, position};
use crate::terminal::{count, number, percentile, table, table_text};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    folder: Folder,

    /// The metrics; all of them if none is named
    #[arg(value_name = "METRIC")]
    metrics: Vec<String>,

    #[command(flatten)]
    selection: Selection,

    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let mut reader = arguments.folder.open()?;
    let query = arguments.selection.query();
    let (statistics, report) = reader.statistics(query, &arguments.metrics)?;
    for name in &arguments.metrics {
        if !statistics.iter().any(|metric| metric.name == *name) {
            bail!(
                "no metric {name:?} in these steps; `model-foundry stats {}` lists all metrics",
                reader.folder().display()
            );
        }
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
