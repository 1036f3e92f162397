//! Splits a stream of bytes into lines.

use std::borrow::Cow;

/// How much of a line is buffered, in bytes: far more than any record that a trainer prints, but a bound for a
/// stream without newlines.
pub(super) const MAX_LINE: usize = 4 << 20;

/// After a line, a buffer larger than this is freed, in bytes.
const MAX_RETAINED: usize = 64 << 10;

/// One line of a stream, without its end.
pub(super) struct Line<'a> {
    /// Its bytes, unmodified.
    pub(super) bytes: &'a [u8],
    /// It overwrites another line: a carriage return came before it.
    pub(super) over_another: bool,
    /// Another line overwrites it: a carriage return ended it.
    pub(super) written_over: bool,
    /// It is longer than [`MAX_LINE`], and `bytes` is only its beginning.
    pub(super) cut: bool,
}

/// Splits one stream into lines, and holds its unfinished line.
#[derive(Default)]
pub(super) struct LineSplitter {
    pending: Vec<u8>,
    cut: bool,
    over_another: bool,
    /// The line ended in a carriage return. The next byte decides what that means: with a newline it is a line
    /// end, otherwise the line is overwritten. To wait for that byte makes the lines independent of how the
    /// bytes are divided into calls.
    returned: bool,
}

impl LineSplitter {
    /// Calls `found` with each line that these bytes complete.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut found: impl FnMut(Line<'_>)) {
        while let Some(&first) = bytes.first() {
            if self.returned {
                match first {
                    b'\r' => bytes = &bytes[1..],
                    b'\n' => {
                        bytes = &bytes[1..];
                        self.end(&[], false, &mut found);
                    }
                    _ => self.end(&[], true, &mut found),
                }
                continue;
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) else {
                self.buffer(bytes);
                return;
            };
            let (line, rest) = bytes.split_at(end);
            bytes = &rest[1..];
            if rest[0] == b'\n' {
                self.end(line, false, &mut found);
            } else {
                self.buffer(line);
                self.returned = true;
            }
        }
    }

    /// Ends the stream: calls `found` with the unfinished line, if there is one.
    pub(super) fn finish(&mut self, mut found: impl FnMut(Line<'_>)) {
        if !self.pending.is_empty() {
            // Nothing overwrote the line, even if it ended in a carriage return.
            self.end(&[], false, &mut found);
        }
        *self = Self::default();
    }

    fn buffer(&mut self, bytes: &[u8]) {
        let room = MAX_LINE - self.pending.len();
        self.cut |= bytes.len() > room;
        self.pending.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end(&mut self, rest: &[u8], written_over: bool, found: &mut impl FnMut(Line<'_>)) {
        // A line that is complete in the input needs no copy.
        let whole = self.pending.is_empty() && rest.len() <= MAX_LINE;
        if !whole {
            self.buffer(rest);
        }
        found(Line {
            bytes: if whole { rest } else { &self.pending },
            over_another: self.over_another,
            written_over,
            cut: self.cut,
        });
        self.pending.clear();
        if self.pending.capacity() > MAX_RETAINED {
            self.pending = Vec::new();
        }
        self.cut = false;
        self.over_another = written_over;
        self.returned = false;
    }
}

/// The text of a line without escape sequences and without control characters other than tab. Bytes that are
/// not UTF-8 become U+FFFD.
pub(super) fn clean(bytes: &[u8]) -> Cow<'_, str> {
    // Nearly every line is UTF-8, which is checked faster than repaired.
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    };
    let is_control = |byte: u8| byte < 0x20 && byte != b'\t' || byte == 0x7f;
    // Without an early end, so that many bytes are looked at together.
    if !text.bytes().fold(false, |found, byte| found | is_control(byte)) {
        return text;
    }
    let mut cleaned = String::with_capacity(text.len());
    let mut rest = text.as_ref();
    while let Some(at) = rest.bytes().position(is_control) {
        cleaned.push_str(&rest[..at]);
        let control = rest.as_bytes()[at];
        rest = &rest[at + 1..];
        if control == 0x1b {
            rest = after_escape(rest);
        }
    }
    cleaned.push_str(rest);
    Cow::Owned(cleaned)
}

/// The text after an escape sequence (ECMA-48, section 5); `rest` begins after the escape character.
fn after_escape(rest: &str) -> &str {
    let bytes = rest.as_bytes();
    let end = match bytes.first() {
        // A control sequence: parameters, then one final byte.
        Some(b'[') => {
            let parameters =
                bytes[1..].iter().take_while(|byte| (0x20..0x40).contains(*byte)).count();
            let end = 1 + parameters;
            end + usize::from(bytes.get(end).is_some_and(|byte| (0x40..0x7f).contains(byte)))
        }
        // A command to the terminal, such as a hyperlink, ends with a bell or another escape sequence. Without
        // either it is not a command, and stays.
        Some(b']') => match memchr::memchr2(0x07, 0x1b, bytes) {
            Some(end) if bytes[end] == 0x07 => end + 1,
            Some(end) if bytes.get(end + 1) == Some(&b'\\') => end + 2,
            _ => 0,
        },
        // The selection of a character set: three bytes including the escape character. Any other is two.
        Some(b'(' | b')') => 1 + usize::from(bytes.get(1).is_some_and(u8::is_ascii_alphanumeric)),
        Some(0x30..=0x7e) => 1,
        _ => 0,
    };
    &rest[end..]
}

/// The longest excerpt of a line, in bytes.
const MAX_EXCERPT: usize = 400;

/// The beginning of a line, for an explanation.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    let text = clean(&bytes[..bytes.len().min(4 * MAX_EXCERPT)]).into_owned();
    let end = text.floor_char_boundary(MAX_EXCERPT);
    text[..end].to_owned()
}

/// The text with the punctuation of ASCII instead of that of full width, which Chinese and Japanese scripts print.
pub(super) fn half_width(text: &str) -> Cow<'_, str> {
    // All of it is U+FF01 to U+FF5E: three bytes, the first of which is 0xEF.
    if memchr::memchr(0xef, text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut half = String::with_capacity(text.len());
    for c in text.chars() {
        half.push(match c {
            '\u{ff01}'..='\u{ff5e}' => {
                char::from_u32(u32::from(c) - 0xfee0).filter(|c| !c.is_ascii_control()).unwrap_or(c)
            }
            '\u{3000}' => ' ',
            c => c,
        });
    }
    Cow::Owned(half)
}
