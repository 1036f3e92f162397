//! `model-foundry man`: the manual pages.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The folder for the pages, such as ~/.local/share/man/man1; it is made if it is missing
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let folder = &arguments.folder;
    let command = crate::arguments::Arguments::command();
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(command, folder))
        .with_context(|| format!("cannot write manual pages to {}", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}
