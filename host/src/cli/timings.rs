//! `model-foundry timings`: how long the parts of a run took.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;

use super::Folder;
use super::page::timings_table;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    folder: Folder,

    /// Print JSON, durations in seconds
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let timings = arguments.folder.open()?.timings()?;
    let mut out = anstream::stdout().lock();
    if arguments.json {
        serde_json::to_writer_pretty(&mut out, &timings)?;
        writeln!(out)?;
    } else if timings.is_empty() {
        writeln!(out, "nothing was timed in this run")?;
    } else {
        write!(out, "{}", timings_table(&timings))?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
