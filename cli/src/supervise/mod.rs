//! What `model-foundry run` does while its command runs: pass its output through, log what it prints, sample
//! memory, and keep the live line.

mod child;
mod live;

use std::io::{self, Write as _};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::Result;
use model_foundry::{Event, Output, OutputParser, Run};

pub(crate) use self::child::{Child, Signals, find as find_program};
use self::child::{Ended, Heard};
use self::live::LiveLine;

/// How often memory is sampled. The first sample comes early, so that a short run has one too.
const FIRST_SAMPLE: Duration = Duration::from_millis(500);
const SAMPLE: Duration = Duration::from_secs(10);

/// How often run.json is read for a library that logs by itself.
const LOOK: Duration = Duration::from_millis(200);

/// Supervises a command while it runs.
pub(crate) struct Supervisor<'a> {
    run: &'a Run,
    parser: OutputParser,
    live: LiveLine,
    /// Whether a library inside the command is known to log by itself.
    library_inside: bool,
    next_look: Instant,
    next_sample: Instant,
}

impl<'a> Supervisor<'a> {
    pub(crate) fn new(run: &'a Run, last_step: Option<u64>, live: bool) -> Result<Self> {
        Ok(Self {
            run,
            parser: OutputParser::new(last_step)?,
            live: LiveLine::new(live),
            library_inside: false,
            next_look: Instant::now(),
            next_sample: Instant::now() + FIRST_SAMPLE,
        })
    }

    pub(crate) fn until_the_end(mut self, child: &mut Child) -> Result<Ended> {
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
                self.live.note(line.step, &line.metrics);
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
