//! `model-foundry errors`: the errors of a run.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use model_foundry::ErrorEntry;

use super::Folder;
use super::terminal::{BAD, FAINT, PLAIN, count, counted, one_line, plain};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    folder: Folder,

    /// How many of the newest errors are listed
    #[arg(short = 'n', long = "count", value_name = "N", default_value_t = 10)]
    count: u32,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let report = arguments.folder.open()?.errors(arguments.count)?;
    let mut out = anstream::stdout().lock();
    if arguments.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
        out.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    if report.counts.is_empty() {
        writeln!(out, "no errors were logged in this run")?;
    }
    for kind in &report.counts {
        writeln!(out, "{:>6} × {}", count(kind.count), plain(&kind.error_type))?;
    }
    if let Some(first) = &report.first {
        writeln!(out, "\nthe earliest, likely the cause of the others:")?;
        write_entry(&mut out, first, true)?;
    }
    if report.recent.len() > 1 {
        writeln!(out, "\nthe newest:")?;
        for entry in &report.recent {
            write_entry(&mut out, entry, false)?;
        }
    }
    if report.damaged_lines > 0 {
        writeln!(out, "\n{} skipped as damaged", counted(report.damaged_lines, "line"))?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn write_entry(
    out: &mut impl std::io::Write,
    entry: &ErrorEntry,
    traceback: bool,
) -> std::io::Result<()> {
    let rank = entry.rank.map(|rank| format!(" rank {rank}")).unwrap_or_default();
    writeln!(
        out,
        "  {FAINT}{}{rank}{PLAIN}  {BAD}{}{PLAIN}: {}",
        plain(&entry.timestamp),
        plain(&entry.error_type),
        one_line(&entry.error_message, 300)
    )?;
    if entry.context != "{}" {
        writeln!(out, "    {FAINT}{}{PLAIN}", one_line(&entry.context, 300))?;
    }
    if traceback {
        for line in plain(&entry.traceback).lines() {
            writeln!(out, "    {line}")?;
        }
    }
    Ok(())
}
