//! Integers of JSON text that have more than 64 bits, of which a parser into doubles keeps 53.

use std::borrow::Cow;

/// Integers with more digits may have more than 64 bits.
const MOST_DIGITS: usize = 18;

/// The JSON text with quotes around integers of more than 64 bits, which keeps their digits as text.
pub fn quoted(text: &str) -> Cow<'_, str> {
    if !may_have_any(text) {
        return Cow::Borrowed(text);
    }
    let quoted = |token: &str| is_large(token).then(|| format!("\"{token}\""));
    Cow::Owned(replaced(text, quoted))
}

/// Whether a text has so many digits in a row that they may be an integer of more than 64 bits.
pub fn may_have_any(text: &str) -> bool {
    text.as_bytes().split(|byte| !byte.is_ascii_digit()).any(|digits| digits.len() > MOST_DIGITS)
}

/// Whether a JSON number is an integer that neither a signed nor an unsigned integer of 64 bits can represent.
pub fn is_large(number: &str) -> bool {
    let digits = number.strip_prefix('-').unwrap_or(number);
    digits.len() > MOST_DIGITS
        && !digits.starts_with('0')
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && number.parse::<i64>().is_err()
        && number.parse::<u64>().is_err()
}

/// The JSON text with other text for some of its numbers and words: those outside of strings for which `replacement`
/// returns one.
pub fn replaced(text: &str, mut replacement: impl FnMut(&str) -> Option<String>) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.');
    let mut result = String::with_capacity(text.len() + 32);
    let (mut in_string, mut rest) = (false, text);
    while let Some(c) = rest.chars().next() {
        let mut length = c.len_utf8();
        match c {
            '"' => in_string = !in_string,
            '\\' if in_string => length += rest[1..].chars().next().map_or(0, char::len_utf8),
            _ if !in_string && is_part(c) => {
                length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                if let Some(other) = replacement(&rest[..length]) {
                    result.push_str(&other);
                    rest = &rest[length..];
                    continue;
                }
            }
            _ => {}
        }
        result.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_large_integers_outside_of_strings_become_text() {
        let text = r#"{"a":123456789012345678901234567890,"b":[-98765432109876543210],"c":18446744073709551615,
            "d":-9223372036854775808,"e":1e30,"f":"\"123456789012345678901","g":0.1234567890123456789}"#;
        let expected = text
            .replacen("123456789012345678901234567890", "\"123456789012345678901234567890\"", 1)
            .replacen("-98765432109876543210", "\"-98765432109876543210\"", 1);
        assert_eq!(quoted(text), expected);
        assert!(matches!(quoted(r#"{"a":1}"#), Cow::Borrowed(_)));
    }
}
