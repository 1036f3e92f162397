//! Parses numbers as trainers print them.

use crate::value::Value;

/// A number and the unit directly after it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Number<'a> {
    /// The number, multiplied if a suffix such as `K` says so. Any other unit leaves it as printed.
    pub(super) value: Value,
    /// The unit, empty if there is none or if it was a suffix that multiplies.
    pub(super) unit: &'a str,
}

/// The longest unit directly after a number, in bytes, such as `tokens/sec/gpu`.
const MAX_UNIT: usize = 16;

/// Parses all of `text` as a number without a unit.
pub(super) fn exact(text: &str) -> Option<Value> {
    let (value, rest) = leading(text)?;
    rest.is_empty().then_some(value)
}

/// Parses all of `text` as a number, with or without a unit: `12.1ms`, `3.4%`, `36.1it/s`, `1,234`, `31K`.
pub(super) fn with_unit(text: &str) -> Option<Number<'_>> {
    let (value, unit) = leading(text)?;
    let is_unit = |c: char| c.is_alphabetic() || matches!(c, '%' | '/' | '°' | '²');
    let printed = &text[..text.len() - unit.len()];
    if unit.is_empty() {
        return Some(Number { value, unit });
    }
    let plausible = unit.len() <= MAX_UNIT
        && unit.chars().all(is_unit)
        // `10.ckpt` is the end of a file name, `nano` is a word, `2nd` and `3D` are not measurements.
        && !printed.ends_with('.')
        && printed.ends_with(|c: char| c.is_ascii_digit())
        && !matches!(unit, "st" | "nd" | "rd" | "th" | "d" | "D" | "x");
    if !plausible {
        // `nanms` is what C and Python print for a duration that is not a number.
        let is_word = value.as_ref().as_number().is_some_and(|number| !number.is_finite());
        return (is_word && matches!(unit, "ms" | "s" | "%")).then_some(Number { value, unit });
    }
    match multiplier(unit) {
        Some(by) => Some(Number { value: multiplied(&value, by)?, unit: "" }),
        // Bytes or billions: not to be guessed.
        None if unit == "B" && !printed.contains('.') => None,
        None if unit == "B" => Some(Number { value: multiplied(&value, 1e9)?, unit: "" }),
        None => Some(Number { value, unit }),
    }
}

/// What a suffix multiplies a number by (the prefixes of the International System of Units).
pub(super) fn multiplier(unit: &str) -> Option<f64> {
    match unit {
        "k" | "K" => Some(1e3),
        "M" => Some(1e6),
        "G" => Some(1e9),
        "T" => Some(1e12),
        _ => None,
    }
}

/// A number times a power of ten; an integer if the product is one that an f64 represents exactly.
pub(super) fn multiplied(value: &Value, by: f64) -> Option<Value> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let number = value.as_ref().as_number()?;
    // The product of a decimal such as 14.2 is not exact, but its integer is within a rounding error.
    let product = number * by;
    let rounded = product.round();
    let is_integer = (product - rounded).abs() <= rounded.abs() * 1e-12 && rounded.abs() < EXACT;
    Some(if is_integer { Value::Integer(rounded as i64) } else { Value::Float(product) })
}

/// The seconds of a unit of time, for durations of several parts: `1h 38m 21s`, `9min 5s`.
pub(super) fn seconds_of(unit: &str) -> Option<f64> {
    match unit {
        "d" | "day" | "days" => Some(86_400.0),
        "h" | "hr" | "hrs" | "hour" | "hours" => Some(3_600.0),
        "m" | "min" | "mins" | "minute" | "minutes" => Some(60.0),
        "s" | "sec" | "secs" | "second" | "seconds" => Some(1.0),
        "ms" => Some(0.001),
        _ => None,
    }
}

/// If the text begins with a duration of at least two parts, largest first: its seconds and its length.
pub(super) fn duration(text: &str) -> Option<(f64, usize)> {
    let mut seconds = 0.0;
    let mut smallest = f64::INFINITY;
    let mut parts = 0;
    let mut end = 0;
    let mut rest = text;
    while let Some((value, after)) = leading(rest) {
        let number = value.as_ref().as_number().filter(|number| *number >= 0.0);
        let spaced = after.strip_prefix(' ').unwrap_or(after);
        let letters = spaced.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = seconds_of(&spaced[..letters]).filter(|unit| *unit < smallest);
        let Some((number, unit)) = number.zip(unit) else { break };
        smallest = unit;
        seconds += number * unit;
        parts += 1;
        let after = &spaced[letters..];
        end = text.len() - after.len();
        rest = after.strip_prefix(',').unwrap_or(after).trim_start_matches(' ');
    }
    // Milliseconds are printed as 300.687 ms: to the nanosecond, no more digits are meant.
    (parts > 1).then(|| ((seconds * 1e9).round() / 1e9, end))
}

/// Parses a cell of a table: `1.081`, `6.73G`, `43.140 ms`, `4090 (81.78%)`, `39 s, 300.687 ms`.
pub(super) fn cell(text: &str) -> Option<Value> {
    let text = text.trim();
    if let Some((seconds, length)) = duration(text)
        && length == text.len()
    {
        return Some(Value::Float(seconds));
    }
    let (first, rest) = text.split_once([' ', '(']).unwrap_or((text, ""));
    let number = with_unit(first.trim_end_matches(['%', ':']))?;
    let rest = rest.trim();
    match multiplier(rest) {
        Some(by) if number.unit.is_empty() => multiplied(&number.value, by),
        _ if rest.is_empty()
            || rest.ends_with(')')
            || rest.len() <= 8 && rest.bytes().all(|b| b.is_ascii_alphabetic() || b == b'/') =>
        {
            Some(number.value)
        }
        _ => None,
    }
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
/// `0.5,0.25` or `0,512`.
pub(super) fn is_group(bytes: &[u8], at: usize) -> bool {
    bytes.get(at) == Some(&b',')
        && bytes.len() >= at + 4
        && digits(&bytes[at + 1..bytes.len().min(at + 5)]) == 3
        && {
            // There are at most three digits before the first comma, and the first is not 0.
            let before =
                bytes[..at].iter().rev().take(4).take_while(|b| b.is_ascii_digit()).count();
            let led_by = at.checked_sub(before + 1).map(|index| bytes[index]);
            (1..=3).contains(&before)
                && led_by != Some(b'.')
                && (bytes[at - before] != b'0' || led_by == Some(b','))
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
    let lower = |end: usize| word.get(..end).map(str::to_ascii_lowercase);
    let is = |name: &str| lower(name.len()).as_deref() == Some(name);
    // `nanms`: a unit directly after it.
    let (number, end) = if is("nan") && matches!(&word[3..length], "" | "ms" | "s") {
        (f64::NAN, 3)
    } else if is("infinity") && length == 8 {
        (f64::INFINITY, 8)
    } else if is("inf") && matches!(&word[3..length], "" | "ms" | "s") {
        (f64::INFINITY, 3)
    } else {
        return None;
    };
    Some((Value::Float(if text.starts_with('-') { -number } else { number }), &word[end..]))
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

/// Whether a log writes decimals with a point or with a comma. One log uses one of them, so the first number that
/// shows which decides for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum DecimalMark {
    /// No number has shown it yet. `1,234` counts as 1234 until then.
    #[default]
    Unknown,
    Point,
    Comma,
}

impl DecimalMark {
    /// What the numbers of a line show: those that are the value of a name.
    pub(super) fn seen_in(self, text: &str) -> Self {
        if self != Self::Unknown {
            return self;
        }
        let bytes = text.as_bytes();
        let mut found = Self::Unknown;
        for at in memchr::memchr2_iter(b',', b'.', bytes) {
            let before =
                bytes[..at].iter().rev().take(20).take_while(|b| b.is_ascii_digit()).count();
            let after = digits(&bytes[at + 1..bytes.len().min(at + 24)]);
            let (start, end) = (at - before, at + 1 + after);
            if before == 0 || after == 0 || !is_value(bytes, start) {
                continue;
            }
            let next = bytes.get(end).copied();
            match bytes[at] {
                // A version, an address or a time of several parts.
                _ if matches!(next, Some(b'.' | b':' | b'-' | b'/')) => {}
                // `1.234,5`
                b'.' if after == 3 && next == Some(b',') && digits(&bytes[end + 1..]) > 0 => {
                    found = Self::Comma;
                }
                b'.' => return Self::Point,
                // `1,234` may be a thousand, `0,1,2` is a list.
                _ => {
                    let is_list = next == Some(b',') && digits(&bytes[end + 1..]) > 0;
                    let is_decimal = after != 3 || before == 1 && bytes[start] == b'0';
                    if is_decimal && !is_list {
                        found = Self::Comma;
                    }
                }
            }
        }
        found
    }
}

/// Whether the number at `start` is the value of a name: after `=`, `:`, `|`, or a word and a space.
fn is_value(bytes: &[u8], start: usize) -> bool {
    let signed = start > 0 && matches!(bytes[start - 1], b'-' | b'+');
    let before = &bytes[..start - usize::from(signed)];
    let last = before.iter().rposition(|byte| *byte != b' ');
    match last.map(|last| (before[last], last + 1 < before.len())) {
        // `12:00:00,123` is a time.
        Some((b':', false)) => before.len() < 2 || !before[before.len() - 2].is_ascii_digit(),
        Some((b'=' | b':' | b'|', _)) => true,
        Some((byte, spaced)) => spaced && (byte.is_ascii_alphabetic() || byte >= 0x80),
        None => false,
    }
}

/// The text with points for the commas of its decimals, and without the points between its thousands.
pub(super) fn with_points(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    for (at, c) in text.char_indices() {
        let inside = at > 0 && is_digit(at - 1) && is_digit(at + 1);
        match c {
            ',' if inside => out.push('.'),
            // `1.234,5`
            '.' if inside && bytes.get(at + 4) == Some(&b',') && is_digit(at + 3) => {}
            _ => out.push(c),
        }
    }
    out
}
