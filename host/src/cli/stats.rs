//! `model-foundry stats`: statistics of a run's metrics.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Result, bail};

use super::terminal::{count, number, one_line, table, table_text};
use super::{Folder, Selection, say_damage};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    folder: Folder,

    /// The metrics; all of them where none are named
    #[arg(value_name = "METRIC")]
    metrics: Vec<String>,

    #[command(flatten)]
    selection: Selection,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let mut reader = arguments.folder.open()?;
    let query = arguments.selection.query(false);
    let (statistics, damage) = reader.statistics(query, &arguments.metrics)?;
    for name in &arguments.metrics {
        if !statistics.iter().any(|metric| metric.name == *name) {
            bail!(
                "there is no metric {name:?} in these steps; `model-foundry stats {}` lists all",
                reader.folder().display()
            );
        }
    }
    let mut out = anstream::stdout().lock();
    if arguments.json {
        serde_json::to_writer_pretty(&mut out, &statistics)?;
        writeln!(out)?;
    } else {
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
        for metric in &statistics {
            let s = &metric.statistics;
            let non_finite = s.nan + s.positive_infinity + s.negative_infinity;
            let mut row = vec![one_line(&metric.name, 60), count(s.count)];
            let figures = [s.mean, s.std, s.min, s.p50, s.p95, s.p99, s.max, s.last];
            let none = || "–".to_owned();
            row.extend(figures.map(|figure| if s.count == 0 { none() } else { number(figure) }));
            row.push(match s.first_non_finite_step {
                Some(step) => format!("{} from step {step}", count(non_finite)),
                None => "0".into(),
            });
            rows.add_row(row);
        }
        write!(out, "{}", table_text(&rows))?;
    }
    out.flush()?;
    say_damage(reader.folder(), &damage);
    Ok(ExitCode::SUCCESS)
}
