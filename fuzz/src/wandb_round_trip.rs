//! Weights & Biases logs with arbitrary names, values and steps.

use model_foundry_guest::wandb::framing::{
    BLOCK_SIZE, CHUNK_HEADER_SIZE, FILE_HEADER, Framer, decode,
};
use model_foundry_guest::wandb::messages::{
    HistoryRecord, HistoryStep, Item, Record, RecordType, RunExitRecord, SummaryRecord,
};
use model_foundry_guest::wandb::{Encoder, LOGGED_STEP, RunInfo};
use prost::Message as _;
use serde_json::{Map, Value};

/// Separate calls, and the fields of a call.
const NEXT_CALL: u8 = 0x1e;
const NEXT_FIELD: u8 = 0x1f;

/// The most bytes that all values have together: a few blocks.
const LARGEST: usize = 4 * BLOCK_SIZE;

/// Steps below this are logged every half second from the start of the run. The time of any other step is its number.
const EARLY: u64 = 1000;

const STARTED: u64 = 1_700_000_000_250_000;

/// Writes a log and reads it back, whole, cut short, and with a changed byte. The rows must be the same, up to the
/// damage. Also reads the input itself as a log.
///
/// The input is a list of calls with a byte 0x1e between them. A call is a list of fields with a byte 0x1f between
/// them. The first call is the run's configuration, name, host and project. The others are `flush`, `summary`, or a
/// step with its metrics as `name=value`; in a step `5*300` each value is repeated 300 times. The number of the last
/// step is the offset at which the file is cut and changed.
pub fn wandb_round_trip(data: &[u8]) {
    reads_anything(data);
    frames_at_the_ends_of_blocks(data);
    let text = String::from_utf8_lossy(data);
    let mut calls = text
        .split(char::from(NEXT_CALL))
        .map(|call| call.split(char::from(NEXT_FIELD)).collect::<Vec<_>>());
    let head = calls.next().unwrap_or_default();
    let field = |at: usize| head.get(at).copied().unwrap_or_default().to_owned();
    let info = RunInfo {
        unsent: String::new(),
        id: "4f1c".to_owned(),
        project: field(3),
        name: field(1),
        config: field(0),
        host: field(2),
        started: STARTED,
    };

    let mut file = Vec::new();
    let mut encoder = Encoder::begin(&info, &mut file);
    let mut model = Model::default();
    let mut room = LARGEST;
    let mut last = 0;
    for call in calls {
        match call[0] {
            "flush" => {
                encoder.flush(&mut file);
                model.flush();
            }
            "summary" => {
                encoder.summary(&mut file);
                model.summary();
            }
            head => {
                let (step, times) = head.split_once('*').unwrap_or((head, "1"));
                let step = number(step);
                let metrics: Metrics = call[1..]
                    .iter()
                    .map(|field| field.split_once('=').unwrap_or((field, "")))
                    .map(|(name, value)| {
                        let times = (number(times) as usize).min(room / value.len().max(1));
                        room -= value.len() * times;
                        (name.to_owned(), value.repeat(times))
                    })
                    .collect();
                let time = match step {
                    ..EARLY => STARTED + step * 500_000,
                    _ => step,
                };
                let mut items = metrics.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                encoder.history(&mut file, step, time, &mut items);
                model.history(step, time, &metrics);
                last = step as usize;
            }
        }
    }
    encoder.finish(&mut file, 3, STARTED + 61_000_000);
    model.summary();
    model.records.push(RecordType::Exit(RunExitRecord { exit_code: 3, runtime: 61 }));

    let records = decode(&file).expect("the framing is valid");
    let read: Vec<RecordType> = records
        .iter()
        .zip(1..)
        .map(|(bytes, number)| {
            let record = Record::decode(bytes.as_slice()).expect("every frame is a record");
            assert_eq!(record.num, number, "records are numbered from 1");
            record.record_type.expect("every record has a type")
        })
        .collect();
    let [RecordType::Header(_), RecordType::Run(run), rest @ ..] = &read[..] else {
        panic!("the first records are not a header and a run");
    };
    assert_eq!(
        [&run.project, &run.display_name, &run.host],
        [&info.project, &info.name, &info.host]
    );
    let config = run.config.as_ref().map_or(&[][..], |config| &config.update);
    assert_eq!(read_config(config), expected_config(&info.config));
    assert_eq!(rest, model.records);

    reads_what_is_before_damage(&file, &records, last);
}

/// The number at the start of a text, or the length of the text.
fn number(text: &str) -> u64 {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text[..digits].parse().unwrap_or(text.len() as u64)
}

fn expected_config(text: &str) -> Map<String, Value> {
    match serde_json::from_str(text) {
        Ok(Value::Object(config)) => config,
        _ if text.is_empty() => Map::new(),
        _ => Map::from_iter([("config".to_owned(), text.into())]),
    }
}

fn read_config(items: &[Item]) -> Map<String, Value> {
    let read = |item: &Item| {
        assert!(item.nested_key.is_empty());
        (item.key.clone(), serde_json::from_str(&item.value_json).expect("every value is JSON"))
    };
    items.iter().map(read).collect()
}

/// Names and values.
type Metrics = Vec<(String, String)>;

/// The records that the file must have after the first two.
#[derive(Default)]
struct Model {
    records: Vec<RecordType>,
    /// The metrics, step and time of the row that is not complete yet.
    held: Option<(Metrics, u64, u64)>,
    /// The number that W&B gives to a row whose step is not above all before.
    next_step: u64,
    last: Option<(u64, u64)>,
    latest: Metrics,
}

impl Model {
    fn history(&mut self, step: u64, time: u64, metrics: &[(String, String)]) {
        let step = step.min(i64::MAX as u64);
        if self.held.as_ref().is_some_and(|(_, held, _)| *held != step) {
            self.flush();
        }
        for (name, value) in metrics {
            if ["_step", "_timestamp", "_runtime", "_wandb"].contains(&name.as_str()) {
                continue;
            }
            let is_second = |row: &[(String, String)]| row.iter().any(|(other, _)| other == name);
            if self.held.as_ref().is_some_and(|(row, _, _)| is_second(row)) {
                self.flush();
            }
            let mut row = self.held.take().map_or_else(Vec::new, |(row, ..)| row);
            row.push((name.clone(), value.clone()));
            self.held = Some((row, step, time));
            match self.latest.iter_mut().find(|(other, _)| other == name) {
                Some((_, latest)) => latest.clone_from(value),
                None => self.latest.push((name.clone(), value.clone())),
            }
        }
    }

    fn flush(&mut self) {
        let Some((mut row, step, time)) = self.held.take() else { return };
        if step < self.next_step {
            row.push((LOGGED_STEP.to_owned(), step.to_string()));
        }
        self.next_step = self.next_step.max(step) + 1;
        self.last = Some((step, time));
        let mut item = items(&row);
        item.extend(clock(step, time));
        let step = Some(HistoryStep { num: step as i64 });
        self.records.push(RecordType::History(HistoryRecord { item, step }));
    }

    fn summary(&mut self) {
        self.flush();
        let Some((step, time)) = self.last else { return };
        let mut update = items(&self.latest);
        let seconds = time.saturating_sub(STARTED) / 1_000_000;
        update.push(item(&["_wandb", "runtime"], seconds.to_string()));
        update.extend(clock(step, time));
        self.records.push(RecordType::Summary(SummaryRecord { update }));
    }
}

fn items(pairs: &[(String, String)]) -> Vec<Item> {
    pairs.iter().map(|(name, value)| item(&[name], value.clone())).collect()
}

fn item(path: &[&str], value_json: String) -> Item {
    let nested_key = path.iter().map(|part| (*part).to_owned()).collect();
    Item { key: String::new(), nested_key, value_json }
}

/// The metrics that W&B adds to a row.
fn clock(step: u64, time: u64) -> [Item; 3] {
    let seconds = |time: u64| format!("{}.{:06}", time / 1_000_000, time % 1_000_000);
    [
        item(&["_step"], step.to_string()),
        item(&["_timestamp"], seconds(time)),
        item(&["_runtime"], seconds(time.saturating_sub(STARTED))),
    ]
}

/// Arbitrary bytes are read up to the first invalid one.
fn reads_anything(data: &[u8]) {
    let headed = [&FILE_HEADER, data].concat();
    // Chunks of any type and in any order, with valid checksums.
    let mut framed = FILE_HEADER.to_vec();
    for payload in data.split(|byte| *byte == NEXT_FIELD) {
        let Some((kind, payload)) = payload.split_first() else { continue };
        let (kind, length) = (kind % 6, payload.len().min(usize::from(u16::MAX)));
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&[kind]);
        checksum.update(&payload[..length]);
        framed.extend(checksum.finalize().to_le_bytes());
        framed.extend((length as u16).to_le_bytes());
        framed.push(kind);
        framed.extend_from_slice(&payload[..length]);
    }
    for bytes in [data, &headed, &framed] {
        let records = match decode(bytes) {
            Ok(records) => records,
            Err(error) => {
                assert!(error.offset <= bytes.len());
                error.records
            }
        };
        let size: usize = records.iter().map(Vec::len).sum();
        assert!(size <= bytes.len(), "the records are longer than the file");
    }
}

/// Records are read back wherever in a block they end. Of each byte the lower half is how many bytes a record leaves
/// free in its block, about the size of a chunk's header, and the upper half the size of the next record.
fn frames_at_the_ends_of_blocks(data: &[u8]) {
    let mut file = Vec::new();
    let mut framer = Framer::begin(&mut file);
    let mut records = Vec::new();
    for byte in data.iter().take(3).copied() {
        let (left, next) = (usize::from(byte % 16), usize::from(byte / 16));
        let room = BLOCK_SIZE - file.len() % BLOCK_SIZE;
        for size in [room.saturating_sub(CHUNK_HEADER_SIZE + left), next] {
            let record = vec![byte; size];
            framer.append(&record, &mut file);
            records.push(record);
        }
    }
    assert_eq!(decode(&file), Ok(records));
}

/// In a file that is cut short or has a changed byte, the records before that place are read.
fn reads_what_is_before_damage(file: &[u8], records: &[Vec<u8>], place: usize) {
    let before = |bytes: &[u8]| match decode(bytes) {
        Ok(records) => records,
        Err(error) => error.records,
    };
    let place = place % file.len();
    assert!(records.starts_with(&before(&file[..place])), "cut at {place}");
    let mut changed = file.to_vec();
    changed[place] ^= 0x10;
    assert!(records.starts_with(&before(&changed)), "changed at {place}");
}
