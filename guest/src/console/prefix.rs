//! Removes what loggers, launchers and container runtimes print before a line: times, levels, the names of loggers,
//! ranks and processes. What remains is what the trainer itself printed.
//!
//! A prefix is recognized by its form, from left to right. The name of a logger counts only after a time or a level,
//! because by itself it could be anything.

use super::observation::Phase;
use super::phase;
use super::tracebacks::exactly_digits;

/// The longest bracket that can be a prefix, in bytes.
const MAX_GROUP: usize = 120;

/// The most prefixes of a line.
const MAX_PREFIXES: usize = 12;

/// A line without its prefixes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Body<'a> {
    pub(super) text: &'a str,
    /// The phase that a prefix names: `[val]`, `| valid |`.
    pub(super) phase: Option<Phase>,
}

const LEVELS: [&str; 14] = [
    "DEBUG", "INFO", "WARNING", "WARN", "ERROR", "CRITICAL", "FATAL", "SUCCESS", "TRACE", "NOTICE",
    "VERBOSE", "Info", "Debug", "Warning",
];

/// The line without its prefixes, and without the file and line that rich prints at its end.
pub(super) fn strip(text: &str) -> Body<'_> {
    let mut stripper =
        Stripper { rest: without_location(text.trim()), phase: None, marked: false, level: false };
    for _ in 0..MAX_PREFIXES {
        if !stripper.next() {
            break;
        }
    }
    Body { text: stripper.rest.trim_start(), phase: stripper.phase }
}

struct Stripper<'a> {
    rest: &'a str,
    phase: Option<Phase>,
    /// A time, a level or a process was removed.
    marked: bool,
    level: bool,
}

impl<'a> Stripper<'a> {
    /// Removes one prefix; false if there is none.
    fn next(&mut self) -> bool {
        let rest = self.rest.trim_start();
        let after = match rest.as_bytes().first() {
            Some(b'[') => self.bracket(rest),
            Some(b'(') => process(rest).inspect(|_| self.marked = true),
            Some(b'<') => rest.strip_prefix("<stdout>:").or_else(|| rest.strip_prefix("<stderr>:")),
            Some(b'>') if self.marked => rest.strip_prefix(">> "),
            Some(b'0'..=b'9') => time(rest).inspect(|_| self.marked = true),
            Some(b'|') if !self.marked => fairseq(rest),
            Some(byte) if byte.is_ascii_alphabetic() || *byte == b'_' => self.word(rest),
            _ => None,
        };
        match after {
            Some(after) => {
                self.rest = separator(after);
                true
            }
            None => false,
        }
    }

    /// `[2024-07-25 21:03:17,269]`, `[INFO]`, `[logging.py:96:log_dist]`, `[Rank 0]`, `[val]`, `[1,0]<stdout>:`
    fn bracket(&mut self, rest: &'a str) -> Option<&'a str> {
        let end = memchr::memchr(b']', rest.as_bytes().get(..MAX_GROUP.min(rest.len()))?)?;
        let (inside, after) = (rest[1..end].trim(), &rest[end + 1..]);
        if after.starts_with("<stdout>:") || after.starts_with("<stderr>:") {
            return Some(after);
        }
        if let Some(found) =
            phase::of_word(inside).filter(|_| inside.bytes().all(|b| b.is_ascii_alphabetic()))
        {
            self.phase = self.phase.or(Some(found));
            return Some(after);
        }
        let lower = inside.to_ascii_lowercase();
        let counts = ["epoch", "iter", "step", "batch"].iter().any(|word| {
            lower.match_indices(word).any(|(at, _)| {
                lower[at + word.len()..]
                    .trim_start_matches([' ', '=', ':', '#'])
                    .starts_with(|c: char| c.is_ascii_digit())
            })
        });
        let level = inside.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or("");
        let is_level = LEVELS.iter().any(|known| level.eq_ignore_ascii_case(known));
        let is_prefix = !counts
            && (has_time(inside)
                || is_level
                || is_rank(&lower)
                || is_location(inside)
                || inside.starts_with("NeMo ")
                || inside.starts_with("pod/")
                || is_host_rank(inside));
        self.level |= is_level && is_prefix;
        self.marked |= is_prefix;
        is_prefix.then_some(after)
    }

    fn word(&mut self, rest: &'a str) -> Option<&'a str> {
        if let Some(after) = absl(rest).or_else(|| syslog(rest)) {
            self.marked = true;
            return Some(after);
        }
        let length = rest
            .find(|c: char| c.is_whitespace() || matches!(c, '|' | ',' | '(' | '[' | '{' | '='))?;
        let (word, after) = rest.split_at(length);
        let spaced = after.trim_start_matches(' ');
        // `INFO`, `INFO:`, `INFO:root:`
        let head = word.split(':').next().unwrap_or(word);
        if LEVELS.contains(&head)
            && (word.len() == head.len() || word[head.len()..].starts_with(':'))
        {
            self.marked = true;
            self.level = true;
            let name = &word[head.len()..];
            // `INFO:root:` without spaces: the name of the logger. The last colon ends it.
            return Some(match name[name.len().min(1)..].find(':') {
                Some(end) => &rest[head.len() + 1 + end + 1..],
                None => &rest[head.len() + name.len().min(1)..],
            });
        }
        let lower = word.to_ascii_lowercase();
        if is_rank(lower.trim_end_matches(':')) && word.ends_with(':') {
            self.marked = true;
            return Some(after);
        }
        // Docker Compose: `trainer-1  | `.
        let is_service = word.rsplit_once(['-', '_']).is_some_and(|(name, number)| {
            !name.is_empty() && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
        });
        if is_service && !self.marked && spaced.starts_with("| ") && !is_counter(word) {
            return Some(&spaced[1..]);
        }
        if !self.marked {
            return None;
        }
        // `stdout F`: the container runtime interface.
        if matches!(word, "stdout" | "stderr")
            && (spaced.starts_with("F ") || spaced.starts_with("P "))
        {
            return Some(&spaced[1..]);
        }
        if is_location(word.trim_end_matches(':')) || word == "__main__" {
            return Some(after);
        }
        // `INFO RabitTracker: 2022-06-01 10:06:44,668 INFO`: one log inside another.
        if word.ends_with(':')
            && (time(spaced).is_some() || LEVELS.iter().any(|level| spaced.starts_with(level)))
        {
            return Some(after);
        }
        let is_name = word.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '/'));
        let next = spaced.split([' ', ':', '|']).next().unwrap_or("");
        let before_level = !self.level
            && (LEVELS.contains(&next)
                || spaced.strip_prefix("- ").is_some_and(|rest| {
                    LEVELS.contains(&rest.split([' ', ':']).next().unwrap_or(""))
                }));
        let dotted = word.contains('.') && !word.ends_with('.') && is_name;
        let listed = is_name && (spaced.starts_with("- ") || spaced.starts_with("| "));
        if !is_counter(word) && (is_name && before_level || dotted || listed) {
            self.phase = self.phase.or_else(|| phase::of_words(word));
            return Some(after);
        }
        None
    }
}

/// Whether a word may begin what the trainer says about its progress.
fn is_counter(word: &str) -> bool {
    super::names::text_role(word) != super::names::Role::Other
}

/// The text after a separator between prefixes: ` - `, ` | `, `:`.
fn separator(text: &str) -> &str {
    let rest = text.trim_start();
    for separator in ["- ", "| ", ": ", "] "] {
        if let Some(rest) = rest.strip_prefix(separator) {
            return rest;
        }
    }
    rest.strip_prefix(':').unwrap_or(rest)
}

/// `(RayTrainWorker pid=63669, ip=10.0.0.4)`, `(trainer:464)`
fn process(rest: &str) -> Option<&str> {
    let end = memchr::memchr(b')', rest.as_bytes().get(..MAX_GROUP.min(rest.len()))?)?;
    let inside = &rest[1..end];
    let is_line = inside.split_once(':').is_some_and(|(name, line)| {
        name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'))
            && name.starts_with(|c: char| c.is_ascii_alphabetic())
            && exactly_digits(line)
    });
    (inside.contains("pid=") || is_line).then_some(&rest[end + 1..])
}

/// The columns of older versions of fairseq: `| epoch 010 | train loss 1.44`.
fn fairseq(rest: &str) -> Option<&str> {
    let after = rest.strip_prefix("| ")?;
    let words = after.trim_start();
    let word = words.get(..6).filter(|word| word.eq_ignore_ascii_case("epoch "))?;
    // In a box the name and the number are in cells of their own.
    words[word.len()..].trim_start().starts_with(|c: char| c.is_ascii_digit()).then_some(after)
}

/// glog and absl: `I0303 12:00:01.123456 140012 train.py:88] `
fn absl(rest: &str) -> Option<&str> {
    let bytes = rest.as_bytes();
    let begins = matches!(bytes.first(), Some(b'I' | b'W' | b'E' | b'F' | b'D'))
        && bytes.get(1..5)?.iter().all(u8::is_ascii_digit)
        && bytes.get(5) == Some(&b' ');
    if !begins {
        return None;
    }
    let end = memchr::memmem::find(bytes.get(..MAX_GROUP.min(bytes.len()))?, b"] ")?;
    Some(&rest[end + 2..])
}

/// `May 01 12:00:00 node7 python[812]: `
fn syslog(rest: &str) -> Option<&str> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = rest.get(..3)?;
    if !MONTHS.contains(&month) {
        return None;
    }
    let day = rest[3..].strip_prefix(' ')?.trim_start_matches(' ');
    let digits = day.bytes().take_while(u8::is_ascii_digit).count();
    let after = clock(day[digits..].strip_prefix(' ')?)?.trim_start_matches(' ');
    let mut words = after.splitn(3, ' ');
    let (host, process) = (words.next()?, words.next()?);
    if (1..=2).contains(&digits) && process.ends_with(':') && !host.contains(':') {
        return words.next();
    }
    Some(after)
}

/// A date, a time, or both at the start of the text; returns the rest.
fn time(rest: &str) -> Option<&str> {
    if let Some(after) = clock(rest) {
        // `0:01:00`: the time since the start.
        return (after.is_empty() || after.starts_with([' ', ':', ']', '|'])).then_some(after);
    }
    let date = date(rest)?;
    let after =
        date.strip_prefix(['T', ' ', ',', '_', '-']).unwrap_or(date).trim_start_matches(' ');
    match clock(after) {
        Some(after) => Some(after),
        // A date without a time is a prefix only if it has a year.
        None => rest.as_bytes().get(..4)?.iter().all(u8::is_ascii_digit).then_some(date),
    }
}

/// `2024-05-01`, `05/01/2024`, `22/06/01`, `04/16`, `02-18`
fn date(rest: &str) -> Option<&str> {
    let bytes = rest.as_bytes();
    let mut at = 0;
    let mut lengths = [0; 3];
    let mut parts = 0;
    let mut mark = None;
    loop {
        lengths[parts] = bytes[at..].iter().take(5).take_while(|b| b.is_ascii_digit()).count();
        at += lengths[parts];
        parts += 1;
        match bytes.get(at) {
            Some(byte @ (b'-' | b'/' | b'.'))
                if parts < 3 && mark.is_none_or(|mark| mark == *byte) =>
            {
                mark = Some(*byte);
                at += 1;
            }
            _ => break,
        }
    }
    match lengths[..parts] {
        [4, 2, 2] | [2, 2, 4] | [2, 2, 2] => Some(&rest[at..]),
        [2, 2] if mark != Some(b'.') => Some(&rest[at..]),
        _ => None,
    }
}

/// `12:00:00`, with decimals and a time zone.
fn clock(rest: &str) -> Option<&str> {
    let bytes = rest.as_bytes();
    let hour = bytes.iter().take(3).take_while(|b| b.is_ascii_digit()).count();
    let pair = |at: usize| {
        bytes.get(at) == Some(&b':')
            && bytes.get(at + 1..at + 3).is_some_and(|two| two.iter().all(u8::is_ascii_digit))
    };
    if !(1..=2).contains(&hour) || !pair(hour) || !pair(hour + 3) {
        return None;
    }
    let mut at = hour + 6;
    if matches!(bytes.get(at), Some(b'.' | b',')) {
        let digits = bytes[at + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
        if digits > 0 {
            at += 1 + digits;
        }
    }
    if bytes.get(at) == Some(&b'Z') {
        at += 1;
    } else if matches!(bytes.get(at), Some(b'+' | b'-'))
        && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)
    {
        at += 1 + bytes[at + 1..].iter().take_while(|b| b.is_ascii_digit() || **b == b':').count();
    }
    let ends = !bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
    ends.then(|| &rest[at..])
}

fn has_time(inside: &str) -> bool {
    let bytes = inside.as_bytes();
    memchr::memchr_iter(b':', bytes).any(|at| {
        let digit = |index: usize| bytes.get(index).is_some_and(u8::is_ascii_digit);
        at >= 2
            && digit(at - 1)
            && digit(at - 2)
            && digit(at + 1)
            && digit(at + 2)
            && bytes.get(at + 3) == Some(&b':')
            && digit(at + 4)
    })
}

/// `rank0`, `rank 0`, `default0`
fn is_rank(lower: &str) -> bool {
    ["rank", "default", "gpu", "worker", "trainer"].iter().any(|word| {
        lower
            .strip_prefix(word)
            .is_some_and(|rest| exactly_digits(rest.trim_start_matches([' ', '=', ':'])))
    })
}

/// `gpu01:0/2`
fn is_host_rank(inside: &str) -> bool {
    inside.split_once(':').is_some_and(|(host, ranks)| {
        host.starts_with(|c: char| c.is_ascii_alphabetic())
            && ranks
                .split_once('/')
                .is_some_and(|(rank, size)| exactly_digits(rank) && exactly_digits(size))
    })
}

/// `train.py:42`, `logging.py:96:log_dist`, `__main__:train:42`, `yolox.core.trainer:252`
fn is_location(word: &str) -> bool {
    let word = word.strip_suffix(']').unwrap_or(word);
    let mut parts = word.split(':');
    let name = parts.next().unwrap_or("");
    let is_name = !name.is_empty()
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '/' || c == '.')
        && name.bytes().all(|b| {
            b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'/' | b'-' | b'<' | b'>')
        });
    let mut has_line = false;
    let rest_fits = parts.all(|part| {
        has_line |= exactly_digits(part);
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'<' | b'>' | b'.'))
    });
    is_name
        && has_line
        && rest_fits
        && (name.contains(['.', '_', '/']) || word.matches(':').count() > 1)
}

/// The text without the location that rich prints at the right margin: `step 50 loss=0.55      train.py:42`.
fn without_location(text: &str) -> &str {
    let Some((before, last)) = text.rsplit_once(' ') else { return text };
    let is_source = last.contains(".py:") && is_location(last) && before.ends_with(' ');
    if is_source { before.trim_end() } else { text }
}
