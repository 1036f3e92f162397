//! `model-foundry run`: run a command and log its training.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use model_foundry::{
    ConfigReader, Error, OutputParser, Resume, Run, RunReader, Runtime, Status, masked_command, quoted,
};

use crate::arguments::Attempts;
use crate::page::Page;
use crate::parameters;
use crate::patterns::Patterns;
use crate::supervise::{Child, Failures, Handled, LiveLine, Supervisor, find_program, run_unlogged};
use crate::terminal::note;

#[derive(clap::Args)]
#[command(after_help = "\
Each start is a run of its own: in <runs-dir>/<experiment>, then <experiment>-2, and so on. The ranks of one job share a
run: by MODEL_FOUNDRY_RUN_DIR, MODEL_FOUNDRY_RUN_ID, or the job of Slurm, torchrun, PBS, LSF or MPI. A job that its
scheduler restarts resumes its run. Nothing but wrong usage keeps the command from being started.")]
pub(crate) struct Arguments {
    /// The folder of runs
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs_dir: PathBuf,

    /// The experiment's name [default: experiment_name in --config, or the script's name]
    #[arg(long, value_name = "NAME")]
    experiment: Option<String>,

    /// Continue an earlier run: the newest of the experiment, or RUN (a folder in the folder of runs, a path, or an id)
    #[arg(long, value_name = "RUN", num_args = 0..=1, default_missing_value = "")]
    resume: Option<String>,

    /// A configuration: .json, .toml, .yaml or .yml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Record a parameter; the command's own options are recorded too
    #[arg(long, value_name = "NAME=VALUE", value_parser = parameters::parse)]
    set: Vec<(String, serde_json::Value)>,

    /// Record the uncommitted changes of the repository, as a patch in the run folder
    #[arg(long)]
    git_diff: bool,

    /// The permissions of a new run folder, in octal [default: 700, only for you]
    #[arg(long, value_name = "MODE", value_parser = mode)]
    folder_mode: Option<u32>,

    #[command(flatten)]
    patterns: Patterns,

    /// Show this metric on the live line, or those that match a pattern; may be given several times [default: the loss,
    /// else a reward or an accuracy]
    #[arg(long, value_name = "NAME")]
    watch: Vec<String>,

    /// Give the command pipes instead of a terminal of its own, also where this process has a terminal
    #[arg(long)]
    no_pty: bool,

    /// Pass the command's output through, and print nothing else but what could not be logged
    #[arg(short, long)]
    quiet: bool,

    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Parse permissions.
fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| mode & !0o777 == 0);
    mode.filter(|mode| mode & 0o700 == 0o700).ok_or_else(|| {
        format!("the permissions must be octal and allow you everything, such as 700 or 750, got {text:?}")
    })
}

impl Arguments {
    /// Whether nothing may be printed but the command's output and what could not be logged.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Let `--resume python3 train.py` mean the newest run and this command: `--resume` takes a name, which here is that
    /// of a program, and not of a run with a program after it.
    fn resolve_resume(&mut self) {
        let Some(word) = self.resume.as_ref().filter(|word| !word.is_empty()) else { return };
        let is_run = self.runs_dir.join(word).exists() || Path::new(word).is_dir();
        let is_run = is_run && find_program(&self.command[0]).is_ok();
        let by_hand = std::env::args_os().any(|argument| argument == "--");
        if !is_run && !by_hand && find_program(word.as_ref()).is_ok() {
            self.command.insert(0, word.into());
            self.resume = Some(String::new());
        }
    }
}

pub(crate) fn run(mut arguments: Arguments) -> Result<ExitCode> {
    arguments.resolve_resume();
    let words: Vec<String> =
        arguments.command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let signals = Handled::start()?;
    let config = match &arguments.config {
        Some(file) => Some(ConfigReader::new(&Runtime::shared()?)?.read_file(file)?),
        None => None,
    };
    let patterns = arguments.patterns.json(config.as_ref().map(|config| &config.whole))?;
    let configured = config.as_ref().and_then(|config| config.whole.get("experiment_name")?.as_str());
    let experiment = (arguments.experiment.clone())
        .or_else(|| configured.map(str::to_owned))
        .unwrap_or_else(|| experiment_of(&words));
    let failures = Failures::default();
    let mut builder = Run::builder(&experiment)
        .runs_dir(&arguments.runs_dir)
        .resume(match arguments.resume {
            None => Resume::No,
            Some(run) if run.is_empty() => Resume::Newest,
            Some(run) => Resume::Run(run),
        })
        .command(words.clone())
        .console(failures.console())
        .record_diff(arguments.git_diff)
        .supervises(true);
    for (name, value) in parameters::of_command(&words).into_iter().chain(arguments.set) {
        builder = builder.parameter(&name, value);
    }
    if let Some(config) = config {
        builder = builder.experiment_config(config);
    }
    if let Some(mode) = arguments.folder_mode {
        builder = builder.folder_mode(mode);
    }
    if let Some(library) = std::env::var_os("MODEL_FOUNDRY_NVML") {
        builder = builder.nvml(library);
    }
    // Before the folder is touched: a command that cannot be started leaves no run behind.
    find_program(&arguments.command[0])?;
    let run = match builder.open() {
        Ok(run) => run,
        Err(error @ (Error::Invalid(_) | Error::Config { .. })) => return Err(error.into()),
        Err(error) => {
            note(&format!("cannot log this run: {error}; the command is started without"));
            let code = run_unlogged(&arguments.command, &signals)?;
            return Ok(ExitCode::from(code.clamp(0, 255) as u8));
        }
    };
    let folder = run.folder().to_path_buf();
    let is_plain = folder.file_name().is_some_and(|name| name.to_str() == Some(&*experiment));
    if !arguments.quiet && (!is_plain || run.attempt() > 1) {
        let attempt = match run.attempt() {
            1 => String::new(),
            attempt => format!(", attempt {attempt}"),
        };
        note(&format!("logging to {}{attempt}", folder.display()));
    }
    // For output that names no step.
    let last_step = if run.attempt() > 1 { last_step(&folder) } else { None };
    let logger = run.logger("model_foundry");
    let command = quoted(&masked_command(&words));
    // A record that cannot be written is counted, and does not keep the command from being started.
    let _ = logger.info(
        "attempt began",
        &model_foundry::fields! { attempt: run.attempt(), command: command.as_str() },
    );
    let folder_for_child = std::path::absolute(&folder).unwrap_or_else(|_| folder.clone());
    let mut child = match Child::start(&arguments.command, &folder_for_child, signals, !arguments.no_pty) {
        Ok(child) => child,
        Err(error) => {
            run.finish(Status::Failed, None);
            return Err(error);
        }
    };
    run.monitor(child.pid());
    let parser = OutputParser::with_patterns(last_step, &patterns)?;
    let live = LiveLine::new(!arguments.quiet, arguments.watch);
    let supervisor = Supervisor::new(&run, parser, live, &failures);
    let ended = supervisor.until_the_end(&mut child)?;

    let _ = logger.info(
        "attempt ended",
        &model_foundry::fields! { attempt: run.attempt(), exit_code: ended.code },
    );
    match ended.signal {
        Some(signal) => run.finish_by_signal(signal, Some(ended.code)),
        None if ended.code == 0 => run.finish(Status::Completed, Some(0)),
        None => run.finish(Status::Failed, Some(ended.code)),
    }
    drop(logger);
    drop(run);
    failures.print();
    if !arguments.quiet
        && let Err(error) = print_page(&folder)
    {
        note(&format!("{error:#}"));
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

/// The highest step of earlier attempts.
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
