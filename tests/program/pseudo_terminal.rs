//! `model-foundry run` on a terminal: the command keeps it.

use anyhow::Result;
use model_foundry_tests::{Workplace, command, program, text};

/// Starts a program on a terminal of 33 lines and 101 columns. Types each answer when its question was printed. Prints
/// what the program printed, and then its exit code.
const TERMINAL: &str = r#"
import fcntl, os, pty, struct, sys, termios
answers = [word.encode().decode("unicode_escape").encode() for word in sys.argv[1].split("|") if word]
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
printed = b""
while True:
    try:
        piece = os.read(terminal, 65536)
    except OSError:
        break
    if not piece:
        break
    printed += piece
    while len(answers) > 1 and answers[0] in printed:
        os.write(terminal, answers[1])
        printed, answers = printed + b"<typed>", answers[2:]
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.stdout.buffer.write(printed + b"\nexit code %d\n" % code)
"#;

/// What is on the terminal after `model-foundry run` of a Python script. `answers` are questions and what is typed then.
fn on_a_terminal(
    place: &Workplace,
    answers: &str,
    options: &[&str],
    script: &str,
) -> Result<String> {
    place.write("script.py", script);
    let output = command("python3")
        .args(["-c", TERMINAL, answers])
        .arg(program())
        .args(["run", "--experiment", "tiny"])
        .args(options)
        .args(["--", "python3", "script.py"])
        .current_dir(place.path(""))
        .env("TERM", "xterm-256color")
        .output()?;
    Ok(text(&output.stdout))
}

#[test]
fn a_command_on_a_terminal_gets_one_of_the_same_size() -> Result<()> {
    let place = Workplace::new();
    let script = "import os, sys, time\n\
        time.sleep(1)\n\
        print(sys.stdin.isatty(), sys.stdout.isatty(), sys.stderr.isatty(), os.get_terminal_size())";
    let printed = on_a_terminal(&place, "", &["--quiet"], script)?;
    assert!(
        printed.contains("True True True os.terminal_size(columns=101, lines=33)"),
        "{printed}"
    );
    // Its newlines are its own.
    assert!(!place.text("console.log").contains('\r'), "{:?}", place.text("console.log"));
    let piped = on_a_terminal(
        &place,
        "",
        &["--quiet", "--no-pty"],
        "import sys; print(sys.stdout.isatty())",
    )?;
    assert!(piped.contains("False"), "{piped}");
    Ok(())
}

#[test]
fn what_is_typed_reaches_the_command() -> Result<()> {
    let place = Workplace::new();
    let script = "import sys\n\
        print('hello', input('name? '))\n\
        sys.stdout.write('go on\\n')\n\
        print('rest:', sys.stdin.read())";
    let printed = on_a_terminal(&place, r"name?|Ada\n|go on|more\n\x04", &["--quiet"], script)?;
    assert!(printed.contains("hello Ada"), "{printed}");
    assert!(printed.contains("rest: more"), "{printed}");
    assert!(printed.ends_with("exit code 0\n"), "{printed}");
    Ok(())
}

#[test]
fn ctrl_c_reaches_the_command_once_and_its_exit_code_is_kept() -> Result<()> {
    let place = Workplace::new();
    let script = "import signal, sys, time\n\
        count = 0\n\
        def stop(*_):\n    global count; count += 1; print('interrupted', count, flush=True)\n\
        signal.signal(signal.SIGINT, stop)\n\
        print('ready', flush=True)\n\
        for _ in range(12): time.sleep(0.1)\n\
        sys.exit(7)";
    let printed = on_a_terminal(&place, r"ready|\x03", &["--quiet"], script)?;
    assert!(printed.contains("interrupted 1") && !printed.contains("interrupted 2"), "{printed}");
    assert!(printed.ends_with("exit code 7\n"), "{printed}");
    Ok(())
}

#[test]
fn the_live_line_stays_below_an_unfinished_bar() -> Result<()> {
    let place = Workplace::new();
    let script = "import sys, time\n\
        for step in range(1, 9):\n    \
            sys.stdout.write(f'\\r{step}/8 [00:00<00:01, 9it/s, loss={1/step:.2f}]'); sys.stdout.flush(); time.sleep(0.15)\n\
        print()";
    let printed = on_a_terminal(&place, "", &[], script)?;
    // Below, and back to the column behind the bar.
    assert!(printed.contains("\u{1b}[1A\u{1b}[36G\u{1b}7\u{1b}[1B\r\u{1b}[2Kstep "), "{printed:?}");
    Ok(())
}
