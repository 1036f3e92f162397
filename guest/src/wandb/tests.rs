use proptest::prelude::*;
use prost::Message as _;

use super::framing::{BLOCK_SIZE, CHUNK_HEADER_SIZE, FILE_HEADER, Framer, Problem, decode};
use super::messages::{HistoryRecord, Record, RecordType, RunExitRecord, RunRecord};
use super::{Encoder, LOGGED_STEP, MAX_SUMMARY_NAMES, RunInfo};

fn info() -> RunInfo {
    RunInfo {
        unsent: String::new(),
        id: "4f1c".into(),
        project: "lamps".into(),
        name: "first light".into(),
        config: r#"{"learning_rate":0.001,"model":{"layers":2}}"#.into(),
        host: "node-1".into(),
        started: 1_700_000_000_250_000,
    }
}

fn framed(records: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut framer = Framer::begin(&mut file);
    for record in records {
        framer.append(record, &mut file);
    }
    file
}

fn log(encoder: &mut Encoder, file: &mut Vec<u8>, step: u64, time: u64, items: &[(&str, &str)]) {
    encoder.history(file, step, time, &mut items.iter().copied());
}

fn records(file: &[u8]) -> Vec<RecordType> {
    let records = decode(file).expect("the framing is intact");
    let parse = |(index, bytes): (usize, &Vec<u8>)| {
        let record = Record::decode(bytes.as_slice()).expect("each entry is a record");
        assert_eq!(record.num, index as i64 + 1, "records are numbered from 1");
        record.record_type.expect("each record has content")
    };
    records.iter().enumerate().map(parse).collect()
}

/// Each row's names and values, without `_timestamp` and `_runtime`; `_step` is last.
fn rows(file: &[u8]) -> Vec<Vec<(String, String)>> {
    let row = |record| match record {
        RecordType::History(row) => Some(row),
        _ => None,
    };
    let named = |row: HistoryRecord| {
        let step = row.step.expect("each row has a step").num.to_string();
        let items: Vec<_> = row
            .item
            .into_iter()
            .map(|item| (item.nested_key.concat(), item.value_json))
            .filter(|(name, _)| name != "_timestamp" && name != "_runtime")
            .collect();
        assert_eq!(items.last(), Some(&("_step".to_owned(), step)));
        items
    };
    records(file).into_iter().filter_map(row).map(named).collect()
}

fn pairs(items: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    items.iter().map(own).collect()
}

#[test]
fn a_short_record_is_one_full_chunk() {
    let mut file = Vec::new();
    Framer::begin(&mut file).append(b"abc", &mut file);

    let golden = [
        0x3A, 0x57, 0x26, 0x42, 0xE1, 0xBE, 0x00, // ":W&B", 0xBEE1, version 0
        0xA9, 0x20, 0x9D, 0x53, // CRC32 of the seven bytes 01 61 62 63, from Python's zlib
        0x03, 0x00, 0x01, // three bytes, the whole record
        b'a', b'b', b'c',
    ];
    assert_eq!(file, golden);
}

#[test]
fn the_rest_of_a_block_is_filled_with_a_chunk_or_with_padding() {
    for rest in 0..=CHUNK_HEADER_SIZE + 2 {
        let first = BLOCK_SIZE - FILE_HEADER.len() - CHUNK_HEADER_SIZE - rest;
        let file = framed(&[vec![1; first], vec![2; 9]]);

        let at = BLOCK_SIZE - rest;
        if rest < CHUNK_HEADER_SIZE {
            assert!(file[at..BLOCK_SIZE].iter().all(|&byte| byte == 0));
            assert_eq!(file[BLOCK_SIZE + 4..BLOCK_SIZE + 7], [9, 0, 1]);
        } else {
            let written = (rest - CHUNK_HEADER_SIZE) as u8;
            assert_eq!(file[at + 4..at + 7], [written, 0, 2]);
            assert_eq!(file[BLOCK_SIZE + 4..BLOCK_SIZE + 7], [9 - written, 0, 4]);
        }
    }
}

#[test]
fn records_are_read_back_wherever_a_block_ends() {
    let one_block = BLOCK_SIZE - FILE_HEADER.len() - CHUNK_HEADER_SIZE;
    for blocks in 0..3 {
        let size = one_block + blocks * (BLOCK_SIZE - CHUNK_HEADER_SIZE);
        for first in size - 40..size + 40 {
            let records = vec![vec![7; first], vec![], vec![8; 20], vec![9; 3]];
            assert_eq!(decode(&framed(&records)), Ok(records));
        }
    }
    // The second record starts at every offset of the first block.
    for first in 0..BLOCK_SIZE {
        let records = vec![vec![7; first], vec![8; 30]];
        assert_eq!(decode(&framed(&records)), Ok(records));
    }
}

#[test]
fn a_truncated_file_yields_the_records_before_its_end() {
    let written = vec![vec![1; 100], vec![2; BLOCK_SIZE], vec![3; 5]];
    let file = framed(&written);
    let ends: Vec<_> = (1..=3).map(|count| framed(&written[..count]).len()).collect();

    for cut in FILE_HEADER.len()..file.len() {
        let whole = ends.iter().filter(|&&end| end <= cut).count();
        match decode(&file[..cut]) {
            Ok(records) => assert_eq!(records, written[..whole]),
            Err(error) => {
                assert!(matches!(error.problem, Problem::Truncated | Problem::Unfinished));
                assert_eq!(error.records, written[..whole]);
            }
        }
    }
}

#[test]
fn a_changed_byte_is_reported_at_its_chunk() {
    let written = vec![vec![1; 100], vec![2; 100]];
    let mut file = framed(&written);
    let second = FILE_HEADER.len() + CHUNK_HEADER_SIZE + 100;
    file[second + CHUNK_HEADER_SIZE + 50] ^= 1;

    let error = decode(&file).unwrap_err();
    assert_eq!(error.offset, second);
    assert_eq!(error.problem, Problem::Checksum);
    assert_eq!(error.records, written[..1]);
    assert_eq!(error.to_string(), ".wandb file, byte 114: the checksum does not match");
}

#[test]
fn a_file_of_another_format_is_rejected() {
    for bytes in [&b""[..], b":W&B", b":SWL\xE1\xBE\x00", b":W&B\xE1\xBE\x01"] {
        assert_eq!(decode(bytes).unwrap_err().problem, Problem::FileHeader);
    }
}

#[test]
fn a_file_begins_with_the_header_and_the_run() {
    let mut file = Vec::new();
    Encoder::begin(&info(), &mut file);

    let [RecordType::Header(header), RecordType::Run(run)] = &records(&file)[..] else {
        panic!("a header and a run");
    };
    let version = header.version_info.as_ref().expect("a version");
    assert!(version.producer.starts_with("model-foundry "));
    let RunRecord { run_id, project, config, display_name, host, start_time } = run;
    assert_eq!(run_id, "4f1c");
    assert_eq!(project, "lamps");
    assert_eq!(display_name, "first light");
    assert_eq!(host, "node-1");
    let started = start_time.expect("a start");
    assert_eq!((started.seconds, started.nanos), (1_700_000_000, 250_000_000));
    let config = config.as_ref().expect("a configuration");
    let config: Vec<_> =
        config.update.iter().map(|item| (item.key.as_str(), item.value_json.as_str())).collect();
    let expected = [("learning_rate", "0.001"), ("model", r#"{"layers":2}"#)];
    assert_eq!(config, expected);
}

#[test]
fn a_configuration_that_is_not_an_object_is_written_as_text() {
    for (text, expected) in [("", None), ("[1]", Some(r#""[1]""#)), ("{", Some(r#""{""#))] {
        let mut file = Vec::new();
        let config = text.to_owned();
        Encoder::begin(&RunInfo { config, ..info() }, &mut file);

        let RecordType::Run(run) = records(&file).remove(1) else {
            panic!("a run");
        };
        let items = run.config.expect("a configuration").update;
        let values: Vec<_> = items.iter().map(|item| item.value_json.as_str()).collect();
        assert_eq!(values, Vec::from_iter(expected));
    }
}

#[test]
fn a_row_has_the_metrics_the_step_and_the_time() {
    let mut file = Vec::new();
    let mut encoder = Encoder::begin(&info(), &mut file);
    let time = info().started + 1_500_001;
    let items = [("train/loss", "0.5"), ("a.b", "NaN"), ("_step", "99")];
    log(&mut encoder, &mut file, 300, time, &items);
    encoder.flush(&mut file);

    let RecordType::History(row) = records(&file).remove(2) else {
        panic!("a row");
    };
    assert_eq!(row.step.expect("a step").num, 300);
    let items: Vec<_> = row
        .item
        .iter()
        .map(|item| (item.nested_key.as_slice(), item.value_json.as_str()))
        .collect();
    let expected = [
        (&["train/loss".to_owned()][..], "0.5"),
        (&["a.b".to_owned()], "NaN"),
        (&["_step".to_owned()], "300"),
        (&["_timestamp".to_owned()], "1700000001.750001"),
        (&["_runtime".to_owned()], "1.500001"),
    ];
    assert_eq!(items, expected);
}

#[test]
fn the_calls_of_one_step_make_one_row() {
    let mut file = Vec::new();
    let mut encoder = Encoder::begin(&info(), &mut file);
    log(&mut encoder, &mut file, 5, 1, &[("loss", "1")]);
    log(&mut encoder, &mut file, 5, 2, &[("eval/loss", "2")]);
    log(&mut encoder, &mut file, 6, 3, &[("loss", "3")]);
    encoder.finish(&mut file, 0, 4);

    let expected = [
        pairs(&[("loss", "1"), ("eval/loss", "2"), ("_step", "5")]),
        pairs(&[("loss", "3"), ("_step", "6")]),
    ];
    assert_eq!(rows(&file), expected);
}

#[test]
fn a_second_value_in_one_step_makes_a_second_row_with_its_logged_step() {
    let mut file = Vec::new();
    let mut encoder = Encoder::begin(&info(), &mut file);
    log(&mut encoder, &mut file, 5, 1, &[("a", "1"), ("b", "2")]);
    log(&mut encoder, &mut file, 5, 2, &[("c", "3"), ("a", "4")]);
    log(&mut encoder, &mut file, 5, 2, &[("b", "5")]);
    log(&mut encoder, &mut file, 7, 2, &[("a", "6")]);
    encoder.finish(&mut file, 0, 4);

    let expected = [
        pairs(&[("a", "1"), ("b", "2"), ("c", "3"), ("_step", "5")]),
        pairs(&[("a", "4"), ("b", "5"), (LOGGED_STEP, "5"), ("_step", "5")]),
        pairs(&[("a", "6"), ("_step", "7")]),
    ];
    assert_eq!(rows(&file), expected);
}

#[test]
fn rows_after_a_rewind_have_their_logged_step_while_wandb_renumbers_them() {
    let mut file = Vec::new();
    let mut encoder = Encoder::begin(&info(), &mut file);
    for step in [8, 9, 2, 9, 13] {
        log(&mut encoder, &mut file, step, 1, &[("a", "1")]);
    }
    encoder.finish(&mut file, 0, 4);

    let logged: Vec<_> = rows(&file)
        .iter()
        .map(|row| row.iter().find(|(name, _)| name == LOGGED_STEP).cloned())
        .map(|item| item.map(|(_, step)| step))
        .collect();
    let expected = [None, None, Some("2".to_owned()), Some("9".to_owned()), None];
    assert_eq!(logged, expected);
}

#[test]
fn a_file_ends_with_the_latest_values_and_the_exit_code() {
    let mut file = Vec::new();
    let mut encoder = Encoder::begin(&info(), &mut file);
    let started = info().started;
    log(&mut encoder, &mut file, 0, started, &[("a", "1"), ("b", "2")]);
    log(&mut encoder, &mut file, 1, started, &[("b", "Infinity")]);
    encoder.finish(&mut file, 3, started + 61_000_000);

    let mut records = records(&file);
    let exit = RunExitRecord { exit_code: 3, runtime: 61 };
    assert_eq!(records.pop(), Some(RecordType::Exit(exit)));
    let Some(RecordType::Summary(summary)) = records.pop() else {
        panic!("a summary");
    };
    let items: Vec<_> = summary
        .update
        .iter()
        .map(|item| (item.nested_key.join(" "), item.value_json.clone()))
        .collect();
    let expected = pairs(&[
        ("a", "1"),
        ("b", "Infinity"),
        ("_wandb runtime", "0"),
        ("_step", "1"),
        ("_timestamp", "1700000000.250000"),
        ("_runtime", "0.000000"),
    ]);
    assert_eq!(items, expected);
}

#[test]
fn a_run_without_metrics_has_only_an_exit_record() {
    let mut file = Vec::new();
    let mut encoder = Encoder::begin(&info(), &mut file);
    log(&mut encoder, &mut file, 0, 0, &[]);
    encoder.finish(&mut file, 0, 0);

    assert_eq!(records(&file).len(), 3);
}

#[test]
fn names_beyond_the_bound_are_only_in_the_history() {
    let names: Vec<_> = (0..=MAX_SUMMARY_NAMES).map(|name| name.to_string()).collect();
    let mut file = Vec::new();
    let mut encoder = Encoder::begin(&info(), &mut file);
    for step in 0..2 {
        let mut items = names.iter().map(|name| (name.as_str(), "1"));
        encoder.history(&mut file, step, 0, &mut items);
    }
    encoder.summary(&mut file);

    assert!(rows(&file).iter().all(|row| row.len() == MAX_SUMMARY_NAMES + 2));
    let Some(RecordType::Summary(summary)) = records(&file).pop() else {
        panic!("a summary");
    };
    assert_eq!(summary.update.len(), MAX_SUMMARY_NAMES + 4);
}

#[test]
fn the_highest_numbers_are_written() {
    let mut file = Vec::new();
    let mut encoder = Encoder::begin(&info(), &mut file);
    for step in [u64::MAX, u64::MAX - 1, 0] {
        log(&mut encoder, &mut file, step, u64::MAX, &[("a", "1")]);
    }
    encoder.finish(&mut file, i32::MIN, u64::MAX);

    let rows = rows(&file);
    let highest = i64::MAX.to_string();
    assert_eq!(rows[0], pairs(&[("a", "1"), ("_step", &highest)]));
    assert_eq!(rows.len(), 3);
}

proptest! {
    #[test]
    fn any_records_are_read_back(records in prop::collection::vec(
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            (0..100_000_usize, any::<u8>()).prop_map(|(size, byte)| vec![byte; size]),
        ],
        0..12,
    )) {
        prop_assert_eq!(decode(&framed(&records)), Ok(records));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        at in 0..60_000_usize,
    ) {
        let mut file = framed(&[vec![1; 30_000], vec![2; 30_000]]);
        let end = (at + bytes.len()).min(file.len());
        file.splice(at.min(end)..end, bytes);
        if let Err(error) = decode(&file) {
            prop_assert!(error.offset <= file.len());
        }
    }

    #[test]
    fn any_metrics_are_read_back(steps in prop::collection::vec(
        (any::<u64>(), any::<u64>(), prop::collection::vec((".{0,40}", ".{0,40}"), 1..8)),
        1..30,
    )) {
        let mut file = Vec::new();
        let mut encoder = Encoder::begin(&info(), &mut file);
        let mut expected = Vec::new();
        for (step, time, items) in &steps {
            let mut borrowed = items.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            encoder.history(&mut file, *step, *time, &mut borrowed);
            let step = (*step).min(i64::MAX as u64).to_string();
            expected.extend(items.iter().map(|item| (step.clone(), item.clone())));
        }
        encoder.finish(&mut file, 0, 0);

        let own = [LOGGED_STEP, "_step"];
        let mut actual = Vec::new();
        for mut row in rows(&file) {
            let (_, step) = row.pop().expect("a step");
            row.retain(|(name, _)| !own.contains(&name.as_str()));
            actual.extend(row.into_iter().map(|item| (step.clone(), item)));
        }
        prop_assert_eq!(actual, expected);
    }
}
