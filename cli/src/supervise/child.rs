//! The supervised command: its start, its output, its end.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use model_foundry::{Output, RUN_DIR_VARIABLE, SUPERVISED_VARIABLE};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::pty::Pty;
use super::signals::Handled;

/// How many chunks of output may wait: a command that prints faster than its output can be logged waits too.
const WAITING: usize = 256;

/// For how long output is read after the command's end: a process that it left behind may keep the pipes open, and may
/// print without end.
const AFTER_THE_END: Duration = Duration::from_secs(1);

/// A chunk of output.
pub(crate) struct Chunk {
    pub(crate) output: Output,
    pub(crate) bytes: Vec<u8>,
}

/// How the command ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    /// Its exit code; 128 and the signal's number if a signal ended it, as shells report it.
    pub(crate) code: i32,
    /// The signal that ended it, or to which its end was the answer.
    pub(crate) signal: Option<i32>,
}

impl Ended {
    /// How it ended, if `latest` is the signal that it was sent last.
    fn of(status: ExitStatus, latest: Option<i32>) -> Self {
        let signal = status.signal();
        let code = status.code().unwrap_or(128 + signal.unwrap_or(1));
        // A shell reports the signal that ended its own command.
        let reported = Some(code - 128).filter(|signal| (1..=31).contains(signal));
        Self { code, signal: signal.or(reported).or(latest) }
    }
}

/// The command.
pub(crate) struct Child {
    child: std::process::Child,
    chunks: Receiver<Chunk>,
    signals: Handled,
    /// The pseudo-terminal that it runs in.
    pty: Option<Pty>,
    status: Option<(ExitStatus, Instant, Option<i32>)>,
}

/// Why the command was not started.
#[derive(Debug)]
pub(crate) struct NotStarted {
    problem: String,
    /// The exit code that a shell has for this: 127 if there is no such program, 126 if it cannot be executed.
    pub(crate) code: u8,
}

impl std::fmt::Display for NotStarted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for NotStarted {}

impl NotStarted {
    /// The system did not execute a program.
    pub(crate) fn of(program: &OsStr, error: &std::io::Error) -> Self {
        let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
        Self { problem: format!("cannot start {}: {error}", program.display()), code }
    }
}

/// Whether a program can be started: named by a path, or found in the folders of PATH.
pub(crate) fn find(program: &OsStr) -> Result<(), NotStarted> {
    let is_program = |path: &Path| {
        std::fs::metadata(path).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
    };
    let name = program.display();
    if program.as_encoded_bytes().contains(&b'/') {
        if !Path::new(program).exists() {
            return Err(NotStarted {
                problem: format!("{name}: there is no such program"),
                code: 127,
            });
        }
        if !is_program(Path::new(program)) {
            let problem = format!("{name}: not a program that can be run; is it executable?");
            return Err(NotStarted { problem, code: 126 });
        }
        return Ok(());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|folder| is_program(&folder.join(program))) {
        let problem = format!("{name}: there is no such program in the folders of PATH");
        return Err(NotStarted { problem, code: 127 });
    }
    Ok(())
}

/// The command, to be started.
fn command(words: &[OsString]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

/// Run a command without logging it, and return its exit code.
pub(crate) fn run_unlogged(words: &[OsString], signals: &Handled) -> Result<i32> {
    let mut child = command(words).spawn().map_err(|error| NotStarted::of(&words[0], &error))?;
    signals.pass_on_to(Pid::from_child(&child), false);
    let status = child.wait().context("cannot wait for the command")?;
    Ok(Ended::of(status, signals.command_has_ended()).code)
}

impl Child {
    /// Start it. Its environment names the run folder, and makes Python flush its output after every line.
    /// With `terminal` it gets a pseudo-terminal if this process has a terminal.
    pub(crate) fn start(
        words: &[OsString],
        folder: &Path,
        signals: Handled,
        terminal: bool,
    ) -> Result<Self> {
        let mut pty = if terminal { Pty::open() } else { None };
        let mut command = match pty.as_ref().map(|pty| pty.command(words)) {
            Some(Ok(command)) => command,
            // Without a pseudo-terminal the command runs as if its output were no terminal.
            Some(Err(_)) | None => {
                pty = None;
                let mut command = command(words);
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
                command
            }
        };
        command.env(RUN_DIR_VARIABLE, folder).env(SUPERVISED_VARIABLE, "1");
        if std::env::var_os("PYTHONUNBUFFERED").is_none() {
            command.env("PYTHONUNBUFFERED", "1");
        }
        let mut child = command.spawn().map_err(|error| NotStarted::of(&words[0], &error))?;
        // This process' own ends of the pseudo-terminal, which keep it open.
        drop(command);
        signals.pass_on_to(Pid::from_child(&child), pty.is_some());
        let (sender, chunks) = sync_channel(WAITING);
        if let Some(pty) = &mut pty {
            read(pty.output()?, Output::Stdout, sender.clone())?;
            pty.begin()?;
        }
        if let Some(stdout) = child.stdout.take() {
            read(stdout, Output::Stdout, sender.clone())?;
        }
        if let Some(stderr) = child.stderr.take() {
            read(stderr, Output::Stderr, sender)?;
        }
        Ok(Self { child, chunks, signals, pty, status: None })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the command was stopped in its terminal.
    pub(crate) fn is_stopped(&mut self) -> bool {
        let Some(pty) = &mut self.pty else { return false };
        pty.follow();
        let command = WaitId::Pid(Pid::from_child(&self.child));
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        matches!(waitid(command, options), Ok(Some(status)) if status.stopped())
    }

    /// Stop with the command, until this process is continued.
    pub(crate) fn stop(&mut self) {
        if let Some(pty) = &mut self.pty {
            pty.stop_with(Pid::from_child(&self.child));
        }
    }

    /// The command's terminal is no longer needed.
    pub(crate) fn leave_terminal(&mut self) {
        self.pty = None;
    }

    /// The next chunk of output, if it comes in time. The output has ended when no process has the pipes open, or soon
    /// after the command's end.
    pub(crate) fn next_chunk(&mut self, wait: Duration) -> Result<Chunk, RecvTimeoutError> {
        if self.status.is_none()
            && let Ok(Some(status)) = self.child.try_wait()
        {
            self.status = Some((status, Instant::now(), self.signals.command_has_ended()));
        }
        let wait = match &self.status {
            None => wait,
            Some((_, ended, _)) => match AFTER_THE_END.checked_sub(ended.elapsed()) {
                Some(left) => left.min(wait),
                None => return Err(RecvTimeoutError::Disconnected),
            },
        };
        self.chunks.recv_timeout(wait)
    }

    /// Wait for its end.
    pub(crate) fn wait(&mut self) -> Result<Ended> {
        let (status, latest) = match self.status {
            Some((status, _, latest)) => (status, latest),
            None => {
                let status = self.child.wait().context("cannot wait for the command")?;
                (status, self.signals.command_has_ended())
            }
        };
        Ok(Ended::of(status, latest))
    }
}

/// Read a pipe to its end, in a thread.
fn read(
    mut pipe: impl Read + Send + 'static,
    output: Output,
    sender: SyncSender<Chunk>,
) -> Result<()> {
    let read = move || {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    let bytes = buffer[..length].to_vec();
                    if sender.send(Chunk { output, bytes }).is_err() {
                        break;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    };
    thread::Builder::new().name("output".into()).spawn(read).context("cannot start a thread")?;
    Ok(())
}
