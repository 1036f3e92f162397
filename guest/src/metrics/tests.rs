use proptest::prelude::*;

use super::*;
use crate::imports::RunFile;
use crate::memory::{Memory, OWN};
use crate::value::Field;

fn logger(memory: &Memory, attempt: u32) -> MetricsLogger<Memory> {
    MetricsLogger::open(memory, &Options { attempt, ..Options::default() }).unwrap()
}

fn log(memory: &Memory, attempt: u32, steps: impl IntoIterator<Item = (u64, f64)>) {
    let mut logger = logger(memory, attempt);
    for (step, loss) in steps {
        logger.log_step(step, None, &[Field::new("loss", loss)], false).unwrap();
    }
}

fn everything(all_attempts: bool) -> Query {
    Query { summaries: true, all_attempts, ..Query::default() }
}

fn lines(memory: &Memory, query: Query, block: usize) -> Vec<String> {
    let mut reader = MetricsReader::open(memory, query).unwrap();
    let mut text = String::new();
    while let Some(block) = reader.next(block).unwrap() {
        text.push_str(&block);
    }
    text.lines().map(str::to_owned).collect()
}

fn steps(memory: &Memory, query: Query) -> Vec<u64> {
    let step = |line: &String| Entry::read(line).unwrap().step;
    lines(memory, query, 64).iter().filter_map(step).collect()
}

fn loss(memory: &Memory, query: Query) -> (u64, f64) {
    let mut reader = MetricsReader::open(memory, query).unwrap();
    let tally = reader.statistics(&["loss".into()]).unwrap();
    tally.get("loss").map_or((0, 0.0), |loss| (loss.count, loss.mean))
}

#[test]
fn the_latest_attempt_counts_from_where_it_went_back_to() {
    let memory = Memory::default();
    log(&memory, 1, (0..10).map(|step| (step, 1.0)));
    log(&memory, 2, (6..8).map(|step| (step, 3.0)));
    assert_eq!(steps(&memory, everything(false)), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(steps(&memory, everything(true)).len(), 12);
    assert_eq!(loss(&memory, everything(false)), (8, 1.5));
    assert_eq!(loss(&memory, everything(true)).0, 12);
}

#[test]
fn a_resumed_logger_forgets_what_it_goes_over_again() {
    let memory = Memory::default();
    log(&memory, 1, (0..10).map(|step| (step, 1.0)));
    let mut second = logger(&memory, 2);
    assert_eq!(second.statistics("loss").unwrap().count, 10);
    second.log_step(12, None, &[Field::new("loss", 4.0)], false).unwrap();
    assert_eq!(second.statistics("loss").unwrap().count, 11);
    second.log_step(5, None, &[Field::new("loss", 7.0)], false).unwrap();
    let statistics = second.statistics("loss").unwrap();
    assert_eq!((statistics.count, statistics.max), (7, 7.0));
    // Opened again, as after a trap, it reads the same back.
    assert_eq!(logger(&memory, 2).statistics("loss").unwrap().count, 7);
}

#[test]
fn summaries_of_a_repeated_epoch_are_superseded_too() {
    let memory = Memory::default();
    let mut first = logger(&memory, 1);
    first.log_epoch_summary(0.0, &[Field::new("val", 1.0)]).unwrap();
    first.log_epoch_summary(1.0, &[Field::new("val", 2.0)]).unwrap();
    let mut second = logger(&memory, 2);
    second.log_epoch_summary(1.0, &[Field::new("val", 3.0)]).unwrap();
    assert_eq!(lines(&memory, everything(false), 64).len(), 2);
    assert_eq!(lines(&memory, everything(true), 64).len(), 3);
    assert!(lines(&memory, Query::default(), 64).is_empty(), "summaries are no steps");
}

#[test]
fn a_large_file_is_read_from_its_index() {
    let memory = Memory::default();
    log(&memory, 1, (0..80_000).map(|step| (step, step as f64)));
    let size = memory.content(RunFile::METRICS).len() as u64;
    assert!(size > 6 << 20, "{size}");
    logger(&memory, 1).close(0).unwrap();

    let before = memory.bytes_read();
    assert_eq!(loss(&memory, everything(false)), (80_000, 39_999.5));
    assert!(memory.bytes_read() - before < 64 << 10, "statistics come from the index");

    let before = memory.bytes_read();
    let query = Query { first_step: Some(70_000), last_step: Some(70_299), ..Query::default() };
    assert_eq!(steps(&memory, query).len(), 300);
    assert!(memory.bytes_read() - before < 1 << 20, "a range reads what it needs");

    // What came since is read behind it.
    log(&memory, 1, [(80_000, 80_000.0)]);
    assert_eq!(loss(&memory, everything(false)).0, 80_001);
}

#[test]
fn an_index_is_never_believed_blindly() {
    let memory = Memory::default();
    log(&memory, 1, (0..80_000).map(|step| (step, 1.0)));
    logger(&memory, 1).close(0).unwrap();
    let index = memory.content(RunFile::METRICS_INDEX);
    assert!(!index.is_empty());

    for at in (0..index.len()).step_by(97) {
        memory.change(RunFile::METRICS_INDEX, OWN, |bytes| {
            bytes.clone_from(&index);
            bytes[at] ^= 0x20;
        });
        assert!(index::Index::load(&memory, OWN).is_none(), "a flipped bit at {at}");
    }
    for length in [0, 5, 12, index.len() - 1] {
        memory.change(RunFile::METRICS_INDEX, OWN, |bytes| *bytes = index[..length].to_vec());
        assert!(index::Index::load(&memory, OWN).is_none(), "cut to {length}");
    }
    // The right index of another file.
    memory.change(RunFile::METRICS_INDEX, OWN, |bytes| bytes.clone_from(&index));
    memory.change(RunFile::METRICS, OWN, |bytes| bytes.truncate(1 << 20));
    assert!(index::Index::load(&memory, OWN).is_none());
}

#[test]
fn names_beyond_the_bound_are_kept_and_told() {
    let memory = Memory::default();
    let mut logger = logger(&memory, 1);
    let name = |number: usize| Field::new(format!("m{number}"), 1);
    let many: Vec<_> = (0..MOST_METRICS).map(name).collect();
    logger.log_step(1, None, &many, false).unwrap();
    let error = logger.log_step(2, None, &[name(MOST_METRICS)], false).unwrap_err();
    assert!(error.to_string().contains("8192"), "{error}");
    let last = lines(&memory, everything(false), 1 << 20).pop().unwrap();
    assert!(last.contains("\"m8192\":1"), "the record is kept");
    let column = |name: &str| Column { name: name.into(), kind: Kind::Integer };
    let columns = logger.column_set(vec![column("m0"), column("m8193")]).unwrap();
    let error = logger.log_row(columns, 0, 3, f64::NAN, &[1.0, 2.0]).unwrap_err();
    assert!(error.to_string().contains("m8193"), "{error}");
    let last = lines(&memory, everything(false), 1 << 20).pop().unwrap();
    assert!(last.contains("\"m8193\":2"), "the row is kept");
}

#[test]
fn rows_and_columns_are_checked() {
    let memory = Memory::default();
    let mut logger = logger(&memory, 1);
    let column = |name: &str| Column { name: name.into(), kind: Kind::Integer };
    let columns = logger.column_set(vec![column("a"), column("b")]).unwrap();
    assert_eq!(logger.column_set(vec![column("a"), column("b")]).unwrap(), columns);
    assert!(logger.column_set(vec![column("a"), column("a")]).is_err());
    assert!(logger.log_row(columns, 0, 1, f64::NAN, &[1.0]).is_err());
    assert!(logger.log_row(99, 0, 1, f64::NAN, &[1.0]).is_err());
    assert!(logger.log_rows(columns, &[1], &[1, 2], &[0.0, 0.0], &[1.0; 4]).is_err());
    assert!(logger.log_epoch_summary(f64::NAN, &[]).is_err());
    logger.log_row(columns, 0, 1, 0.5, &[2.0, f64::NAN]).unwrap();
    logger.log_rows(columns, &[7, 8], &[2, 3], &[f64::NAN, 1.0], &[1.0, 2.5, 3.0, 4.0]).unwrap();
    let lines = lines(&memory, everything(false), 1 << 20);
    assert!(lines[0].ends_with(
        "\"step\":1,\"epoch\":0.5,\"metrics\":{\"a\":2,\"b\":null},\"non_finite\":{\"b\":\"NaN\"}}"
    ));
    assert_eq!(
        lines[1],
        "{\"timestamp\":\"1970-01-01T00:00:00.000007Z\",\"step\":2,\"metrics\":{\"a\":1,\"b\":2.5}}"
    );
    let entry = Entry::read(&lines[0]).unwrap();
    let mut numbers = Vec::new();
    entry
        .numbers(&mut |name, number| numbers.push((name.to_owned(), format!("{number:?}"))))
        .unwrap();
    assert_eq!(numbers[1], ("b".into(), "NonFinite(NaN)".into()));
}

#[test]
fn a_range_must_not_end_before_it_begins() {
    let query = Query { first_step: Some(3), last_step: Some(2), ..Query::default() };
    assert!(MetricsReader::open(&Memory::default(), query).is_err());
}

#[test]
fn an_overview_thins_out_long_series() {
    let memory = Memory::default();
    log(&memory, 1, (0..2_000).map(|step| (step, step as f64)));
    let (tally, series) =
        MetricsReader::open(&memory, everything(false)).unwrap().overview(16).unwrap();
    assert_eq!(tally.get("loss").unwrap().count, 2_000);
    assert_eq!(series[0].name, "loss");
    assert!(series[0].points.len() <= 16 && series[0].points.len() > 8);
    assert!(series[0].points.is_sorted());
}

#[test]
fn empty_lines_are_no_entries() {
    let memory = Memory::default();
    memory.change(RunFile::METRICS, OWN, |bytes| bytes.extend_from_slice(b"\n"));
    log(&memory, 1, [(1, 1.0)]);
    memory.change(RunFile::METRICS, OWN, |bytes| bytes.extend_from_slice(b"\n\n"));
    log(&memory, 1, [(2, 1.0)]);
    assert_eq!(lines(&memory, everything(true), 1 << 20).len(), 2);
}

#[test]
fn a_summary_without_an_epoch_hides_no_other() {
    let memory = Memory::default();
    memory.change(RunFile::METRICS, OWN, |bytes| {
        bytes.extend_from_slice(
            b"{\"epoch\":3,\"summary\":{}}\n{\"summary\":{}}\n\
              {\"epoch\":2,\"attempt\":2,\"summary\":{}}\n",
        );
    });
    assert_eq!(lines(&memory, everything(false), 1 << 20).len(), 2);
}

#[test]
fn parts_are_merged_in_step_order() {
    let memory = Memory::default();
    for rank in 0..3_u32 {
        let other = Memory::default();
        log(&other, 1, (0..4).map(|step| (step * 3 + u64::from(rank), 1.0)));
        let part = crate::imports::Part { rank: Some(rank), rotated: 0 };
        memory.change(RunFile::METRICS, part, |bytes| *bytes = other.content(RunFile::METRICS));
    }
    assert_eq!(steps(&memory, everything(false)), (0..12).collect::<Vec<_>>());
    assert_eq!(loss(&memory, everything(false)).0, 12);
}

/// What happens to a file in the property below.
#[derive(Clone, Debug)]
enum Act {
    Log { attempt: u32, first: u64, count: u64 },
    Summary { attempt: u32, epoch: u8 },
    Damage,
    Glue,
    Index,
    LoseIndex,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (1..4_u32, 0..40_u64, 1..20_u64)
            .prop_map(|(attempt, first, count)| Act::Log { attempt, first, count }),
        1 => (1..4_u32, 0..4_u8).prop_map(|(attempt, epoch)| Act::Summary { attempt, epoch }),
        1 => Just(Act::Damage),
        1 => Just(Act::Glue),
        1 => Just(Act::Index),
        1 => Just(Act::LoseIndex),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// With an index or without, readers tell what a plain reading of the file tells.
    #[test]
    fn readers_agree_with_a_plain_reading(acts in prop::collection::vec(act(), 1..14), all: bool) {
        let memory = Memory::default();
        let mut known: Vec<(Option<u64>, Option<u8>, u32)> = Vec::new();
        let mut damaged = 0;
        for act in acts {
            match act {
                Act::Log { attempt, first, count } => {
                    log(&memory, attempt, (first..first + count).map(|step| (step, step as f64)));
                    known.extend((first..first + count).map(|step| (Some(step), None, attempt)));
                }
                Act::Summary { attempt, epoch } => {
                    logger(&memory, attempt).log_epoch_summary(epoch.into(), &[]).unwrap();
                    known.push((None, Some(epoch), attempt));
                }
                Act::Damage => {
                    damaged += 1;
                    memory.change(RunFile::METRICS, OWN, |bytes| bytes.extend_from_slice(b"{\"step\":\n"));
                }
                Act::Glue => {
                    // Another record follows on the line of a fragment.
                    damaged += 1;
                    memory.change(RunFile::METRICS, OWN, |bytes| {
                        bytes.extend_from_slice(b"{\"timestamp\":\"2026-");
                    });
                    log(&memory, 1, [(7, 7.0)]);
                    known.push((Some(7), None, 1));
                }
                Act::Index => {
                    let survey = survey::Survey::of(&memory, OWN).unwrap();
                    if survey.index.damaged == 0 && survey.index.covered > 0 {
                        survey.index.save(&memory, OWN).unwrap();
                    }
                }
                Act::LoseIndex => memory.remove(RunFile::METRICS_INDEX),
            }
        }
        let lowest = |attempt: u32| {
            known.iter().filter(|(_, _, a)| *a == attempt).filter_map(|(step, ..)| *step).min()
        };
        let lowest_epoch = |attempt: u32| {
            known.iter().filter(|(_, _, a)| *a == attempt).filter_map(|(_, epoch, _)| *epoch).min()
        };
        let counts = |(step, epoch, attempt): &&(Option<u64>, Option<u8>, u32)| {
            all || !(attempt + 1..4).any(|later| match step {
                Some(step) => lowest(later).is_some_and(|lowest| lowest <= *step),
                None => lowest_epoch(later).is_some_and(|lowest| lowest <= epoch.unwrap()),
            })
        };
        let expected: Vec<_> = known.iter().filter(counts).collect();
        let query = everything(all);
        prop_assert_eq!(lines(&memory, query, 100).len(), expected.len());
        let expected_steps: Vec<u64> = expected.iter().filter_map(|(step, ..)| *step).collect();
        prop_assert_eq!(steps(&memory, query), expected_steps.clone());
        prop_assert_eq!(loss(&memory, query).0, expected_steps.len() as u64);
        let ranged = Query { first_step: Some(5), last_step: Some(30), all_attempts: all, ..Query::default() };
        let within = expected_steps.iter().filter(|step| (5..=30).contains(*step)).count();
        prop_assert_eq!(steps(&memory, ranged).len(), within);
        let reader = MetricsReader::open(&memory, query).unwrap();
        prop_assert_eq!(reader.damage().lines, damaged);
    }
}
