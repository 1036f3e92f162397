//! Reads JSON without building a tree: a strict scanner that returns slices of its input.
//!
//! The log readers scan millions of lines and need only a few values from each. So the scanner checks a
//! line's grammar once, and neither parses numbers nor copies strings.

use std::borrow::Cow;

/// Why a text is not valid JSON: one short phrase.
pub type Problem = &'static str;

/// How deep arrays and objects may nest. serde_json's default limit is about the same.
const MAX_DEPTH: u32 = 128;

/// A value, as a slice of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// null
    Null,
    /// true or false
    Boolean(bool),
    /// A number's text.
    Number(&'a str),
    /// The text between a string's quotes, with its escapes; see [`unescape`].
    Text(&'a str),
    /// An object's text, including its braces.
    Object(&'a str),
    /// An array's text, including its brackets.
    Array(&'a str),
}

/// Reads one JSON text from start to end.
pub struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `text`.
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The members of a text that is one JSON object.
    ///
    /// # Errors
    ///
    /// If the text does not begin with an object. [`Object::next`] reports any later problem.
    pub fn object(text: &'a str) -> Result<Object<'a>, Problem> {
        let mut reader = Self::new(text);
        reader.skip_space();
        if reader.peek() != Some(b'{') {
            return Err("not a JSON object");
        }
        reader.at += 1;
        Ok(Object { reader, started: false, ended: false })
    }

    /// Reads the next value.
    ///
    /// # Errors
    ///
    /// If there is no valid value here, or if it nests deeper than 128 levels.
    pub fn value(&mut self) -> Result<Token<'a>, Problem> {
        self.nested_value(MAX_DEPTH)
    }

    /// Checks that only white space follows.
    ///
    /// # Errors
    ///
    /// If anything else follows.
    pub fn end(&mut self) -> Result<(), Problem> {
        self.skip_space();
        if self.at == self.text.len() { Ok(()) } else { Err("text after the JSON value") }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn nested_value(&mut self, depth: u32) -> Result<Token<'a>, Problem> {
        self.skip_space();
        let start = self.at;
        match self.peek() {
            Some(b'"') => self.string().map(Token::Text),
            Some(b'-' | b'0'..=b'9') => self.number().map(Token::Number),
            Some(b'{') => {
                self.members(b'}', depth)?;
                Ok(Token::Object(&self.text[start..self.at]))
            }
            Some(b'[') => {
                self.members(b']', depth)?;
                Ok(Token::Array(&self.text[start..self.at]))
            }
            Some(b't') => self.word("true", Token::Boolean(true)),
            Some(b'f') => self.word("false", Token::Boolean(false)),
            Some(b'n') => self.word("null", Token::Null),
            Some(_) => Err("expected a JSON value"),
            None => Err("unexpected end of line"),
        }
    }

    fn word(&mut self, word: &str, token: Token<'a>) -> Result<Token<'a>, Problem> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(token)
        } else {
            Err("expected a JSON value")
        }
    }

    /// Skips the members of an array or an object, and its closing bracket.
    fn members(&mut self, close: u8, depth: u32) -> Result<(), Problem> {
        let depth = depth.checked_sub(1).ok_or("nested too deeply")?;
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(());
        }
        loop {
            if close == b'}' {
                self.key()?;
            }
            self.nested_value(depth)?;
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(byte) if byte == close => {
                    self.at += 1;
                    return Ok(());
                }
                Some(_) => return Err("expected a comma or a closing bracket"),
                None => return Err("unexpected end of line"),
            }
        }
    }

    fn key(&mut self) -> Result<&'a str, Problem> {
        self.skip_space();
        match self.peek() {
            Some(b'"') => {}
            Some(_) => return Err("expected a quoted key"),
            None => return Err("unexpected end of line"),
        }
        let key = self.string()?;
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err("expected a colon after the key");
        }
        self.at += 1;
        Ok(key)
    }

    fn string(&mut self) -> Result<&'a str, Problem> {
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        let mut at = start;
        loop {
            match bytes.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok(&self.text[start..at]);
                }
                Some(b'\\') => match bytes.get(at + 1) {
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => at += 2,
                    Some(b'u') => {
                        let digits = bytes.get(at + 2..at + 6).ok_or("unterminated string")?;
                        if !digits.iter().all(u8::is_ascii_hexdigit) {
                            return Err("invalid \\u escape");
                        }
                        at += 6;
                    }
                    Some(_) => return Err("invalid escape in a string"),
                    None => return Err("unterminated string"),
                },
                Some(0..=0x1f) => return Err("unescaped control character in a string"),
                Some(_) => at += 1,
                None => return Err("unterminated string"),
            }
        }
    }

    fn number(&mut self) -> Result<&'a str, Problem> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let digits = |mut at: usize| {
            while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            at
        };
        let mut at = start + usize::from(bytes[start] == b'-');
        let whole = at;
        at = digits(at);
        if at == whole || (bytes[whole] == b'0' && at > whole + 1) {
            return Err("invalid number");
        }
        if bytes.get(at) == Some(&b'.') {
            let fraction = at + 1;
            at = digits(fraction);
            if at == fraction {
                return Err("invalid number");
            }
        }
        if let Some(b'e' | b'E') = bytes.get(at) {
            let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            let exponent = at + 1 + sign;
            at = digits(exponent);
            if at == exponent {
                return Err("invalid number");
            }
        }
        self.at = at;
        Ok(&self.text[start..at])
    }
}

/// Reads the members of an object in order.
pub struct Object<'a> {
    reader: Reader<'a>,
    started: bool,
    ended: bool,
}

impl<'a> Object<'a> {
    /// The next member's key, with its escapes, and its value; none at the end of the text.
    ///
    /// # Errors
    ///
    /// If the object is not valid JSON, or if anything but white space follows it.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot end with an error")]
    pub fn next(&mut self) -> Result<Option<(&'a str, Token<'a>)>, Problem> {
        if self.ended {
            return Ok(None);
        }
        let reader = &mut self.reader;
        reader.skip_space();
        match reader.peek() {
            Some(b'}') => {
                reader.at += 1;
                self.ended = true;
                reader.end()?;
                return Ok(None);
            }
            Some(b',') if self.started => reader.at += 1,
            Some(_) if !self.started => {}
            Some(_) => return Err("expected a comma or a closing bracket"),
            None => return Err("unexpected end of line"),
        }
        self.started = true;
        let key = reader.key()?;
        let value = reader.value()?;
        Ok(Some((key, value)))
    }
}

/// Decodes the escapes of a JSON string; `raw` is the text between its quotes.
///
/// Each unpaired surrogate becomes U+FFFD.
pub fn unescape(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return Cow::Borrowed(raw);
    }
    let mut text = String::with_capacity(raw.len());
    let mut units = Vec::new();
    let mut rest = raw;
    let flush = |units: &mut Vec<u16>, text: &mut String| {
        text.extend(char::decode_utf16(units.drain(..)).map(|unit| unit.unwrap_or('\u{fffd}')));
    };
    while let Some(at) = rest.find('\\') {
        if at > 0 {
            flush(&mut units, &mut text);
            text.push_str(&rest[..at]);
        }
        let escape = rest.as_bytes().get(at + 1).copied().unwrap_or(b'\\');
        if escape == b'u' {
            let digits = rest.get(at + 2..at + 6).unwrap_or_default();
            units.push(u16::from_str_radix(digits, 16).unwrap_or(0xfffd));
            rest = rest.get(at + 6..).unwrap_or_default();
            continue;
        }
        flush(&mut units, &mut text);
        text.push(match escape {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            other => char::from(other),
        });
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    flush(&mut units, &mut text);
    text.push_str(rest);
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn accepts(text: &str) -> bool {
        let mut reader = Reader::new(text);
        reader.value().is_ok() && reader.end().is_ok()
    }

    #[test]
    fn an_object_yields_its_members_in_order() {
        let mut object =
            Reader::object(r#" {"a":1 , "b\n":"x\"y", "c":{"d":[null,true]}} "#).unwrap();
        assert_eq!(object.next(), Ok(Some(("a", Token::Number("1")))));
        assert_eq!(object.next(), Ok(Some((r"b\n", Token::Text(r#"x\"y"#)))));
        assert_eq!(object.next(), Ok(Some(("c", Token::Object(r#"{"d":[null,true]}"#)))));
        assert_eq!(object.next(), Ok(None));
        assert_eq!(object.next(), Ok(None));
    }

    #[test]
    fn each_syntax_error_has_its_own_message() {
        let problem = |text| {
            let mut object = Reader::object(text)?;
            while object.next()?.is_some() {}
            Ok::<_, Problem>(())
        };
        assert_eq!(problem("[]"), Err("not a JSON object"));
        assert_eq!(problem("{\"a\":1"), Err("unexpected end of line"));
        assert_eq!(problem("{\"a\":\"x"), Err("unterminated string"));
        assert_eq!(problem("{\"a\":\"x\\"), Err("unterminated string"));
        assert_eq!(problem("{\"a\":\"\\u12"), Err("unterminated string"));
        assert_eq!(problem("{\"a\":\"\\u12zz\"}"), Err("invalid \\u escape"));
        assert_eq!(problem("{\"a\":\"\\q\"}"), Err("invalid escape in a string"));
        assert_eq!(problem("{\"a\":\"\u{1}\"}"), Err("unescaped control character in a string"));
        assert_eq!(problem("{\"a\":01}"), Err("invalid number"));
        assert_eq!(problem("{\"a\":1.}"), Err("invalid number"));
        assert_eq!(problem("{\"a\":1e}"), Err("invalid number"));
        assert_eq!(problem("{\"a\":NaN}"), Err("expected a JSON value"));
        assert_eq!(problem("{\"a\":nul}"), Err("expected a JSON value"));
        assert_eq!(problem("{\"a\" 1}"), Err("expected a colon after the key"));
        assert_eq!(problem("{a:1}"), Err("expected a quoted key"));
        assert_eq!(problem("{"), Err("unexpected end of line"));
        assert_eq!(problem("{\"a\":"), Err("unexpected end of line"));
        assert_eq!(problem("{\"a\":1,"), Err("unexpected end of line"));
        assert_eq!(problem("{\"a\":[1"), Err("unexpected end of line"));
        assert_eq!(problem("{\"a\":[1 2]}"), Err("expected a comma or a closing bracket"));
        assert_eq!(problem("{\"a\":1 \"b\":2}"), Err("expected a comma or a closing bracket"));
        assert_eq!(problem("{\"a\":1}{\"b\":2}"), Err("text after the JSON value"));
        assert_eq!(problem(&format!("{{\"a\":{}", "[".repeat(200))), Err("nested too deeply"));
    }

    #[test]
    fn escapes_are_decoded() {
        assert_eq!(unescape(r#"a\"\\\/\b\f\n\r\t"#), "a\"\\/\u{8}\u{c}\n\r\t");
        assert_eq!(unescape(r"\ud83d\ude00 \ud800x"), "😀 \u{fffd}x");
    }

    proptest! {
        #[test]
        fn it_agrees_with_serde_json(text in r#"[\[\]{}",:0-9eE.+\-\\untrfals ]{0,24}"#) {
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(accepts(&text), theirs, "{}", text);
        }

        #[test]
        fn strings_read_back(text in ".*") {
            let written = serde_json::to_string(&text).unwrap();
            let Ok(Token::Text(raw)) = Reader::new(&written).value() else { panic!("{written}") };
            prop_assert_eq!(unescape(raw), text);
        }
    }
}
