use model_foundry_types::StepOrigin;
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
        logger.log_step(step, None, &[Field::new("loss", loss)], StepOrigin::default()).unwrap();
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
    let all_statistics = reader.statistics(&["loss".into()]).unwrap();
    all_statistics.get("loss").map_or((0, 0.0), |loss| (loss.count, loss.mean()))
}

#[test]
fn only_what_a_later_attempt_logged_again_is_omitted() {
    let memory = Memory::default();
    log(&memory, 1, (0..10).map(|step| (step, 1.0)));
    log(&memory, 2, (6..8).map(|step| (step, 3.0)));
    assert_eq!(steps(&memory, everything(false)), [0, 1, 2, 3, 4, 5, 8, 9, 6, 7]);
    assert_eq!(steps(&memory, everything(true)).len(), 12);
    assert_eq!(loss(&memory, everything(false)).0, 10);
    let first = Query { attempt: Some(1), ..everything(false) };
    assert_eq!((steps(&memory, first).len(), loss(&memory, first)), (10, (10, 1.0)));
    assert_eq!(loss(&memory, everything(true)).0, 12);
}

#[test]
fn a_resumed_logger_forgets_what_it_goes_over_again() {
    let memory = Memory::default();
    log(&memory, 1, (0..10).map(|step| (step, 1.0)));
    let mut second = logger(&memory, 2);
    assert_eq!(second.statistics("loss").unwrap().count, 10);
    second.log_step(12, None, &[Field::new("loss", 4.0)], StepOrigin::default()).unwrap();
    assert_eq!(second.statistics("loss").unwrap().count, 11);
    second.log_step(5, None, &[Field::new("loss", 7.0)], StepOrigin::default()).unwrap();
    let statistics = second.statistics("loss").unwrap();
    assert_eq!((statistics.count, statistics.max), (11, 7.0));
    // Opened again, as after a trap, it reads the same back.
    assert_eq!(logger(&memory, 2).statistics("loss").unwrap().count, 11);
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
fn an_index_that_a_resume_made_wrong_is_replaced() {
    let memory = Memory::default();
    log(&memory, 1, (0..80_000).map(|step| (step, 1.0)));
    logger(&memory, 1).close(0).unwrap();
    let size = memory.content(RunFile::METRICS).len() as u64;
    let read = |act: &dyn Fn()| {
        let before = memory.bytes_read();
        act();
        memory.bytes_read() - before
    };
    let stats = || assert_eq!(loss(&memory, everything(false)), (80_000, 1.0));

    // It resumes from the step before the last.
    log(&memory, 2, [(79_999, 1.0)]);
    let first = read(&stats);
    assert!(first < size + (64 << 10), "the file is read once: {first} of {size}");
    let second = read(&stats);
    assert!(second < 64 << 10, "then the new index answers: {second}");

    // An attempt that goes on from there reads no more of it.
    log(&memory, 2, [(80_000, 1.0)]);
    assert!(read(&|| assert_eq!(loss(&memory, everything(false)).0, 80_001)) < 64 << 10);

    // Once more, and this time the logger itself writes the index when it closes.
    log(&memory, 3, [(79_998, 1.0)]);
    logger(&memory, 3).close(0).unwrap();
    assert!(read(&|| assert_eq!(loss(&memory, everything(false)).0, 80_001)) < 64 << 10);
}

#[test]
fn closing_reads_the_file_once() {
    let memory = Memory::default();
    let mut logger = logger(&memory, 1);
    for step in 0..1_000 {
        logger.log_step(step, None, &[Field::new("loss", 1.0)], StepOrigin::default()).unwrap();
    }
    let before = memory.bytes_read();
    logger.close(0).unwrap();
    assert!(logger.save_index(u64::MAX).unwrap());
    assert_eq!(memory.bytes_read() - before, memory.content(RunFile::METRICS).len() as u64);
}

#[test]
fn plots_come_from_the_index() {
    let memory = Memory::default();
    log(&memory, 1, (0..80_000).map(|step| (step, if step == 54_321 { 1e6 } else { 0.1 })));
    logger(&memory, 1).close(0).unwrap();
    log(&memory, 1, [(80_000, 0.1)]);
    let size = memory.content(RunFile::METRICS).len() as u64;
    let overview = |memory: &Memory| {
        let mut reader = MetricsReader::open(memory, everything(false)).unwrap();
        reader.overview(24).unwrap().1.remove(0)
    };

    let before = memory.bytes_read();
    let from_index = overview(&memory);
    assert!(memory.bytes_read() - before < 128 << 10, "{}", memory.bytes_read() - before);
    memory.remove(RunFile::METRICS_INDEX);
    let before = memory.bytes_read();
    assert_eq!(overview(&memory), from_index);
    assert!(memory.bytes_read() - before >= size);

    let buckets = &from_index.buckets;
    assert_eq!(buckets.iter().map(|bucket| bucket.count).sum::<u64>(), 80_001);
    assert_eq!((buckets[0].first_step, buckets[buckets.len() - 1].last_step), (0, 80_000));
    let spike = buckets.iter().find(|bucket| bucket.max == 1e6).expect("a spike is not lost");
    assert!(spike.first_step <= 54_321 && 54_321 <= spike.last_step);
    assert_eq!(
        buckets.iter().filter(|bucket| bucket.mean() == Some(0.1)).count(),
        buckets.len() - 1
    );
}

#[test]
fn a_reader_that_has_given_statistics_gives_plots_too() {
    let memory = Memory::default();
    log(&memory, 1, (0..80_000).map(|step| (step, step as f64)));
    logger(&memory, 1).close(0).unwrap();
    let mut reader = MetricsReader::open(&memory, everything(false)).unwrap();
    // What comes later is not there yet for this reader.
    log(&memory, 1, [(80_000, 1.0)]);
    let before = memory.bytes_read();
    assert_eq!(reader.statistics(&[]).unwrap().get("loss").unwrap().count, 80_000);
    let (all_statistics, series) = reader.overview(10).unwrap();
    assert_eq!(all_statistics.get("loss").unwrap().count, 80_000);
    assert_eq!(series[0].buckets.iter().map(|bucket| bucket.count).sum::<u64>(), 80_000);
    assert!(memory.bytes_read() - before < 192 << 10);
}

#[test]
fn the_index_of_a_damaged_file_is_kept() {
    let memory = Memory::default();
    log(&memory, 1, (0..10).map(|step| (step, 1.0)));
    memory.change(RunFile::METRICS, OWN, |bytes| bytes.extend_from_slice(b"\nhalf a li\n"));
    log(&memory, 1, (10..80_000).map(|step| (step, 1.0)));
    let whole = memory.content(RunFile::METRICS).len();
    // The process died inside a write.
    memory.change(RunFile::METRICS, OWN, |bytes| bytes.extend_from_slice(b"{\"timestamp\""));
    let damage = |memory: &Memory| {
        let mut reader = MetricsReader::open(memory, everything(false)).unwrap();
        assert_eq!(reader.statistics(&[]).unwrap().get("loss").unwrap().count, 80_000);
        reader.damage()
    };

    let first = damage(&memory);
    assert_eq!(first.lines, 2);
    assert_eq!(first.first.as_ref().map(|first| first.line), Some(12));
    let before = memory.bytes_read();
    assert_eq!(damage(&memory), first, "the index says the same");
    assert!(memory.bytes_read() - before < 64 << 10);
    assert_eq!(steps(&memory, everything(false)).len(), 80_000);

    // Later lines have the numbers that they have in the file.
    memory.change(RunFile::METRICS, OWN, |bytes| bytes.truncate(whole));
    memory.change(RunFile::METRICS, OWN, |bytes| bytes.extend_from_slice(b"\n{}\n"));
    let mut part_scan = part_scan::PartScan::begin(&memory, OWN, whole as u64 + 4, false, None);
    assert!(part_scan.advance(&mut { u64::MAX }).unwrap());
    assert_eq!((part_scan.damaged(), part_scan.index.lines), (2, 80_004));
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
        assert!(index::Index::load(&memory, OWN, true).is_none(), "a flipped bit at {at}");
    }
    for length in [0, 5, 12, index.len() - 1] {
        memory.change(RunFile::METRICS_INDEX, OWN, |bytes| *bytes = index[..length].to_vec());
        assert!(index::Index::load(&memory, OWN, true).is_none(), "cut to {length}");
    }
    // The right index of another file.
    memory.change(RunFile::METRICS_INDEX, OWN, |bytes| bytes.clone_from(&index));
    memory.change(RunFile::METRICS, OWN, |bytes| bytes.truncate(1 << 20));
    assert!(index::Index::load(&memory, OWN, true).is_none());
}

#[test]
fn buckets_of_another_index_are_not_believed() {
    let memory = Memory::default();
    log(&memory, 1, (0..80_000).map(|step| (step, 1.0)));
    logger(&memory, 1).close(0).unwrap();
    let index = memory.content(RunFile::METRICS_INDEX);
    let front = u64::from_le_bytes(index[8..16].try_into().unwrap()) as usize;
    let damaged = |at: usize| {
        memory.change(RunFile::METRICS_INDEX, OWN, |bytes| {
            bytes.clone_from(&index);
            bytes[at] ^= 1;
        });
        let mut reader = MetricsReader::open(&memory, everything(false)).unwrap();
        let before = memory.bytes_read();
        assert_eq!(reader.statistics(&[]).unwrap().get("loss").unwrap().count, 80_000);
        let read = memory.bytes_read() - before;
        assert_eq!(reader.overview(10).unwrap().1[0].buckets[0].mean(), Some(1.0));
        read
    };
    assert!(damaged(front + 100) < 64 << 10, "statistics do not need them");
    assert!(damaged(front - 100) > 6 << 20, "the file was read");
    let written = memory.content(RunFile::METRICS_INDEX);
    assert_eq!(written, index, "and the index written again");
}

#[test]
fn names_beyond_the_bound_are_kept_and_told() {
    let memory = Memory::default();
    let mut logger = logger(&memory, 1);
    let name = |number: usize| Field::new(format!("m{number}"), 1);
    let many: Vec<_> = (0..MOST_METRICS).map(name).collect();
    logger.log_step(1, None, &many, StepOrigin::default()).unwrap();
    let error = logger.log_step(2, None, &[name(MOST_METRICS)], StepOrigin::default()).unwrap_err();
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
        .members(&mut |name, number| numbers.push((name.to_owned(), format!("{number:?}"))))
        .unwrap();
    assert_eq!(numbers[1], ("b".into(), "Some(NaN)".into()));
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
    let (all_statistics, series) =
        MetricsReader::open(&memory, everything(false)).unwrap().overview(16).unwrap();
    assert_eq!(all_statistics.get("loss").unwrap().count, 2_000);
    assert_eq!(series[0].name, "loss");
    let means = series[0].series().points;
    assert!(means.len() <= 16 && means.len() > 8);
    assert!(means.is_sorted());
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
              {\"epoch\":3,\"attempt\":2,\"summary\":{}}\n",
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
                    let size = memory.content(RunFile::METRICS).len() as u64;
                    let mut part_scan = part_scan::PartScan::begin(&memory, OWN, size, true, None);
                    assert!(part_scan.advance(&mut { u64::MAX }).unwrap());
                    if part_scan.index.covered > 0 {
                        let trends = part_scan.trends().unwrap();
                        part_scan.index.save(trends, &memory, OWN).unwrap();
                    }
                }
                Act::LoseIndex => memory.remove(RunFile::METRICS_INDEX),
            }
        }
        let counts = |(step, epoch, attempt): &&(Option<u64>, Option<u8>, u32)| {
            all || !(attempt + 1..4).any(|later| known.contains(&(*step, *epoch, later)))
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
        let mut reader = MetricsReader::open(&memory, query).unwrap();
        let (_, series) = reader.overview(10).unwrap();
        let buckets = series.first().map_or(&[][..], |loss| &loss.buckets);
        prop_assert!(buckets.len() <= 10);
        let mut rest = &*expected_steps;
        for bucket in buckets {
            let of_bucket = rest.split_off(..bucket.count as usize).unwrap();
            prop_assert_eq!((bucket.first, bucket.last), (of_bucket[0] as f64, of_bucket[of_bucket.len() - 1] as f64));
            prop_assert_eq!((bucket.first_step as f64, bucket.last_step as f64), (bucket.first, bucket.last));
            let sum: u64 = of_bucket.iter().sum();
            prop_assert!((bucket.mean().unwrap() - sum as f64 / of_bucket.len() as f64).abs() < 1e-9);
        }
        prop_assert!(rest.is_empty());
        prop_assert_eq!(reader.damage().lines, damaged);
        prop_assert_eq!(reader.omitted().rows, (known.len() - expected.len()) as u64);
    }

    /// In pieces of any size, readers and loggers find what they find at once, and read no byte twice for it.
    #[test]
    fn pieces_make_the_whole(
        acts in prop::collection::vec(act(), 1..14),
        all: bool,
        ranged: bool,
        budgets in prop::collection::vec(1..3_000_u64, 1..20),
        attempt in 1..5_u32,
        cut in prop::option::of(0..40_u64),
    ) {
        let memory = Memory::default();
        for act in acts {
            match act {
                Act::Log { attempt, first, count } => {
                    log(&memory, attempt, (first..first + count).map(|step| (step, step as f64)));
                }
                Act::Summary { attempt, epoch } => {
                    logger(&memory, attempt).log_epoch_summary(epoch.into(), &[]).unwrap();
                }
                Act::Damage | Act::Glue => memory.change(RunFile::METRICS, OWN, |bytes| {
                    bytes.extend_from_slice(b"{\"step\":\n\n");
                }),
                Act::Index => logger(&memory, 1).save_index(u64::MAX).map(drop).unwrap(),
                Act::LoseIndex => memory.remove(RunFile::METRICS_INDEX),
            }
        }
        let mut query = everything(all);
        if ranged {
            (query.first_step, query.last_step) = (Some(5), Some(30));
        }
        let at_once = || MetricsReader::open(&memory, query).unwrap();
        let in_pieces = |purpose| {
            let mut reader = at_once();
            let mut budgets = budgets.iter().copied().cycle();
            let size = memory.content(RunFile::METRICS).len() as u64;
            let least = budgets.clone().take(20).min().unwrap();
            let mut pieces = 0;
            while !reader.advance(purpose, budgets.next().unwrap()).unwrap() {
                pieces += 1;
                assert!(pieces <= 10 + 4 * size / least.min(60), "it does not come to an end");
            }
            reader
        };
        let text = |all: &AllStatistics| format!("{:?}", all.named());

        let mut reader = in_pieces(Purpose::Statistics);
        let statistics = at_once().statistics(&[]).unwrap();
        let before = memory.bytes_read();
        prop_assert_eq!(text(&reader.statistics(&[]).unwrap()), text(&statistics));
        prop_assert_eq!(memory.bytes_read(), before, "all was read");
        let damage = reader.damage();

        let mut reader = in_pieces(Purpose::Overview);
        let (all_statistics, series) = at_once().overview(7).unwrap();
        let before = memory.bytes_read();
        let (pieces_statistics, pieces_series) = reader.overview(7).unwrap();
        prop_assert_eq!(memory.bytes_read(), before, "all was read");
        prop_assert_eq!((text(&pieces_statistics), pieces_series), (text(&all_statistics), series));
        prop_assert_eq!(text(&all_statistics), text(&statistics));
        prop_assert_eq!(reader.damage(), damage);

        let mut reader = in_pieces(Purpose::Lines);
        let mut found = String::new();
        while let Some(block) = reader.next(50).unwrap() {
            found += &block;
        }
        let mut expected = String::new();
        let mut whole = at_once();
        while let Some(block) = whole.next(usize::MAX).unwrap() {
            expected += &block;
        }
        prop_assert_eq!(found, expected);

        // A logger that resumes at a step, and one that closes.
        let content = memory.content(RunFile::METRICS);
        let resumed = || {
            memory.change(RunFile::METRICS, OWN, |bytes| bytes.clone_from(&content));
            let mut logger = logger(&memory, attempt);
            if let Some(cut) = cut {
                logger.log_step(cut, None, &[Field::new("loss", 0.0)], StepOrigin::default()).unwrap();
            }
            logger
        };
        let mut logger = resumed();
        let mut budgets = budgets.iter().copied().cycle();
        while !logger.advance(budgets.next().unwrap()).unwrap() {}
        let before = memory.bytes_read();
        let pieces = logger.all_statistics().unwrap();
        prop_assert_eq!(memory.bytes_read(), before, "all was read");
        prop_assert_eq!(text(&pieces), text(&resumed().all_statistics().unwrap()));
        memory.change(RunFile::METRICS, OWN, |bytes| bytes.clone_from(&content));
        let plain = plain_statistics(&memory, attempt, cut);
        prop_assert_eq!(pieces.get("loss").map_or(0, |loss| loss.count), plain + u64::from(cut.is_some()));
        while !logger.save_index(budgets.next().unwrap()).unwrap() {}
    }
}

/// How many losses count for a logger of this attempt that resumed at this step.
fn plain_statistics(memory: &Memory, attempt: u32, cut: Option<u64>) -> u64 {
    let content = String::from_utf8(memory.content(RunFile::METRICS)).unwrap();
    let places: Vec<_> = content
        .lines()
        .filter_map(|line| Entry::read(line).ok())
        .filter_map(|entry| Some((entry.attempt, entry.step?)))
        .collect();
    let own = cut.map(|cut| (attempt, cut));
    let repeated = |(attempt, step): &&(u32, u64)| {
        places.iter().copied().chain(own).any(|(later, other)| later > *attempt && other == *step)
    };
    (places.len() - places.iter().filter(repeated).count()) as u64
}
