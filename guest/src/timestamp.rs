//! RFC 3339 timestamps in UTC, with microseconds.

use chrono::{DateTime, Datelike, Timelike};

use crate::line_buffer::{Fragment, LineBuffer};

/// The length of a timestamp in bytes, such as `2026-11-22T10:16:55.123456Z`.
pub const LENGTH: usize = 27;

/// Writes timestamps. It computes date and time of day only once per second.
#[derive(Clone, Debug)]
pub struct Timestamps {
    second: u64,
    /// The text of `second`, including the decimal point.
    text: Fragment,
}

impl Default for Timestamps {
    fn default() -> Self {
        Self { second: 0, text: text_of(0) }
    }
}

impl Timestamps {
    /// Appends a time, given in microseconds since 1970-01-01T00:00:00Z. The format cannot represent times
    /// after the year 9999; those are written as its last microsecond.
    pub fn write(&mut self, out: &mut LineBuffer, time: u64) {
        /// 9999-12-31T23:59:59.999999Z
        const LAST: u64 = 253_402_300_799_999_999;
        let time = time.min(LAST);
        let second = time / 1_000_000;
        if second != self.second {
            *self = Self { second, text: text_of(second) };
        }
        out.push_fragment(&self.text);
        out.push_six_digits((time % 1_000_000) as u32);
        out.push('Z');
    }
}

/// The text of a second since 1970-01-01T00:00:00Z, including the decimal point. Nothing is allocated.
fn text_of(second: u64) -> Fragment {
    let date = DateTime::from_timestamp(second as i64, 0).unwrap_or_default();
    let year = date.year().unsigned_abs();
    let mut text = *b"0000-00-00T00:00:00.";
    let parts = [
        (0, year / 100),
        (2, year % 100),
        (5, date.month()),
        (8, date.day()),
        (11, date.hour()),
        (14, date.minute()),
        (17, date.second()),
    ];
    for (at, number) in parts {
        text[at] += (number / 10) as u8;
        text[at + 1] += (number % 10) as u8;
    }
    Fragment::new(std::str::from_utf8(&text).unwrap_or_default())
}

/// Parses an RFC 3339 timestamp into microseconds since 1970-01-01T00:00:00Z. None if the text is not one, or
/// is before that time.
pub fn parse(text: &str) -> Option<u64> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    u64::try_from(time.timestamp_micros()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(time: u64) -> String {
        let mut out = LineBuffer::new();
        Timestamps::default().write(&mut out, time);
        out.into()
    }

    #[test]
    fn known_times() {
        assert_eq!(written(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(written(1_763_800_000_123_456), "2025-11-22T08:26:40.123456Z");
        assert_eq!(written(u64::MAX), "9999-12-31T23:59:59.999999Z");
        assert_eq!(parse("yesterday"), None);
    }

    proptest! {
        #[test]
        fn a_timestamp_parses_back(times in prop::collection::vec(0..253_402_300_800_000_000_u64, 1..5)) {
            let mut timestamps = Timestamps::default();
            for time in times {
                let mut out = LineBuffer::new();
                timestamps.write(&mut out, time);
                prop_assert_eq!(out.len(), LENGTH);
                prop_assert_eq!(parse(&out), Some(time));
            }
        }
    }
}
