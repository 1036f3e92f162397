//! `model-foundry timings`: how long the parts of a run took.

use std::process::ExitCode;

use anyhow::Result;

use crate::arguments::Folder;
use crate::output::Output;
use crate::page::timings_table;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    folder: Folder,

    /// Durations in JSON are in seconds
    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let timings = arguments.folder.open()?.timings()?;
    arguments.output.print(&timings, |out| {
        if timings.is_empty() {
            writeln!(out, "no timings were recorded in this run")?;
        } else {
            write!(out, "{}", timings_table(&timings))?;
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}
