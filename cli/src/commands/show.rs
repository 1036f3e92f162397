//! `model-foundry show`: what a run did.

use std::process::ExitCode;

use anyhow::Result;

use crate::arguments::{Attempts, Folder};
use crate::output::{Output, report_left_out};
use crate::page::Page;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    folder: Folder,

    #[command(flatten)]
    attempts: Attempts,

    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let mut reader = arguments.folder.open()?;
    let page = Page::read(&mut reader, &arguments.attempts)?;
    arguments.output.print(&page, |out| Ok(page.write(out, reader.folder())?))?;
    if !arguments.output.json {
        report_left_out(reader.folder(), page.report());
    }
    Ok(ExitCode::SUCCESS)
}
