//! Arbitrary content as JSON Lines files.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use model_foundry_guest::imports::{Part, RunFile};
use model_foundry_guest::json::{Problem, Reader, Token, unescape};
use model_foundry_guest::lines::Lines;
use model_foundry_guest::memory::{Faults, Memory};
use model_foundry_guest::metrics::{AllStatistics, Entry, MetricsReader, Query};
use serde::de::IgnoredAny;
use serde_json::Value;

/// Separates the parts of a file.
const NEXT_PART: u8 = 0x1e;

/// How deep `json` reads a nested value, and an object that is read member by member.
const DEEPEST: usize = 128;
const DEEPEST_OBJECT: usize = 129;

/// How deep serde_json reads nested values.
const DEEPEST_TREE: usize = 127;

/// The start of every record, also of one that follows a torn record on its line.
const RECORD_START: &[u8] = b"{\"timestamp\":\"";

/// Reads a text as JSON, as a metrics line, as lines and as a metrics file.
///
/// The first four bytes are settings. The bits of the first: 1, query all attempts; 2, query no summaries; 4, the
/// files are shorter than their reported sizes; 8, the disk fails. The second is the most bytes that one read of
/// lines returns. The third is the first step of the query plus 0x40. The fourth is the number of bytes in a block,
/// and of reads that succeed. The rest is the file, with a byte 0x1e between its parts.
pub fn json_lines_reader(data: &[u8]) {
    let Some((&[mode, piece, first_step, count], content)) = data.split_first_chunk::<4>() else {
        return;
    };
    let texts = [content].into_iter().chain(content.split(|byte| *byte == b'\n'));
    for text in texts.filter_map(|text| std::str::from_utf8(text).ok()) {
        reads_as_serde_json_does(text);
        reads_an_entry(text);
    }

    let parts: Vec<(Part, Vec<u8>)> = content
        .split(|byte| *byte == NEXT_PART)
        .zip([(None, 1), (None, 0), (Some(0), 2), (Some(0), 0), (Some(7), 0)])
        .map(|(content, (rank, rotated))| (Part { rank, rotated }, content.to_vec()))
        .collect();
    let missing = if mode & 4 == 0 { 0 } else { 3 };
    // Read-only, so that no index is saved and each reader reads the lines.
    let faults = Faults { read_only: true, missing, ..Faults::default() };
    let in_pieces =
        memory(&parts, Faults { longest_read: Some(usize::from(piece).max(1)), ..faults });
    for (part, content) in &parts {
        lines_cover(&in_pieces, *part, content);
    }

    let first_step = u64::from(first_step).checked_sub(0x40).filter(|step| *step > 0);
    let query = Query {
        first_step,
        last_step: None,
        summaries: mode & 2 == 0,
        all_attempts: mode & 1 != 0,
        attempt: None,
    };
    let sound = memory(&parts, faults);
    delivers_what_is_good(&sound, &parts, query, count.into());

    if mode & 8 != 0 {
        let failing = memory(&parts, Faults { reads: Some(count.into()), ..faults });
        if let Ok(mut reader) = MetricsReader::open(&failing, query) {
            let _ = reader.statistics(&[]);
            while let Ok(Some(_)) = reader.next(count.into()) {}
        }
    }
}

/// A host with these parts of metrics.jsonl.
fn memory(parts: &[(Part, Vec<u8>)], faults: Faults) -> Memory {
    let memory = Memory::default();
    for (part, content) in parts {
        memory.change(RunFile::METRICS, *part, |own| own.clone_from(content));
    }
    memory.set_faults(faults);
    memory
}

/// `json` accepts what serde_json accepts and reads the same from it. When serde_json builds a tree of values, it
/// refuses three things that the grammar allows: deep nesting, large numbers and lone surrogates.
fn reads_as_serde_json_does(text: &str) {
    let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();
    let mut reader = Reader::new(text);
    let accepts = reader.value().is_ok() && reader.end().is_ok();
    let Scalars { depth, numbers, strings } = scalars(if is_json { text } else { "" });
    assert_eq!(accepts, is_json && depth <= DEEPEST, "accepts {text:?}");

    let mut is_tree = is_json && depth <= DEEPEST_TREE;
    for number in numbers {
        let float: f64 = number.parse().expect("Rust parses every JSON number");
        match serde_json::from_str::<f64>(number) {
            Ok(theirs) => assert_eq!(float.to_bits(), theirs.to_bits(), "{number}"),
            Err(_) => assert!(float.is_infinite(), "{number} is out of range"),
        }
        is_tree &= float.is_finite();
    }
    for string in strings {
        let raw = &string[1..string.len() - 1];
        match serde_json::from_str::<String>(string) {
            Ok(theirs) => assert_eq!(unescape(raw), theirs),
            Err(_) => {
                // A lone surrogate.
                assert!(raw.contains("\\u") && unescape(raw).contains('\u{fffd}'), "{string}");
                is_tree = false;
            }
        }
    }
    let tree: Result<Value, _> = serde_json::from_str(text);
    assert_eq!(tree.is_ok(), is_tree, "a tree of {text:?}");

    let read = members(text);
    let is_object = is_json && text.trim_start().starts_with('{');
    assert_eq!(read.is_ok(), is_object && depth <= DEEPEST_OBJECT, "an object: {text:?}");
    if let (Ok(read), Ok(Value::Object(tree))) = (read, tree) {
        // The last value of a repeated key counts.
        let read: HashMap<_, _> =
            read.into_iter().map(|(key, token)| (unescape(key), token)).collect();
        assert_eq!(read.len(), tree.len());
        for (key, token) in read {
            assert_eq!(tree_of(token), tree[&*key], "{key}");
        }
    }
}

/// The depth of a valid JSON text, its numbers, and its strings with their quotes.
struct Scalars<'a> {
    depth: usize,
    numbers: Vec<&'a str>,
    strings: Vec<&'a str>,
}

fn scalars(text: &str) -> Scalars<'_> {
    let mut found = Scalars { depth: 0, numbers: Vec::new(), strings: Vec::new() };
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0);
    while let Some(&byte) = bytes.get(at) {
        let start = at;
        at += 1;
        match byte {
            b'{' | b'[' => {
                depth += 1;
                found.depth = found.depth.max(depth);
            }
            b'}' | b']' => depth -= 1,
            b'"' => {
                while bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
                found.strings.push(&text[start..at]);
            }
            b'-' | b'0'..=b'9' => {
                let is_number =
                    |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
                at += bytes[at..].iter().take_while(|byte| is_number(byte)).count();
                found.numbers.push(&text[start..at]);
            }
            _ => {}
        }
    }
    found
}

/// The members of a text that is an object.
fn members(text: &str) -> Result<Vec<(&str, Token<'_>)>, Problem> {
    let mut object = Reader::object(text)?;
    let mut members = Vec::new();
    while let Some(member) = object.next()? {
        members.push(member);
    }
    assert_eq!(object.next(), Ok(None), "the end is final");
    Ok(members)
}

fn tree_of(token: Token<'_>) -> Value {
    match token {
        Token::Null => Value::Null,
        Token::Boolean(boolean) => Value::Bool(boolean),
        Token::Text(raw) => Value::String(unescape(raw).into_owned()),
        Token::Number(text) | Token::Object(text) | Token::Array(text) => {
            serde_json::from_str(text).expect("a part of a text that serde_json accepts")
        }
    }
}

/// A line is an entry if it is an object that has, as serde_json reads it, the fields of an entry.
fn reads_an_entry(line: &str) {
    let entry = Entry::read(line);
    if let Ok(entry) = &entry {
        assert!(members(line).is_ok(), "not an object: {line:?}");
        let _ = entry.members(&mut |name, _| drop(unescape(name)));
    }
    let (Ok(Value::Object(tree)), Ok(members)) = (serde_json::from_str(line), members(line)) else {
        return;
    };
    // The logger never writes an entry's own keys with escapes or twice, and readers rely on it.
    let keys: HashSet<&str> = members.iter().map(|(key, _)| *key).collect();
    if keys.len() < members.len() || line.contains('\\') {
        return;
    }
    let field = |key: &str| tree.get(key);
    let all = |key: &str, holds: fn(&Value) -> bool| field(key).is_none_or(holds);
    let is_attempt = |value: &Value| value.as_u64().is_some_and(|number| number <= u32::MAX.into());
    let has_kinds = all("timestamp", Value::is_string)
        && all("step", Value::is_u64)
        && all("epoch", |value| value.is_number() || value.is_null())
        && all("attempt", is_attempt)
        && all("metrics", Value::is_object)
        && all("summary", Value::is_object);
    let has = |key| field(key).is_some();
    let is_entry = has_kinds
        && match (has("step"), has("metrics"), has("summary")) {
            (true, true, summary) => !summary,
            (step, metrics, summary) => summary && !step && !metrics,
        };
    assert_eq!(entry.is_ok(), is_entry, "{line:?}: {entry:?}");
    let Ok(entry) = entry else { return };
    assert_eq!(Some(entry.timestamp), field("timestamp").map_or(Some(""), Value::as_str));
    assert_eq!(entry.step, field("step").and_then(Value::as_u64));
    assert_eq!(entry.epoch, field("epoch").and_then(Value::as_f64));
    assert_eq!(Some(entry.attempt.into()), field("attempt").map_or(Some(1), Value::as_u64));
}

/// The lines, and between them only newlines, make up the whole file.
fn lines_cover(imports: &Memory, part: Part, content: &[u8]) {
    let mut lines = Lines::open(imports, RunFile::METRICS, part).expect("a size");
    let (mut at, mut number) = (0, 0);
    let mut last = None;
    while let Some(line) = lines.next().expect("a sound disk") {
        let (start, end) = (line.offset as usize, (line.offset + line.length) as usize);
        let between = &content[at..start];
        assert!(between.iter().all(|byte| *byte == b'\n'), "only empty lines are skipped");
        number += between.len() as u64 + 1;
        assert_eq!(line.number, number);
        let mut whole = line.bytes.to_vec();
        if !line.torn {
            whole.push(b'\n');
        }
        assert_eq!(whole, content[start..end]);
        assert!(!line.bytes.is_empty() && !line.bytes.contains(&b'\n'));
        assert!(!line.torn || end == content.len(), "only the last line is torn");
        last = Some((line.offset, line.length, line.bytes.to_vec()));
        at = end;
    }
    assert!(
        content[at..].iter().all(|byte| *byte == b'\n'),
        "only empty lines are skipped at the end"
    );
    assert_eq!(lines.next(), Ok(None), "the end is final");

    // A line that is read by its range is the same.
    if let Some((offset, length, bytes)) = last {
        let mut lines = Lines::range(imports, RunFile::METRICS, part, offset, offset + length);
        let line = lines.next().expect("a sound disk").expect("the line");
        assert_eq!((line.offset, line.length), (offset, length));
        assert_eq!(line.bytes, bytes);
    }
}

/// A reader returns the good lines that match the query, each once and in the order of their part, and counts the
/// damaged ones.
fn delivers_what_is_good(imports: &Memory, parts: &[(Part, Vec<u8>)], query: Query, block: usize) {
    let mut reader = MetricsReader::open(imports, query).expect("a sound disk");
    let mut text = String::new();
    while let Some(lines) = reader.next(block).expect("a sound disk") {
        assert!(lines.is_empty() || lines.ends_with('\n'), "a block is whole lines");
        text += &lines;
    }
    // Unlike `lines`, this leaves a carriage return in the line.
    let mut found: Vec<&str> = text.split_terminator('\n').collect();

    let (mut expected, damaged): (Vec<Vec<_>>, Vec<u64>) =
        parts.iter().map(|(_, content)| good_lines(content)).unzip();
    let damaged: u64 = damaged.iter().sum();
    assert_eq!(reader.damage().lines, damaged);
    assert_eq!(reader.damage().first.is_some(), damaged > 0);

    let all: Vec<Entry<'_>> = expected.concat().into_iter().map(|(_, entry)| entry).collect();
    let matches = |entry: &Entry<'_>| match entry.step {
        Some(step) => query.first_step.is_none_or(|first| first <= step),
        None => query.summaries && query.first_step.is_none(),
    };
    let logged = Logged::of(if query.all_attempts { &[] } else { &all });
    for part in &mut expected {
        part.retain(|(_, entry)| matches(entry) && !logged.has_all_of(entry));
    }
    let lines = |part: &Vec<(&str, Entry<'_>)>| -> Vec<String> {
        part.iter().map(|(line, entry)| logged.rest(line, entry)).collect()
    };
    let step = |line: &&str| Entry::read(line).expect("good").step;
    let in_order =
        |part: &Vec<(&str, Entry<'_>)>| part.iter().filter_map(|(_, e)| e.step).is_sorted();
    if expected.iter().all(in_order) {
        assert!(
            found.iter().filter_map(step).is_sorted(),
            "parts in the order of their steps are merged in that order"
        );
    }
    if let [part] = expected.as_slice() {
        assert_eq!(found, lines(part));
    }
    let mut expected: Vec<String> = expected.iter().flat_map(lines).collect();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);

    // Compared as text, because NaN does not equal itself.
    let text = |statistics: &AllStatistics| format!("{:?}", statistics.named());
    let all = reader.statistics(&[]).expect("a sound disk");
    let (same, series) = reader.overview(7).expect("a sound disk");
    assert_eq!(text(&all), text(&same));
    assert_eq!(series.len(), all.named().len());
    assert!(series.iter().all(|one| one.buckets.len() <= 7));
    for named in all.named() {
        let one = reader.statistics(std::slice::from_ref(&named.name)).expect("a sound disk");
        let one: Vec<_> = one.named().into_iter().filter(|one| one.name == named.name).collect();
        let same: Vec<_> = all.named().into_iter().filter(|one| one.name == named.name).collect();
        assert_eq!(format!("{one:?}"), format!("{same:?}"));
    }
}

/// What the attempts after the first logged: the attempts that logged a metric at a step, and those that summarized
/// an epoch.
#[derive(Default)]
struct Logged<'a> {
    metrics: HashMap<(Cow<'a, str>, u64), u32>,
    epochs: Vec<(f64, u32)>,
}

impl<'a> Logged<'a> {
    fn of(entries: &[Entry<'a>]) -> Self {
        let mut logged = Self::default();
        for entry in entries.iter().filter(|entry| entry.attempt > 1) {
            match (entry.step, entry.epoch) {
                (Some(step), _) => {
                    for name in names(entry) {
                        let last = logged.metrics.entry((unescape(name), step)).or_default();
                        *last = entry.attempt.max(*last);
                    }
                }
                (None, Some(epoch)) => logged.epochs.push((epoch, entry.attempt)),
                (None, None) => {}
            }
        }
        logged
    }

    /// The entry's metrics that a later attempt logged at the same step.
    fn again(&self, entry: &Entry<'a>) -> Vec<&'a str> {
        let Some(step) = entry.step else { return Vec::new() };
        let last = |name| self.metrics.get(&(unescape(name), step));
        names(entry).into_iter().filter(|name| last(name) > Some(&entry.attempt)).collect()
    }

    /// Whether later attempts logged the whole entry.
    fn has_all_of(&self, entry: &Entry<'a>) -> bool {
        if entry.step.is_none() {
            let is_later =
                |&(epoch, attempt)| entry.epoch == Some(epoch) && attempt > entry.attempt;
            return self.epochs.iter().any(is_later);
        }
        let again = self.again(entry);
        !again.is_empty() && again.len() == names(entry).len()
    }

    /// The entry's line without what later attempts logged.
    fn rest(&self, line: &str, entry: &Entry<'a>) -> String {
        let again = self.again(entry);
        if again.is_empty() {
            return line.to_owned();
        }
        let rest = entry.without(line, &again);
        let read = Entry::read(&rest).expect("still an entry");
        assert_eq!(read.key, entry.key);
        let numbers = |entry: &Entry<'_>| {
            let mut numbers = Vec::new();
            let mut add = |name: &str, number: Option<f64>| {
                numbers.push((name.to_owned(), number.map(f64::to_bits)));
            };
            entry.members(&mut add).expect("members that were read before");
            numbers
        };
        let mut expected = numbers(entry);
        expected.retain(|(name, _)| !again.contains(&&**name));
        assert_eq!(numbers(&read), expected);
        rest
    }
}

/// The names of an entry's metrics, as they are written.
fn names<'a>(entry: &Entry<'a>) -> Vec<&'a str> {
    let mut names = Vec::new();
    entry.members(&mut |name, _| names.push(name)).expect("members of an object");
    names
}

/// The entries of a file, and the number of its damaged lines. A record may follow a torn one on the same line.
fn good_lines(content: &[u8]) -> (Vec<(&str, Entry<'_>)>, u64) {
    let (mut good, mut damaged) = (Vec::new(), 0);
    let read = |bytes| {
        let text = std::str::from_utf8(bytes).ok()?;
        Some((text, Entry::read(text).ok()?))
    };
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        // The last line may be complete without its newline.
        let Some(line) = line.strip_suffix(b"\n") else {
            let entry = read(line);
            damaged += u64::from(entry.is_none());
            good.extend(entry);
            continue;
        };
        if line.is_empty() {
            continue;
        }
        if let Some(entry) = read(line) {
            good.push(entry);
            continue;
        }
        damaged += 1;
        let starts = line.windows(RECORD_START.len()).rposition(|bytes| bytes == RECORD_START);
        good.extend(starts.and_then(|at| read(&line[at..])));
    }
    (good, damaged)
}
