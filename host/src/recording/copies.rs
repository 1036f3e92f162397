//! Writes what a copy of the metrics holds back, also while nothing is logged.
//!
//! A copy holds back the latest step, to which later calls may add metrics, and its latest values. They are written
//! with the next row. If a step takes an hour, or a trainer waits, there is none for a long time.

use std::io;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

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
