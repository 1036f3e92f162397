//! metrics.jsonl: the data.

use model_foundry_types::{Column, Kind};

use super::{MetricSink, RowHead, Source};
use crate::Result;
use crate::imports::{Imports, RunFile};
use crate::json;
use crate::line_buffer::{Fragment, LineBuffer};
use crate::timestamp::Timestamps;
use crate::value::ValueRef;

/// The capacity that is retained for the next rows, in bytes.
const RETAINED: usize = 1 << 20;

/// Writes rows as lines.
#[derive(Default)]
pub(crate) struct Jsonl {
    /// The rows that are not appended yet.
    lines: LineBuffer,
    /// Where the row that is being written begins.
    row: usize,
    /// Where the text of the latest value begins.
    value: usize,
    /// Whether the row has no value yet.
    empty: bool,
    non_finite: NonFinite,
    timestamps: Timestamps,
}

impl Jsonl {
    /// Write a value of a column; its text.
    #[inline]
    pub(crate) fn column(&mut self, column: &PreparedColumn, value: f64) -> &str {
        let line = &mut self.lines;
        line.push_fragment(&column.key);
        let start = line.len();
        if !value.is_finite() {
            line.push_str("null");
            self.non_finite.note(&column.name, value);
        } else if column.kind == Kind::Integer {
            write_number(line, value);
        } else {
            json::write_float(line, value);
        }
        &self.lines[start..]
    }

    /// The text of the value that was written last.
    pub(crate) fn latest_value(&self) -> &str {
        &self.lines[self.value..]
    }

    /// The length of the latest row in bytes.
    pub(crate) fn row_length(&self) -> usize {
        self.lines.len() - self.row
    }

    /// Begin the rows of one append.
    pub(crate) fn clear(&mut self) {
        self.lines.clear();
    }
}

impl<I: Imports> MetricSink<I> for Jsonl {
    /// `{"timestamp":…,"step":…,"epoch":…`, `"attempt"` from the second attempt on, `"rank"` if there are several,
    /// where the step comes from, and `"metrics":{`.
    fn begin_row(&mut self, head: &RowHead) {
        static TIMESTAMP: Fragment = Fragment::of("{\"timestamp\":\"");
        static STEP: Fragment = Fragment::of("\",\"step\":");
        static EPOCH: Fragment = Fragment::of(",\"epoch\":");
        static METRICS: Fragment = Fragment::of(",\"metrics\":{");
        self.row = self.lines.len();
        self.empty = true;
        let line = &mut self.lines;
        line.push_fragment(&TIMESTAMP);
        self.timestamps.write(line, head.time);
        match head.step {
            Some(step) => {
                line.push_fragment(&STEP);
                json::write_integer(line, step);
            }
            None => line.push('"'),
        }
        if let Some(epoch) = head.epoch.filter(|epoch| epoch.is_finite()) {
            line.push_fragment(&EPOCH);
            write_number(line, epoch);
        }
        let Source { attempt, rank } = head.source;
        if attempt > 1 {
            line.push_str(",\"attempt\":");
            json::write_integer(line, attempt);
        }
        if let Some(rank) = rank {
            line.push_str(",\"rank\":");
            json::write_integer(line, rank);
        }
        if head.origin.inferred {
            line.push_str(",\"step_inferred\":true");
        }
        if let Some(epoch_step) = head.origin.epoch_step {
            line.push_str(",\"epoch_step\":");
            json::write_integer(line, epoch_step);
        }
        match head.step {
            Some(_) => line.push_fragment(&METRICS),
            None => line.push_str(",\"summary\":{"),
        }
    }

    fn value(&mut self, name: &str, value: ValueRef<'_>, _text: &str) {
        let line = &mut self.lines;
        if !std::mem::take(&mut self.empty) {
            line.push(',');
        }
        let key = line.len();
        json::write_string(line, name);
        let key = key..line.len();
        line.push(':');
        self.value = line.len();
        json::write_value(line, value);
        if let ValueRef::Float(float) = value {
            self.non_finite.note(&line[key], float);
        }
    }

    #[inline]
    fn end_row(&mut self) {
        self.lines.push('}');
        self.non_finite.finish(&mut self.lines);
        self.lines.push_str("}\n");
    }

    fn discard_row(&mut self) {
        if self.row > 0 {
            // The rows before it stay.
            self.lines.truncate(self.row);
        } else {
            // The row was huge: its room is not retained.
            self.lines = LineBuffer::new();
        }
    }

    #[inline]
    fn append(&mut self, imports: &I) -> Result<()> {
        let _size = imports.append(RunFile::METRICS, &self.lines, false)?;
        self.lines.clear_to(RETAINED);
        Ok(())
    }

    fn flush(&mut self, _imports: &I, _time: u64) -> Result<()> {
        Ok(())
    }

    fn close(&mut self, _imports: &I, _exit_code: i32, _time: u64) -> Result<()> {
        Ok(())
    }
}

/// A column, prepared to be written.
pub(crate) struct PreparedColumn {
    /// What precedes a value: `,"name":`, without the comma in the first column.
    key: Fragment,
    /// The name as JSON.
    name: String,
    kind: Kind,
}

impl PreparedColumn {
    /// Prepare the column at a position of its row.
    pub(crate) fn new(column: &Column, position: usize) -> Self {
        let mut name = LineBuffer::new();
        json::write_string(&mut name, &column.name);
        let comma = if position == 0 { "" } else { "," };
        let key = Fragment::new(&format!("{comma}{}:", &*name));
        Self { key, name: name.into(), kind: column.kind }
    }
}

/// Write a finite number, as an integer if it is integral.
pub(crate) fn write_number(line: &mut LineBuffer, number: f64) {
    if number.abs() <= Column::EXACT as f64 && number == number.trunc() {
        json::write_integer(line, number as i64);
    } else {
        json::write_float(line, number);
    }
}

/// Collects `,"non_finite":{…}` while the values of a row are written.
#[derive(Default)]
struct NonFinite {
    members: String,
}

impl NonFinite {
    /// Note a number if it is not finite. `name` is JSON already, with its quotes.
    #[inline]
    fn note(&mut self, name: &str, number: f64) {
        if let Some(text) = json::non_finite_name(number) {
            self.members.push_str(if self.members.is_empty() { ",\"non_finite\":{" } else { "," });
            self.members.push_str(name);
            self.members.push_str(":\"");
            self.members.push_str(text);
            self.members.push('"');
        }
    }

    /// Write what was noted, and clear it.
    #[inline]
    fn finish(&mut self, line: &mut LineBuffer) {
        if !self.members.is_empty() {
            line.push_str(&self.members);
            line.push('}');
            self.members.clear();
        }
    }
}
