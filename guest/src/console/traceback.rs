//! Tracebacks among other lines: where one begins, which lines are its own, and when it is over.
//!
//! Launchers put a tag before each line (`[rank0]: `), and then the lines of several processes mix. A
//! traceback whose tag repeats takes only the lines that carry it; one without a tag takes what comes.

use super::panics::{self, Panic};
use super::python::{self, Python};
use super::{Event, Traceback};

/// The most that is kept of one traceback's lines, in bytes.
const MAX_TEXT: usize = 256 << 10;

/// The most that is kept of one message, in bytes.
const MAX_MESSAGE: usize = 64 << 10;

/// Tracebacks that are open at once on one stream; when more begin, the oldest is closed.
const MAX_OPEN: usize = 8;

/// A longer text before a traceback's first line is no tag.
const MAX_TAG: usize = 64;

/// Lines that may pass by before an open traceback counts as over.
const MAX_STRAYS: u32 = 100;

/// Lines that a message may have: what goes on after that is other output.
const MAX_MESSAGE_LINES: u32 = 200;

/// What a traceback makes of a line.
pub(super) enum Step {
    /// The line is the traceback's.
    Taken,
    /// The line is the traceback's last.
    Last,
    /// The line may go on with the message.
    Message,
    /// The line is not the traceback's, which goes on.
    Stray,
    /// The traceback was over before the line.
    Over,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// It belongs to no traceback.
    Free,
    /// It belongs to a traceback.
    Taken,
    /// It belongs to a traceback but for this many bytes at its beginning.
    TakenBehind(usize),
    /// It may go on with the message of this traceback, for [`Tracebacks::take_message`].
    Message(usize),
}

/// What is kept of a traceback.
#[derive(Default)]
pub(super) struct Body {
    pub(super) error_type: String,
    message: String,
    message_lines: u32,
    text: String,
    full: bool,
}

impl Body {
    /// The exception, in place of any before it.
    pub(super) fn raise(&mut self, error_type: &str, message: &str) {
        self.error_type.clear();
        push_bounded(&mut self.error_type, error_type, MAX_MESSAGE);
        self.message.clear();
        self.message_lines = 1;
        push_bounded(&mut self.message, message, MAX_MESSAGE);
    }

    /// One more line of the message; false where it has too many.
    pub(super) fn go_on(&mut self, line: &str) -> bool {
        self.message_lines += 1;
        if self.message_lines > 1 {
            push_bounded(&mut self.message, "\n", MAX_MESSAGE);
        }
        push_bounded(&mut self.message, line, MAX_MESSAGE);
        self.message_lines < MAX_MESSAGE_LINES
    }

    fn push(&mut self, line: &str) {
        // Once a line did not fit, later ones that would are left out too: the text has no holes.
        if !self.full {
            if !self.text.is_empty() {
                self.text.push('\n');
            }
            push_bounded(&mut self.text, line, MAX_TEXT);
            self.full = self.text.len() + 1 >= MAX_TEXT || !self.text.ends_with(line);
        }
    }
}

/// Appends as much as fits.
fn push_bounded(text: &mut String, more: &str, bound: usize) {
    let room = bound.saturating_sub(text.len());
    text.push_str(&more[..more.floor_char_boundary(room)]);
}

/// Whose traceback.
enum Kind {
    Python(Python),
    Panic(Panic),
}

/// An open traceback.
struct Open {
    /// What stands before each line.
    tag: String,
    /// The tag was seen on the first line only: it may be that line's own.
    tag_is_new: bool,
    strays: u32,
    kind: Kind,
    body: Body,
}

impl Open {
    /// The line without the tag, if it carries it.
    fn own<'a>(&self, text: &'a str) -> Option<&'a str> {
        // A blank line's tag may have lost its space.
        let (tag, space) = self.tag.split_at(self.tag.trim_end().len());
        let untagged = text.strip_prefix(tag)?;
        Some(untagged.strip_prefix(space).unwrap_or(untagged))
    }

    fn step(&mut self, line: &str, redrawn: bool) -> Step {
        let step = match &mut self.kind {
            Kind::Python(python) => python.line(line, redrawn, &mut self.body),
            Kind::Panic(panic) => panic.line(line, redrawn, &mut self.body),
        };
        match step {
            Step::Stray => self.passed_by(),
            step => step,
        }
    }

    /// A line passed by that is not this traceback's.
    fn passed_by(&mut self) -> Step {
        self.strays += 1;
        if self.strays > MAX_STRAYS { Step::Over } else { Step::Stray }
    }

    fn event(self) -> Option<Event> {
        let complete = match &self.kind {
            Kind::Python(python) => python.is_complete(&self.body),
            Kind::Panic(panic) => panic.is_complete(),
        };
        let Body { error_type, mut message, mut text, .. } = self.body;
        message.truncate(message.trim_end().len());
        text.truncate(text.trim_end().len());
        complete.then_some(Event::Error(Traceback { error_type, error_message: message, text }))
    }
}

/// The open tracebacks of one stream.
#[derive(Default)]
pub(super) struct Tracebacks {
    open: Vec<Open>,
}

impl Tracebacks {
    /// Offers a line; tracebacks that are over by it become events.
    pub(super) fn offer(&mut self, text: &str, redrawn: bool, events: &mut Vec<Event>) -> Offer {
        let beginning = Beginning::of(text);
        if self.open.is_empty() && beginning.is_none() {
            return Offer::Free;
        }
        if let Some(owner) = self.owner(text, beginning.as_ref(), events) {
            self.pass_by(owner, events);
            // Closing others may have moved it.
            if let Some(offer) = self.offer_to_owner(text, redrawn, events) {
                return offer;
            }
        } else {
            self.pass_by(usize::MAX, events);
        }
        match beginning {
            Some(beginning) => self.begin(text, beginning, events),
            None => Offer::Free,
        }
    }

    /// Takes a line that [`Tracebacks::offer`] said may go on with a message.
    pub(super) fn take_message(&mut self, index: usize, text: &str, events: &mut Vec<Event>) {
        let open = &mut self.open[index];
        let line = open.own(text).unwrap_or(text);
        let goes_on = open.body.go_on(line);
        open.body.push(text);
        if !goes_on {
            self.close(index, events);
        }
    }

    /// The traceback is over.
    pub(super) fn close(&mut self, index: usize, events: &mut Vec<Event>) {
        events.extend(self.open.remove(index).event());
    }

    /// The stream is over.
    pub(super) fn finish(&mut self, events: &mut Vec<Event>) {
        events.extend(self.open.drain(..).filter_map(Open::event));
    }

    /// The open traceback whose line this is, which is moved to the end.
    fn owner(
        &mut self,
        text: &str,
        beginning: Option<&Beginning<'_>>,
        events: &mut Vec<Event>,
    ) -> Option<usize> {
        let tagged = |open: &Open| !open.tag.is_empty() && open.own(text).is_some();
        let mut owner = self.open.iter().position(tagged);
        if let Some(index) = owner {
            self.open[index].tag_is_new = false;
        } else if let Some(index) = self.open.iter().position(|open| open.tag_is_new)
            && python::is_frame(text)
        {
            // The tag was the first line's own, as loggers print one. Another without a tag is over then.
            self.open[index].tag.clear();
            self.open[index].tag_is_new = false;
            let open = self.open.remove(index);
            while let Some(other) = self.open.iter().position(|open| open.tag.is_empty()) {
                self.close(other, events);
            }
            self.open.push(open);
            return Some(self.open.len() - 1);
        } else if beginning.is_none_or(|beginning| beginning.tag.is_empty()) {
            owner = self.open.iter().position(|open| open.tag.is_empty());
        }
        let open = self.open.remove(owner?);
        self.open.push(open);
        Some(self.open.len() - 1)
    }

    /// The line passes by all but its owner.
    fn pass_by(&mut self, owner: usize, events: &mut Vec<Event>) {
        let mut index = 0;
        let mut owner = owner;
        while index < self.open.len() {
            if index != owner && matches!(self.open[index].passed_by(), Step::Over) {
                self.close(index, events);
                owner = owner.wrapping_sub(1);
            } else {
                index += 1;
            }
        }
    }

    /// Offers a line to its owner, the last of the open ones; none where that one is over.
    fn offer_to_owner(
        &mut self,
        text: &str,
        redrawn: bool,
        events: &mut Vec<Event>,
    ) -> Option<Offer> {
        let index = self.open.len() - 1;
        let open = &mut self.open[index];
        let line = open.own(text).unwrap_or(text);
        match open.step(line, redrawn) {
            Step::Taken => {
                open.strays = 0;
                open.body.push(text);
                Some(Offer::Taken)
            }
            Step::Last => {
                open.body.push(text);
                self.close(index, events);
                Some(Offer::Taken)
            }
            Step::Message => Some(Offer::Message(index)),
            Step::Stray => Some(Offer::Free),
            Step::Over => {
                self.close(index, events);
                None
            }
        }
    }

    fn begin(&mut self, text: &str, beginning: Beginning<'_>, events: &mut Vec<Event>) -> Offer {
        if self.open.len() == MAX_OPEN {
            self.close(0, events);
        }
        let Beginning { behind, tag, kind } = beginning;
        let mut body = Body::default();
        body.push(&text[behind..]);
        let kind = match kind {
            Begins::Python { group } => Kind::Python(Python::new(group)),
            Begins::SyntaxError => Kind::Python(Python::of_syntax()),
            Begins::Panic(rest) => Kind::Panic(Panic::new(rest, &mut body)),
        };
        self.open.push(Open {
            tag: tag.to_owned(),
            tag_is_new: !tag.is_empty(),
            strays: 0,
            kind,
            body,
        });
        if behind > 0 { Offer::TakenBehind(behind) } else { Offer::Taken }
    }
}

/// The first line of a traceback.
struct Beginning<'a> {
    /// How many bytes before it are other output.
    behind: usize,
    tag: &'a str,
    kind: Begins<'a>,
}

enum Begins<'a> {
    Python {
        group: bool,
    },
    SyntaxError,
    /// With what stands behind `panicked at `.
    Panic(&'a str),
}

impl<'a> Beginning<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let (start, kind) = if let Some((start, group)) = python::header(text) {
            (start, Begins::Python { group })
        } else if let Some((start, rest)) = panics::header(text) {
            (start, Begins::Panic(rest))
        } else if python::is_syntax_frame(text) {
            return Some(Self { behind: 0, tag: "", kind: Begins::SyntaxError });
        } else {
            return None;
        };
        let tag = &text[..start];
        let end = tag.trim_end();
        if end.chars().all(|c| matches!(c, ' ' | '|')) {
            // Indented, if only as an exception group's member, or nothing at all.
            return Some(Self { behind: 0, tag: "", kind });
        }
        // A progress bar that was left standing.
        if end.ends_with(']') && ["%|", "it/s", "s/it"].iter().any(|part| end.contains(part)) {
            return Some(Self { behind: start, tag: "", kind });
        }
        (tag.len() <= MAX_TAG && end.ends_with([':', ']', ')', '>', '|'])).then_some(Self {
            behind: 0,
            tag,
            kind,
        })
    }
}

/// Whether a line begins as logs do, with a time, a level or a rank: it goes on with no message.
pub(super) fn begins_as_log(text: &str) -> bool {
    const LEVELS: [&str; 6] = ["DEBUG", "INFO", "WARNING", "WARN", "ERROR", "CRITICAL"];
    let text = text.strip_prefix('[').unwrap_or(text);
    let word = &text[..text.bytes().take_while(u8::is_ascii_alphanumeric).count()];
    let shape = |pattern: &str| {
        text.len() >= pattern.len()
            && text.bytes().zip(pattern.bytes()).all(|(byte, sample)| match sample {
                b'0' => byte.is_ascii_digit(),
                sample => byte == sample,
            })
    };
    LEVELS.contains(&word)
        || word.strip_prefix("rank").is_some_and(exactly_digits)
        || ["0000-00-00", "0000/00/00", "00:00:00", "I0000 ", "W0000 ", "E0000 "]
            .iter()
            .any(|p| shape(p))
}

/// One digit at least, and nothing else.
pub(super) fn exactly_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
