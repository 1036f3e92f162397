//! Free text cut into what pairs are made of, from left to right, without going back.

use super::names;
use super::numbers::{self, Number};
use crate::value::Value;

/// What Keras, rich and tqdm draw bars with.
const DRAWN: [char; 5] = ['━', '╸', '╺', '─', '█'];

/// A piece of text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'a> {
    /// Characters that may be (part of) a name.
    Word(&'a str),
    /// A unit in parentheses that belongs to the name before it: `(ms)`.
    NameUnit(&'a str),
    /// `=`; whether it follows its name without a space.
    Equals { glued: bool },
    /// `:`; whether it follows its name without a space.
    Colon { glued: bool },
    /// A number.
    Number(Number<'a>),
    /// How far a progress bar is: `450/1000 [`, `100/100 ━━`, `450it [`.
    Bar(u64),
    /// How far something is: `100/500`; whether it stands in brackets: `[100/500`.
    Ratio { done: u64, bracketed: bool },
    /// The percentage before a progress bar: `45%|`.
    Percentage,
    /// What a progress bar is drawn with: `━━━━╸`.
    Drawing,
    /// `,` `|` `;` ` - ` and their like, and closing brackets.
    Separator,
    /// An opening bracket.
    Open,
    /// An opening parenthesis.
    Parenthesis,
    /// A path, an address, a version, a date, a call: nothing that a pair could be made of.
    Junk,
}

/// Reads tokens off a text.
pub(super) struct Tokens<'a> {
    text: &'a str,
    at: usize,
    /// The token before ended where the next one begins.
    glued: bool,
    /// Where the chunk read last ends: looked for once, so that `a:a:a:` takes linear time.
    chunk_end: usize,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, glued: false, chunk_end: 0 }
    }

    /// Where the next token is looked for.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// What the next token begins with.
    pub(super) fn next_character(&self) -> Option<char> {
        self.text[self.at..].trim_start_matches(' ').chars().next()
    }

    /// Goes on behind the parenthesis that closes the one just read, or to the end of the text.
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

    /// An opening parenthesis: a name's unit, a call's, or one that merely sets apart.
    fn parenthesis(&mut self, glued: bool) -> Token<'a> {
        /// `(tokens/s)`
        const LONGEST: usize = 12;
        let rest = self.rest().as_bytes();
        let inner = rest[1..].iter().take(LONGEST);
        let length =
            inner.take_while(|b| b.is_ascii_alphabetic() || matches!(b, b'/' | b'%')).count();
        if length > 0 && rest.get(length + 1) == Some(&b')') {
            return Token::NameUnit(self.take(length + 2));
        }
        self.at += 1;
        if glued {
            // `Namespace(lr=0.1)`: what is inside belongs to the call.
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

    /// Whatever begins with a sign, a digit or a point.
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
        // `1.` is a number, `1.:` too; a second point ends a sentence.
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

    /// Whether a bar is drawn next: tqdm's brackets begin with a time, Keras' are drawn with `=`, newer
    /// ones with lines.
    fn bar_follows(&self) -> bool {
        let mut next = self.rest().trim_start_matches(' ').chars();
        match next.next() {
            Some('[') => matches!(next.next(), Some('0'..='9' | '=' | '>' | '.' | '?')),
            next => next.is_some_and(|c| DRAWN.contains(&c)),
        }
    }

    /// A chunk that begins with none of the characters that stand for themselves.
    fn word(&mut self, chunk: &'a str) -> Token<'a> {
        let begins = chunk.starts_with(|c: char| c.is_alphabetic() || c == '_');
        if !begins {
            self.at += chunk.len();
            return if chunk.starts_with(DRAWN) { Token::Drawing } else { Token::Junk };
        }
        let Some(end) = memchr::memchr2(b'=', b':', chunk.as_bytes()) else {
            return Token::Word(self.take(chunk.len()));
        };
        // `a==b`, `a!=b`, `a+=1`: no pair.
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

/// `nan`, `inf` and their like, perhaps before a colon or a point.
fn is_not_finite(chunk: &str) -> bool {
    numbers::leading(chunk).is_some_and(|(_, rest)| matches!(rest, "" | "." | ":"))
}

fn is_dash(chunk: &str) -> bool {
    matches!(
        chunk,
        "-" | "--" | "–" | "—" | "•" | "·" | "->" | "=>" | ">" | ">>" | "/" | "||" | "~" | "*"
    )
}

/// Where the characters end that hold together. A comma within a number is one of them.
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

/// `100/500`, `100/ 500` or `100 / 500` that the text begins with: the first number, and how long it is.
fn ratio(text: &str) -> Option<(u64, usize)> {
    let (done, rest) = whole(text)?;
    let spaced = rest.trim_start_matches(' ');
    let after = spaced.strip_prefix('/')?.trim_start_matches(' ');
    let (_, rest) = whole(after)?;
    let ends = !rest
        .starts_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '/' | '-' | '_'))
        || rest == "."
        || rest.starts_with(". ");
    // `12:00/13:00`: no count of anything.
    let is_time =
        rest.strip_prefix(':').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    (ends && !is_time).then_some((done, text.len() - rest.len()))
}

/// A whole number that the text begins with, and what follows it.
fn whole(text: &str) -> Option<(u64, &str)> {
    match numbers::leading(text)? {
        (Value::Integer(integer), rest) => Some((u64::try_from(integer).ok()?, rest)),
        _ => None,
    }
}

/// Whether the word begins a sentence's part: see [`names::is_prose`].
pub(super) fn is_prose(words: &str) -> bool {
    words.split(' ').any(names::is_prose)
}
