//! `model-foundry completions`: completions for a shell.

use std::process::ExitCode;

use anyhow::Result;
use clap::CommandFactory as _;
use clap_complete::Shell;

#[derive(clap::Args)]
#[command(after_help = "\
bash: model-foundry completions bash > ~/.local/share/bash-completion/completions/model-foundry
zsh:  model-foundry completions zsh > a folder of $fpath, as _model-foundry
fish: model-foundry completions fish > ~/.config/fish/completions/model-foundry.fish")]
pub(crate) struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let mut command = crate::arguments::Arguments::command();
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "model-foundry", &mut script);
    std::io::Write::write_all(&mut std::io::stdout().lock(), &script)?;
    Ok(ExitCode::SUCCESS)
}
