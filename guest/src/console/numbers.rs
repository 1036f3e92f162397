//! Parses numbers as trainers print them.

use crate::value::Value;

/// A number and the unit directly after it. The value is the number as printed, never scaled by its unit.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Number<'a> {
    pub(super) value: Value,
    pub(super) unit: &'a str,
}

/// The longest unit directly after a number, in bytes, such as `tokens/sec/gpu`.
const MAX_UNIT: usize = 16;

/// Parses all of `text` as a number without a unit.
pub(super) fn exact(text: &str) -> Option<Value> {
    let (value, rest) = leading(text)?;
    rest.is_empty().then_some(value)
}

/// Parses all of `text` as a number, with or without a unit: `12.1ms`, `3.4%`, `36.1it/s`, `1,234`.
pub(super) fn with_unit(text: &str) -> Option<Number<'_>> {
    let (value, unit) = leading(text)?;
    let is_unit = |c: char| c.is_alphabetic() || matches!(c, '%' | '/' | '°' | '²');
    let printed = &text[..text.len() - unit.len()];
    let plausible = unit.is_empty()
        || unit.len() <= MAX_UNIT
            && unit.chars().all(is_unit)
            // `10.ckpt` is the end of a file name, `nano` is a word, `2nd` and `3D` are not measurements.
            && !printed.ends_with('.')
            && printed.ends_with(|c: char| c.is_ascii_digit())
            && !matches!(unit, "st" | "nd" | "rd" | "th" | "d" | "D");
    plausible.then_some(Number { value, unit })
}

/// Parses the number at the start of `text`; returns it and the rest.
pub(super) fn leading(text: &str) -> Option<(Value, &str)> {
    let bytes = text.as_bytes();
    let signed = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    if bytes.get(signed).is_some_and(u8::is_ascii_alphabetic) {
        return named(text, signed);
    }
    let mut end = signed + digits(&bytes[signed..]);
    let whole = end;
    let mut grouped = false;
    while is_group(bytes, end) {
        grouped = true;
        end += 4;
    }
    let mut float = false;
    if bytes.get(end) == Some(&b'.') {
        let fraction = digits(&bytes[end + 1..]);
        if whole > signed || fraction > 0 {
            float = true;
            end += 1 + fraction;
        }
    }
    if end == signed {
        return None;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(&bytes[(end + 1 + sign).min(bytes.len())..]);
        if exponent > 0 {
            float = true;
            end += 1 + sign + exponent;
        }
    }
    let (printed, rest) = text.split_at(end);
    let value =
        if grouped { value(&printed.replace(',', ""), float) } else { value(printed, float) };
    Some((value?, rest))
}

/// Whether a comma and three digits at `at` continue the number before them, as in `1,234` but not in
/// `0.5,0.25`.
pub(super) fn is_group(bytes: &[u8], at: usize) -> bool {
    bytes.get(at) == Some(&b',')
        && bytes.len() >= at + 4
        && digits(&bytes[at + 1..bytes.len().min(at + 5)]) == 3
        && {
            // There are at most three digits before the first comma.
            let before =
                bytes[..at].iter().rev().take(4).take_while(|b| b.is_ascii_digit()).count();
            let led_by = at.checked_sub(before + 1).map(|index| bytes[index]);
            (1..=3).contains(&before) && led_by != Some(b'.')
        }
}

fn value(printed: &str, float: bool) -> Option<Value> {
    if !float && let Ok(integer) = printed.parse() {
        return Some(Value::Integer(integer));
    }
    if !float && digits(printed.trim_start_matches(['+', '-']).as_bytes()) > 18 {
        // An integer of more than 64 bits keeps its digits. JSON has no plus sign, and no leading zeros.
        let (sign, digits) = printed.strip_prefix('-').map_or(("", printed), |rest| ("-", rest));
        let digits = digits.trim_start_matches(['+', '0']);
        return Some(Value::Json(format!("{sign}{digits}")));
    }
    printed.parse().ok().map(Value::Float)
}

fn digits(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Parses NaN and infinity, in upper or lower case, as Python, C and JavaScript print them.
fn named(text: &str, signed: usize) -> Option<(Value, &str)> {
    let word = &text[signed..];
    let length = word.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
    let (word, rest) = word.split_at(length);
    let number = if word.eq_ignore_ascii_case("nan") {
        f64::NAN
    } else if word.eq_ignore_ascii_case("inf") || word.eq_ignore_ascii_case("infinity") {
        f64::INFINITY
    } else {
        return None;
    };
    Some((Value::Float(if text.starts_with('-') { -number } else { number }), rest))
}

/// The value as a step: a non-negative integer.
pub(super) fn as_step(value: &Value) -> Option<u64> {
    match value {
        Value::Integer(integer) => u64::try_from(*integer).ok(),
        // JSON writers with only one type of number print `10.0`. Above 2^53, floats do not represent every
        // integer.
        Value::Float(float) => (float.fract() == 0.0
            && (0.0..9_007_199_254_740_992.0).contains(float))
        .then_some(*float as u64),
        _ => None,
    }
}

/// The value as an epoch: a finite number, 0 or more.
pub(super) fn as_epoch(value: &Value) -> Option<f64> {
    value.as_ref().as_number().filter(|number| number.is_finite() && *number >= 0.0)
}
