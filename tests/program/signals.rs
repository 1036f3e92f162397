//! Each signal reaches the command once, however it was sent.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdout, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use model_foundry_tests::Workplace;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Counts its signals, and ends half a second after the first.
const COUNTS: &str = "
import signal, sys, time
received = []
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, lambda number, frame: received.append(number))
print('ready', flush=True)
while not received:
    time.sleep(0.01)
end = time.monotonic() + 0.7
while time.monotonic() < end:
    time.sleep(0.01)
print('received', len(received), flush=True)
";

/// `run` in a process group of its own.
fn start(place: &Workplace, before: &[&str]) -> Result<(Child, BufReader<ChildStdout>)> {
    place.write("count.py", COUNTS);
    let run = ["run", "--quiet", "--experiment", "tiny", "--", "python3", "count.py"];
    let mut command = place.command(&run);
    if let Some((program, arguments)) = before.split_first() {
        let inner = command;
        command = std::process::Command::new(program);
        command.args(arguments).arg(inner.get_program()).args(inner.get_args());
        command.current_dir(inner.get_current_dir().expect("a folder")).stdin(Stdio::null());
    }
    let mut process = command.process_group(0).stdout(Stdio::piped()).spawn()?;
    let mut output = BufReader::new(process.stdout.take().expect("its output"));
    let mut line = String::new();
    output.read_line(&mut line)?;
    assert_eq!(line, "ready\n");
    Ok((process, output))
}

fn received(output: &mut BufReader<ChildStdout>) -> Result<String> {
    let mut line = String::new();
    output.read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

#[test]
fn a_signal_arrives_once() -> Result<()> {
    for signal in [Signal::INT, Signal::TERM, Signal::USR1] {
        // To the program alone.
        let place = Workplace::new();
        let (mut process, mut output) = start(&place, &[])?;
        let pid = Pid::from_child(&process);
        kill_process(pid, signal)?;
        assert_eq!(received(&mut output)?, "received 1", "{signal:?} to the process");
        process.wait()?;

        // To its process group, as the terminal and `kill -- -PGID` send it.
        let place = Workplace::new();
        let (mut process, mut output) = start(&place, &[])?;
        kill_process_group(Pid::from_child(&process), signal)?;
        assert_eq!(received(&mut output)?, "received 1", "{signal:?} to the group");
        process.wait()?;

        // To each process, as systemd and a job step's end send it.
        let place = Workplace::new();
        let (mut process, mut output) = start(&place, &[])?;
        let own = process.id().to_string();
        let listed = std::process::Command::new("pgrep").args(["-g", &own]).output()?;
        for pid in String::from_utf8(listed.stdout)?.split_whitespace() {
            let pid = Pid::from_raw(pid.parse()?).expect("a process id");
            let _ = kill_process(pid, signal);
        }
        assert_eq!(received(&mut output)?, "received 1", "{signal:?} to each process");
        process.wait()?;
    }
    Ok(())
}

#[test]
fn timeout_interrupts_once() -> Result<()> {
    let place = Workplace::new();
    let (mut process, mut output) = start(&place, &["timeout", "-s", "INT", "1"])?;
    assert_eq!(received(&mut output)?, "received 1");
    process.wait()?;
    let attempt = &place.attempts("status")[0];
    assert_eq!(attempt, "interrupted");
    assert_eq!(place.attempts("signal")[0], "SIGINT");
    Ok(())
}

#[test]
fn a_signal_before_the_command_ends_run() -> Result<()> {
    let place = Workplace::new();
    place.run(&["--quiet"], "true");
    // Opening waits for this lock.
    let path = place.path("runs/tiny/.change.lock");
    let lock = std::fs::File::options().read(true).write(true).open(path)?;
    lock.lock()?;
    let arguments = ["run", "--resume", "--experiment", "tiny", "--", "sleep", "60"];
    let mut process = place.command(&arguments).stderr(Stdio::null()).spawn()?;
    sleep(Duration::from_millis(500));
    let began = Instant::now();
    kill_process(Pid::from_child(&process), Signal::INT)?;
    let status = process.wait()?;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(!status.success());
    Ok(())
}

#[test]
fn a_process_that_is_left_behind_and_prints_does_not_keep_run_from_ending() {
    let place = Workplace::new();
    let began = Instant::now();
    let output = place.run(&["--quiet"], "yes & exit 3");
    assert_eq!(output.status.code(), Some(3));
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[test]
fn a_standard_error_that_cannot_be_written_changes_no_exit_code() -> Result<()> {
    for (script, code) in [("echo 'step 1: loss 0.5'; exit 7", 7), ("true", 0)] {
        let place = Workplace::new();
        let full = std::fs::File::options().write(true).open("/dev/full")?;
        let arguments = ["run", "--experiment", "tiny", "--", "sh", "-c", script];
        let status = place.command(&arguments).stderr(full).stdout(Stdio::null()).status()?;
        assert_eq!(status.code(), Some(code));
    }
    let place = Workplace::new();
    let full = std::fs::File::options().write(true).open("/dev/full")?;
    place.write(
        "records",
        "{\"step\":1}\n{\"step\":1,\"metrics\":{}}\nbad\n{\"step\":2,\"metrics\":{}}\n",
    );
    let records = std::fs::File::open(place.path("records"))?;
    let mut command = place.command(&["log", "--dir", "runs/tiny"]);
    let status = command.stdin(records).stderr(full).status()?;
    assert_eq!(status.code(), Some(1));
    assert_eq!(place.text("metrics.jsonl").lines().count(), 2, "no record is dropped");
    Ok(())
}
