//! `model-foundry show`: what a run did.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;

use super::page::Page;
use super::{Folder, say_damage};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    folder: Folder,

    /// Also what an earlier attempt logged at steps that a later one went over again
    #[arg(long)]
    all_attempts: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let mut reader = arguments.folder.open()?;
    let page = Page::read(&mut reader, arguments.all_attempts)?;
    let mut out = anstream::stdout().lock();
    if arguments.json {
        serde_json::to_writer_pretty(&mut out, &page)?;
        writeln!(out)?;
    } else {
        page.write(&mut out, reader.folder())?;
        say_damage(reader.folder(), page.damage());
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
