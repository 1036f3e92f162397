//! What a signal does to a trainer that has a run open.

use std::os::unix::process::ExitStatusExt as _;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use model_foundry::{Status, fields};
use model_foundry_tests::{Experiment, NO_EPOCH};
use rustix::process::Signal;
use signal_hook::consts::signal::{SIGHUP, SIGTERM};
use signal_hook::iterator::Signals;

use crate::processes::{Child, run_of_child, send, wait_to_be_killed};

/// A child's job: handle SIGTERM, but only once the run is open. SIGHUP keeps its default action.
pub(crate) fn handle_sigterm_later() {
    let run = run_of_child().open().expect("the run opens");
    let mut signals = Signals::new([SIGTERM]).expect("a handler");
    send("ready");
    assert_eq!(signals.forever().next(), Some(SIGTERM));
    // A thread that ends the process would have ended it by now.
    sleep(Duration::from_millis(300));
    run.metrics().log_step(1, NO_EPOCH, &fields! { loss: 0.5 }).expect("the run is open");
    send("checkpoint written");
    wait_to_be_killed();
}

#[test]
fn a_handler_that_is_installed_after_opening_decides() -> Result<()> {
    let experiment = Experiment::new();
    let mut child = Child::start("handle SIGTERM later", experiment.folder(), &[]);
    child.expect("ready");
    child.signal(Signal::TERM);
    child.expect("checkpoint written");
    child.signal(Signal::HUP);
    let (_, status) = child.end();
    assert_eq!(status.signal(), Some(SIGHUP));

    let attempt = &experiment.manifest().attempts[0];
    assert_eq!((&attempt.status, attempt.signal_name()), (&Status::Interrupted, Some("SIGHUP")));
    assert_eq!(experiment.records("metrics.jsonl").len(), 1);
    Ok(())
}
