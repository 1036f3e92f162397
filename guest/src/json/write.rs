//! Appends JSON values to a line.

use crate::line_buffer::LineBuffer;
use crate::value::ValueRef;

/// Whether each byte may appear unescaped in a JSON string.
const PLAIN: [bool; 256] = {
    let mut plain = [true; 256];
    let mut byte = 0;
    while byte < 0x20 {
        plain[byte] = false;
        byte += 1;
    }
    plain[b'"' as usize] = false;
    plain[b'\\' as usize] = false;
    plain
};

/// Whether all bytes may appear unescaped in a JSON string. Almost every name and message needs no escapes,
/// so this tests eight bytes at a time.
pub fn is_plain(bytes: &[u8]) -> bool {
    /// A word of eight equal bytes.
    const fn eight(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    /// Whether one of the bytes is zero: without one, the subtraction sets no high bit that was clear before.
    const fn has_zero(bytes: u64) -> bool {
        bytes.wrapping_sub(eight(1)) & !bytes & eight(0x80) != 0
    }
    let plain = |word: &[u8; 8]| {
        let word = u64::from_ne_bytes(*word);
        let has_control = word.wrapping_sub(eight(0x20)) & !word & eight(0x80) != 0;
        !has_control && !has_zero(word ^ eight(b'"')) && !has_zero(word ^ eight(b'\\'))
    };
    let (words, _) = bytes.as_chunks::<8>();
    match bytes.last_chunk::<8>() {
        Some(last) => words.iter().all(plain) && plain(last),
        None => bytes.iter().all(|&byte| PLAIN[byte as usize]),
    }
}

/// Appends text as a JSON string, including its quotes.
pub fn write_string(out: &mut LineBuffer, text: &str) {
    out.push('"');
    if is_plain(text.as_bytes()) {
        out.push_str(text);
    } else {
        write_escaped(out, text);
    }
    out.push('"');
}

fn write_escaped(out: &mut LineBuffer, text: &str) {
    let bytes = text.as_bytes();
    let mut written = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if PLAIN[byte as usize] {
            continue;
        }
        out.push_str(&text[written..at]);
        written = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.push_str("\\u00");
                out.push(char::from(HEX[usize::from(byte >> 4)]));
                out.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
    out.push_str(&text[written..]);
}

/// Appends an integer.
pub fn write_integer(out: &mut LineBuffer, integer: impl itoa::Integer + TryInto<u32> + Copy) {
    match integer.try_into() {
        Ok(short) if short < LineBuffer::SHORT => out.push_short_integer(short),
        _ => out.push_str(itoa::Buffer::new().format(integer)),
    }
}

/// Appends a number with the fewest digits that parse back to the same value; `null` if it is not finite.
pub fn write_float(out: &mut LineBuffer, float: f64) {
    if let Some((whole, millionths)) = short_decimal(float.abs()) {
        if float.is_sign_negative() {
            out.push('-');
        }
        out.push_short_decimal(whole, millionths);
    } else if float.is_finite() {
        out.push_str(zmij::Buffer::new().format_finite(float));
    } else {
        out.push_str("null");
    }
}

/// Splits a number into its whole part and its millionths, if it has at most eight digits before the decimal
/// point and six after it. Rounded values and learning rates usually do.
///
/// Doubles distinguish all decimals of 15 digits. So if a decimal of 14 digits parses back to the number, then
/// without trailing zeros it is the shortest that does. It parses back to the number if `millionths / 1e6` is
/// the number: both operands are exact, and division rounds as parsing does.
#[inline]
fn short_decimal(magnitude: f64) -> Option<(u32, u32)> {
    /// Smaller numbers are written with an exponent.
    const MIN: f64 = 1e-5;
    const LIMIT: f64 = LineBuffer::SHORT as f64;
    let is_short = (MIN..LIMIT).contains(&magnitude) || magnitude == 0.0;
    let millionths = (magnitude * 1e6 + 0.5) as i64;
    if !is_short || millionths as f64 / 1e6 != magnitude {
        return None;
    }
    // Truncation is exact: no decimal of six places below an integer is so close that it rounds up to it.
    let whole = magnitude as u32;
    Some((whole, (millionths - i64::from(whole) * 1_000_000) as u32))
}

/// The name of a number that JSON cannot represent: `NaN`, `inf` or `-inf`. Readers that guess types, such as DuckDB,
/// take `Infinity` for a date. None if the number is finite.
pub fn non_finite_name(float: f64) -> Option<&'static str> {
    if float.is_finite() {
        None
    } else if float.is_nan() {
        Some("NaN")
    } else if float > 0.0 {
        Some("inf")
    } else {
        Some("-inf")
    }
}

/// Appends a value. [`ValueRef::Json`] loses the white space between its tokens, so that a record stays on one
/// line; if it is not valid JSON, it is written as a string.
pub fn write_value(out: &mut LineBuffer, value: ValueRef<'_>) {
    match value {
        ValueRef::Null => out.push_str("null"),
        ValueRef::Boolean(boolean) => out.push_str(if boolean { "true" } else { "false" }),
        ValueRef::Integer(integer) => write_integer(out, integer),
        ValueRef::Float(float) => write_float(out, float),
        ValueRef::Text(text) => write_string(out, text),
        ValueRef::Json(json) => match serde_json::from_str::<serde::de::IgnoredAny>(json) {
            Ok(_) => write_compact(out, json),
            Err(_) => write_string(out, json),
        },
    }
}

/// Copies valid JSON without the white space between its tokens.
fn write_compact(out: &mut LineBuffer, json: &str) {
    let mut in_string = false;
    let mut escaped = false;
    let mut start = 0;
    for (at, byte) in json.bytes().enumerate() {
        if in_string {
            if escaped {
                escaped = false;
            } else if byte == b'\\' {
                escaped = true;
            } else if byte == b'"' {
                in_string = false;
            }
        } else if byte == b'"' {
            in_string = true;
        } else if byte.is_ascii_whitespace() {
            out.push_str(&json[start..at]);
            start = at + 1;
        }
    }
    out.push_str(&json[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;
    use proptest::prelude::*;

    fn text_of(value: &Value) -> String {
        let mut out = LineBuffer::new();
        write_value(&mut out, value.as_ref());
        out.into()
    }

    fn by_zmij(float: f64) -> String {
        zmij::Buffer::new().format(float).to_owned()
    }

    #[test]
    fn numbers_at_the_limits_of_the_short_form_are_written_like_any_number() {
        for float in
            [0.0, 9e-6, 1e-5, 1e-5 + 1e-6, 99_999_999.999_999, 99_999_999.0, 1e8, 1e8 + 0.5]
        {
            for float in [float, f64::next_up(float), f64::next_down(float)] {
                assert_eq!(text_of(&Value::Float(float)), by_zmij(float));
                assert_eq!(text_of(&Value::Float(-float)), by_zmij(-float));
            }
        }
        for integer in [0, 9, 10, 99_999_999, 100_000_000, 4_294_967_296, i64::MAX, i64::MIN, -1] {
            assert_eq!(text_of(&Value::Integer(integer)), integer.to_string());
        }
    }

    #[test]
    fn numbers_keep_their_type() {
        assert_eq!(text_of(&Value::Integer(8500)), "8500");
        assert_eq!(text_of(&Value::Float(8500.0)), "8500.0");
        assert_eq!(text_of(&Value::Float(f64::NAN)), "null");
        assert_eq!(non_finite_name(f64::NEG_INFINITY), Some("-inf"));
        assert_eq!(non_finite_name(f64::INFINITY), Some("inf"));
        assert_eq!(non_finite_name(0.0), None);
    }

    #[test]
    fn nested_json_stays_on_one_line() {
        let pretty = "{\n  \"a b\": [1, \"\\\" \\n\"],\n  \"n\": 12345678901234567890\n}";
        assert_eq!(
            text_of(&Value::Json(pretty.into())),
            "{\"a b\":[1,\"\\\" \\n\"],\"n\":12345678901234567890}"
        );
    }

    #[test]
    fn invalid_json_becomes_text() {
        assert_eq!(text_of(&Value::Json("{1: 2}".into())), "\"{1: 2}\"");
        assert_eq!(text_of(&Value::Json("NaN".into())), "\"NaN\"");
    }

    proptest! {
        /// Decimals of six places, and the floats next to them.
        #[test]
        fn a_short_decimal_is_written_like_any_float(
            millionths in 0..200_000_000_000_000_u64,
            shift in 0..48_u32,
            distance in -2..=2_i64,
        ) {
            let decimal = (millionths >> shift) as f64 / 1e6;
            let neighbor = f64::from_bits(decimal.to_bits().saturating_add_signed(distance));
            for float in [decimal, -decimal, neighbor, -neighbor] {
                prop_assert_eq!(text_of(&Value::Float(float)), by_zmij(float));
            }
        }

        #[test]
        fn what_is_written_parses_back(text in ".*", float in any::<f64>(), integer in any::<i64>()) {
            let read: serde_json::Value = serde_json::from_str(&text_of(&Value::Text(text.clone()))).unwrap();
            prop_assert_eq!(read, serde_json::Value::String(text));
            if float.is_finite() {
                let read: f64 = text_of(&Value::Float(float)).parse().unwrap();
                prop_assert_eq!(read.to_bits(), float.to_bits());
            }
            let read: i64 = serde_json::from_str(&text_of(&Value::Integer(integer))).unwrap();
            prop_assert_eq!(read, integer);
        }
    }
}
