//! Writes a run in the offline format of Weights & Biases: a `.wandb` file that `wandb sync` uploads
//! and `wandb leet` shows. It needs neither wandb nor a network.
//!
//! The encoder does no I/O. It appends bytes to a buffer, and the caller appends those to
//! `wandb/offline-run-YYYYMMDD_HHMMSS-<id>/run-<id>.wandb`. No other file is needed. Like wandb, the
//! caller starts a new folder and a new encoder for each attempt; `wandb sync` uploads the folders of
//! one run id in the order of their start times.
//!
//! # Steps
//!
//! In W&B's history a row is one step, and a name has one value per row. If a row's step is not higher
//! than that of the previous row, `wandb sync` (0.31.0) keeps the row but gives it the next free step.
//! It renumbers the following rows too, until their own steps are higher again. To lose nothing:
//!
//! - Metrics of one step that arrive in several calls become one row, as in wandb itself. The encoder
//!   holds the row back until the next step, [`Encoder::flush`] or [`Encoder::finish`].
//! - A second value of the same name in the same step starts a second row for that step.
//! - A row that `wandb sync` will renumber (a second row, or one after a rewind) has an additional
//!   metric, [`LOGGED_STEP`]. Its `_step` is the step as logged, which is what `wandb leet` draws.

pub mod framing;
mod latest;
pub mod messages;
#[cfg(test)]
mod tests;

use prost::Message as _;
use prost::bytes::BufMut as _;
use prost::encoding::{encode_varint, encoded_len_varint};

use framing::Framer;
use latest::Latest;
use messages::{
    ConfigRecord, HeaderRecord, Item, Record, RecordType, RunExitRecord, RunRecord, Timestamp,
    VersionInfo,
};

/// The name of the metric that holds the logged step of a row that `wandb sync` will renumber.
pub const LOGGED_STEP: &str = "logged_step";

/// How many names the summary can have. Further names appear only in the history. If one of those gets
/// two values in one step, both are in the file, but in the same row, and readers show the second.
pub const MAX_SUMMARY_NAMES: usize = 10_000;

/// The lowest version of a self-hosted W&B server that accepts these records, as wandb 0.17 states it;
/// wandb 0.31 states 0.70.0.
const MIN_CONSUMER: &str = "0.40.0";

// Tags (field number, wire type) of the records that are encoded by hand. Rows are frequent and a
// summary can be large, so neither is built as a message first.
const RECORD_NUM: u8 = 1 << 3 | VARINT;
const RECORD_HISTORY: u8 = 2 << 3 | LENGTH_DELIMITED;
const RECORD_SUMMARY: u8 = 3 << 3 | LENGTH_DELIMITED;
const ITEM: u8 = 1 << 3 | LENGTH_DELIMITED;
const ITEM_NESTED_KEY: u8 = 2 << 3 | LENGTH_DELIMITED;
/// Field 16, the first number whose tag has two bytes: 16 << 3 | 2 is 130, as a varint 82 01.
const ITEM_VALUE_JSON: [u8; 2] = [0x80 | LENGTH_DELIMITED, 1];
const HISTORY_STEP: u8 = 2 << 3 | LENGTH_DELIMITED;
const STEP_NUM: u8 = 1 << 3 | VARINT;
const VARINT: u8 = 0;
const LENGTH_DELIMITED: u8 = 2;

/// A row larger than this, in bytes, is not held back any longer, even if more metrics of its step follow.
const MAX_HELD: usize = 1 << 20;

/// The names in a row that W&B reserves for itself.
const RESERVED: [&str; 4] = ["_step", "_timestamp", "_runtime", "_wandb"];

pub use model_foundry_types::RunInfo;

/// Writes one `.wandb` file.
#[derive(Clone, Debug)]
pub struct Encoder {
    framer: Framer,
    /// How many records were written; this is also the number of the last one.
    records: i64,
    /// How many rows were written; this identifies the row that is held back.
    rows: u64,
    started: u64,
    /// The items of the row that is held back, after [`HEAD_ROOM`] bytes. The summary is built in the same
    /// buffer.
    row: Vec<u8>,
    /// The step and the time of the row that is held back, if there is one.
    held: Option<(u64, u64)>,
    /// The lowest step that `wandb sync` will not renumber.
    next_step: u64,
    /// The step and the time of the last row that was written.
    last: Option<(u64, u64)>,
    latest: Latest,
}

/// The most bytes that can come before a record's items: two fields, the record's number and its length,
/// each with a tag of one byte and a varint of up to ten.
const HEAD_ROOM: usize = 22;

impl Encoder {
    /// Starts a file: appends the file header, the header record and the run record.
    pub fn begin(info: &RunInfo, out: &mut Vec<u8>) -> Self {
        let mut encoder = Self {
            framer: Framer::begin(out),
            records: 0,
            rows: 0,
            started: info.started,
            row: vec![0; HEAD_ROOM],
            held: None,
            next_step: 0,
            last: None,
            latest: Latest::default(),
        };
        let header = HeaderRecord {
            version_info: Some(VersionInfo {
                producer: concat!("model-foundry ", env!("CARGO_PKG_VERSION")).to_owned(),
                min_consumer: MIN_CONSUMER.to_owned(),
            }),
        };
        encoder.message(RecordType::Header(header), out);
        let run = RunRecord {
            run_id: info.id.clone(),
            project: info.project.clone(),
            config: Some(ConfigRecord { update: config_items(&info.config) }),
            display_name: info.name.clone(),
            host: info.host.clone(),
            start_time: Some(Timestamp {
                // Both fit: 2^64 microseconds are less than 2^45 seconds.
                seconds: (info.started / 1_000_000) as i64,
                nanos: (info.started % 1_000_000 * 1_000) as i32,
            }),
        };
        encoder.message(RecordType::Run(run), out);
        encoder
    }

    /// Adds metrics of one step: names, and values as JSON or as `NaN`, `Infinity` or `-Infinity`. Dots and
    /// slashes in a name have no meaning. The names that W&B reserves (`_step`, `_timestamp`, `_runtime`,
    /// `_wandb`) are left out.
    ///
    /// `time` is in microseconds since 1970-01-01T00:00:00Z. W&B's steps are signed; a step above
    /// [`i64::MAX`] is written as [`i64::MAX`].
    ///
    /// The row is appended to `out` when it is complete: with the next step, or by
    /// [`flush`](Self::flush).
    pub fn history(
        &mut self,
        out: &mut Vec<u8>,
        step: u64,
        time: u64,
        items: &mut dyn Iterator<Item = (&str, &str)>,
    ) {
        // From here on a step is below 2^63, so that `step + 1` cannot overflow.
        let step = step.min(i64::MAX as u64);
        let continues = self.held.is_some_and(|(held, _)| held == step);
        if !continues || self.row.len() > MAX_HELD {
            self.flush(out);
        }
        let mut expected = 0;
        for (name, value) in items {
            if RESERVED.contains(&name) {
                continue;
            }
            if self.latest.set(&mut expected, self.rows, name, value) {
                self.flush(out);
            }
            put_item(&mut self.row, &[name], value.as_bytes());
            self.held = Some((step, time));
        }
    }

    /// Appends the row that is held back, if there is one. Use it when the file must be complete: later
    /// metrics of the same step start a second row.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        let Some((step, time)) = self.held.take() else {
            return;
        };
        if step < self.next_step {
            let mut digits = itoa::Buffer::new();
            put_item(&mut self.row, &[LOGGED_STEP], digits.format(step).as_bytes());
        }
        self.next_step = self.next_step.max(step) + 1;
        self.last = Some((step, time));
        self.rows += 1;
        self.put_clock(step, time);
        let length = 1 + encoded_len_varint(step) as u8;
        self.row.extend_from_slice(&[HISTORY_STEP, length, STEP_NUM]);
        encode_varint(step, &mut self.row);
        self.append(RECORD_HISTORY, out);
    }

    /// Appends the row that is held back, and a summary with the latest value of each metric. W&B and `leet`
    /// take the latest values from the summary, not from the history. Write one from time to time, so that a
    /// run that is killed has them too. [`finish`](Self::finish) also writes one.
    pub fn summary(&mut self, out: &mut Vec<u8>) {
        self.flush(out);
        let Some((step, time)) = self.last else {
            return;
        };
        for (name, value) in self.latest.iter() {
            put_item(&mut self.row, &[name], value.as_bytes());
        }
        let mut digits = itoa::Buffer::new();
        let seconds = digits.format(time.saturating_sub(self.started) / 1_000_000);
        put_item(&mut self.row, &["_wandb", "runtime"], seconds.as_bytes());
        self.put_clock(step, time);
        self.append(RECORD_SUMMARY, out);
    }

    /// Ends the file: appends the row that is held back, the summary and the exit record. W&B shows a run as
    /// finished if its exit code is 0, as crashed if it is 254, and otherwise as failed. A file without an exit
    /// record is uploaded as failed.
    ///
    /// `time` is in microseconds since 1970-01-01T00:00:00Z.
    pub fn finish(&mut self, out: &mut Vec<u8>, exit_code: i32, time: u64) {
        self.summary(out);
        let seconds = time.saturating_sub(self.started) / 1_000_000;
        let exit = RunExitRecord { exit_code, runtime: i32::try_from(seconds).unwrap_or(i32::MAX) };
        self.message(RecordType::Exit(exit), out);
    }

    /// Adds W&B's own metrics to the row: the step, the time, and the seconds since the start of the run.
    fn put_clock(&mut self, step: u64, time: u64) {
        let mut digits = itoa::Buffer::new();
        put_item(&mut self.row, &["_step"], digits.format(step).as_bytes());
        let mut text = [0; SECONDS_SIZE];
        put_item(&mut self.row, &["_timestamp"], seconds(time, &mut text));
        let runtime = time.saturating_sub(self.started);
        put_item(&mut self.row, &["_runtime"], seconds(runtime, &mut text));
    }

    /// Appends the row as a record, and clears it.
    fn append(&mut self, tag: u8, out: &mut Vec<u8>) {
        self.records += 1;
        let number = self.records as u64;
        let length = (self.row.len() - HEAD_ROOM) as u64;
        let head = 2 + encoded_len_varint(number) + encoded_len_varint(length);
        let start = HEAD_ROOM - head;
        let mut room = &mut self.row[start..HEAD_ROOM];
        room.put_u8(RECORD_NUM);
        encode_varint(number, &mut room);
        room.put_u8(tag);
        encode_varint(length, &mut room);
        self.framer.append(&self.row[start..], out);
        self.row.truncate(HEAD_ROOM);
    }

    /// Appends a record that occurs only once in a file.
    fn message(&mut self, record_type: RecordType, out: &mut Vec<u8>) {
        self.records += 1;
        let record = Record { num: self.records, record_type: Some(record_type) };
        self.framer.append(&record.encode_to_vec(), out);
    }
}

/// Adds an item to a row. Like wandb, it writes a flat name as a `nested_key` of one part.
fn put_item(row: &mut Vec<u8>, path: &[&str], value: &[u8]) {
    let names: usize = path.iter().map(|part| 1 + text_size(part.len())).sum();
    let size = names + ITEM_VALUE_JSON.len() + text_size(value.len());
    row.push(ITEM);
    put_length(row, size);
    for part in path {
        row.push(ITEM_NESTED_KEY);
        put_text(row, part.as_bytes());
    }
    row.extend_from_slice(&ITEM_VALUE_JSON);
    put_text(row, value);
}

fn text_size(length: usize) -> usize {
    encoded_len_varint(length as u64) + length
}

fn put_text(row: &mut Vec<u8>, text: &[u8]) {
    put_length(row, text.len());
    row.extend_from_slice(text);
}

fn put_length(row: &mut Vec<u8>, length: usize) {
    // Nearly all lengths are this short, and a row has about thirty of them.
    if length < 0x80 {
        row.push(length as u8);
    } else {
        encode_varint(length as u64, row);
    }
}

/// The length of the largest number of microseconds as seconds with six decimals.
const SECONDS_SIZE: usize = 21;

/// Microseconds as the text of a number of seconds, exactly.
fn seconds(microseconds: u64, text: &mut [u8; SECONDS_SIZE]) -> &[u8] {
    let (mut whole, mut decimals) = (itoa::Buffer::new(), itoa::Buffer::new());
    let whole = whole.format(microseconds / 1_000_000).as_bytes();
    // Adding 10^6 preserves leading zeros; the point then overwrites the digit 1.
    let decimals = decimals.format(1_000_000 + microseconds % 1_000_000);
    let end = whole.len() + decimals.len();
    text[..whole.len()].copy_from_slice(whole);
    text[whole.len()..end].copy_from_slice(decimals.as_bytes());
    text[whole.len()] = b'.';
    &text[..end]
}

fn config_items(config: &str) -> Vec<Item> {
    let entries = match serde_json::from_str(config) {
        _ if config.is_empty() => serde_json::Map::new(),
        Ok(serde_json::Value::Object(entries)) => entries,
        _ => serde_json::Map::from_iter([("config".to_owned(), config.into())]),
    };
    let item = |(key, value): (String, serde_json::Value)| Item {
        key,
        nested_key: Vec::new(),
        value_json: value.to_string(),
    };
    entries.into_iter().map(item).collect()
}
