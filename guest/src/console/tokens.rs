//! Splits free text into tokens, from left to right and without backtracking.

use super::names;
use super::numbers::{self, Number};
use crate::value::Value;

/// The characters of which Keras, rich and tqdm draw progress bars.
const DRAWN: [char; 5] = ['━', '╸', '╺', '─', '█'];

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'a> {
    /// A name, or a part of one.
    Word(&'a str),
    /// A unit in parentheses that belongs to the name before it: `(ms)`.
    NameUnit(&'a str),
    /// `=`, and whether it follows its name without a space.
    Equals { glued: bool },
    /// `:`, and whether it follows its name without a space.
    Colon { glued: bool },
    /// A number.
    Number(Number<'a>),
    /// The position of a progress bar: `450/1000 [`, `100/100 ━━`, `450it [`.
    Bar(u64),
    /// A progress such as `100/500`, and whether it begins a bracket: `[100/500`.
    Ratio { done: u64, bracketed: bool },
    /// The percentage before a progress bar: `45%|`.
    Percentage,
    /// The drawing of a progress bar: `━━━━╸`.
    Drawing,
    /// `,`, `|`, `;`, ` - ` or a similar separator, or a closing bracket.
    Separator,
    /// An opening bracket.
    Open,
    /// An opening parenthesis.
    Parenthesis,
    /// Anything that cannot be part of a pair: a path, an address, a version, a date, a call.
    Junk,
}

/// An iterator over the tokens of a text.
pub(super) struct Tokens<'a> {
    text: &'a str,
    at: usize,
    /// Whether the previous token ended where the next one begins.
    glued: bool,
    /// Where the current chunk ends. It is searched only once, so that `a:a:a:` takes linear time.
    chunk_end: usize,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, glued: false, chunk_end: 0 }
    }

    /// The position after the last token.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The next character that is not a space.
    pub(super) fn next_character(&self) -> Option<char> {
        self.text[self.at..].trim_start_matches(' ').chars().next()
    }

    /// Skips to after the parenthesis that closes the one just read, or to the end of the text.
    pub(super) fn skip_parenthesis(&mut self) {
        let mut depth = 1_u32;
        while let Some(found) = memchr::memchr2(b'(', b')', &self.text.as_bytes()[self.at..]) {
            self.at += found + 1;
            if self.text.as_bytes()[self.at - 1] == b'(' {
                depth += 1;
            } else {
                depth -= 1;
                if depth == 0 {
                    return;
                }
            }
        }
        self.at = self.text.len();
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn take(&mut self, length: usize) -> &'a str {
        let taken = &self.text[self.at..self.at + length];
        self.at += length;
        taken
    }

    /// Reads an opening parenthesis: that of a name's unit, of a call, or any other.
    fn parenthesis(&mut self, glued: bool) -> Token<'a> {
        /// The longest unit, in bytes, such as `tokens/s`.
        const MAX_UNIT: usize = 12;
        let rest = self.rest().as_bytes();
        let inner = rest[1..].iter().take(MAX_UNIT);
        let length =
            inner.take_while(|b| b.is_ascii_alphabetic() || matches!(b, b'/' | b'%')).count();
        if length > 0 && rest.get(length + 1) == Some(&b')') {
            return Token::NameUnit(self.take(length + 2));
        }
        self.at += 1;
        if glued {
            // `Namespace(lr=0.1)`: a call, whose arguments are not metrics.
            self.skip_parenthesis();
            return Token::Junk;
        }
        Token::Parenthesis
    }

    fn open(&mut self) -> Token<'a> {
        self.at += 1;
        let inside = self.rest();
        let skipped = inside.len() - inside.trim_start_matches(' ').len();
        match ratio(&inside[skipped..]) {
            Some((done, length)) => {
                self.at += skipped + length;
                Token::Ratio { done, bracketed: true }
            }
            None => Token::Open,
        }
    }

    /// Reads a chunk that begins with a sign, a digit, a point, or a letter of NaN or infinity.
    fn numeric(&mut self, chunk: &'a str) -> Token<'a> {
        if let Some((done, length)) = ratio(self.rest()) {
            self.at += length;
            return if self.bar_follows() {
                Token::Bar(done)
            } else {
                Token::Ratio { done, bracketed: false }
            };
        }
        let number = chunk.trim_end_matches([':', '.']);
        // `1.` and `1.:` are numbers; a point at the end of the text, or a second one, ends a sentence.
        let point = chunk[number.len()..].starts_with('.') && !number.contains('.');
        let ends_sentence = point && self.rest()[number.len() + 1..].trim_start().is_empty();
        let number = if point && !ends_sentence { &chunk[..=number.len()] } else { number };
        let Some(found) = numbers::with_unit(number) else {
            self.at += chunk.len();
            return Token::Junk;
        };
        self.at += number.len();
        if ends_sentence {
            self.at += 1;
        }
        if found.unit == "%" && self.rest().starts_with('|') {
            return Token::Percentage;
        }
        if found.unit == "it"
            && self.next_character() == Some('[')
            && let Some(done) = numbers::as_step(&found.value)
        {
            return Token::Bar(done);
        }
        Token::Number(found)
    }

    /// Whether a progress bar follows: tqdm's brackets begin with a time, Keras's contain `=`, and newer bars
    /// are drawn with lines.
    fn bar_follows(&self) -> bool {
        let mut next = self.rest().trim_start_matches(' ').chars();
        match next.next() {
            Some('[') => matches!(next.next(), Some('0'..='9' | '=' | '>' | '.' | '?')),
            next => next.is_some_and(|c| DRAWN.contains(&c)),
        }
    }

    /// Reads a chunk that begins with none of the characters that are tokens by themselves.
    fn word(&mut self, chunk: &'a str) -> Token<'a> {
        let begins = chunk.starts_with(|c: char| c.is_alphabetic() || c == '_');
        if !begins {
            self.at += chunk.len();
            return if chunk.starts_with(DRAWN) { Token::Drawing } else { Token::Junk };
        }
        let Some(end) = memchr::memchr2(b'=', b':', chunk.as_bytes()) else {
            return Token::Word(self.take(chunk.len()));
        };
        // `a==b`, `a!=b` and `a+=1` are not pairs.
        let after = chunk.as_bytes().get(end + 1);
        let is_operator = chunk.as_bytes()[end] == b'='
            && (after == Some(&b'=') || chunk[..end].ends_with(['!', '<', '>', '+', '-', '*']));
        if is_operator {
            self.at += chunk.len();
            return Token::Junk;
        }
        Token::Word(self.take(end))
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let rest = self.rest();
        let spaces = rest.len() - rest.trim_start_matches(' ').len();
        self.at += spaces;
        let glued = self.glued && spaces == 0;
        self.glued = true;
        let rest = self.rest();
        let first = rest.chars().next()?;
        Some(match first {
            '(' => self.parenthesis(glued),
            '[' | '{' => self.open(),
            ',' | ';' | '|' | '\t' | '│' | '┃' | ')' | ']' | '}' => {
                self.at += first.len_utf8();
                // What follows a separator is never part of a call.
                self.glued = false;
                Token::Separator
            }
            '=' if !rest.starts_with("==") => {
                self.at += 1;
                Token::Equals { glued }
            }
            ':' => {
                self.at += 1;
                Token::Colon { glued }
            }
            _ => {
                if self.chunk_end <= self.at {
                    self.chunk_end = self.at + chunk_end(rest);
                }
                let chunk = &self.text[self.at..self.chunk_end];
                let mut characters = chunk.chars().skip(1);
                match first {
                    _ if is_dash(chunk) => {
                        self.at += chunk.len();
                        Token::Separator
                    }
                    '0'..='9' => self.numeric(chunk),
                    '+' | '-' | '.'
                        if characters.next().is_some_and(|c| {
                            c.is_ascii_digit() || matches!(c, '.' | 'i' | 'n' | 'I' | 'N')
                        }) =>
                    {
                        self.numeric(chunk)
                    }
                    'n' | 'N' | 'i' | 'I' if is_not_finite(chunk) => self.numeric(chunk),
                    _ => self.word(chunk),
                }
            }
        })
    }
}

/// Whether a chunk is NaN or infinity, with or without a colon or a point after it.
fn is_not_finite(chunk: &str) -> bool {
    numbers::leading(chunk).is_some_and(|(_, rest)| matches!(rest, "" | "." | ":"))
}

fn is_dash(chunk: &str) -> bool {
    matches!(
        chunk,
        "-" | "--" | "–" | "—" | "•" | "·" | "->" | "=>" | ">" | ">>" | "/" | "||" | "~" | "*"
    )
}

/// Where the first chunk of `rest` ends: at a space or a separator, except at a comma inside a number.
fn chunk_end(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let ends = |byte: u8| {
        matches!(byte, b' ' | b'\t' | b',' | b';' | b'|' | b'(' | b')' | b'[' | b']' | b'{' | b'}')
    };
    let mut at = 0;
    loop {
        at += bytes[at..].iter().position(|byte| ends(*byte)).unwrap_or(bytes.len() - at);
        if at > 0 && numbers::is_group(bytes, at) {
            at += 4;
        } else {
            return at;
        }
    }
}

/// If the text begins with `100/500`, `100/ 500` or `100 / 500`: the first number, and the length of all of it.
fn ratio(text: &str) -> Option<(u64, usize)> {
    let (done, rest) = whole(text)?;
    let spaced = rest.trim_start_matches(' ');
    let after = spaced.strip_prefix('/')?.trim_start_matches(' ');
    let (_, rest) = whole(after)?;
    let ends = !rest
        .starts_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '/' | '-' | '_'))
        || rest == "."
        || rest.starts_with(". ");
    // `12:00/13:00` is not a ratio.
    let is_time =
        rest.strip_prefix(':').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    (ends && !is_time).then_some((done, text.len() - rest.len()))
}

/// Parses the non-negative integer at the start of the text; returns it and the rest.
fn whole(text: &str) -> Option<(u64, &str)> {
    match numbers::leading(text)? {
        (Value::Integer(integer), rest) => Some((u64::try_from(integer).ok()?, rest)),
        _ => None,
    }
}

/// Whether any of the words connects a sentence; see [`names::is_prose`].
pub(super) fn is_prose(words: &str) -> bool {
    words.split(' ').any(names::is_prose)
}
