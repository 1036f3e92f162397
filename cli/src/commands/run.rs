//! `model-foundry run`: run a command and log its training.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use model_foundry::{ConfigReader, Console, Run, RunReader, Runtime, Status};

use crate::arguments::Attempts;
use crate::page::Page;
use crate::supervise::{Child, Signals, Supervisor, find_program};
use crate::terminal::{NOTE, PLAIN};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The folder in which each experiment has a folder
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs_dir: PathBuf,

    /// The experiment's name [default: the script's]
    #[arg(long, value_name = "NAME")]
    experiment: Option<String>,

    /// A configuration: .json, .toml, .yaml or .yml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Pass the command's output through and print nothing else
    #[arg(short, long)]
    quiet: bool,

    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let words: Vec<String> =
        arguments.command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let experiment = arguments.experiment.clone().unwrap_or_else(|| experiment_of(&words));
    let signals = Signals::take()?;
    let mut builder = Run::builder(&experiment)
        .runs_dir(&arguments.runs_dir)
        .command(words.clone())
        .console(Console::Silent)
        .supervises(true);
    if let Some(file) = &arguments.config {
        let config = ConfigReader::new(&Runtime::shared()?)?.read_file(file)?;
        builder = builder.experiment_config(config);
    }
    if let Some(library) = std::env::var_os("MODEL_FOUNDRY_NVML") {
        builder = builder.nvml(library);
    }
    // Before the folder is touched: a command that cannot be started leaves no run behind.
    find_program(&arguments.command[0])?;
    let last_step = last_step(&arguments.runs_dir.join(&experiment));
    let run = builder.open()?;
    let folder = run.folder().to_path_buf();
    let logger = run.logger("model_foundry");
    let command = words.join(" ");
    logger.info(
        "attempt began",
        &model_foundry::fields! { attempt: run.attempt(), command: command.as_str() },
    )?;
    let folder_for_child = std::path::absolute(&folder).unwrap_or_else(|_| folder.clone());
    let mut child = match Child::start(&arguments.command, &folder_for_child, signals) {
        Ok(child) => child,
        Err(error) => {
            run.finish(Status::Failed, None);
            return Err(error);
        }
    };
    run.monitor(child.pid());
    let ended = Supervisor::new(&run, last_step, !arguments.quiet)?.until_the_end(&mut child)?;

    logger.info(
        "attempt ended",
        &model_foundry::fields! { attempt: run.attempt(), exit_code: ended.code },
    )?;
    run.finish(ended.status(), Some(ended.code));
    drop(logger);
    drop(run);
    if !arguments.quiet
        && let Err(error) = print_page(&folder)
    {
        anstream::eprintln!("{NOTE}note:{PLAIN} {error:#}");
    }
    Ok(ExitCode::from(ended.code.clamp(0, 255) as u8))
}

/// Print the page of `show` on standard error: standard output belongs to the command.
fn print_page(folder: &Path) -> Result<()> {
    let mut reader = RunReader::open(folder)?;
    let page = Page::read(&mut reader, &Attempts::default())?;
    let mut err = anstream::stderr().lock();
    writeln!(err)?;
    page.write(&mut err, reader.folder())?;
    Ok(())
}

/// The highest step of earlier attempts, for output that names no step.
fn last_step(folder: &Path) -> Option<u64> {
    RunReader::open(folder).ok()?.last_step().ok()?
}

/// The default name of a command's experiment: that of its script or module, or of the program.
fn experiment_of(command: &[String]) -> String {
    let mut arguments = command.iter().skip(1);
    let mut script = None;
    while let Some(argument) = arguments.next() {
        if argument == "-m" {
            script = arguments.next().filter(|module| *module != "torch.distributed.run").cloned();
            if script.is_some() {
                break;
            }
        }
        if argument.ends_with(".py") {
            script =
                Path::new(argument).file_stem().map(|stem| stem.to_string_lossy().into_owned());
            break;
        }
    }
    let program = || {
        let stem = Path::new(&command[0]).file_stem();
        stem.map_or_else(|| "run".into(), |stem| stem.to_string_lossy().into_owned())
    };
    script.unwrap_or_else(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_experiment_is_named_after_its_script() {
        let name = |command: &str| {
            experiment_of(&command.split(' ').map(str::to_owned).collect::<Vec<_>>())
        };
        assert_eq!(name("python3 examples/train_char_model.py --steps 3"), "train_char_model");
        assert_eq!(name("python3 -m pkg.train --lr 1"), "pkg.train");
        assert_eq!(name("torchrun --nproc-per-node 8 a/b/pretrain.py x.py"), "pretrain");
        assert_eq!(name("python3 -m torch.distributed.run train.py"), "train");
        assert_eq!(name("./target/release/trainer -v"), "trainer");
    }
}
