//! `model-foundry errors`: the errors of a run.

use std::process::ExitCode;

use anyhow::Result;
use model_foundry::{ErrorEntry, ErrorReport};

use crate::arguments::Folder;
use crate::output::Output;
use crate::page::time;
use crate::terminal::{BAD, FAINT, PLAIN, count, counted, one_line, plain, plain_lines};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    folder: Folder,

    /// How many of the newest errors to list
    #[arg(short = 'n', long = "count", value_name = "N", default_value_t = 10)]
    count: u32,

    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let report = arguments.folder.open()?.errors(arguments.count)?;
    arguments.output.print(&report, |out| write_report(out, &report))?;
    Ok(ExitCode::SUCCESS)
}

fn write_report(out: &mut dyn std::io::Write, report: &ErrorReport) -> Result<()> {
    if report.counts.is_empty() {
        writeln!(out, "no errors were logged in this run")?;
    }
    for kind in &report.counts {
        writeln!(out, "{:>6} × {}", count(kind.count), plain(&kind.error_type))?;
    }
    if let Some(first) = &report.first {
        writeln!(out, "\nthe earliest, the likely cause of the others:")?;
        write_entry(out, first, true)?;
    }
    if report.recent.len() > 1 {
        writeln!(out, "\nthe newest:")?;
        for entry in &report.recent {
            write_entry(out, entry, false)?;
        }
    }
    if report.damaged_lines > 0 {
        writeln!(out, "\nskipped {}", counted(report.damaged_lines, "damaged line"))?;
    }
    Ok(())
}

fn write_entry(
    out: &mut dyn std::io::Write,
    entry: &ErrorEntry,
    traceback: bool,
) -> std::io::Result<()> {
    let rank = entry.rank.map(|rank| format!(" rank {rank}")).unwrap_or_default();
    writeln!(
        out,
        "  {FAINT}{}{rank}{PLAIN}  {BAD}{}{PLAIN}: {}",
        time(entry),
        plain(&entry.error_type),
        one_line(&entry.error_message, 300)
    )?;
    if entry.context != "{}" {
        writeln!(out, "    {FAINT}{}{PLAIN}", one_line(&entry.context, 300))?;
    }
    if traceback {
        for line in plain_lines(&entry.traceback).lines() {
            writeln!(out, "    {line}")?;
        }
    }
    Ok(())
}
