//! Finds tracebacks between other lines: where one begins, which lines belong to it, and where it ends.
//!
//! Launchers print a tag before each line (`[rank0]: `) and mix the lines of several processes. If a
//! traceback's tag repeats, only lines with that tag belong to it. If it has no tag, any line may belong to it.

mod abort;
mod notebook;
mod panics;
mod python;
mod rich_box;

use abort::Abort;
use notebook::Notebook;
use panics::Panic;
use python::Python;
use rich_box::RichBox;

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::{Event, Traceback};

/// How much of a traceback's text is retained, in bytes.
const MAX_TEXT: usize = 256 << 10;

/// How much of a message is retained, in bytes.
const MAX_MESSAGE: usize = 64 << 10;

/// How many tracebacks can be open at once on one stream. When another begins, the oldest is closed.
const MAX_OPEN: usize = 8;

/// The longest tag before a traceback's first line, in bytes.
const MAX_TAG: usize = 64;

/// How many lines of other output may come in a row before an open traceback is closed.
const MAX_STRAYS: u32 = 100;

/// How many lines a message may have. Further lines are other output.
const MAX_MESSAGE_LINES: u32 = 200;

/// How a line relates to an open traceback.
pub(super) enum Step {
    /// The line belongs to the traceback.
    Taken,
    /// The line is the last of the traceback.
    Last,
    /// The line may continue the message.
    Message,
    /// The line does not belong to the traceback, which continues.
    Stray,
    /// The traceback ended before the line.
    Over,
}

/// Where a line belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// To no traceback.
    Free,
    /// To a traceback.
    Taken,
    /// To a traceback, except for this many bytes at its beginning.
    TakenAfter(usize),
    /// Perhaps to the message of the traceback with this index; see [`Tracebacks::take_message`].
    Message(usize),
}

/// The content of a traceback.
#[derive(Default)]
pub(super) struct Body {
    pub(super) error_type: String,
    message: String,
    message_lines: u32,
    text: String,
    full: bool,
}

impl Body {
    /// Sets the exception; it replaces an earlier one of the chain.
    pub(super) fn raise(&mut self, error_type: &str, message: &str) {
        self.error_type.clear();
        push_bounded(&mut self.error_type, error_type, MAX_MESSAGE);
        self.message.clear();
        self.message_lines = 1;
        push_bounded(&mut self.message, message, MAX_MESSAGE);
    }

    /// Adds a line to the message; false if the message has reached its maximum number of lines.
    pub(super) fn add_message_line(&mut self, line: &str) -> bool {
        self.message_lines += 1;
        if self.message_lines > 1 {
            push_bounded(&mut self.message, "\n", MAX_MESSAGE);
        }
        push_bounded(&mut self.message, line, MAX_MESSAGE);
        self.message_lines < MAX_MESSAGE_LINES
    }

    /// Sets the message of an exception whose class came on another line.
    pub(super) fn add_first_message(&mut self, message: &str) {
        push_bounded(&mut self.message, message, MAX_MESSAGE);
    }

    fn push(&mut self, line: &str) {
        // After the first line that does not fit, shorter ones are left out too, so that the text has no gaps.
        if !self.full {
            if !self.text.is_empty() {
                self.text.push('\n');
            }
            push_bounded(&mut self.text, line, MAX_TEXT);
            self.full = self.text.len() + 1 >= MAX_TEXT || !self.text.ends_with(line);
        }
    }
}

/// Appends as much of `more` as fits into `bound` bytes.
fn push_bounded(text: &mut String, more: &str, bound: usize) {
    let room = bound.saturating_sub(text.len());
    text.push_str(&more[..more.floor_char_boundary(room)]);
}

/// Who prints a traceback.
enum Kind {
    Python(Python),
    RichBox(RichBox),
    Notebook(Notebook),
    Panic(Panic),
    Abort(Abort),
}

/// An open traceback.
struct Open {
    /// The text before each line.
    tag: String,
    /// Only the first line has had the tag so far, so it may belong to that line only.
    tag_is_new: bool,
    /// How many lines of other output came since the last line of the traceback.
    strays: u32,
    kind: Kind,
    body: Body,
}

impl Open {
    /// The line without the tag, if it has the tag.
    fn own<'a>(&self, text: &'a str) -> Option<&'a str> {
        // The tag of a blank line may lack its trailing space.
        let (tag, space) = self.tag.split_at(self.tag.trim_end().len());
        let untagged = text.strip_prefix(tag)?;
        Some(untagged.strip_prefix(space).unwrap_or(untagged))
    }

    fn step(&mut self, line: &str, redrawn: bool) -> Step {
        let step = match &mut self.kind {
            Kind::Python(python) => python.line(line, redrawn, &mut self.body),
            Kind::Panic(panic) => panic.line(line, redrawn, &mut self.body),
            // A progress bar may be redrawn between their lines.
            _ if redrawn => Step::Stray,
            Kind::RichBox(rich_box) => rich_box.line(line, &mut self.body),
            Kind::Notebook(notebook) => notebook.line(line, &mut self.body),
            Kind::Abort(abort) => abort.line(line, &mut self.body),
        };
        match step {
            Step::Stray => self.passed_by(),
            step => step,
        }
    }

    /// Counts a line that does not belong to this traceback.
    fn passed_by(&mut self) -> Step {
        self.strays += 1;
        if self.strays > MAX_STRAYS { Step::Over } else { Step::Stray }
    }

    fn event(self) -> Option<Event> {
        let complete = match &self.kind {
            Kind::Python(python) => python.is_complete(&self.body),
            Kind::Panic(panic) => panic.is_complete(),
            Kind::RichBox(_) | Kind::Notebook(_) | Kind::Abort(_) => {
                !self.body.error_type.is_empty()
            }
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
    /// Decides where a line belongs. Tracebacks that it shows to have ended become events.
    pub(super) fn offer(&mut self, text: &str, redrawn: bool, events: &mut Vec<Event>) -> Offer {
        let beginning = Beginning::of(text);
        if self.open.is_empty() && beginning.is_none() {
            return Offer::Free;
        }
        if let Some(owner) = self.owner(text, beginning.as_ref(), events) {
            self.pass_by(owner, events);
            // The owner may have moved when others were closed, but it is still the last one.
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

    /// Adds a line to the message, after [`Tracebacks::offer`] returned [`Offer::Message`].
    pub(super) fn take_message(&mut self, index: usize, text: &str, events: &mut Vec<Event>) {
        let open = &mut self.open[index];
        let line = open.own(text).unwrap_or(text);
        let continues = open.body.add_message_line(line);
        open.body.push(text);
        if !continues {
            self.close(index, events);
        }
    }

    /// Ends a traceback.
    pub(super) fn close(&mut self, index: usize, events: &mut Vec<Event>) {
        events.extend(self.open.remove(index).event());
    }

    /// Ends the stream.
    pub(super) fn finish(&mut self, events: &mut Vec<Event>) {
        events.extend(self.open.drain(..).filter_map(Open::event));
    }

    /// The open traceback to which the line belongs; it is moved to the end.
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
            // Only the first line has the tag, because a logger printed it. Now that this traceback has no tag,
            // any other without a tag has ended.
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

    /// Counts the line in all tracebacks but its owner.
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

    /// Offers a line to its owner, which is the last of the open tracebacks; none if that one has ended.
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
        let Beginning { offset, tag, kind } = beginning;
        let mut body = Body::default();
        body.push(&text[offset..]);
        let kind = match kind {
            Begins::Python { group } => Kind::Python(Python::new(group)),
            Begins::SyntaxError => Kind::Python(Python::of_syntax()),
            Begins::Panic(rest) => Kind::Panic(Panic::new(rest, &mut body)),
            Begins::RichBox => Kind::RichBox(RichBox::new()),
            Begins::Notebook(class) => Kind::Notebook(Notebook::new(class)),
            Begins::Abort(header) => Kind::Abort(Abort::new(header, &mut body)),
        };
        self.open.push(Open {
            tag: tag.to_owned(),
            tag_is_new: !tag.is_empty(),
            strays: 0,
            kind,
            body,
        });
        if offset > 0 { Offer::TakenAfter(offset) } else { Offer::Taken }
    }
}

/// The first line of a traceback.
struct Beginning<'a> {
    /// Where in the line it begins, in bytes; other output comes before.
    offset: usize,
    tag: &'a str,
    kind: Begins<'a>,
}

enum Begins<'a> {
    Python {
        group: bool,
    },
    SyntaxError,
    /// With the text after `panicked at `.
    Panic(&'a str),
    RichBox,
    /// With the class of the exception.
    Notebook(&'a str),
    Abort(abort::Header<'a>),
}

impl<'a> Beginning<'a> {
    fn of(text: &'a str) -> Option<Self> {
        // Nearly no line has one of these.
        static WORDS: LazyLock<[Finder<'static>; 5]> = LazyLock::new(|| {
            ["raceback", "panicked", "  File ", "terminate called", "Fatal Python"].map(Finder::new)
        });
        if !WORDS.iter().any(|word| word.find(text.as_bytes()).is_some()) {
            return None;
        }
        if let Some((start, header)) = abort::header(text) {
            return Self::at(text, start, Begins::Abort(header));
        }
        let (start, kind) = if let Some((start, group)) = python::header(text) {
            (start, Begins::Python { group })
        } else if let Some((start, rest)) = panics::header(text) {
            (start, Begins::Panic(rest))
        } else if let Some(start) = rich_box::header(text) {
            (start, Begins::RichBox)
        } else if let Some(class) = notebook::header(text) {
            (0, Begins::Notebook(class))
        } else if python::is_syntax_frame(text) {
            return Some(Self { offset: 0, tag: "", kind: Begins::SyntaxError });
        } else {
            return None;
        };
        Self::at(text, start, kind)
    }

    /// The beginning at a place in the line, unless what comes before makes it a mention.
    fn at(text: &'a str, start: usize, kind: Begins<'a>) -> Option<Self> {
        let tag = &text[..start];
        let end = tag.trim_end();
        if end.chars().all(|c| matches!(c, ' ' | '|')) {
            // No tag: nothing, indentation, or the margin of an exception group.
            return Some(Self { offset: 0, tag: "", kind });
        }
        // A leftover progress bar.
        if end.ends_with(']') && ["%|", "it/s", "s/it"].iter().any(|part| end.contains(part)) {
            return Some(Self { offset: start, tag: "", kind });
        }
        (tag.len() <= MAX_TAG && end.ends_with([':', ']', ')', '>', '|'])).then_some(Self {
            offset: 0,
            tag,
            kind,
        })
    }
}

/// Whether a line begins like a log record, with a time, a level or a rank, and so cannot continue a message.
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

/// Whether the text is one or more ASCII digits.
pub(super) fn exactly_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
