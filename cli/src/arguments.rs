//! The command line, as far as commands share it.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser};
use model_foundry::{FORMAT_VERSION, Query, RunFolder, RunReader};

use crate::commands::Command;
use crate::terminal::note;

/// Log training runs into plain files, through a sandboxed component.
#[derive(Parser)]
#[command(
    name = "model-foundry",
    version,
    max_term_width = 100,
    styles = Styles::styled()
        .header(AnsiColor::Green.on_default().bold())
        .usage(AnsiColor::Green.on_default().bold())
        .literal(AnsiColor::Cyan.on_default().bold())
        .placeholder(AnsiColor::Cyan.on_default()),
    after_help = "Exit codes: 0 success, 1 failure, 2 wrong usage; under `run` the command's own, 127 if there is no such \
                  program, 126 if it cannot be executed."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The run folder that a command reads.
#[derive(Args)]
pub(crate) struct Folder {
    /// The run folder, or its name in runs [default: the folder here, or the only run]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Folder {
    /// Open the run folder to read it.
    pub(crate) fn open(&self) -> Result<RunReader> {
        Ok(RunReader::of(self.open_folder()?)?)
    }

    /// Open the run folder without a component. Warns on standard error if its format is newer than this program's.
    pub(crate) fn open_folder(&self) -> Result<RunFolder> {
        let folder = match &self.dir {
            Some(dir) => RunFolder::open(named(dir).unwrap_or_else(|| dir.clone()))?,
            None => RunFolder::open(only_run()?)?,
        };
        if let Some(version) = folder.newer_format() {
            note(&format!(
                "{} has format version {version}, newer than {FORMAT_VERSION}: parts of this run may be missing \
                 here; update model-foundry",
                folder.path().display()
            ));
        }
        Ok(folder)
    }

    /// The run folder that begins a list of words, and the words after it. Without one it is the run here.
    pub(crate) fn split(words: &[String]) -> (Self, &[String]) {
        match words.split_first() {
            Some((first, rest)) if named(Path::new(first)).is_some() || only_run().is_err() => {
                (Self { dir: Some(first.into()) }, rest)
            }
            _ => (Self { dir: None }, words),
        }
    }
}

/// The folder of runs where no other is named.
const RUNS: &str = "runs";

/// The folder that a path names: itself, or that of this name in the folder of runs.
fn named(dir: &Path) -> Option<PathBuf> {
    let in_runs = || Path::new(RUNS).join(dir);
    [dir.to_path_buf(), in_runs()].into_iter().find(|path| path.is_dir())
}

/// The run folder that needs no name: the working folder, or the only one in the folder of runs.
fn only_run() -> Result<PathBuf> {
    let is_run =
        |path: &Path| ["run.json", "metrics.jsonl"].iter().any(|file| path.join(file).exists());
    let here = Path::new(".");
    if is_run(here) {
        return Ok(here.to_path_buf());
    }
    let runs = Path::new(RUNS);
    let parent = if runs.is_dir() { runs } else { here };
    let entries = std::fs::read_dir(parent)?.flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = entries.filter(|path| is_run(path)).collect();
    let changed =
        |path: &PathBuf| std::fs::metadata(path.join("run.json")).and_then(|it| it.modified()).ok();
    found.sort_by_key(|path| std::cmp::Reverse(changed(path)));
    match &found[..] {
        [only] => Ok(only.strip_prefix(here).unwrap_or(only).to_path_buf()),
        [] => bail!("there is no run here: name a run folder (runs/<experiment>), or go to one"),
        many => {
            let names = many.iter().take(5).filter_map(|path| path.file_name());
            let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
            let more = if many.len() > names.len() { ", …" } else { "" };
            bail!(
                "there are {} runs here: name one of them, from the newest: {}{more}",
                many.len(),
                names.join(", ")
            )
        }
    }
}

/// Which of a run's metrics a command reads.
#[derive(Args)]
pub(crate) struct Selection {
    /// Steps A to B, both included; A.. and ..B leave one end open, A is one step
    #[arg(long, value_name = "A..B", value_parser = steps)]
    pub(crate) steps: Option<(Option<u64>, Option<u64>)>,

    #[command(flatten)]
    pub(crate) attempts: Attempts,
}

impl Selection {
    pub(crate) fn query(&self) -> Query {
        let (first_step, last_step) = self.steps.unwrap_or_default();
        Query { first_step, last_step, ..self.attempts.query() }
    }
}

/// Which attempts a command reads.
#[derive(Args, Default)]
pub(crate) struct Attempts {
    /// Include what a later attempt logged again: the same metric at the same step
    #[arg(long = "all-attempts")]
    pub(crate) all: bool,

    /// Only what attempt N logged, and all of it
    #[arg(long, value_name = "N", conflicts_with = "all", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempt: Option<u32>,
}

impl Attempts {
    pub(crate) fn query(&self) -> Query {
        let Self { all: all_attempts, attempt } = *self;
        Query { summaries: true, all_attempts, attempt, ..Query::default() }
    }
}

/// Parse a range of steps.
fn steps(text: &str) -> Result<(Option<u64>, Option<u64>), String> {
    let step = |text: &str| match text {
        "" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|_| format!("a step must be a non-negative integer, got {text:?}")),
    };
    let (first, last) = match text.split_once("..") {
        Some((first, last)) => (step(first)?, step(last.trim_start_matches('='))?),
        None => (step(text)?, step(text)?),
    };
    match (first, last) {
        (None, None) => Err("give a first or a last step: 100..200, 100.. or ..200".into()),
        (Some(first), Some(last)) if first > last => {
            Err(format!("invalid range: first step {first} is greater than last step {last}"))
        }
        range => Ok(range),
    }
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
