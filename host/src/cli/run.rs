//! `model-foundry run`: run a command and log its training.

mod child;
mod live;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::Result;
use model_foundry::{
    ConfigReader, Console, Event, Output, OutputParser, Query, Run, RunReader, Runtime, Status,
};

use self::child::{Child, Ended, Heard, Signals};
use self::live::LiveLine;
use super::page::Page;
use super::terminal::{NOTE, PLAIN};

/// How often memory is sampled: the first time soon, so that a short run has a sample too.
const FIRST_SAMPLE: Duration = Duration::from_millis(500);
const SAMPLE: Duration = Duration::from_secs(10);

/// How often run.json is looked at for a library that logs by itself.
const LOOK: Duration = Duration::from_millis(200);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The folder that holds a folder for each experiment
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
        .watches_command(true);
    if let Some(file) = &arguments.config {
        let config = ConfigReader::new(&Runtime::shared()?)?.read_file(file)?;
        builder = builder.experiment_config(config);
    }
    if let Some(library) = std::env::var_os("MODEL_FOUNDRY_NVML") {
        builder = builder.nvml(library);
    }
    // Before the folder is touched: a command that cannot be started leaves nothing behind.
    child::find(&arguments.command[0])?;
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
    run.watch(child.pid());
    let ended = Watch::new(&run, last_step, !arguments.quiet)?.until_the_end(&mut child)?;

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

/// The page that `show` prints, on standard error: standard output is the command's.
fn print_page(folder: &Path) -> Result<()> {
    let mut reader = RunReader::open(folder)?;
    let page = Page::read(&mut reader, false)?;
    let mut err = anstream::stderr().lock();
    writeln!(err)?;
    page.write(&mut err, reader.folder())?;
    Ok(())
}

/// The step that an earlier attempt reached, for output that names none.
fn last_step(folder: &Path) -> Option<u64> {
    let mut reader = RunReader::open(folder).ok()?;
    let mut last = None;
    let query = Query { first_step: None, last_step: None, summaries: false, all_attempts: false };
    reader
        .history(query, &mut |block| {
            // The steps of a block rise: its last line has the highest.
            let line = block.lines().next_back().unwrap_or_default();
            let entry: Option<serde_json::Value> = serde_json::from_str(line).ok();
            last = entry.and_then(|entry| entry.get("step")?.as_u64()).max(last);
            true
        })
        .ok()?;
    last
}

/// The name that a command's experiment has by default: its script's or module's, or the program's.
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

/// What is done with a command's output while it runs.
struct Watch<'a> {
    run: &'a Run,
    parser: OutputParser,
    live: LiveLine,
    /// Whether a library inside the command logs by itself, as far as known.
    library_inside: bool,
    next_look: Instant,
    next_sample: Instant,
}

impl<'a> Watch<'a> {
    fn new(run: &'a Run, last_step: Option<u64>, live: bool) -> Result<Self> {
        Ok(Self {
            run,
            parser: OutputParser::new(last_step)?,
            live: LiveLine::new(live),
            library_inside: false,
            next_look: Instant::now(),
            next_sample: Instant::now() + FIRST_SAMPLE,
        })
    }

    fn until_the_end(mut self, child: &mut Child) -> Result<Ended> {
        loop {
            let wait = self.next_sample.saturating_duration_since(Instant::now());
            match child.heard(wait.min(live::REDRAW)) {
                Ok(Heard { output, bytes }) => {
                    self.take(output, &bytes)?;
                    self.live.redraw();
                }
                Err(RecvTimeoutError::Timeout) => self.live.redraw(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if Instant::now() >= self.next_sample {
                self.sample();
            }
        }
        let ended = child.wait()?;
        self.run.finish_output()?;
        let events = self.parser.finish();
        self.log(events)?;
        self.live.clear();
        Ok(ended)
    }

    fn take(&mut self, output: Output, bytes: &[u8]) -> Result<()> {
        let written = self.live.around(bytes, || match output {
            Output::Stdout => io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()),
            Output::Stderr => io::stderr().write_all(bytes),
        });
        // Whoever read our output may have had enough; the training goes on, and so does the log.
        drop(written);
        self.run.keep_output(output, bytes)?;
        let events = self.parser.feed(output, bytes);
        self.log(events)
    }

    fn log(&mut self, events: model_foundry::Result<Vec<Event>>) -> Result<()> {
        // A trap costs what the parser knew of the line; it is counted in run.json like any other.
        for event in events.unwrap_or_default() {
            if let Event::Metrics { step, metrics, .. } = &event {
                if !self.library_inside && Instant::now() >= self.next_look {
                    self.next_look = Instant::now() + LOOK;
                    self.library_inside = self.run.has_library_inside();
                }
                self.live.note(*step, metrics);
                if self.library_inside {
                    continue;
                }
            }
            self.run.log_event(&event)?;
        }
        Ok(())
    }

    fn sample(&mut self) {
        self.next_sample = Instant::now() + SAMPLE;
        // A sample that cannot be kept is counted, and no reason to end a training.
        if let Ok(Some(sample)) = self.run.performance().log_memory_usage(self.live.step()) {
            self.live.note_memory(&sample);
        }
    }
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
