//! Tracebacks, by themselves and between other lines.

use super::*;

const SIMPLE: &str = "\
Traceback (most recent call last):
  File \"train.py\", line 10, in <module>
    main()
    ~~~~^^
  File \"train.py\", line 5, in main
    raise ValueError(\"step=3 loss=4\")
ValueError: bad value: 3
";

fn errors(text: &str) -> Vec<Traceback> {
    events(text)
        .into_iter()
        .filter_map(|event| match event {
            Event::Error(traceback) => Some(traceback),
            Event::Metrics(_) => None,
        })
        .collect()
}

#[test]
fn a_simple_one() {
    let found = errors(SIMPLE);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].error_type, "ValueError");
    assert_eq!(found[0].error_message, "bad value: 3");
    assert_eq!(found[0].text, SIMPLE.trim_end());
    // Without the last newline, and with the newlines of Windows.
    assert_eq!(errors(SIMPLE.trim_end()), found);
    assert_eq!(errors(&SIMPLE.replace('\n', "\r\n")), found);
    // In color, as Python 3.13 prints it.
    let colored = SIMPLE.replace("ValueError:", "\u{1b}[1;35mValueError\u{1b}[0m:");
    assert_eq!(errors(&colored), found);
}

#[test]
fn classes_and_messages() {
    let frame = "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\n    x\n";
    for (lines, expected) in [
        ("KeyboardInterrupt", "KeyboardInterrupt: "),
        (
            "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
            "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
        ),
        ("__main__.f.<locals>.E: x", "__main__.f.<locals>.E: x"),
        ("struct.error: unpack", "struct.error: unpack"),
        (
            "RuntimeError: CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronous.\nCompile with `TORCH_USE_CUDA_DSA`.\n\nnext",
            "RuntimeError: CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronous.\nCompile with `TORCH_USE_CUDA_DSA`.",
        ),
        (
            "RuntimeError: Error(s) in loading state_dict for Net:\n\tMissing key(s): \"a\"",
            "RuntimeError: Error(s) in loading state_dict for Net:\n\tMissing key(s): \"a\"",
        ),
        ("ValueError: x\na note\nanother note", "ValueError: x\na note\nanother note"),
        ("ValueError: x\n2024-01-01 12:00:00 INFO on", "ValueError: x"),
        ("ValueError: x\n[rank0] on", "ValueError: x"),
        ("ValueError: x\nINFO: on", "ValueError: x"),
        ("ValueError: x\nW0101 12:00:00 on", "ValueError: x"),
        ("ValueError: x\n\r 5%|x| 5/100 [00:01<00:02, 3it/s]\n", "ValueError: x"),
        (
            "not an exception at all\nINFO: hello\na:b\nvalue error: x\nValueError: x",
            "ValueError: x",
        ),
    ] {
        assert_eq!(metrics(&format!("{frame}{lines}\n")), [expected], "{lines}");
    }
}

#[test]
fn a_chain_is_one_error() {
    let text = format!(
        "{SIMPLE}\nDuring handling of the above exception, another exception occurred:\n\n{SIMPLE}\nThe above exception was the direct cause of the following exception:\n\n{}",
        SIMPLE.replace("ValueError: bad value: 3", "pkg.Last: the last")
    );
    let found = errors(&text);
    assert_eq!(shown(&events(&text)), ["pkg.Last: the last"]);
    assert_eq!(found[0].text, text.trim_end());
    // A chain that was cut off still has its first exception.
    let cut = format!(
        "{SIMPLE}\nDuring handling of the above exception, another exception occurred:\n\nstep=1 loss=2\n"
    );
    assert_eq!(metrics(&cut), ["ValueError: bad value: 3", "step 1 loss=2"]);
}

#[test]
fn two_consecutive_tracebacks_are_two_errors() {
    assert_eq!(metrics(&format!("{SIMPLE}{SIMPLE}")).len(), 2);
    assert_eq!(metrics(&format!("{SIMPLE}\n\n{SIMPLE}")).len(), 2);
    // The first one has no exception.
    let begun = SIMPLE.split_once("ValueError:").unwrap().0;
    assert_eq!(metrics(&format!("{begun}{SIMPLE}")).len(), 1);
}

#[test]
fn the_trainer_continues_after_a_traceback() {
    let text = format!("step=1 loss=2\n{SIMPLE}step=2 loss=3\nok\n");
    assert_eq!(metrics(&text), ["step 1 loss=2", "ValueError: bad value: 3", "step 2 loss=3"]);
    // Metrics between the frames.
    let mixed = SIMPLE.replace(
        "  File \"train.py\", line 5",
        "step=9 loss=1\n\r 1%|x| 1/9 [00:01<00:02, 3it/s, loss=5]\r\n  File \"train.py\", line 5",
    );
    assert_eq!(metrics(&mixed), ["step 9 loss=1", "step 1 loss=5", "ValueError: bad value: 3"]);
    // A message has at most 200 lines.
    let long = format!("{SIMPLE}{}", "and on\n".repeat(1000));
    assert_eq!(errors(&long)[0].error_message.lines().count(), 200);
    // Too much other output between the frames ends a traceback.
    let begun = SIMPLE.split_once("ValueError:").unwrap().0;
    assert_eq!(
        metrics(&format!("{begun}{}ValueError: x\n", "something else\n".repeat(200))),
        nothing()
    );
}

#[test]
fn syntax_errors() {
    let bare = "  File \"x.py\", line 1\n    foo(\n       ^\nSyntaxError: '(' was never closed\n";
    assert_eq!(metrics(bare), ["SyntaxError: '(' was never closed"]);
    let within = format!(
        "Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    import x\n{bare}"
    );
    assert_eq!(metrics(&within), ["SyntaxError: '(' was never closed"]);
    assert_eq!(errors(&within)[0].text, within.trim_end());
}

#[test]
fn exception_groups() {
    let group = "  + Exception Group Traceback (most recent call last):
  |   File \"x.py\", line 1, in <module>
  |     raise ExceptionGroup(\"eg\", [ValueError(1)])
  | ExceptionGroup: eg (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File \"x.py\", line 2, in f
    | ValueError: 1
    +---------------- 2 ----------------
    | TypeError: 2
    +------------------------------------
";
    let found = errors(group);
    assert_eq!(metrics(group), ["ExceptionGroup: eg (2 sub-exceptions)"]);
    assert_eq!(found[0].text, group.trim_end());
    assert_eq!(
        metrics(&format!("{group}step=1 loss=2\n")),
        ["ExceptionGroup: eg (2 sub-exceptions)", "step 1 loss=2"]
    );
    let chain = format!(
        "{SIMPLE}\nDuring handling of the above exception, another exception occurred:\n\n{group}\nThe above exception was the direct cause of the following exception:\n\n{SIMPLE}"
    );
    assert_eq!(metrics(&chain), ["ValueError: bad value: 3"]);
    let tagged: String = group.lines().map(|line| format!("[rank1]: {line}\n")).collect();
    assert_eq!(metrics(&tagged), ["ExceptionGroup: eg (2 sub-exceptions)"]);
}

fn tagged(tag: &str, text: &str) -> Vec<String> {
    text.lines().map(|line| format!("{tag}{line}").trim_end().to_owned() + "\n").collect()
}

#[test]
fn the_lines_of_ranks_may_mix() {
    let chain = format!(
        "{SIMPLE}\nDuring handling of the above exception, another exception occurred:\n\n{SIMPLE}"
    );
    let first = tagged("[rank0]: ", &chain);
    let second = tagged("[rank1]: ", &chain.replace("bad value", "worse value"));
    let mixed: String =
        first.iter().zip(&second).flat_map(|(a, b)| [a.as_str(), "step=1 loss=2\n", b]).collect();
    let found = events(&mixed);
    let errors: Vec<String> =
        shown(&found).into_iter().filter(|line| !line.starts_with("step")).collect();
    assert_eq!(errors, ["ValueError: bad value: 3", "ValueError: worse value: 3"]);
    assert_eq!(found.len() - 2, first.len());
    // It ends when its process prints something else, or nothing for a long time.
    let first = first.concat();
    assert_eq!(
        metrics(&format!("{first}[rank0]: INFO: on\nstep=1 loss=2\n")),
        ["ValueError: bad value: 3", "step 1 loss=2"]
    );
    let others = "step=1 loss=2\n".repeat(150);
    assert!(metrics(&format!("{first}{others}"))[100].starts_with("ValueError"));
    // More than can be open at once.
    let many: String =
        (0..20).map(|rank| tagged(&format!("[rank{rank}]: "), SIMPLE).concat()).collect();
    assert_eq!(metrics(&many).len(), 20);
}

#[test]
fn only_the_first_line_may_have_a_tag() {
    assert_eq!(metrics(&format!("ERROR:root:{SIMPLE}")), ["ValueError: bad value: 3"]);
    assert_eq!(
        metrics(&format!("{SIMPLE}ERROR:root:{}", SIMPLE.replace("bad", "worse"))),
        ["ValueError: bad value: 3", "ValueError: worse value: 3"]
    );
    // One without a tag, mixed with one that has a tag.
    let both = format!(
        "[rank0]: Traceback (most recent call last):\n{SIMPLE}[rank0]:   File \"x.py\", line 1, in f\n[rank0]: KeyError: 'a'\n"
    );
    assert_eq!(metrics(&both).len(), 1);
}

#[test]
fn a_traceback_may_follow_a_progress_bar() {
    let text = format!("\r  5%|▌    | 5/100 [00:01<00:19,  4.90it/s, loss=2.5]{SIMPLE}");
    assert_eq!(metrics(&text), ["step 5 loss=2.5", "ValueError: bad value: 3"]);
    assert_eq!(errors(&text)[0].text, SIMPLE.trim_end());
}

#[test]
fn rust_panics() {
    for (text, expected) in [
        (
            "thread 'main' panicked at src/main.rs:1:2:\nno luck\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n",
            "panic: no luck",
        ),
        (
            "\nthread 'main' (12345) panicked at src/main.rs:1:2:\nassertion `left == right` failed: why\n  left: 1\n right: 2\nstack backtrace:\n   0: std::panicking::begin_panic\n             at ./src/lib.rs:1:2\nnote: Some details are omitted.\n",
            "panic: assertion `left == right` failed: why\n  left: 1\n right: 2",
        ),
        (
            "thread '<unnamed>' panicked at 'no luck', src/main.rs:1:2\nnote: run with `RUST_BACKTRACE=1`\n",
            "panic: no luck",
        ),
        (
            "thread 'main' panicked at 'assertion failed\n  left: `1`,\n right: `2`', src/main.rs:1:2\nstack backtrace:\n   0: x\nstep 1\n",
            "panic: assertion failed\n  left: `1`,\n right: `2`",
        ),
        (
            "[rank0]: thread 'main' panicked at src/main.rs:1:2:\n[rank0]: no luck\n\n",
            "panic: no luck",
        ),
        ("thread 'main' panicked at src/main.rs:1:2:\n", "panic: "),
        ("thread 'main' panicked at src/main.rs:1:2:\nno luck\n\n\nsomething\n", "panic: no luck"),
        ("thread 'main' panicked at src/main.rs:1:2:\nno luck\nINFO on\n", "panic: no luck"),
    ] {
        assert_eq!(metrics(text), [expected], "{text}");
    }
    let text = "thread 'a' panicked at src/main.rs:1:2:\nx\nthread 'b' panicked at src/main.rs:1:2:\ny\nstep=1 loss=2\n";
    assert_eq!(metrics(text), ["panic: x", "panic: y", "step 1 loss=2"]);
    let lines = "z\n".repeat(1000);
    assert_eq!(metrics(&format!("thread 'a' panicked at 'x\n{lines}")), nothing());
}

#[test]
fn the_size_of_a_traceback_is_bounded() {
    let frames = "  File \"x.py\", line 1, in é\n".repeat(50_000);
    let message = "é".repeat(100_000);
    let text =
        format!("Traceback (most recent call last):\n{frames}ValueError: {message}\nand more\n");
    let found = errors(&text);
    assert_eq!(found[0].error_type, "ValueError");
    assert!(found[0].text.len() <= 256 << 10);
    assert!(found[0].text.len() > (256 << 10) - 64);
    assert!(found[0].error_message.len() <= 64 << 10);
}
