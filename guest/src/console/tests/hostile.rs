//! Bytes divided anywhere, bytes of any kind, lines of any length.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::console::lines::MAX_LINE;
use crate::value::Field;

const SAMPLE: &str = "\
{'loss': 2.3, 'grad_norm': nan, 'epoch': 0.53}\r
\u{1b}[32miter 10: loss 2.3, time 12.1ms, mfu 3.4%\u{1b}[0m
Epoch 1/5
\r  1/100 [....] - ETA: 9s - loss: 0.5\r\r 99/100 [====] - 1s 3ms/step - loss: 0.3\r\r
\r 45%|████▌     | 450/1000 [00:12<00:15, 36.1it/s, loss=0.34]\r 45%|████▌     | 450/1000 [00:13<00:15, 36.1it/s, loss=0.34]
{\"step\": 3, \"größe\": 1}
[rank0]: Traceback (most recent call last):
[rank0]:   File \"x.py\", line 1, in f
step=4 loss=1
[rank0]: pkg.Error: é
[rank0]: more

thread 'main' panicked at src/main.rs:1:2:
no luck

  5%|▌| 5/100 [00:01<00:19,  4.90it/s, loss=2.5]Traceback (most recent call last):
  File \"x.py\", line 1, in f
KeyError: 'x'";

/// The events of chunks of one stream.
fn of_chunks<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let mut parser = Parser::new(None);
    let mut events: Vec<Event> =
        chunks.into_iter().flat_map(|chunk| parser.feed(Output::Stderr, chunk)).collect();
    events.extend(parser.finish());
    shown(&events)
}

#[test]
fn events_do_not_depend_on_where_the_bytes_are_divided() {
    let bytes = SAMPLE.as_bytes();
    let whole = of_chunks([bytes]);
    assert_eq!(
        whole,
        [
            "step ~1 epoch 0.53 loss=2.3 grad_norm=NaN",
            "step 10 loss=2.3 time=12.1 mfu=3.4",
            "step 1 epoch 1 loss=0.5",
            "step 99 epoch 1 loss=0.3",
            "step 450 epoch 1 loss=0.34",
            "step 3 größe=1",
            "step 4 loss=1",
            "panic: no luck",
            "step 5 epoch 1 loss=2.5",
            "pkg.Error: é\nmore",
            "KeyError: 'x'",
        ]
    );
    assert_eq!(of_chunks(bytes.chunks(1)), whole);
    for cut in 0..bytes.len() {
        assert_eq!(of_chunks([&bytes[..cut], &bytes[cut..]]), whole, "divided at {cut}");
    }
}

#[test]
fn bytes_that_are_not_utf8_are_replaced() {
    let mut parser = Parser::new(None);
    let events = parser.feed(Output::Stdout, b"step=1 l\xffoss=0.5 \xf0\x9f acc=1\n\xff\xfe\n");
    assert_eq!(
        shown(&events),
        ["step 1 acc=1"].map(|line| line.replace("acc", "l\u{fffd}oss=0.5 acc"))
    );
}

#[test]
fn escape_sequences_are_removed() {
    for text in [
        "\u{1b}[1;31mstep\u{1b}[0m=1 loss=2",
        "\u{1b}]0;title\u{7}step=1 loss=2",
        "\u{1b}]8;;http://x\u{1b}\\step=1 loss=2",
        "\u{1b}(Bstep=1 loss=2\u{1b}",
        "\u{1b}7step=1 loss=2\u{1b}[",
        "\u{1b}\u{e9} step=1 loss=2\u{7f}",
        "\u{1b}]\u{1b}[Kstep=1 loss=2".replace("\u{1b}]\u{1b}", "\u{1b}").as_str(),
        "\u{1b}[2K\u{1b}[Astep=1 \u{1b}[38;2;1;2;3mloss\u{1b}[m=2",
    ] {
        assert_eq!(metrics(text), ["step 1 loss=2"], "{text:?}");
    }
}

#[test]
fn overlong_lines_are_not_events() {
    let line = |length: usize| {
        let start = "{\"step\": 1, \"loss\": 2, \"text\": \"";
        format!("{start}{}\"}}", "x".repeat(length - start.len() - 2))
    };
    assert_eq!(metrics(&line(MAX_LINE)), ["step 1 loss=2"]);
    for text in [line(MAX_LINE + 1), format!("step=1 loss=2 {}", "x ".repeat(MAX_LINE))] {
        let after = format!("{text}\n{text}\r{text}\r\nstep=3 loss=4\n");
        assert_eq!(metrics(&after), ["step 3 loss=4"]);
        assert_eq!(of_chunks(after.as_bytes().chunks(100_000)), ["step 3 loss=4"]);
    }
    // But an overlong message is.
    let frame = "Traceback (most recent call last):\n  File \"x.py\", line 1, in f\n";
    let long = "x".repeat(MAX_LINE + 1);
    let found = metrics(&format!("{frame}ValueError: {long}\nmore {long}\n"));
    assert!(found.len() == 1 && found[0].starts_with("ValueError: xxx"));
    let bar = format!("{} 5%|x| 5/9 [00:01<00:02, 3it/s, loss=1]", " ".repeat(MAX_LINE));
    assert_eq!(metrics(&format!("{bar}{frame}ValueError: x\n")).len(), 0);
}

/// Lines of up to a megabyte of the worst content. A quadratic reader would take minutes for each.
#[test]
fn long_lines_take_linear_time() {
    let repeats = |piece: &str| piece.repeat((1 << 20) / piece.len());
    let names = |before: &str, between: &str, after: &str| -> String {
        (0..60_000).map(|index| format!("{before}name{index}{between}{index}{after}")).collect()
    };
    let lines = [
        format!("{{\"step\": 1, {}\"loss\": 2}}", names("\"", "\": ", ", ")),
        format!("{{'step': 1, {}'loss': 2}}", names("'", "': '", "', ")),
        format!("step=1 loss=2 {}", names("", "=", " ")),
        format!("step=1 loss=2 {}", names("", ": ", " ")),
        format!("step=1 loss=2 {}", names("", " ", ", ")),
        format!(
            "{{\"step\": 1, \"{}\": {{{}\"loss\": 2}}}}",
            repeats("key"),
            "\"a\": 1, ".repeat(100_000)
        ),
    ];
    let pieces = [
        "a:",
        "a=",
        "n:",
        "n::",
        "1:",
        "1/",
        "1/ ",
        "1,",
        "1,234,",
        "(",
        "((",
        "[",
        "[ ",
        "{",
        "{\"a\":",
        "a(",
        "a(b)",
        "nan ",
        "inf:",
        "loss ",
        "loss 1 ",
        "is 1 ",
        "| ",
        "- ",
        "1it [",
        "1%|",
        "step 1 ",
        "epoch: [",
        "\u{1b}[",
        "\u{1b}]",
        "\"",
        "\\",
        "'\\'",
        "\t",
        " ",
        "é",
        "━",
        "━1/1 ",
        "thread '",
        " panicked at ",
        "Traceback ",
        "', a:1:2",
        ":1",
        "File \"",
        "+ ",
        "=",
        "==",
        ".",
        "-",
        "1.",
        "1e",
        "a.b",
        "Traceback (most recent call last):",
        "1 / ",
        "a, ",
        "[1/1 ",
        "x: 1 (",
        "x: [",
        "\u{1b}]x",
        "  a",
        "loss  ",
        "│",
        "#",
        "1,5 ",
        "loss=0,5 ",
        "±",
        "：",
        "1/1 [",
        " -----",
        "1it [00:00<",
        "step1",
        "1-1batch:",
        "tensor(",
        "tensor(1, ",
        "lr=[1, ",
        "x[a=",
        "loss is ",
        "1h 1m 1s ",
        "{'a': 1},",
        "[1, 1",
        "(1/1)",
        "terminate called after throwing an instance of '",
        "Fatal Python error: ",
    ];
    let begins = [
        ("", ""),
        ("step 1 ", ""),
        ("{", "}"),
        ("[1, 2] loss", "]"),
        ("{'loss': ", "}"),
        ("thread 'x' panicked at ", ""),
        ("\u{1b}]", "}"),
    ];
    // There are hundreds of these, so a sixteenth of a megabyte must do.
    let hostile = pieces.iter().flat_map(|piece| {
        let piece = &repeats(piece)[..];
        begins.map(|(start, end)| {
            format!("{start}{}{end}", &piece[..piece.floor_char_boundary(1 << 16)])
        })
    });
    for line in lines.into_iter().chain(hostile) {
        let begun = Instant::now();
        drop(events(&line));
        let start: String = line.chars().take(30).collect();
        assert!(begun.elapsed() < Duration::from_secs(3), "{start:?}: {:?}", begun.elapsed());
    }
}

#[test]
fn a_line_of_many_metrics_is_bounded_and_has_each_name_once() {
    let line: String = (0..40_000).map(|index| format!("x{}={index} ", index % 20_000)).collect();
    let found = events(&format!("step=1 {line}"));
    let Event::Metrics(line) = &found[0] else { panic!() };
    assert_eq!(line.metrics.len(), 16_384);
    let json: Vec<String> =
        (0..40_000).map(|index| format!("\"x{}\": {index}", index % 20_000)).collect();
    let found = events(&format!("{{\"step\": 1, {}}}", json.join(", ")));
    let Event::Metrics(line) = &found[0] else { panic!() };
    assert_eq!(line.metrics.len(), 16_384);
    assert_eq!(line.metrics[0], Field::new("x0", 20_000));
    assert_eq!(line.metrics[100].value, Value::Integer(20_100));
}

#[test]
fn deep_nesting_is_not_a_record() {
    for open in ["{\"a\":", "[", "{'a':(", "a("] {
        assert_eq!(
            metrics(&format!("{{\"step\": 1, \"loss\": {}}}", open.repeat(100_000))),
            nothing()
        );
    }
}

/// Bytes that the parser gives a meaning to, in any order.
fn meaningful() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "step",
            "epoch",
            "loss",
            "=",
            ":",
            " ",
            "10",
            "0.5",
            "/",
            "[",
            "]",
            "(",
            ")",
            "{",
            "}",
            "'",
            "\"",
            ",",
            "|",
            "%|",
            "\n",
            "\r",
            "\t",
            "nan",
            "-",
            "\u{1b}[",
            "━",
            "it",
            "Traceback (most recent call last):",
            "\n  File \"x\", line 1",
            "ValueError",
            "[rank0]: ",
            "thread 'x' panicked at ",
            "a.rs:1:2:",
            "note: ",
            "stack backtrace:",
            "  + Exception Group ",
            "  | ",
            "\\",
            "é",
            ".",
            "\nDuring handling of the above exception, another exception occurred:\n",
            // Tables, boxes, blocks, rows and bars.
            "epoch  loss  acc\n",
            "  ",
            "│",
            "╭──────╮\n",
            "\n--------\n",
            "| loss | 0.5 |\n",
            "\nEpoch 1/2\n",
            "\nLearning iteration 3/9\n",
            "\n   Mean reward: 0.5\n",
            "\n[10]\t",
            "\n10 | ",
            "\n10/20 - ",
            " 5%|█| 10/20 [00:01<00:02, 3it/s, loss=0.5]",
            "\rEvaluating: 10/20 ━━━━ ",
            "{'loss': 0.5,\n",
            "'step': 10}",
            "0,5",
            "±",
            "：",
            "#",
            "validation ",
            "terminate called after throwing an instance of 'x'\n",
            "Fatal Python error: x\n",
            "E  Traceback (most recent call last)\n",
            "╭── Traceback (most recent call last) ──╮\n",
        ])
        .prop_map(|text: &str| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_divided_anywhere_give_the_same_events(
        bytes in prop_oneof![meaningful(), prop::collection::vec(any::<u8>(), 0..300)],
        size in 1_usize..20,
    ) {
        prop_assert_eq!(of_chunks([bytes.as_slice()]), of_chunks(bytes.chunks(size)));
    }

    #[test]
    fn nothing_is_recorded_that_was_not_printed(bytes in meaningful()) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        // A decimal comma is a point, and thousands have no comma.
        // A control sequence ends with its line.
        let lines = text.split(['\n', '\r']);
        let lines = lines.map(|line| super::lines::clean(line.as_bytes()).into_owned());
        let plain = lines.collect::<Vec<_>>().join("\n");
        let prints = |number: String| {
            let points = plain.replace(',', ".");
            let joined = plain.replace(',', "");
            [&plain, &points, &joined].iter().any(|text| text.contains(&number))
        };
        for event in events(&text) {
            let Event::Metrics(line) = event else { continue };
            if !line.step_inferred {
                let printed = line.epoch_step.unwrap_or(line.step);
                // A counter behind an epoch without a word for it is placed behind the epochs before.
                prop_assert!(prints(printed.to_string()) || line.epoch.is_some(), "{line:?} in {text:?}");
            }
            for field in &line.metrics {
                let number = match &field.value {
                    Value::Integer(integer) => integer.to_string(),
                    Value::Float(float) if float.is_finite() => format!("{float:?}"),
                    _ => continue,
                };
                let short = number.trim_end_matches(".0").trim_start_matches('-').trim_start_matches('0');
                prop_assert!(prints(short.to_owned()) || number.contains('e'), "{field:?} in {text:?}");
            }
        }
    }

    #[test]
    fn printed_pairs_are_read_back(
        step in 0..u64::try_from(i64::MAX).unwrap(),
        loss in any::<f64>(),
        count in any::<i64>(),
    ) {
        for line in [
            format!("step={step} loss={loss:?} count={count}"),
            format!("step {step}: loss: {loss:?}, count: {count}"),
            format!("{{\"step\": {step}, \"loss\": {loss:?}, \"count\": {count}}}"),
            format!("iter {step} | loss {loss:?} | count {count}"),
        ] {
            let found = events(&line);
            let [Event::Metrics(read)] = found.as_slice() else { panic!("{line}: {found:?}") };
            prop_assert_eq!(read.step, step);
            prop_assert!(!read.step_inferred);
            prop_assert_eq!(&read.metrics[1], &Field::new("count", count));
            let Value::Float(float) = read.metrics[0].value else { panic!("{line}") };
            prop_assert!(float == loss || float.is_nan() && loss.is_nan());
        }
    }
}
