//! Writes what a copy of the metrics holds back, also while nothing is logged.
//!
//! A copy holds back the latest step, to which later calls may add metrics, and its latest values. They are written
//! with the next row. If a step takes an hour, or a trainer waits, there is none for a long time.

use std::io;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use cap_std::fs::Dir;

use crate::folder::manifest::{Attempt, tail};
use crate::process::mutex::Mutex;
use crate::recording::guest_loggers::GuestLoggers;

/// How old what is held back may be.
const AGE: Duration = Duration::from_secs(20);

/// Start a thread that writes it, for as long as the loggers exist.
pub(crate) fn keep_complete(guest: &Arc<Mutex<GuestLoggers>>) -> io::Result<()> {
    keep_complete_every(AGE, guest)
}

fn keep_complete_every(age: Duration, guest: &Arc<Mutex<GuestLoggers>>) -> io::Result<()> {
    let guest = Arc::downgrade(guest);
    let write = move || {
        let mut written = 0;
        loop {
            thread::sleep(age);
            let Some(guest) = Weak::upgrade(&guest) else { return };
            let mut guest = guest.lock();
            if appends(&mut guest) != written && guest.has_metrics() {
                // Copies are derived; one that cannot be written ends.
                let _ = guest.metrics(|logger, store, handle| logger.call_flush(store, handle));
                written = appends(&mut guest);
            }
        }
    };
    thread::Builder::new().name("model-foundry-copies".into()).spawn(write)?;
    Ok(())
}

/// How often anything was appended.
fn appends(guest: &mut GuestLoggers) -> u64 {
    guest.sandbox().services().map_or(0, |services| services.files().appends())
}

/// The lines of metrics.jsonl that the copy of an attempt lacks, if nothing ended that attempt: those of its latest
/// step, which its logger held back.
pub(crate) fn unsent(dir: &Dir, attempt: &Attempt, file: &str) -> String {
    /// No record is longer, and the step has at least one.
    const TAIL: u64 = 17 << 20;
    #[derive(serde::Deserialize)]
    struct Line {
        #[serde(default = "first")]
        attempt: u32,
        step: Option<u64>,
    }
    fn first() -> u32 {
        1
    }
    if attempt.end.is_some() || attempt.wandb_id.is_none() {
        return String::new();
    }
    let Some(tail) = tail(dir, file, TAIL) else { return String::new() };
    let tail = String::from_utf8_lossy(&tail);
    let lines =
        tail.lines().filter_map(|text| Some((text, serde_json::from_str::<Line>(text).ok()?)));
    let own: Vec<_> = lines.filter(|(_, line)| line.attempt == attempt.attempt).collect();
    let Some(latest) = own.iter().rev().find_map(|(_, line)| line.step) else {
        return String::new();
    };
    let begins = own.iter().position(|(_, line)| line.step == Some(latest)).unwrap_or_default();
    // Between two records of the step there may be others.
    let is_unsent = |line: &Line| line.step.is_none_or(|step| step == latest);
    let unsent = own[begins..].iter().filter(|(_, line)| is_unsent(line)).map(|(text, _)| *text);
    unsent.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{Console, LoggingConfig, Run, fields};

    #[test]
    fn what_is_held_back_is_written_while_nothing_is_logged() {
        let folder = tempfile::tempdir().unwrap();
        let builder = Run::builder("tiny").folder(folder.path()).console(Console::Silent);
        let run = builder.config(LoggingConfig::default()).open().unwrap();
        run.metrics().log_step(10, f64::NAN, &fields! { waits: 0.5 }).unwrap();
        let has_step = || {
            let attempts = std::fs::read_dir(folder.path().join("wandb")).unwrap();
            let (name, bytes) = attempts
                .flat_map(|attempt| std::fs::read_dir(attempt.unwrap().path()).unwrap())
                .map(|file| file.unwrap().path())
                .map(|path| (path.clone(), std::fs::read(path).unwrap()))
                .next()
                .expect("the copy");
            assert!(name.to_string_lossy().ends_with(".wandb"), "{name:?}");
            bytes.windows(5).any(|bytes| bytes == b"waits")
        };
        keep_complete_every(Duration::from_millis(5), &run.core().guest).unwrap();
        let began = Instant::now();
        while !has_step() {
            assert!(began.elapsed() < Duration::from_secs(60), "the step is still held back");
            thread::sleep(Duration::from_millis(5));
        }
    }
}
