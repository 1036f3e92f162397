//! What `model-foundry run` does while its command runs: pass its output through, log what it prints, sample
//! memory, and keep the live line.

mod child;
mod live;
mod pty;
mod signals;

use std::io::{self, Write as _};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use model_foundry::{Console, Event, Output, OutputParser, Run};

pub(crate) use self::child::{Child, NotStarted, find as find_program, run_unlogged};
use self::child::{Chunk, Ended};
pub(crate) use self::live::LiveLine;
pub(crate) use self::pty::{IN_SESSION, in_session};
pub(crate) use self::signals::{Handled, WITNESS, witness};
use crate::terminal::{plain, print_error};

/// How often memory is sampled. The first sample comes early, so that a short run has one too.
const FIRST_SAMPLE: Duration = Duration::from_millis(500);
const SAMPLE: Duration = Duration::from_secs(10);

/// How often run.json is read for a library that logs by itself.
const LOOK: Duration = Duration::from_millis(200);

/// What could not be logged, to be printed when the terminal is free.
#[derive(Clone, Default)]
pub(crate) struct Failures(Arc<Mutex<Vec<String>>>);

impl Failures {
    /// Where the run reports failures.
    pub(crate) fn console(&self) -> Console {
        let failures = self.clone();
        Console::Failures(Arc::new(move |failure| failures.all().push(failure.to_owned())))
    }

    /// Print what was reported since the last call.
    pub(crate) fn print(&self) {
        for failure in self.all().drain(..) {
            print_error(format_args!("{}", plain(&failure)));
        }
    }

    fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    fn all(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Supervises a command while it runs.
pub(crate) struct Supervisor<'a> {
    run: &'a Run,
    failures: &'a Failures,
    parser: OutputParser,
    live: LiveLine,
    /// Whether a library inside the command is known to log by itself.
    library_inside: bool,
    next_look: Instant,
    next_sample: Instant,
}

impl<'a> Supervisor<'a> {
    pub(crate) fn new(
        run: &'a Run,
        parser: OutputParser,
        live: LiveLine,
        failures: &'a Failures,
    ) -> Self {
        Self {
            run,
            failures,
            parser,
            live,
            library_inside: false,
            next_look: Instant::now(),
            next_sample: Instant::now() + FIRST_SAMPLE,
        }
    }

    pub(crate) fn until_the_end(mut self, child: &mut Child) -> Result<Ended> {
        loop {
            let wait = self.next_sample.saturating_duration_since(Instant::now());
            match child.next_chunk(wait.min(live::REDRAW)) {
                Ok(Chunk { output, bytes }) => {
                    self.pass_through(output, &bytes)?;
                    self.live.redraw();
                }
                Err(RecvTimeoutError::Timeout) => self.live.redraw(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if child.is_stopped() {
                self.live.clear();
                child.stop();
            }
            if Instant::now() >= self.next_sample {
                self.sample();
            }
            if !self.failures.is_empty() {
                self.live.around(b"\n", || self.failures.print());
            }
        }
        let ended = child.wait()?;
        child.leave_terminal();
        self.run.finish_output()?;
        let events = self.parser.finish();
        self.log(events)?;
        self.live.clear();
        Ok(ended)
    }

    fn pass_through(&mut self, output: Output, bytes: &[u8]) -> Result<()> {
        let written = self.live.around(bytes, || match output {
            Output::Stdout => io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()),
            Output::Stderr => io::stderr().write_all(bytes),
        });
        // The reader of our output may have closed it. Training and logging continue.
        drop(written);
        self.run.write_output(output, bytes)?;
        let events = self.parser.feed(output, bytes);
        self.log(events)
    }

    fn log(&mut self, events: model_foundry::Result<Vec<Event>>) -> Result<()> {
        // A trap loses what the parser knew of the line, and is counted in run.json.
        for event in events.unwrap_or_default() {
            if let Event::Metrics(line) = &event {
                if !self.library_inside && Instant::now() >= self.next_look {
                    self.next_look = Instant::now() + LOOK;
                    self.library_inside = self.run.has_library_inside();
                }
                self.live.note(line);
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
        // A sample that cannot be written is counted, and does not stop training.
        if let Ok(Some(sample)) = self.run.performance().log_memory_usage(self.live.step()) {
            self.live.note_memory(&sample);
        }
    }
}
