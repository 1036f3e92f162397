//! Lines of steps as this program writes them, read in one pass.
//!
//! How long it takes to scan a file depends on how fast its lines are read. Nearly all lines have the members
//! that the logger writes, in its order and without white space, and the same metrics as the line before. Such a
//! line is read here in one pass from its first byte to its last. All other lines (a summary, a metric that is
//! not a finite number, an escape in a name, damage) are left to [`Entry::read`], which reads any JSON and reports
//! what is wrong with a line.
//!
//! [`Entry::read`]: super::entry::Entry::read

use super::entry::EntryKey;
use super::metric_statistics::MetricStatistics;
use crate::json::is_plain;
use crate::lines::Line;

/// Reads lines, and remembers the names of the metrics.
#[derive(Default)]
pub(super) struct Scanner {
    /// The values of the latest line that was read.
    values: Vec<f64>,
    /// The metrics of the latest lines, in their order. The values of a line belong to the first of these.
    metrics: Vec<Metric>,
    /// How many of them are identified.
    identified: usize,
}

struct Metric {
    /// The text before a value: `"name":`.
    key: Vec<u8>,
    name: String,
    /// Its id in the statistics; none until it is identified, and above the limit.
    id: Option<u32>,
}

impl Scanner {
    /// Read a line; none if it has another shape.
    pub(super) fn read(&mut self, line: &Line<'_>) -> Option<EntryKey> {
        if line.torn { None } else { self.read_whole(line.bytes) }
    }

    /// Find the ids of the metrics of the line that was read last. The statistics must be the same in every call.
    #[inline]
    pub(super) fn identify(&mut self, all_statistics: &mut MetricStatistics) {
        let end = self.values.len();
        if self.identified < end {
            for metric in &mut self.metrics[self.identified..end] {
                metric.id = all_statistics.metric_id(&metric.name);
            }
            self.identified = end;
        }
    }

    /// The id and the value of each metric of the line that was read last. Metrics above the limit have no id and are
    /// left out.
    #[inline]
    pub(super) fn members(&self) -> impl Iterator<Item = (u32, Option<f64>)> + Clone {
        let members = self.metrics.iter().zip(&self.values);
        members.filter_map(|(metric, &value)| Some((metric.id?, Some(value))))
    }

    fn read_whole(&mut self, line: &[u8]) -> Option<EntryKey> {
        let mut rest = line.strip_prefix(b"{\"timestamp\":\"")?;
        let timestamp = rest.split_off(..crate::timestamp::LENGTH)?;
        if !timestamp.is_ascii() || !is_plain(timestamp) {
            return None;
        }
        rest = rest.strip_prefix(b"\",\"step\":")?;
        let step = Some(whole(&mut rest)?);
        let epoch = match rest.strip_prefix(b",\"epoch\":") {
            Some(after) => {
                rest = after;
                Some(number(&mut rest)?)
            }
            None => None,
        };
        let attempt = match rest.strip_prefix(b",\"attempt\":") {
            Some(after) => {
                rest = after;
                u32::try_from(whole(&mut rest)?).ok()?
            }
            None => 1,
        };
        rest = rest.strip_prefix(b",\"metrics\":{")?;
        self.values.clear();
        loop {
            self.read_key(&mut rest)?;
            self.values.push(number(&mut rest)?);
            match rest {
                [b',', after @ ..] => rest = after,
                b"}}" => return Some(EntryKey { step, epoch, attempt }),
                _ => return None,
            }
        }
    }

    /// Read the key of the next value.
    fn read_key(&mut self, rest: &mut &[u8]) -> Option<()> {
        let place = self.values.len();
        if let Some(metric) = self.metrics.get(place)
            && let Some((start, after)) = rest.split_at_checked(metric.key.len())
            && is_equal(start, &metric.key)
        {
            *rest = after;
            return Some(());
        }
        let name = rest.strip_prefix(b"\"")?;
        let end = name.iter().position(|byte| matches!(byte, b'"' | b'\\' | ..0x20))?;
        let (name, after) = name.split_at(end);
        let after = after.strip_prefix(b"\":")?;
        let name = std::str::from_utf8(name).ok()?.to_owned();
        let key = rest[..rest.len() - after.len()].to_vec();
        self.metrics.truncate(place);
        self.identified = self.identified.min(place);
        self.metrics.push(Metric { key, name, id: None });
        *rest = after;
        Some(())
    }
}

/// Whether texts of the same length are equal. In WebAssembly a comparison of slices is a call that compares byte
/// by byte; this compares eight bytes at a time.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let word = |bytes: &[u8; 8]| u64::from_ne_bytes(*bytes);
    match (one.last_chunk(), other.last_chunk()) {
        (Some(last), Some(other_last)) => {
            let (words, _) = one.as_chunks();
            let (other_words, _) = other.as_chunks();
            word(last) == word(other_last)
                && words.iter().zip(other_words).all(|(one, other)| word(one) == word(other))
        }
        _ => one.iter().eq(other),
    }
}

/// Reads a non-negative integer.
fn whole(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    let mut length = 0;
    while let Some(digit) = rest.get(length).map(|byte| byte.wrapping_sub(b'0')).filter(|d| *d < 10)
    {
        number = number.checked_mul(10)?.checked_add(digit.into())?;
        length += 1;
    }
    let leads_with_zero = length > 1 && rest[0] == b'0';
    *rest = &rest[length..];
    (length > 0 && !leads_with_zero).then_some(number)
}

/// Reads a number in JSON's grammar.
///
/// If its digits are an integer that an f64 represents exactly, and so is its power of ten, then one multiplication
/// or division rounds once, and therefore correctly (W. D. Clinger, "How to read floating point numbers
/// accurately", 1990). The standard library parses the others.
fn number(rest: &mut &[u8]) -> Option<f64> {
    /// The powers of ten that an f64 represents exactly.
    const POWERS: [f64; 23] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
        1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
    ];
    /// An f64 represents every integer up to this one.
    const EXACT: u64 = 1 << 53;
    let text = *rest;
    let is_negative = text.first() == Some(&b'-');
    let start = usize::from(is_negative);
    let mut digits = 0_u64;
    let mut read_digits = |mut at: usize| {
        while let Some(digit) = text.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|d| *d < 10)
        {
            // With more than 19 digits this may wrap around; the value is not used then.
            digits = digits.wrapping_mul(10).wrapping_add(digit.into());
            at += 1;
        }
        at
    };
    let mut at = read_digits(start);
    let whole = at - start;
    if whole == 0 || (whole > 1 && text[start] == b'0') {
        return None;
    }
    let mut after_point = 0;
    if text.get(at) == Some(&b'.') {
        let point = at + 1;
        at = read_digits(point);
        after_point = at - point;
        if after_point == 0 {
            return None;
        }
    }
    let mut power = -(after_point as i64);
    if let Some(b'e' | b'E') = text.get(at) {
        at += 1;
        let is_small = text.get(at) == Some(&b'-');
        at += usize::from(is_small || text.get(at) == Some(&b'+'));
        let mut exponent = &text[at..];
        let before = exponent.len();
        // An exponent may have leading zeros, which `whole` does not accept.
        let magnitude = i64::try_from(whole_digits(&mut exponent)?).ok()?;
        at += before - exponent.len();
        power += if is_small { -magnitude } else { magnitude };
    }
    *rest = &text[at..];
    let factor = POWERS.get(power.unsigned_abs() as usize);
    if let Some(factor) = factor.filter(|_| digits <= EXACT && whole + after_point <= 19) {
        let magnitude = if power < 0 { digits as f64 / factor } else { digits as f64 * factor };
        return Some(if is_negative { -magnitude } else { magnitude });
    }
    std::str::from_utf8(&text[..at]).ok()?.parse().ok()
}

/// Reads digits, at least one.
fn whole_digits(rest: &mut &[u8]) -> Option<u64> {
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let digits = rest.split_off(..length)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::entry::Entry;
    use proptest::prelude::*;

    /// What the general reader makes of a line: a step's key, and its numbers by name.
    fn read(line: &str) -> Option<(EntryKey, Vec<(String, u64)>)> {
        let entry = Entry::read(line).ok()?;
        let mut numbers = Vec::new();
        entry
            .members(&mut |name, number| {
                if let Some(value) = number.filter(|value| value.is_finite()) {
                    numbers.push((crate::json::unescape(name).into_owned(), value.to_bits()));
                }
            })
            .ok()?;
        Some((entry.key, numbers))
    }

    fn scanned(
        scanner: &mut Scanner,
        all_statistics: &mut MetricStatistics,
        line: &str,
    ) -> Option<(EntryKey, Vec<(String, u64)>)> {
        let entry_key = scanner.read_whole(line.as_bytes())?;
        scanner.identify(all_statistics);
        let named = |(id, value): (u32, Option<f64>)| {
            value.map(|value| (all_statistics.name(id).to_owned(), value.to_bits()))
        };
        Some((entry_key, scanner.members().filter_map(named).collect()))
    }

    const LINE: &str = "{\"timestamp\":\"2026-11-22T10:16:55.123456Z\",\"step\":12,\"epoch\":0.5,\
                        \"attempt\":2,\"metrics\":{\"loss\":2.031,\"lr\":3e-4}}";

    #[test]
    fn a_line_as_it_is_written_is_read() {
        let (mut scanner, mut all_statistics) = (Scanner::default(), MetricStatistics::default());
        for _ in 0..2 {
            assert_eq!(scanned(&mut scanner, &mut all_statistics, LINE), read(LINE));
            assert!(scanned(&mut scanner, &mut all_statistics, LINE).is_some());
        }
        assert_eq!(
            scanner.read_whole(LINE.replace("3e-4", "null").replace("lr", "x").as_bytes()),
            None
        );
        assert_eq!(all_statistics.len(), 2, "a line that is not read names nothing");
        let other = LINE.replace("loss", "val/löss");
        assert_eq!(scanned(&mut scanner, &mut all_statistics, &other), read(&other));
    }

    #[test]
    fn a_line_of_another_shape_is_left_to_the_general_reader() {
        for (from, to) in [
            ("2.031", "null"),
            ("2.031", "\"text\""),
            ("2.031", "02.031"),
            ("2.031", "2."),
            ("2.031", "-"),
            ("2.031", "2e"),
            ("\"loss\"", "\"lo\\u0073s\""),
            ("\"loss\"", "\"lo\u{1}s\""),
            ("12,", "012,"),
            ("12,", "99999999999999999999,"),
            ("{\"loss\":2.031,\"lr\":3e-4}", "{}"),
            ("3e-4}}", "3e-4}} "),
            ("3e-4}}", "3e-4}"),
            ("3e-4}}", "3e-4},\"non_finite\":{}}"),
            ("123456Z", "12345\\n"),
            ("\"step\"", "\"epoch\""),
        ] {
            let line = LINE.replace(from, to);
            let read = Scanner::default().read_whole(line.as_bytes());
            assert_eq!(read, None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn what_it_reads_the_general_reader_reads_alike(
            line in r#"\{"timestamp":"2026-11-22T10:16:55.123456Z","step":[0-9]{1,3}(,"epoch":[0-9.e-]{1,4})?(,"attempt":[1-9])?,"metrics":\{"[a-c/é]{0,3}":-?[0-9.eE+-]{1,25}(,"[a-c]{1,2}":[0-9.e-]{1,20}){0,3}\}\}"#,
        ) {
            let (mut scanner, mut all_statistics) = (Scanner::default(), MetricStatistics::default());
            if let Some(scanned) = scanned(&mut scanner, &mut all_statistics, &line) {
                prop_assert_eq!(Some(scanned), read(&line), "{}", line);
            }
        }

        #[test]
        fn numbers_are_read_as_the_standard_library_reads_them(
            float in any::<f64>().prop_filter("JSON", |float| float.is_finite()),
            short in -99_999_i64..99_999, places in 0..26_i32,
        ) {
            for text in [format!("{float:?}"), format!("{float:e}"), format!("{short}e-{places}"), format!("{short}E+{places}")] {
                let mut rest = text.as_bytes();
                prop_assert_eq!(number(&mut rest).map(f64::to_bits), text.parse().ok().map(f64::to_bits), "{}", text);
                prop_assert!(rest.is_empty());
            }
        }
    }
}
