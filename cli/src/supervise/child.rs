//! The command that is run: its output heard, signals passed on to it, its end.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use model_foundry::{Output, RUN_DIR_VARIABLE, Status, not_ignored};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::Cause;

/// How many pieces of output may wait: a command that prints faster than it can be logged waits too.
const WAITING: usize = 256;

/// How long its last output is waited for after the command's end.
const AFTER_THE_END: Duration = Duration::from_secs(1);

/// A piece of output.
pub(crate) struct Heard {
    pub(crate) output: Output,
    pub(crate) bytes: Vec<u8>,
}

/// How the command ended.
pub(crate) struct Ended {
    /// Its exit code; 128 and the signal's number where a signal ended it, as shells have it.
    pub(crate) code: i32,
    signal: Option<i32>,
}

impl Ended {
    pub(crate) fn status(&self) -> Status {
        match self.signal.unwrap_or(self.code - 128) {
            SIGINT | SIGTERM | SIGHUP => Status::Interrupted,
            _ if self.code == 0 => Status::Completed,
            _ => Status::Failed,
        }
    }
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        let signal = status.signal();
        Self { code: status.code().unwrap_or(128 + signal.unwrap_or(1)), signal }
    }
}

/// The command.
pub(crate) struct Child {
    child: std::process::Child,
    heard: Receiver<Heard>,
    /// It has ended: signals are for us then.
    ended: Arc<AtomicBool>,
    ended_at: Option<Instant>,
}

/// The signals that are passed on to the command.
pub(crate) struct Signals(SignalsInfo<WithOrigin>);

impl Signals {
    /// Take them over, before anybody else does and before the command exists: no signal falls between.
    pub(crate) fn take() -> Result<Self> {
        let wanted = not_ignored(&[SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2]);
        let signals = SignalsInfo::new(wanted).context("signals cannot be passed on")?;
        // With a handler a write past `ulimit -f` fails, and is counted; without one it would kill us.
        signal_hook::flag::register(SIGXFSZ, Arc::default())
            .context("SIGXFSZ cannot be handled")?;
        Ok(Self(signals))
    }
}

/// Whether a program can be started: named by a path, or found where PATH says.
pub(crate) fn find(program: &OsStr) -> Result<()> {
    let runs = |path: &Path| {
        std::fs::metadata(path).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
    };
    let name = program.display();
    if program.as_encoded_bytes().contains(&b'/') {
        if !Path::new(program).exists() {
            bail!("{name}: there is no such program");
        }
        if !runs(Path::new(program)) {
            bail!("{name}: this is no program that may be run; is it executable?");
        }
        return Ok(());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|folder| runs(&folder.join(program))) {
        bail!("{name}: there is no such program in the folders of PATH");
    }
    Ok(())
}

impl Child {
    /// Start it. Its environment names the run folder, and makes Python flush its output after every line.
    pub(crate) fn start(command: &[OsString], folder: &Path, signals: Signals) -> Result<Self> {
        let mut child = Command::new(&command[0]);
        child
            .args(&command[1..])
            .env(RUN_DIR_VARIABLE, folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if std::env::var_os("PYTHONUNBUFFERED").is_none() {
            child.env("PYTHONUNBUFFERED", "1");
        }
        let mut child = child
            .spawn()
            .with_context(|| format!("{}: it cannot be started", command[0].display()))?;
        let (sender, heard) = sync_channel(WAITING);
        if let Some(stdout) = child.stdout.take() {
            listen(stdout, Output::Stdout, sender.clone())?;
        }
        if let Some(stderr) = child.stderr.take() {
            listen(stderr, Output::Stderr, sender)?;
        }
        let ended = Arc::new(AtomicBool::new(false));
        pass_on(signals.0, child.id(), ended.clone())?;
        Ok(Self { child, heard, ended, ended_at: None })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next piece of output, if it comes in time. It is over when no process has the pipes open, or soon
    /// after the command's own end: a process that it left behind may hold them for ever.
    pub(crate) fn heard(&mut self, wait: Duration) -> Result<Heard, RecvTimeoutError> {
        let wait = match self.ended_at {
            None => wait,
            Some(ended) => AFTER_THE_END.saturating_sub(ended.elapsed()),
        };
        let heard = self.heard.recv_timeout(wait);
        if self.ended_at.is_none() && matches!(self.child.try_wait(), Ok(Some(_))) {
            self.ended.store(true, Ordering::Relaxed);
            self.ended_at = Some(Instant::now());
        }
        match (heard, self.ended_at) {
            (Err(RecvTimeoutError::Timeout), Some(ended)) if ended.elapsed() >= AFTER_THE_END => {
                Err(RecvTimeoutError::Disconnected)
            }
            (heard, _) => heard,
        }
    }

    pub(crate) fn wait(&mut self) -> Result<Ended> {
        Ok(self.child.wait().context("the command's end cannot be seen")?.into())
    }
}

fn listen(
    mut pipe: impl Read + Send + 'static,
    output: Output,
    sender: SyncSender<Heard>,
) -> Result<()> {
    let listen = move || {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => {
                    let bytes = buffer[..read].to_vec();
                    if sender.send(Heard { output, bytes }).is_err() {
                        break;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    };
    thread::Builder::new()
        .name("output".into())
        .spawn(listen)
        .context("no thread can be started")?;
    Ok(())
}

/// Pass on the signals that somebody sent to us. Those of the terminal's keys reach the command by
/// themselves: it is in the same process group. When it has ended they end us.
fn pass_on(mut signals: SignalsInfo<WithOrigin>, child: u32, ended: Arc<AtomicBool>) -> Result<()> {
    let Some(child) = i32::try_from(child).ok().and_then(Pid::from_raw) else { return Ok(()) };
    let pass_on = move || {
        for origin in &mut signals {
            if ended.load(Ordering::Relaxed) {
                let _ = signal_hook::low_level::emulate_default_handler(origin.signal);
            }
            if matches!(origin.cause, Cause::Kernel) {
                continue;
            }
            if let Some(signal) = Signal::from_named_raw(origin.signal) {
                // It may have ended meanwhile.
                let _ = kill_process(child, signal);
            }
        }
    };
    thread::Builder::new()
        .name("signals".into())
        .spawn(pass_on)
        .context("no thread can be started")?;
    Ok(())
}
