//! The program's commands: one file each, and what they share.

mod bench;
mod component;
mod config;
mod errors;
mod gpu;
mod history;
mod log;
mod page;
mod run;
mod show;
mod stats;
mod tail;
mod terminal;
mod timings;
mod verify;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand};
use model_foundry::{Damage, FORMAT_VERSION, Query, RunReader};

/// Log training runs into plain files, by a sandboxed component.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 100,
    styles = Styles::styled()
        .header(AnsiColor::Green.on_default().bold())
        .usage(AnsiColor::Green.on_default().bold())
        .literal(AnsiColor::Cyan.on_default().bold())
        .placeholder(AnsiColor::Cyan.on_default()),
    after_help = "Exit codes: 0 success, 1 failure, 2 wrong usage; under `run` the command's own."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a command and log its training: its output, metrics, memory and errors
    Run(run::Arguments),
    /// Log records given as JSON Lines on standard input
    Log(log::Arguments),
    /// What a run did: status, metrics, slowest timings, memory peaks, errors
    Show(show::Arguments),
    /// The metrics of a run, step by step
    History(history::Arguments),
    /// Statistics of a run's metrics
    Stats(stats::Arguments),
    /// The errors of a run, the earliest first
    Errors(errors::Arguments),
    /// How long the parts of a run took
    Timings(timings::Arguments),
    /// The end of one of a run's files, and what comes after
    Tail(tail::Arguments),
    /// Check a configuration, or print the defaults or the schema
    Config(config::Arguments),
    /// What the NVIDIA driver says of the GPUs' memory
    Gpu(gpu::Arguments),
    /// What a component imports and exports
    Component(component::Arguments),
    /// Find damaged lines in a run's files, and mend them
    Verify(verify::Arguments),
    /// What logging costs on this machine
    Bench(bench::Arguments),
}

/// The run folder that a command reads.
#[derive(Args)]
struct Folder {
    /// The run folder: <runs-dir>/<experiment>
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

impl Folder {
    /// Open the run folder to read it, and warn on standard error if its format is newer than this program's.
    fn open(&self) -> Result<RunReader> {
        let reader = RunReader::open(&self.dir)?;
        if let Some(version) = reader.newer_format() {
            anstream::eprintln!(
                "{}note:{} {} has format version {version}, newer than {FORMAT_VERSION}: parts of this \
                 run may be missing here; update model-foundry",
                terminal::NOTE,
                terminal::PLAIN,
                self.dir.display()
            );
        }
        Ok(reader)
    }
}

/// Which of a run's metrics a command reads.
#[derive(Args)]
struct Selection {
    /// Steps A to B, both included; A.. and ..B leave one end open, A is one step
    #[arg(long, value_name = "A..B", value_parser = steps)]
    steps: Option<(Option<u64>, Option<u64>)>,

    /// Also what an earlier attempt logged at steps that a later one went over again
    #[arg(long)]
    all_attempts: bool,
}

impl Selection {
    fn query(&self, summaries: bool) -> Query {
        let (first_step, last_step) = self.steps.unwrap_or_default();
        Query { first_step, last_step, summaries, all_attempts: self.all_attempts }
    }
}

/// A range of steps as it is written on the command line.
fn steps(text: &str) -> Result<(Option<u64>, Option<u64>), String> {
    let step = |text: &str| match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| format!("{text:?} is no step: a whole number")),
    };
    let (first, last) = match text.split_once("..") {
        Some((first, last)) => (step(first)?, step(last.trim_start_matches('='))?),
        None => (step(text)?, step(text)?),
    };
    match (first, last) {
        (None, None) => Err("give a first or a last step: 100..200, 100.. or ..200".into()),
        (Some(first), Some(last)) if first > last => {
            Err(format!("the first step, {first}, lies behind the last, {last}"))
        }
        range => Ok(range),
    }
}

/// Parse the arguments, do what they ask, and say what went wrong.
pub(crate) fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors.
            let code = if error.use_stderr() { 2 } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let result = match arguments.command {
        Command::Run(arguments) => run::run(arguments),
        Command::Log(arguments) => log::run(arguments),
        Command::Show(arguments) => show::run(arguments),
        Command::History(arguments) => history::run(arguments),
        Command::Stats(arguments) => stats::run(arguments),
        Command::Errors(arguments) => errors::run(arguments),
        Command::Timings(arguments) => timings::run(arguments),
        Command::Tail(arguments) => tail::run(arguments),
        Command::Config(arguments) => config::run(arguments),
        Command::Gpu(arguments) => gpu::run(arguments),
        Command::Component(arguments) => component::run(arguments),
        Command::Verify(arguments) => verify::run(arguments),
        Command::Bench(arguments) => bench::run(arguments),
    };
    match result {
        Ok(code) => code,
        // Whoever read the output has had enough.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let error = format!("{error:#}");
            let error = terminal::plain(&error);
            anstream::eprintln!("{}error:{} {error}", terminal::BAD, terminal::PLAIN);
            ExitCode::FAILURE
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let closed = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| {
        cause.downcast_ref().is_some_and(closed)
            || cause
                .downcast_ref::<serde_json::Error>()
                .and_then(serde_json::Error::io_error_kind)
                .is_some_and(|kind| kind == io::ErrorKind::BrokenPipe)
    })
}

/// Say on standard error which lines were skipped.
fn say_damage(folder: &std::path::Path, damage: &Damage) {
    let Some((file, line, problem)) = &damage.first else { return };
    let others = match damage.lines {
        1 => String::new(),
        lines => format!(" and {} more", lines - 1),
    };
    anstream::eprintln!(
        "{}note:{} skipped {file} line {line} ({problem}){others}; `model-foundry verify {}` tells all",
        terminal::NOTE,
        terminal::PLAIN,
        folder.display()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_range_of_steps_includes_both_ends() {
        assert_eq!(steps("3..7"), Ok((Some(3), Some(7))));
        assert_eq!(steps("3..=7"), Ok((Some(3), Some(7))));
        assert_eq!(steps("3.."), Ok((Some(3), None)));
        assert_eq!(steps("..7"), Ok((None, Some(7))));
        assert_eq!(steps("5"), Ok((Some(5), Some(5))));
        assert!(steps("7..3").is_err());
        assert!(steps("..").is_err());
        assert!(steps("a..b").is_err());
    }
}
