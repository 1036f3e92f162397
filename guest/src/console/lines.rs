//! Bytes cut anywhere, put together into lines.

use std::borrow::Cow;

/// The most that is kept of one line, in bytes: far above any record that a trainer prints, far below what
/// a stream without line ends would take.
pub(super) const MAX_LINE: usize = 4 << 20;

/// Above this, the room that a long line took is given back.
const KEPT_CAPACITY: usize = 64 << 10;

/// One line of a stream, without its end.
pub(super) struct Line<'a> {
    /// Its bytes, as they came.
    pub(super) bytes: &'a [u8],
    /// It was written over another line: a carriage return came before it.
    pub(super) over_another: bool,
    /// It was written over by another line: a carriage return ended it.
    pub(super) written_over: bool,
    /// More than [`MAX_LINE`] came; `bytes` is the beginning.
    pub(super) cut: bool,
}

/// The unfinished line of one stream.
#[derive(Default)]
pub(super) struct LineBuffer {
    pending: Vec<u8>,
    cut: bool,
    over_another: bool,
    /// The line ended by a carriage return, and the next byte tells which kind: before a newline it belongs
    /// to the line's end, otherwise the line is redrawn. Waiting for that byte makes the answer the same
    /// wherever the bytes are cut.
    returned: bool,
}

impl LineBuffer {
    /// Calls `found` with each line that these bytes end.
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
                self.keep(bytes);
                return;
            };
            let (line, rest) = bytes.split_at(end);
            bytes = &rest[1..];
            if rest[0] == b'\n' {
                self.end(line, false, &mut found);
            } else {
                self.keep(line);
                self.returned = true;
            }
        }
    }

    /// Calls `found` with the line that no end came for, if there is one.
    pub(super) fn finish(&mut self, mut found: impl FnMut(Line<'_>)) {
        if !self.pending.is_empty() {
            // What a carriage return ended last was never written over.
            self.end(&[], false, &mut found);
        }
        *self = Self::default();
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = MAX_LINE - self.pending.len();
        self.cut |= bytes.len() > room;
        self.pending.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end(&mut self, rest: &[u8], written_over: bool, found: &mut impl FnMut(Line<'_>)) {
        // A line that came whole is read where it lies.
        let whole = self.pending.is_empty() && rest.len() <= MAX_LINE;
        if !whole {
            self.keep(rest);
        }
        found(Line {
            bytes: if whole { rest } else { &self.pending },
            over_another: self.over_another,
            written_over,
            cut: self.cut,
        });
        self.pending.clear();
        if self.pending.capacity() > KEPT_CAPACITY {
            self.pending = Vec::new();
        }
        self.cut = false;
        self.over_another = written_over;
        self.returned = false;
    }
}

/// The text of a line without what only a terminal understands: escape sequences and control characters
/// but the tab are dropped, and what is not UTF-8 becomes U+FFFD.
pub(super) fn clean(bytes: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    let is_control = |byte: u8| byte < 0x20 && byte != b'\t' || byte == 0x7f;
    if !text.bytes().any(is_control) {
        return text;
    }
    let mut kept = String::with_capacity(text.len());
    let mut rest = text.as_ref();
    while let Some(at) = rest.bytes().position(is_control) {
        kept.push_str(&rest[..at]);
        let control = rest.as_bytes()[at];
        rest = &rest[at + 1..];
        if control == 0x1b {
            rest = after_escape(rest);
        }
    }
    kept.push_str(rest);
    Cow::Owned(kept)
}

/// What follows an escape sequence (ECMA-48, section 5), whose escape character was just read.
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
        // A command to the terminal, such as a hyperlink: up to a bell or another escape. Without one it is
        // no command, and nothing is dropped.
        Some(b']') => match memchr::memchr2(0x07, 0x1b, bytes) {
            Some(end) if bytes[end] == 0x07 => end + 1,
            Some(end) if bytes.get(end + 1) == Some(&b'\\') => end + 2,
            _ => 0,
        },
        // Two bytes, such as a choice of a character set, which takes a third.
        Some(b'(' | b')') => 1 + usize::from(bytes.get(1).is_some_and(u8::is_ascii_alphanumeric)),
        Some(0x30..=0x7e) => 1,
        _ => 0,
    };
    &rest[end..]
}
