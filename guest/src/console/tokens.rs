//! Splits free text into tokens, from left to right and without backtracking.

use super::names;
use super::numbers::{self, Number};
use crate::value::Value;

/// The characters of which Keras, rich and tqdm draw progress bars.
pub(super) const DRAWN: [char; 7] = ['━', '╸', '╺', '─', '█', '▌', '╌'];

/// The most elements of a list of values that is read.
const MAX_LIST: usize = 64;

/// How much of the next word is looked at, in bytes. No unit and no connector is longer.
const MAX_NEXT_WORD: usize = 24;

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
    /// A number with a unit that is not known, and without which it would say something else: `118231GF`.
    Quantity,
    /// Numbers in brackets: `[0.1, 0.2]`.
    List(Vec<Value>),
    /// A progress such as `100/500`, and whether it begins a bracket: `[100/500`.
    Ratio { done: u64, total: u64, bracketed: bool },
    /// A progress in parentheses: `(100/500)`.
    Fraction { done: u64, total: u64 },
    /// `,`, `|`, `;`, ` - ` or a similar separator.
    Separator,
    /// An opening bracket, and whether it follows without a space.
    Open { glued: bool },
    /// A closing bracket.
    Close,
    /// An opening parenthesis, and whether it follows without a space.
    Parenthesis { glued: bool },
    /// `±` or `+/-`: the next number is how far the one before varies.
    PlusMinus,
    /// `#`, as in `Epoch #1`.
    Hash,
    /// The phase behind a number: the `train` of `0-train`.
    Phase(&'a str),
    /// An epoch with its word behind it: `1epoch`.
    Epoch(u64),
    /// The last batch of a range: `1-682batch`.
    BatchRange(u64),
    /// Anything that cannot be part of a pair: a path, an address, a version, a date.
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
    /// A phase that was read with the number before it.
    phase: Option<&'a str>,
    /// How many bytes between a word and its number are skipped: the `_` of `step_10`.
    skip: usize,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, glued: false, chunk_end: 0, phase: None, skip: 0 }
    }

    /// The position after the last token.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The next character that is not a space.
    pub(super) fn next_character(&self) -> Option<char> {
        after_spaces(self.rest()).chars().next()
    }

    /// Whether a unit follows, and not a name of one letter.
    pub(super) fn unit_follows(&self) -> bool {
        let word = self.next_word();
        if !names::is_unit(word) {
            return false;
        }
        let rest = after_spaces(self.rest());
        !rest[word.len()..].starts_with(['=', ':'])
    }

    /// The word that follows, without a connector.
    pub(super) fn next_word(&self) -> &'a str {
        let rest = after_spaces(self.rest());
        let ends = |byte: &u8| {
            matches!(byte, b' ' | b'\t' | b',' | b';' | b'|' | b'=' | b':' | b')' | b']')
        };
        let end = rest.bytes().take(MAX_NEXT_WORD).position(|byte| ends(&byte));
        &rest[..end.unwrap_or_else(|| rest.floor_char_boundary(MAX_NEXT_WORD))]
    }

    /// Skips to after the parenthesis that closes the one just read, or to the end of the text.
    pub(super) fn skip_parenthesis(&mut self) {
        self.skip(b'(', b')');
    }

    fn skip(&mut self, open: u8, close: u8) {
        let mut depth = 1_u32;
        while let Some(found) = memchr::memchr2(open, close, &self.text.as_bytes()[self.at..]) {
            self.at += found + 1;
            if self.text.as_bytes()[self.at - 1] == open {
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

    /// Reads an opening parenthesis: that of a name's unit, or any other.
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
        if !glued
            && let Some(ratio) = ratio(self.rest())
            && self.rest()[ratio.length..].starts_with(')')
        {
            self.at += ratio.length + 1;
            return Token::Fraction { done: ratio.done, total: ratio.total };
        }
        Token::Parenthesis { glued }
    }

    fn open(&mut self, glued: bool) -> Token<'a> {
        let bracket = self.rest().as_bytes()[0] == b'[';
        self.at += 1;
        let inside = self.rest();
        let skipped = inside.len() - inside.trim_start_matches(' ').len();
        let content = &inside[skipped..];
        if let Some(ratio) = ratio(content) {
            self.at += skipped + ratio.length;
            return Token::Ratio { done: ratio.done, total: ratio.total, bracketed: true };
        }
        if bracket && content.starts_with(['[', '(']) {
            // A list of lists.
            self.skip(b'[', b']');
            return Token::Junk;
        }
        if bracket && let Some((values, length)) = list(content) {
            self.at += skipped + length;
            return Token::List(values);
        }
        Token::Open { glued }
    }

    /// Reads a chunk that begins with a sign, a digit, a point, or a letter of NaN or infinity.
    fn numeric(&mut self, chunk: &'a str) -> Token<'a> {
        // Most are a number and nothing else.
        if let Some((value, "")) = numbers::leading(chunk) {
            let after = &self.rest().as_bytes()[chunk.len()..];
            let next = after.iter().find(|byte| **byte != b' ');
            let is_cut =
                after.first() == Some(&b',') && after.get(1).is_some_and(u8::is_ascii_digit);
            if !is_cut && next.is_none_or(|byte| *byte != b'/' && !byte.is_ascii_alphabetic()) {
                self.at += chunk.len();
                return Token::Number(Number { value, unit: "" });
            }
        }
        if let Some(ratio) = ratio(self.rest()) {
            self.at += ratio.length;
            return Token::Ratio { done: ratio.done, total: ratio.total, bracketed: false };
        }
        if let Some((seconds, length)) = numbers::duration(self.rest()) {
            self.at += length;
            return Token::Number(Number { value: Value::Float(seconds), unit: "s" });
        }
        // `0/micro_step=34`: the number of the pair before the slash.
        let chunk = match chunk.split_once('/') {
            Some((number, rest))
                if rest.starts_with(|c: char| c.is_alphabetic()) && rest.contains('=') =>
            {
                self.chunk_end = self.at + number.len() + 1;
                if let Some(value) = numbers::exact(number) {
                    self.at = self.chunk_end;
                    return Token::Number(Number { value, unit: "" });
                }
                number
            }
            _ => chunk,
        };
        // `0.512+0.012`: the mean and the deviation of a cross-validation.
        if let Some((number, deviation)) = chunk.split_once('+')
            && let (Some(value), Some(_)) = (numbers::exact(number), numbers::exact(deviation))
        {
            self.at += chunk.len();
            return Token::Number(Number { value, unit: "" });
        }
        // `step 1:loss:0.5`
        if let Some((number, rest)) = chunk.split_once(':')
            && rest.starts_with(char::is_alphabetic)
            && let Some(value) = numbers::exact(number)
        {
            self.at += number.len();
            self.chunk_end = self.at;
            return Token::Number(Number { value, unit: "" });
        }
        // `Epoch 0-train Loss: 0.6`
        if let Some((number, word)) = chunk.split_once('-')
            && super::phase::of_word(word).is_some()
            && let Some(value) = numbers::exact(number)
        {
            self.at += chunk.len();
            self.phase = Some(word);
            return Token::Number(Number { value, unit: "" });
        }
        // `1epoch:train:1-682batch:`, the format of ESPnet.
        let digits = chunk.bytes().take_while(u8::is_ascii_digit).count();
        if let Some(rest) = chunk[digits..].strip_prefix("epoch")
            && !rest.starts_with(|c: char| c.is_alphanumeric())
            && let Ok(epoch) = chunk[..digits].parse()
        {
            self.chunk_end = self.at + digits + "epoch".len();
            self.at = self.chunk_end;
            return Token::Epoch(epoch);
        }
        if let Some((_, range)) = chunk.split_once('-')
            && let Some(last) = range.trim_end_matches(':').strip_suffix("batch")
            && let Ok(last) = last.parse()
        {
            self.at += chunk.len();
            return Token::BatchRange(last);
        }
        let number = chunk.trim_end_matches([':', '.']);
        // `1.` and `1.:` are numbers; a point at the end of the text, or a second one, ends a sentence.
        let point = chunk[number.len()..].starts_with('.') && !number.contains('.');
        let ends_sentence = point && self.rest()[number.len() + 1..].trim_start().is_empty();
        let number = if point && !ends_sentence { &chunk[..=number.len()] } else { number };
        let found = numbers::with_unit(number);
        let after = &self.rest().as_bytes()[number.len()..];
        // `0,512` in a log of decimal points is neither 0 nor 512.
        let is_cut = after.first() == Some(&b',') && after.get(1).is_some_and(u8::is_ascii_digit);
        let known = |unit: &str| unit.is_empty() || unit == "fps" || names::is_unit(unit);
        if found.as_ref().is_some_and(|found| !known(found.unit)) {
            self.at += chunk.len();
            return Token::Quantity;
        }
        let Some(found) = found.filter(|_| !is_cut) else {
            self.at += chunk.len();
            return Token::Junk;
        };
        self.at += number.len();
        if ends_sentence || chunk[number.len()..].starts_with('.') {
            self.at += 1;
        }
        Token::Number(self.with_suffix(found))
    }

    /// A number with the suffix that follows it after a space: `14.86 M`.
    fn with_suffix(&mut self, number: Number<'a>) -> Number<'a> {
        let word = self.next_word();
        if number.unit.is_empty()
            && self.rest().starts_with(' ')
            && let Some(by) = numbers::multiplier(word)
            && let Some(value) = numbers::multiplied(&number.value, by)
        {
            self.at += self.rest().find(word).unwrap_or(0) + word.len();
            return Number { value, unit: "" };
        }
        number
    }

    /// Reads a chunk that begins with none of the characters that are tokens by themselves.
    fn word(&mut self, chunk: &'a str) -> Token<'a> {
        let begins = chunk.starts_with(|c: char| c.is_alphabetic() || c == '_');
        if !begins {
            self.at += chunk.len();
            return Token::Junk;
        }
        if let Some(value) = self.call(chunk) {
            return value;
        }
        if let Some((word, number)) = names::counted_word(chunk) {
            self.chunk_end = self.at + number;
            self.skip = number - word.len();
            return Token::Word(self.take(word.len()));
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

    /// Reads a number in a call: `tensor(0.5, device='cuda:0')`, `np.float64(0.5)`. Any other call is junk.
    fn call(&mut self, chunk: &'a str) -> Option<Token<'a>> {
        let after = self.at + chunk.len();
        if self.text.as_bytes().get(after) != Some(&b'(') || chunk.contains(['=', ':']) {
            return None;
        }
        if !names::is_number_class(chunk) {
            return None;
        }
        let inside = self.text[after + 1..].trim_start_matches(['[', ' ']);
        let number = numbers::leading(inside)
            .filter(|(_, rest)| rest.trim_start_matches([']', '.', ' ']).starts_with([',', ')']));
        self.at = after + 1;
        self.skip_parenthesis();
        Some(match number {
            Some((value, _)) => Token::Number(Number { value, unit: "" }),
            None => Token::Junk,
        })
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        if let Some(word) = self.phase.take() {
            return Some(Token::Phase(word));
        }
        self.at += std::mem::take(&mut self.skip);
        let rest = self.rest();
        let spaces = rest.len() - after_spaces(rest).len();
        self.at += spaces;
        let glued = self.glued && spaces == 0;
        self.glued = true;
        let rest = self.rest();
        let first = rest.chars().next()?;
        Some(match first {
            '(' => self.parenthesis(glued),
            '[' | '{' => self.open(glued),
            ']' | '}' => {
                self.at += 1;
                self.glued = false;
                Token::Close
            }
            ',' | ';' | '|' | '\t' | '│' | '┃' | ')' => {
                self.at += first.len_utf8();
                // What follows a separator is never part of a call.
                self.glued = false;
                Token::Separator
            }
            '±' => {
                self.at += first.len_utf8();
                Token::PlusMinus
            }
            '=' if !rest.starts_with("==") => {
                self.at += 1;
                Token::Equals { glued }
            }
            ':' => {
                self.at += 1;
                Token::Colon { glued }
            }
            '#' => {
                self.at += 1;
                Token::Hash
            }
            _ => {
                if self.chunk_end <= self.at {
                    self.chunk_end = self.at + chunk_end(rest);
                }
                let chunk = &self.text[self.at..self.chunk_end];
                let mut characters = chunk.chars().skip(1);
                match first {
                    '0'..='9' => self.numeric(chunk),
                    'n' | 'N' | 'i' | 'I' if is_not_finite(chunk) => self.numeric(chunk),
                    'a'..='z' | 'A'..='Z' | '_' => self.word(chunk),
                    _ if matches!(chunk, "+/-" | "+-") => {
                        self.at += chunk.len();
                        Token::PlusMinus
                    }
                    _ if is_dash(chunk) => {
                        self.at += chunk.len();
                        Token::Separator
                    }
                    '+' | '-' | '.'
                        if characters.next().is_some_and(|c| {
                            c.is_ascii_digit() || matches!(c, '.' | 'i' | 'n' | 'I' | 'N')
                        }) =>
                    {
                        self.numeric(chunk)
                    }
                    _ => self.word(chunk),
                }
            }
        })
    }
}

/// The text without the spaces at its beginning.
fn after_spaces(text: &str) -> &str {
    &text[text.bytes().take_while(|byte| *byte == b' ').count()..]
}

/// Whether a chunk is NaN or infinity, with or without a unit, a colon or a point after it.
fn is_not_finite(chunk: &str) -> bool {
    numbers::leading(chunk)
        .is_some_and(|(_, rest)| matches!(rest, "" | "." | ":" | "ms" | "s" | "%"))
}

fn is_dash(chunk: &str) -> bool {
    matches!(
        chunk,
        "-" | "--"
            | "–"
            | "—"
            | "•"
            | "·"
            | "->"
            | "=>"
            | ">"
            | ">>"
            | "/"
            | "||"
            | "~"
            | "*"
            | "-->"
            | "==>"
            | "::"
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

/// `100/500`
pub(super) struct Ratio {
    pub(super) done: u64,
    pub(super) total: u64,
    /// The length of all of it.
    pub(super) length: usize,
}

/// If the text begins with `100/500`, `100/ 500` or `100 / 500`.
pub(super) fn ratio(text: &str) -> Option<Ratio> {
    let (done, rest) = whole(text)?;
    let spaced = rest.trim_start_matches(' ');
    let after = spaced.strip_prefix('/')?.trim_start_matches(' ');
    let (total, rest) = whole(after)?;
    let ends = !rest
        .starts_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '/' | '-' | '_'))
        || rest == "."
        || rest.starts_with(". ");
    // `12:00/13:00` is not a ratio.
    let is_time =
        rest.strip_prefix(':').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    (ends && !is_time).then_some(Ratio { done, total, length: text.len() - rest.len() })
}

/// The numbers up to the closing bracket, and the length with it.
fn list(text: &str) -> Option<(Vec<Value>, usize)> {
    let mut values = Vec::new();
    let mut rest = text;
    loop {
        let (value, after) = numbers::leading(rest)?;
        values.push(value);
        let after = after.trim_start_matches(' ');
        if let Some(after) = after.strip_prefix(']') {
            return Some((values, text.len() - after.len()));
        }
        rest = after.strip_prefix(',').unwrap_or(after).trim_start_matches(' ');
        if values.len() == MAX_LIST {
            return None;
        }
    }
}

/// Parses the non-negative integer at the start of the text; returns it and the rest.
pub(super) fn whole(text: &str) -> Option<(u64, &str)> {
    match numbers::leading(text)? {
        (Value::Integer(integer), rest) => Some((u64::try_from(integer).ok()?, rest)),
        _ => None,
    }
}

/// Whether any of the words connects a sentence; see [`names::is_prose`].
pub(super) fn is_prose(words: &str) -> bool {
    words.split(' ').any(names::is_prose)
}
