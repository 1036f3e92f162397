//! Signals: each one reaches the command once, however it was sent.
//!
//! A signal to the process group, from the terminal, from systemd or from a job step's end, reaches the command by
//! itself. A signal to this process alone must be passed on. Nothing in a signal tells which it is. So a second
//! process, the witness, is started beside the command: it gets what is sent to all of them, and reports it. A signal
//! that the witness does not report was sent to this process alone.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use model_foundry::not_ignored;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// How long the witness's report is waited for, and how close two reports must be to be of one signal.
const WITNESSED_WITHIN: Duration = Duration::from_millis(150);

/// The argument by which the program becomes the witness.
pub(crate) const WITNESS: &str = "__witness";

/// The signals that are passed on to the command.
const PASSED_ON: [i32; 6] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2];

/// Whom a signal is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Receiver {
    /// This process: there is no command yet, or no longer.
    #[default]
    This,
    /// The command. In a session of its own it gets nothing by itself: what was sent to our group is for its group.
    Command { pid: Pid, own_session: bool },
}

#[derive(Default)]
struct State {
    receiver: Receiver,
    /// When the witness last reported each signal.
    witnessed: HashMap<i32, Instant>,
    /// When each signal was last passed on.
    passed_on: HashMap<i32, Instant>,
    /// The latest signal that the command was sent, by us or by itself.
    latest: Option<i32>,
    /// The witness ends when this is closed.
    witness: Option<ChildStdin>,
}

/// Handles the signals that this process gets.
pub(crate) struct Handled(Arc<Mutex<State>>);

impl Handled {
    /// Handle signals from now on: until there is a command, they end this process.
    pub(crate) fn start() -> Result<Self> {
        let signals = Signals::new(not_ignored(&PASSED_ON)).context("cannot handle signals")?;
        // With a handler a write beyond `ulimit -f` fails, and is counted; without one it would end this process.
        signal_hook::flag::register(SIGXFSZ, Arc::default()).context("cannot handle SIGXFSZ")?;
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        thread::Builder::new()
            .name("signals".into())
            .spawn(move || handle(signals, &shared))
            .context("cannot start a thread")?;
        Ok(Self(state))
    }

    /// Pass signals on to the command from now on; `own_session` if it has a session of its own.
    pub(crate) fn pass_on_to(&self, pid: Pid, own_session: bool) {
        // Without a witness every signal is passed on, and one to the group arrives twice.
        let witness = start_witness(&self.0).ok();
        let mut state = lock(&self.0);
        state.receiver = Receiver::Command { pid, own_session };
        state.witness = witness;
    }

    /// The command has ended: signals end this process. Returns the latest that the command was sent.
    pub(crate) fn command_has_ended(&self) -> Option<i32> {
        let mut state = lock(&self.0);
        state.receiver = Receiver::This;
        state.witness = None;
        state.latest
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn handle(mut signals: Signals, state: &Arc<Mutex<State>>) {
    for signal in signals.forever() {
        let receiver = lock(state).receiver;
        match receiver {
            Receiver::This => {
                let _ = emulate_default_handler(signal);
            }
            Receiver::Command { .. } => {
                lock(state).latest = Some(signal);
                let state = state.clone();
                // While it waits for the witness, other signals are handled.
                let _ = thread::Builder::new().spawn(move || pass_on(signal, receiver, &state));
            }
        }
    }
}

/// Pass a signal on to the command, unless the command got it by itself.
fn pass_on(signal: i32, receiver: Receiver, state: &Mutex<State>) {
    let Receiver::Command { pid, own_session } = receiver else { return };
    let arrived = Instant::now();
    let near =
        |when: Option<&Instant>| when.is_some_and(|when| *when + WITNESSED_WITHIN >= arrived);
    let mut to_group = false;
    while arrived.elapsed() < WITNESSED_WITHIN && lock(state).witness.is_some() && !to_group {
        to_group = near(lock(state).witnessed.get(&signal));
        if to_group && !own_session {
            return;
        }
        thread::sleep(Duration::from_millis(2));
    }
    let mut state = lock(state);
    // `timeout` sends a signal to the process and then to the group.
    to_group |= near(state.witnessed.get(&signal));
    if to_group && !own_session || near(state.passed_on.get(&signal)) {
        return;
    }
    state.passed_on.insert(signal, Instant::now());
    if state.receiver == receiver
        && let Some(signal) = Signal::from_named_raw(signal)
    {
        let send = if to_group { kill_process_group } else { kill_process };
        let _ = send(pid, signal);
    }
}

/// Start the witness, and note what it reports.
fn start_witness(state: &Arc<Mutex<State>>) -> Result<ChildStdin> {
    let program = std::env::current_exe()?;
    let mut witness = Command::new(program)
        .arg(WITNESS)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let stdin = witness.stdin.take().context("its standard input")?;
    let mut stdout = witness.stdout.take().context("its standard output")?;
    // It reports 0 when it is ready: a signal that came before would end it.
    let mut ready = [1];
    stdout.read_exact(&mut ready)?;
    let shared = state.clone();
    thread::Builder::new().name("witness".into()).spawn(move || {
        let mut signal = [0];
        while stdout.read_exact(&mut signal).is_ok() {
            let mut state = lock(&shared);
            state.witnessed.insert(i32::from(signal[0]), Instant::now());
            state.latest = Some(i32::from(signal[0]));
        }
        // Without it nothing is reported any more.
        lock(&shared).witness = None;
        let _ = witness.wait();
    })?;
    Ok(stdin)
}

/// Be the witness: report each signal on standard output, until standard input is closed.
pub(crate) fn witness() -> Result<()> {
    let mut signals = Signals::new(not_ignored(&PASSED_ON))?;
    let handle = signals.handle();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        handle.close();
    });
    let report = |signal: u8| io::stdout().write_all(&[signal]).and_then(|()| io::stdout().flush());
    report(0)?;
    for signal in signals.forever() {
        report(signal as u8)?;
    }
    Ok(())
}
