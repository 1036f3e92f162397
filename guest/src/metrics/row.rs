//! One line of metrics.jsonl, written.

use crate::json;
use crate::line_buffer::{Fragment, LineBuffer};
use crate::timestamp::Timestamps;

/// The largest float below which every whole number is exact: 2^53.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// What stands in a line before its metrics.
pub(super) struct Head {
    pub(super) time: u64,
    pub(super) step: Option<u64>,
    pub(super) epoch: Option<f64>,
    pub(super) attempt: u32,
    pub(super) step_inferred: bool,
}

impl Head {
    /// `{"timestamp":…,"step":…,"epoch":…`, and `"attempt"` from the second on.
    pub(super) fn write(&self, line: &mut LineBuffer, timestamps: &mut Timestamps) {
        static TIMESTAMP: Fragment = Fragment::of("{\"timestamp\":\"");
        static STEP: Fragment = Fragment::of("\",\"step\":");
        static EPOCH: Fragment = Fragment::of(",\"epoch\":");
        line.push_fragment(&TIMESTAMP);
        timestamps.write(line, self.time);
        match self.step {
            Some(step) => {
                line.push_fragment(&STEP);
                json::write_integer(line, step);
            }
            None => line.push('"'),
        }
        if let Some(epoch) = self.epoch.filter(|epoch| epoch.is_finite()) {
            line.push_fragment(&EPOCH);
            write_number(line, epoch);
        }
        if self.attempt > 1 {
            line.push_str(",\"attempt\":");
            json::write_integer(line, self.attempt);
        }
        if self.step_inferred {
            line.push_str(",\"step_inferred\":true");
        }
    }
}

/// Write a finite number that is whole as an integer, and any other as it is.
pub(super) fn write_number(line: &mut LineBuffer, number: f64) {
    if number.abs() <= EXACT && number == number.trunc() {
        json::write_integer(line, number as i64);
    } else {
        json::write_float(line, number);
    }
}

/// Collects `,"non_finite":{…}` while the metrics of a line are written.
#[derive(Default)]
pub(super) struct NonFinite {
    members: String,
}

impl NonFinite {
    /// Note a number if it is not finite. `name` is JSON already, with its quotes.
    #[inline]
    pub(super) fn note(&mut self, name: &str, number: f64) {
        if let Some(text) = json::non_finite_name(number) {
            self.members.push_str(if self.members.is_empty() { ",\"non_finite\":{" } else { "," });
            self.members.push_str(name);
            self.members.push_str(":\"");
            self.members.push_str(text);
            self.members.push('"');
        }
    }

    /// Write what was noted and forget it.
    #[inline]
    pub(super) fn finish(&mut self, line: &mut LineBuffer) {
        if !self.members.is_empty() {
            line.push_str(&self.members);
            line.push('}');
            self.members.clear();
        }
    }
}
