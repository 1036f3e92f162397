//! Timestamps: RFC 3339, UTC, microseconds.

use chrono::{DateTime, Datelike, Timelike};

/// The length of a timestamp's text, `2026-11-22T10:16:55.123456Z`.
pub const LENGTH: usize = 27;

/// Writes timestamps; the date of the second is worked out once a second.
#[derive(Clone, Debug)]
pub struct Timestamps {
    second: u64,
    text: [u8; LENGTH],
}

impl Default for Timestamps {
    fn default() -> Self {
        let mut timestamps = Self { second: u64::MAX, text: *b"0000-00-00T00:00:00.000000Z" };
        timestamps.set_second(0);
        timestamps
    }
}

impl Timestamps {
    /// Append the time, given in microseconds since 1970-01-01T00:00:00Z. Times after the year 9999,
    /// which the format cannot hold, are written as its last microsecond.
    pub fn write(&mut self, out: &mut String, time: u64) {
        /// 9999-12-31T23:59:59.999999Z
        const LAST: u64 = 253_402_300_799_999_999;
        let time = time.min(LAST);
        let second = time / 1_000_000;
        if second != self.second {
            self.set_second(second);
        }
        put_digits(&mut self.text[20..26], (time % 1_000_000) as u32);
        // Only ASCII is ever put there, so that the text cannot fail to be UTF-8.
        out.push_str(std::str::from_utf8(&self.text).unwrap_or_default());
    }

    fn set_second(&mut self, second: u64) {
        let date = DateTime::from_timestamp(second as i64, 0).unwrap_or_default();
        put_digits(&mut self.text[0..4], date.year().unsigned_abs());
        put_digits(&mut self.text[5..7], date.month());
        put_digits(&mut self.text[8..10], date.day());
        put_digits(&mut self.text[11..13], date.hour());
        put_digits(&mut self.text[14..16], date.minute());
        put_digits(&mut self.text[17..19], date.second());
        self.second = second;
    }
}

/// The microseconds since 1970-01-01T00:00:00Z that an RFC 3339 timestamp stands for.
pub fn parse(text: &str) -> Option<u64> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    u64::try_from(time.timestamp_micros()).ok()
}

fn put_digits(out: &mut [u8], mut number: u32) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text_of(time: u64) -> String {
        let mut out = String::new();
        Timestamps::default().write(&mut out, time);
        out
    }

    #[test]
    fn known_times() {
        assert_eq!(text_of(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(text_of(1_763_800_000_123_456), "2025-11-22T08:26:40.123456Z");
        assert_eq!(text_of(u64::MAX), "9999-12-31T23:59:59.999999Z");
        assert_eq!(parse("yesterday"), None);
    }

    proptest! {
        #[test]
        fn a_timestamp_parses_back(times in prop::collection::vec(0..253_402_300_800_000_000_u64, 1..5)) {
            let mut timestamps = Timestamps::default();
            for time in times {
                let mut out = String::new();
                timestamps.write(&mut out, time);
                prop_assert_eq!(out.len(), LENGTH);
                prop_assert_eq!(parse(&out), Some(time));
            }
        }
    }
}
