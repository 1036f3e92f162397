//! Child processes: this test binary, started again to do one job.

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Stdio};
use std::thread::sleep;

use model_foundry::{Console, OnError, Run, RunBuilder};
use model_foundry_tests::{PATIENCE, command};
use rustix::process::{Pid, Signal, kill_process};

/// Names the job of a child.
const JOB: &str = "MODEL_FOUNDRY_TEST_JOB";

/// The folder that a child works in.
const FOLDER: &str = "MODEL_FOUNDRY_TEST_FOLDER";

/// Marks the messages of a child in its output, which the test harness prints to as well.
const MARK: &str = "message: ";

/// A process of this test binary that does one job.
pub(crate) struct Child {
    process: std::process::Child,
    output: BufReader<ChildStdout>,
}

impl Child {
    /// Start a job of [`job`] in a folder, with these environment variables.
    pub(crate) fn start(job: &str, folder: &Path, variables: &[(&str, String)]) -> Self {
        let mut command = command(env::current_exe().expect("the path of this test"));
        let mut process = command
            .args(["processes::job", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env(JOB, job)
            .env(FOLDER, folder)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("this binary starts again");
        let output = BufReader::new(process.stdout.take().expect("its output"));
        Self { process, output }
    }

    /// The child's next message; `None` when it has ended.
    pub(crate) fn message(&mut self) -> Option<String> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.output.read_line(&mut line).expect("its output") == 0 {
                return None;
            }
            // A line that a kill cut short is not a message.
            let line = line.strip_suffix('\n').and_then(|line| line.split_once(MARK));
            if let Some((_, message)) = line {
                return Some(message.to_owned());
            }
        }
    }

    /// Wait for the next message, which must be this one.
    pub(crate) fn expect(&mut self, expected: &str) {
        let message = self.message();
        assert_eq!(message.as_deref(), Some(expected));
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("the child gets the signal");
    }

    /// Kill the child with SIGKILL: the messages that it had sent before.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.process.kill().expect("the child is killed");
        self.end().0
    }

    /// Wait for the child's end: its remaining messages and its exit status.
    pub(crate) fn end(mut self) -> (Vec<String>, std::process::ExitStatus) {
        let messages = std::iter::from_fn(|| self.message()).collect();
        (messages, self.process.wait().expect("the child has ended"))
    }

    /// Wait for the child's end, which must be a success.
    pub(crate) fn ends_well(self) {
        let (messages, status) = self.end();
        assert!(status.success(), "{status}: {messages:?}");
    }
}

/// In a child: send the parent a message.
pub(crate) fn send(message: &str) {
    let line = format!("{MARK}{message}\n");
    // Whether the parent still reads does not matter to the child.
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
}

/// In a child: a number from the parent, an environment variable.
pub(crate) fn given(name: &str) -> u64 {
    env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}"))
}

/// In a child: its run, with the machine's clock.
pub(crate) fn run_of_child() -> RunBuilder {
    let folder = PathBuf::from(env::var_os(FOLDER).expect("a folder"));
    Run::builder("tiny")
        .nvml(folder.join("no-driver.so"))
        .folder(folder)
        .console(Console::Silent)
        .on_error(OnError::Return)
}

/// In a child: wait to be killed.
pub(crate) fn wait_to_be_killed() -> ! {
    loop {
        sleep(PATIENCE);
    }
}

/// The jobs of children. On its own it does nothing.
#[test]
#[ignore = "other tests run it, in child processes"]
fn job() {
    match env::var(JOB).as_deref() {
        Err(_) => {}
        Ok("log until killed") => crate::kills::log_until_killed(),
        Ok("log many") => crate::concurrency::log_many(),
        Ok("log and wait") => crate::resume::log_and_wait(),
        Ok("log to Weights & Biases") => crate::wandb::log_to_wandb(),
        Ok("buffer and wait") => crate::durability::buffer_and_wait(),
        Ok("handle SIGTERM later") => crate::termination::handle_sigterm_later(),
        Ok("buffer until killed") => crate::durability::buffer_until_killed(),
        Ok(other) => panic!("there is no job {other:?}"),
    }
}
