//! The output of trainers, cut into pieces anywhere.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use model_foundry_guest::console::{Event, Output, Parser};
use model_foundry_guest::{Field, Value};

/// The length of a repeated input, which is enough to distinguish quadratic from linear time.
const LONG: usize = 32 << 10;

/// A limit for [`LONG`] bytes. Linear time stays far below it, even with a sanitizer and on a busy machine, and
/// quadratic time is far above it.
const LINEAR: Duration = Duration::from_secs(5);

/// The longest text of a traceback, as documented in `console`.
const LONGEST_TRACEBACK: usize = 256 << 10;

/// Reads the output of a trainer whole and in pieces. The events must be the same, and well formed.
///
/// The first four bytes are settings. The bits of the first: 1, standard error comes first; 2, the streams take
/// turns; 4, the run is resumed. The second is the number of bytes in a turn, the others are the sizes of the
/// pieces. The rest is output.
///
/// One input in 64, by the sum of its bytes, is repeated up to [`LONG`]. That is slow, but most inputs that
/// libFuzzer derives from it have another sum.
pub fn line_parser(data: &[u8]) {
    let Some((&[mode, turn, first, second], output)) = data.split_first_chunk::<4>() else {
        return;
    };
    let sum: u64 = data.iter().map(|byte| u64::from(*byte)).sum();
    let is_long = sum.is_multiple_of(64) && !output.is_empty();
    let long = if is_long { output.repeat(LONG.div_ceil(output.len())) } else { Vec::new() };
    let output = if is_long { &long[..LONG] } else { output };
    let streams = match mode & 1 {
        0 => [Output::Stdout, Output::Stderr],
        _ => [Output::Stderr, Output::Stdout],
    };
    let turn = if mode & 2 == 0 { output.len() } else { usize::from(turn) };
    let turns: Vec<(Output, &[u8])> =
        streams.into_iter().cycle().zip(output.chunks(turn.max(1))).collect();
    let last_step = (mode & 4 != 0).then_some(7);

    let read = |sizes: [usize; 2]| {
        let mut parser = Parser::new(last_step);
        let mut events = Vec::new();
        let mut sizes = sizes.into_iter().cycle();
        for (stream, mut bytes) in turns.iter().copied() {
            while !bytes.is_empty() {
                let size = sizes.next().unwrap_or(1).clamp(1, bytes.len());
                let (piece, rest) = bytes.split_at(size);
                events.extend(parser.feed(stream, piece));
                bytes = rest;
            }
        }
        events.extend(parser.finish());
        assert_eq!(parser.finish(), [], "no event is left");
        events
    };
    let whole = in_linear_time(|| read([usize::MAX; 2]));
    whole.iter().for_each(check);
    if is_long {
        return;
    }
    let cut = read([usize::from(first), usize::from(second)]);
    // Compared as text, because NaN does not equal itself.
    assert_eq!(format!("{whole:?}"), format!("{cut:?}"), "the events depend on the cuts");
}

/// Run something that must be faster than [`LINEAR`] in one of four tries: other work may delay the machine.
fn in_linear_time<T>(run: impl Fn() -> T) -> T {
    let mut tries = 0;
    loop {
        let begun = Instant::now();
        let result = run();
        let took = begun.elapsed();
        if took < LINEAR {
            return result;
        }
        tries += 1;
        assert!(tries < 4, "reading at most 32 KiB takes {took:?}");
    }
}

fn check(event: &Event) {
    match event {
        Event::Metrics(line) => {
            assert!(!line.metrics.is_empty(), "metrics without a metric");
            let mut names = HashSet::new();
            for Field { name, value } in &line.metrics {
                assert!(!name.is_empty() && !name.contains(char::is_whitespace), "{name:?}");
                assert!(names.insert(name), "{name:?} is there twice");
                let is_number = match value {
                    Value::Integer(_) | Value::Float(_) => true,
                    // An integer beyond 64 bits keeps its digits.
                    Value::Json(text) => {
                        let digits = text.strip_prefix('-').unwrap_or(text);
                        digits.len() > 18 && digits.bytes().all(|byte| byte.is_ascii_digit())
                    }
                    _ => false,
                };
                assert!(is_number, "{value:?}");
            }
        }
        Event::Error(traceback) => {
            assert!(!traceback.error_type.is_empty(), "an error without a type");
            assert!(traceback.text.len() <= LONGEST_TRACEBACK, "a traceback too long");
        }
    }
}
