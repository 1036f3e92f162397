//! Timestamps as text.

use chrono::{DateTime, SecondsFormat};
use serde::Serializer;

/// A time in microseconds since 1970-01-01T00:00:00Z as RFC 3339 text, in UTC with microseconds:
/// `2025-01-02T03:04:05.678901Z`. A time after the year 9999, which the format cannot represent, becomes that
/// year's last microsecond.
pub fn rfc3339(microseconds: u64) -> String {
    /// 9999-12-31T23:59:59.999999Z
    const LAST: i64 = 253_402_300_799_999_999;
    let time = i64::try_from(microseconds).map_or(LAST, |time| time.min(LAST));
    let time = DateTime::from_timestamp_micros(time).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Serializes a time as its text, and an unknown one as an empty text.
pub(crate) fn serialize<S: Serializer>(
    time: &Option<u64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.map(rfc3339).unwrap_or_default())
}
