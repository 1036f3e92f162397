//! A terminal for the command: if our standard output is a terminal, the command gets a pseudo-terminal of the same
//! size, so that its colors, its live bars, its debugger and its questions work as without us.
//!
//! What is typed goes to the pseudo-terminal byte for byte, and its line discipline makes the signals of Ctrl-C and
//! Ctrl-Z. It does not turn a newline into two characters; our own terminal does, so that console.log has what the
//! command wrote.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, getpgrp, getpid, kill_process, kill_process_group};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios, tcgetattr,
    tcgetpgrp, tcgetwinsize, tcsetattr, tcsetwinsize,
};
use signal_hook::consts::signal::SIGWINCH;

use super::child::NotStarted;

/// The argument by which the program starts a command in a session of its own.
pub(crate) const IN_SESSION: &str = "__in_session";

/// How often it is looked whether something was typed while another process has the terminal.
const LOOK: Duration = Duration::from_millis(200);

/// A pseudo-terminal, and our own.
pub(crate) struct Pty {
    controller: OwnedFd,
    /// Whether what is typed is passed on: standard input is our terminal.
    typed: bool,
    /// Our terminal's modes, while it is in raw mode.
    modes: Option<Termios>,
    resized: Arc<AtomicBool>,
}

impl Pty {
    /// A pseudo-terminal for a command, if our standard output is a terminal that is ours.
    pub(crate) fn open() -> Option<Self> {
        let stdout = io::stdout();
        if !stdout.is_terminal() || !is_foreground(&stdout) {
            return None;
        }
        let resized = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGWINCH, resized.clone()).ok()?;
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).ok()?;
        rustix::io::fcntl_setfd(&controller, rustix::io::FdFlags::CLOEXEC).ok()?;
        grantpt(&controller).ok()?;
        unlockpt(&controller).ok()?;
        let mut modes = tcgetattr(&stdout).ok()?;
        modes.output_modes.remove(OutputModes::ONLCR);
        tcsetattr(&controller, OptionalActions::Now, &modes).ok()?;
        let pty = Self { controller, typed: io::stdin().is_terminal(), modes: None, resized };
        pty.take_size();
        Some(pty)
    }

    /// Let a command run in it: in a session of its own, with the pseudo-terminal as its terminal.
    pub(crate) fn command(&self, words: &[std::ffi::OsString]) -> Result<Command> {
        let name = ptsname(&self.controller, Vec::new())?;
        let name = std::ffi::OsString::from_vec(name.into_bytes());
        let no_control = i32::try_from(rustix::fs::OFlags::NOCTTY.bits())?;
        let end = || -> Result<File> {
            let mut options = OpenOptions::new();
            options.read(true).write(true).custom_flags(no_control);
            options.open(&name).context("cannot open the pseudo-terminal")
        };
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(IN_SESSION).args(words).stdout(Stdio::from(end()?));
        if self.typed {
            command.stdin(Stdio::from(end()?));
        }
        // A standard error that goes elsewhere still goes there.
        if io::stderr().is_terminal() {
            command.stderr(Stdio::from(end()?));
        } else {
            command.stderr(Stdio::piped());
        }
        Ok(command)
    }

    /// The command's output.
    pub(crate) fn output(&self) -> Result<File> {
        Ok(File::from(self.controller.try_clone()?))
    }

    /// Pass on what is typed, from now on.
    pub(crate) fn begin(&mut self) -> Result<()> {
        self.take_terminal();
        if !self.typed {
            return Ok(());
        }
        let mut controller = self.output()?;
        let pass_on = move || {
            let mut buffer = [0; 4096];
            loop {
                let stdin = io::stdin();
                // Reading what is not ours to read would stop this process.
                if !is_foreground(&stdin) {
                    thread::sleep(LOOK);
                    continue;
                }
                let wait = Timespec { tv_sec: 0, tv_nsec: LOOK.subsec_nanos().into() };
                let mut polled = [PollFd::new(&stdin, PollFlags::IN)];
                match poll(&mut polled, Some(&wait)) {
                    Ok(0) => continue,
                    Ok(_) => {}
                    Err(rustix::io::Errno::INTR) => continue,
                    Err(_) => break,
                }
                let gone = polled[0].revents().contains(PollFlags::HUP);
                match stdin.lock().read(&mut buffer) {
                    Ok(0) if gone => break,
                    // Ctrl-D, typed before the terminal was in raw mode.
                    Ok(0) if end_input(&mut controller).is_ok() => thread::sleep(LOOK),
                    Ok(length) if type_in(&mut controller, &buffer[..length]).is_ok() => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    _ => break,
                }
            }
        };
        thread::Builder::new()
            .name("input".into())
            .spawn(pass_on)
            .context("cannot start a thread")?;
        Ok(())
    }

    /// Follow changes of our terminal: its size, and whether it is ours.
    pub(crate) fn follow(&mut self) {
        if self.resized.swap(false, Ordering::Relaxed) {
            self.take_size();
        }
        if self.modes.is_none() {
            self.take_terminal();
        }
    }

    /// The command was stopped, by Ctrl-Z: stop too, and continue it when this process continues.
    pub(crate) fn stop_with(&mut self, command: Pid) {
        self.give_terminal_back();
        let _ = kill_process(getpid(), Signal::STOP);
        self.take_terminal();
        self.take_size();
        let _ = kill_process_group(command, Signal::CONT);
    }

    fn take_size(&self) {
        if let Ok(size) = tcgetwinsize(io::stdout()) {
            let _ = tcsetwinsize(&self.controller, size);
        }
    }

    /// Put our terminal into raw mode, but for its output.
    fn take_terminal(&mut self) {
        let stdin = io::stdin();
        if !self.typed || !is_foreground(&stdin) {
            return;
        }
        let Ok(modes) = tcgetattr(&stdin) else { return };
        let mut raw = modes.clone();
        raw.local_modes.remove(
            LocalModes::ICANON
                | LocalModes::ECHO
                | LocalModes::ECHONL
                | LocalModes::ISIG
                | LocalModes::IEXTEN,
        );
        raw.input_modes.remove(
            InputModes::IXON
                | InputModes::ICRNL
                | InputModes::INLCR
                | InputModes::IGNCR
                | InputModes::BRKINT
                | InputModes::ISTRIP,
        );
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        if tcsetattr(&stdin, OptionalActions::Now, &raw).is_ok() {
            self.modes = Some(modes);
        }
    }

    fn give_terminal_back(&mut self) {
        let stdin = io::stdin();
        if let Some(modes) = self.modes.take()
            && is_foreground(&stdin)
        {
            let _ = tcsetattr(&stdin, OptionalActions::Now, &modes);
        }
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        self.give_terminal_back();
    }
}

/// Whether a terminal is ours to read and to set: this process is in its foreground.
fn is_foreground(terminal: impl AsFd) -> bool {
    tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp())
}

/// Write what was typed. Ctrl-Z is not left to the pseudo-terminal: its stop signal is ignored in a process group without
/// a parent in its session, which the command's is.
fn type_in(controller: &mut File, mut typed: &[u8]) -> io::Result<()> {
    let modes = tcgetattr(&*controller).ok();
    let suspend = modes.filter(|modes| modes.local_modes.contains(LocalModes::ISIG));
    let suspend = suspend.map(|modes| modes.special_codes[SpecialCodeIndex::VSUSP]);
    while let Some(at) = typed.iter().position(|byte| Some(*byte) == suspend) {
        controller.write_all(&typed[..at])?;
        typed = &typed[at + 1..];
        if let Ok(group) = tcgetpgrp(&*controller) {
            let _ = kill_process_group(group, Signal::STOP);
        }
    }
    controller.write_all(typed)
}

/// End the command's input, as Ctrl-D does.
fn end_input(controller: &mut File) -> io::Result<()> {
    let modes = tcgetattr(&*controller)?;
    controller.write_all(&[modes.special_codes[SpecialCodeIndex::VEOF]])
}

/// Be the command: begin a session with standard output as its terminal, and become the program.
pub(crate) fn in_session(mut words: impl Iterator<Item = std::ffi::OsString>) -> Result<()> {
    let program = words.next().context("no program")?;
    rustix::process::setsid()?;
    rustix::process::ioctl_tiocsctty(io::stdout())?;
    let error = Command::new(&program).args(words).exec();
    Err(NotStarted::of(&program, &error).into())
}
