//! Processes of their own: the program, and this test binary started again to do one job.

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use model_foundry::{Console, OnError, Run, RunBuilder};
use rustix::process::{Pid, Signal, kill_process};

/// The longest that anything may take that is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Names the job of a child.
const JOB: &str = "MODEL_FOUNDRY_TEST_JOB";

/// The folder that a child works in.
const FOLDER: &str = "MODEL_FOUNDRY_TEST_FOLDER";

/// Stands before what a child tells, among and behind what the test harness prints.
const MARK: &str = "told: ";

/// Look until it is true.
pub(crate) fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < deadline, "{what}: it never came true");
        sleep(Duration::from_millis(2));
    }
}

/// The program, built once by the profile of this test.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        // <target>/<profile>/deps/integration-…
        let own = env::current_exe().expect("the path of this test");
        let built = own.ancestors().nth(2).expect("the profile's folder");
        let target = built.parent().expect("the target folder");
        let profile = match built.file_name().and_then(|name| name.to_str()) {
            None | Some("debug") => "dev",
            Some(other) => other,
        };
        let status = Command::new(env!("CARGO"))
            // The whole workspace is named, so that what the tests were built from is not built again.
            .args(["build", "--quiet", "--workspace", "--bin", "model-foundry"])
            .args(["--profile", profile, "--target-dir"])
            .arg(target)
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
            .status()
            .expect("cargo runs");
        assert!(status.success(), "the program was not built");
        built.join("model-foundry")
    })
}

/// A command without what the surroundings say of runs, ranks and colours.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    for name in [
        "MODEL_FOUNDRY_RUN_DIR",
        "RANK",
        "SLURM_PROCID",
        "OMPI_COMM_WORLD_RANK",
        "WANDB_MODE",
        "WANDB_PROJECT",
        "NO_COLOR",
        "CLICOLOR_FORCE",
        "FORCE_COLOR",
    ] {
        command.env_remove(name);
    }
    // Wherever there is a GPU, the tests are not about it.
    command.env("MODEL_FOUNDRY_NVML", "/nonexistent/libnvidia-ml.so.1");
    command
}

/// Run the program to its end.
pub(crate) fn model_foundry<A: AsRef<std::ffi::OsStr>>(
    arguments: impl IntoIterator<Item = A>,
) -> Output {
    let mut command = command(program());
    command.args(arguments).stdin(Stdio::null()).output().expect("the program runs")
}

/// Run the program to its end with this on its standard input.
pub(crate) fn model_foundry_fed<A: AsRef<std::ffi::OsStr>>(
    arguments: impl IntoIterator<Item = A>,
    input: &str,
) -> Output {
    let mut command = command(program());
    let mut process = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = process.stdin.take().expect("its standard input");
    let input = input.to_owned();
    let feed = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = process.wait_with_output().expect("its output");
    feed.join().expect("the input was written").expect("the program reads all of it");
    output
}

/// What a process printed, as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// This test binary, doing a job in a process of its own.
pub(crate) struct Child {
    process: std::process::Child,
    output: BufReader<ChildStdout>,
}

impl Child {
    /// Start a job of [`job`] in a folder, with these variables.
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

    /// What it tells next; none when it has ended.
    pub(crate) fn hears(&mut self) -> Option<String> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.output.read_line(&mut line).expect("its output") == 0 {
                return None;
            }
            // What a killed process did not finish telling was not told.
            if let Some((_, told)) = line.strip_suffix('\n').and_then(|line| line.split_once(MARK))
            {
                return Some(told.to_owned());
            }
        }
    }

    /// Wait until it tells this.
    pub(crate) fn tells(&mut self, expected: &str) {
        let told = self.hears();
        assert_eq!(told.as_deref(), Some(expected));
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("the child is signalled");
    }

    /// Kill it as `kill -9` does, and hear what it had told before.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.process.kill().expect("the child is killed");
        let told = std::iter::from_fn(|| self.hears()).collect();
        self.process.wait().expect("the child has ended");
        told
    }

    /// Wait for its end: all that it still tells, and how it ended.
    pub(crate) fn end(mut self) -> (Vec<String>, std::process::ExitStatus) {
        let told = std::iter::from_fn(|| self.hears()).collect();
        (told, self.process.wait().expect("the child has ended"))
    }

    /// Wait for its good end.
    pub(crate) fn ends_well(self) -> Vec<String> {
        let (told, status) = self.end();
        assert!(status.success(), "{status}: {told:?}");
        told
    }
}

/// In a child: tell the parent.
pub(crate) fn tell(line: &str) {
    let line = format!("{MARK}{line}\n");
    // A parent that is gone hears nothing, and that is no matter.
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
}

/// In a child: a number that the parent gave it.
pub(crate) fn given(name: &str) -> u64 {
    env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}"))
}

/// In a child: its run, by the machine's clock.
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

/// What children do. By itself it is no test.
#[test]
#[ignore = "other tests run it, in processes of their own"]
fn job() {
    match env::var(JOB).as_deref() {
        Err(_) => {}
        Ok("log until killed") => crate::kills::log_until_killed(),
        Ok("log many") => crate::concurrency::log_many(),
        Ok("log and wait") => crate::resume::log_and_wait(),
        Ok("log to Weights & Biases") => crate::wandb::log_to_wandb(),
        Ok("buffer and wait") => crate::durability::buffer_and_wait(),
        Ok("buffer until killed") => crate::durability::buffer_until_killed(),
        Ok(other) => panic!("there is no job {other:?}"),
    }
}
