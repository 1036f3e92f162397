//! `model-foundry import`: a run from an existing log.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use model_foundry::{Event, OnError, Output, OutputParser, Run, Status};

use crate::commands::parse;
use crate::patterns::Patterns;
use crate::terminal::{counted, plain_path};

#[derive(clap::Args)]
#[command(after_help = "\
The log is read as `model-foundry run` reads a command's output, and copied to console.log. A log prints no time that could
be read for certain, so the rows have the time of the import. `model-foundry parse FILE --explain` shows beforehand what
is read, line by line.")]
pub(crate) struct Arguments {
    /// The log, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The folder of runs
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs_dir: PathBuf,

    /// The experiment's name [default: the name of the file]
    #[arg(long, value_name = "NAME")]
    experiment: Option<String>,

    #[command(flatten)]
    patterns: Patterns,
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let Arguments { file, runs_dir, experiment, patterns } = arguments;
    let mut parser = OutputParser::with_patterns(None, &patterns.json(None)?)?;
    // Before the folder is made: a log that cannot be opened leaves no run behind.
    let opened = parse::open(&file)?;
    let experiment = experiment.unwrap_or_else(|| name_of(&file));
    let run = Run::builder(&experiment).runs_dir(&runs_dir).on_error(OnError::Return).open()?;
    let mut rows = 0_u64;
    let mut errors = 0_u64;
    let mut log = |events: Vec<Event>| -> Result<()> {
        for event in events {
            match &event {
                Event::Metrics(_) => rows += 1,
                Event::Error(_) => errors += 1,
            }
            run.log_event(&event)?;
        }
        Ok(())
    };
    let imported = parse::pieces(opened, &file, |bytes| {
        run.write_output(Output::Stdout, bytes)?;
        log(parser.feed(Output::Stdout, bytes)?)
    })
    .and_then(|()| log(parser.finish()?))
    .and_then(|()| Ok(run.finish_output()?));
    let folder = run.folder().to_path_buf();
    match imported {
        Ok(()) => run.finish(Status::Completed, Some(0)),
        Err(error) => {
            run.finish(Status::Failed, None);
            return Err(error);
        }
    }
    drop(run);
    println!(
        "imported {} and {} from {} into {}",
        counted(rows, "row"),
        counted(errors, "error"),
        plain_path(&file),
        plain_path(&folder)
    );
    Ok(ExitCode::SUCCESS)
}

fn name_of(file: &Path) -> String {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    stem.filter(|stem| stem != "-").unwrap_or_else(|| "imported".into())
}
