//! The program `model-foundry` as a process.

use std::env;
use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::Signal;
use serde_json::Value;

/// The longest time that a test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Poll a condition until it is true.
pub fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < deadline, "{what}: not true after {PATIENCE:?}");
        sleep(Duration::from_millis(2));
    }
}

/// The path of the program, which is built once per test binary, in the profile of the test.
pub fn program() -> &'static Path {
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
            // With the features of the whole workspace, with which its dependencies are built already.
            .args(["build", "--quiet", "--workspace", "--bin", "model-foundry"])
            .args(["--profile", profile, "--target-dir"])
            .arg(target)
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
            .status()
            .expect("cargo starts");
        assert!(status.success(), "cargo could not build the program");
        let program = built.join("model-foundry");
        // This compiles the component into the cache, if it is not there: no test's output says so.
        let filled = Command::new(&program).args(["config", "default"]).output();
        assert!(filled.is_ok_and(|output| output.status.success()), "the program does not run");
        program
    })
}

/// A command that inherits neither the environment's run, rank and color settings nor ignored signals.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let ends = [Signal::HUP, Signal::INT, Signal::TERM].map(Signal::as_raw);
    let mut command = if model_foundry::not_ignored(&ends).len() == ends.len() {
        Command::new(program)
    } else {
        // A shell starts background jobs with SIGINT ignored, and nohup ignores SIGHUP. A process cannot tell that
        // from a choice of its parent, so it would ignore the signals that a test sends.
        let mut command = Command::new("env");
        command.arg("--default-signal=HUP,INT,TERM").arg(program);
        command
    };
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
    // The machine's own GPUs must not change the output.
    command.env("MODEL_FOUNDRY_NVML", "/nonexistent/libnvidia-ml.so.1");
    command
}

/// Run the program to its end.
pub fn model_foundry<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Output {
    let mut command = command(program());
    command.args(arguments).stdin(Stdio::null()).output().expect("the program starts")
}

/// Run the program to its end with this text on its standard input.
pub fn model_foundry_fed<A: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = A>,
    input: &str,
) -> Output {
    let mut command = command(program());
    command.args(arguments);
    fed(command, input)
}

/// Run a command to its end with this text on its standard input.
pub fn fed(mut command: Command, input: &str) -> Output {
    let mut process = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = process.stdin.take().expect("its standard input");
    let input = input.to_owned();
    // Both sides would wait if the program printed more than a pipe holds before it had read everything.
    let feed = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = process.wait_with_output().expect("its output");
    feed.join().expect("the feeding thread").expect("the program reads its whole input");
    output
}

/// Run the program with its standard output a pipe that no one reads: its standard error and its exit code.
pub fn with_closed_pipe(arguments: &[&str], input: &str) -> Result<(String, Option<i32>)> {
    let mut process = command(program())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    drop(process.stdout.take());
    // A program that reads no input may have ended already.
    if let (false, Some(stdin)) = (input.is_empty(), &mut process.stdin) {
        stdin.write_all(input.as_bytes())?;
    }
    let output = process.wait_with_output()?;
    Ok((text(&output.stderr), output.status.code()))
}

/// What a process printed, as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// The output of a program that must succeed and print nothing on standard error.
pub fn printed(output: &Output) -> String {
    assert_eq!(text(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    text(&output.stdout)
}

/// The same, as JSON.
pub fn printed_json(output: &Output) -> Result<Value> {
    Ok(serde_json::from_str(&printed(output))?)
}

/// The error of a program that must fail with exactly one line.
pub fn sentence(output: &Output) -> String {
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_eq!(text(&output.stdout), "");
    assert_eq!(error.lines().count(), 1, "{error}");
    error.strip_prefix("error: ").unwrap_or_else(|| panic!("{error}")).trim_end().to_owned()
}
