//! The loggers, run natively on an in-memory host, so that coverage is measured. tests/ tests their behavior
//! through the component.

use crate::config::LoggingConfig;
use crate::console::Output;
use crate::errors::{Counts, ErrorReader, ErrorTracker, MOST_TYPES, OTHER_TYPES, read_report};
use crate::imports::{GpuDevice, GpuInventory, Imports, Part, RunFile};
use crate::lines::{Lines, MAX_LINE};
use crate::memory::{Memory, OWN};
use crate::performance::{MOST_OPERATIONS, PerformanceLogger, PerformanceReader, Timings};
use crate::structured::{LARGEST_RECORD, StructuredLogger};
use crate::transcript::Transcript;
use crate::value::{Field, each};
use crate::{Error, Level, Value, verification};
use model_foundry_types::{ErrorEntry, Position, VerificationReport};

fn text(memory: &Memory, file: RunFile) -> String {
    String::from_utf8(memory.content(file)).unwrap()
}

fn field(name: &str, value: impl Into<Value>) -> Field {
    Field::new(name, value)
}

mod structured {
    use super::*;

    fn logger(memory: &Memory, json: bool, more: &[Field]) -> StructuredLogger<Memory> {
        let config = LoggingConfig { use_structured_logging: json, ..LoggingConfig::default() };
        let context = [&[field("experiment", "tiny")], more].concat();
        StructuredLogger::new(memory, "train", &config, context)
    }

    #[test]
    fn a_record_carries_the_base_context_and_its_own_fields() {
        let memory = Memory::default();
        let mut logger = logger(&memory, true, &[field("rank", 3), field("rank", 4)]);
        let fields =
            [field("loss", f64::NAN), field("experiment", "other"), field("loss", f64::INFINITY)];
        logger.log(0, Level::Info, "step", each(&fields)).unwrap();
        let console = logger.text(0, Level::Info, "step", each(&fields));
        assert!(
            console.ends_with("INFO train: step loss=NaN experiment=other loss=inf"),
            "{console}"
        );
        assert!(text(&memory, RunFile::MAIN_LOG).ends_with(
            "\"level\":\"INFO\",\"logger\":\"train\",\"message\":\"step\",\"context\":{\"rank\":4,\
             \"experiment\":\"other\",\"loss\":null},\"non_finite\":{\"loss\":\"inf\"}}\n"
        ));
        assert_eq!(
            logger.format("a", each(&[field("b", 1)])),
            "{\"message\":\"a\",\"context\":{\"experiment\":\"tiny\",\"rank\":4,\"b\":1}}"
        );
    }

    #[test]
    fn a_text_record_stays_on_its_line() {
        let memory = Memory::default();
        let mut logger = logger(&memory, false, &[field("base", f64::NEG_INFINITY)]);
        let fields =
            [field("a", "two words"), field("b", "\u{1b}[31m"), field("c", ""), field("d", 0.5)];
        logger.log(0, Level::Warning, "line\nfeed", each(&fields)).unwrap();
        let line = text(&memory, RunFile::MAIN_LOG);
        assert_eq!(line.lines().count(), 1);
        assert!(
            line.ends_with(
                "WARNING train: line\\nfeed experiment=tiny base=-inf a=\"two words\" \
             b=\"\\u001b[31m\" c=\"\" d=0.5\n"
            ),
            "{line}"
        );
    }

    #[test]
    fn a_record_that_is_too_large_is_refused() {
        let memory = Memory::default();
        let huge = "x".repeat(17 << 20);
        let refused = logger(&memory, true, &[]).log(0, Level::Error, &huge, each(&[]));
        assert!(matches!(refused, Err(Error::TooLarge(_))));
        assert!(memory.content(RunFile::MAIN_LOG).is_empty());
    }
}

mod performance {
    use super::*;

    fn logger(memory: &Memory) -> PerformanceLogger<Memory> {
        PerformanceLogger::open(memory, &LoggingConfig::default()).unwrap()
    }

    #[test]
    fn timings_are_recorded_and_read_back() {
        let memory = Memory::default();
        let mut logger = logger(&memory);
        let finished = logger.record("forward", 0.0004, false).unwrap();
        assert_eq!(finished.message, "forward completed in 0.0004s");
        assert_eq!(logger.record("save", 2.0, true).unwrap().message, "save failed after 2.0000s");
        assert!(logger.record("save", -1.0, false).is_err());
        assert_eq!(logger.statistics("save").unwrap().count, 1);
        assert_eq!(logger.all_statistics().unwrap()[0].name, "save");
        logger.export_report().unwrap();
        let report = text(&memory, RunFile::TIMING_REPORT);
        assert!(report.starts_with("{\n  \"save\": {\"count\": 1, \"mean\": 2.0, "), "{report}");

        let read = Timings::read(&memory).unwrap();
        assert_eq!(read.slowest_first()[0].max, 2.0);
        logger.reset();
        assert_eq!(logger.statistics("save").unwrap().count, 0);
        let mut other = super::performance::logger(&memory);
        assert_eq!(other.statistics("save").unwrap().count, 1);
    }

    #[test]
    fn operations_are_bounded() {
        let memory = Memory::default();
        let mut logger = logger(&memory);
        for number in 0..MOST_OPERATIONS {
            logger.record(&format!("op{number}"), 0.0, false).unwrap();
        }
        assert!(matches!(logger.record("one more", 0.0, false), Err(Error::Limit(_))));
        assert!(text(&memory, RunFile::PERFORMANCE).contains("one more"), "the record is written");
    }

    #[test]
    fn peaks_are_read_from_memory_samples() {
        let memory = Memory::default();
        let mut logger = logger(&memory);
        let sample = logger.log_memory(Some(7)).unwrap();
        assert_eq!(sample.messages.len(), 1);
        assert!(
            text(&memory, RunFile::PERFORMANCE)
                .contains("\"gpu_unavailable\":\"no GPU in memory\"")
        );

        let device = |used, process, mig_instance| GpuDevice {
            index: 0,
            mig_instance,
            uuid: "GPU-a".into(),
            name: "H100".into(),
            total: 80 << 30,
            used,
            free: 1,
            reserved: 1 << 30,
            process,
        };
        let gpus = |devices: Vec<GpuDevice>, lost: Vec<String>| {
            memory.set_samples(Ok(GpuInventory { devices, lost }), Err("no /proc".into()));
        };
        gpus(vec![device(2 << 30, Some(1 << 30), None)], vec!["GPU 1: lost".into()]);
        let sample = logger.log_memory(None).unwrap();
        assert_eq!(
            sample.messages[0],
            "GPU memory - Allocated: 1.07GB, Reserved: 1.07GB (GPU 0: H100; used 2.15GB of 85.90GB)"
        );
        assert_eq!(sample.messages[1], "GPU memory - unavailable: GPU 1: lost");
        gpus(
            vec![device(1 << 30, None, Some(2)), device(3, None, None)],
            vec!["a".into(), "b".into()],
        );
        let sample = logger.log_memory(None).unwrap();
        assert!(sample.messages[0].contains("Allocated: unknown"), "{:?}", sample.messages);
        assert!(sample.messages[0].contains("GPU 0 MIG 2"));

        let peaks = PerformanceReader::open(&memory).unwrap().read().unwrap().1.clone();
        assert_eq!((peaks.samples, peaks.gpus.len()), (3, 1));
        assert_eq!((peaks.gpus[0].used, peaks.gpus[0].process), (2 << 30, Some(1 << 30)));
    }

    #[test]
    fn a_file_is_read_in_several_calls_too() {
        let memory = Memory::default();
        let mut logger = logger(&memory);
        for number in 0..20 {
            logger.record(&format!("op{}", number % 3), f64::from(number), false).unwrap();
        }
        logger.log_memory(None).unwrap();
        let size = memory.content(RunFile::PERFORMANCE).len() as u64;
        for budget in [1, 70, 1_000, size] {
            let mut reader = PerformanceReader::open(&memory).unwrap();
            let mut pieces = 1;
            while !reader.advance(budget).unwrap() {
                pieces += 1;
            }
            assert!(pieces > size / budget.max(70) / 2, "{pieces} pieces of {budget} bytes");
            let (timings, peaks) = reader.read().unwrap();
            let slowest = timings.slowest_first();
            assert_eq!(slowest.iter().find(|timing| timing.name == "op1").unwrap().count, 7);
            assert_eq!(peaks.samples, 1);

            let mut again = super::performance::logger(&memory);
            while !again.advance(budget).unwrap() {}
            let before = memory.bytes_read();
            assert_eq!(again.statistics("op1").unwrap().count, 7);
            assert_eq!(memory.bytes_read(), before, "it was read");
        }
    }

    #[test]
    fn other_lines_are_not_samples() {
        let memory = Memory::default();
        memory.change(RunFile::PERFORMANCE, OWN, |bytes| {
            bytes.extend_from_slice(
                b"{\"timestamp\":\"x\"}\nnot json\n{\"memory\":{\"machine_used\":5}}\n",
            );
        });
        assert_eq!(
            PerformanceReader::open(&memory).unwrap().read().unwrap().1.clone().machine_used,
            5
        );
        assert!(Timings::read(&memory).unwrap().slowest_first().is_empty());
    }
}

mod errors {
    use model_foundry_types::TypeCount;

    use super::*;

    fn counted(error_type: &str, count: u64) -> TypeCount {
        TypeCount { error_type: error_type.to_owned(), count }
    }

    #[test]
    fn errors_are_counted_and_the_newest_retained() {
        let memory = Memory::default();
        let mut tracker = ErrorTracker::open(&memory, 2, Some(3)).unwrap();
        let context = [
            field("step", 1),
            field("loss", f64::NAN),
            field("step", 2),
            field("nested", serde_json::json!({"a": [1]})),
        ];
        tracker.log_error("A", "first", "trace\nback", &context).unwrap();
        tracker.log_error("B", "second", "", &[]).unwrap();
        tracker.log_error("A", "third", "", &[]).unwrap();
        assert_eq!(tracker.summary().unwrap(), [counted("A", 2), counted("B", 1)]);
        let recent = tracker.recent(5).unwrap();
        assert_eq!(recent.len(), 2);
        assert_eq!(recent[0].error_message, "third");
        tracker.reset_counts();
        assert!(tracker.summary().unwrap().is_empty());
        assert!(text(&memory, RunFile::ERRORS).lines().next().unwrap().ends_with(
            "\"error_type\":\"A\",\"error_message\":\"first\",\"traceback\":\"trace\\nback\",\
             \"context\":{\"loss\":\"NaN\",\"step\":2,\"nested\":{\"a\":[1]}},\"rank\":3}"
        ));

        memory.change(RunFile::ERRORS, OWN, |bytes| {
            bytes.extend_from_slice(b"{\"x\":1}\n{\"timestamp\":\"2");
        });
        ErrorTracker::open(&memory, 2, None).unwrap().log_error("C", "glued", "", &[]).unwrap();
        let report = read_report(&memory, 2).unwrap();
        assert_eq!(report.counts[0], counted("A", 2));
        assert_eq!(report.first.unwrap().error_message, "first");
        assert_eq!(report.recent[0].error_message, "glued");
        assert_eq!(report.damaged_lines, 2);
        assert_eq!(ErrorTracker::open(&memory, 9, None).unwrap().summary().unwrap().len(), 3);
    }

    #[test]
    fn a_report_has_no_more_entries_than_requested() {
        let memory = Memory::default();
        let mut tracker = ErrorTracker::open(&memory, 1, None).unwrap();
        for number in 0..100 {
            tracker.log_error("A", &number.to_string(), "", &[]).unwrap();
        }
        let report = read_report(&memory, 3).unwrap();
        let newest: Vec<_> = report.recent.iter().map(|entry| &*entry.error_message).collect();
        assert_eq!(newest, ["99", "98", "97"]);
    }

    #[test]
    fn errors_of_earlier_processes_are_read_in_pieces_when_they_are_asked_for() {
        let memory = Memory::default();
        let mut first = ErrorTracker::open(&memory, 3, None).unwrap();
        for number in 0..10 {
            first.log_error(["A", "B"][number % 2], &number.to_string(), "", &[]).unwrap();
        }
        let messages = |errors: &[model_foundry_types::ErrorEntry]| -> Vec<String> {
            errors.iter().map(|error| error.error_message.clone()).collect()
        };
        for budget in [1, 100, 500, u64::MAX] {
            memory.change(RunFile::ERRORS, OWN, |bytes| {
                let lines = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
                let end = lines.map(|(at, _)| at + 1).nth(9).unwrap();
                bytes.truncate(end);
            });
            let before = memory.bytes_read();
            let mut tracker = ErrorTracker::open(&memory, 3, None).unwrap();
            tracker.log_error("C", "own", "", &[]).unwrap();
            assert_eq!(memory.bytes_read(), before, "an error waits for no reading");
            let mut own = 1;
            while !tracker.advance(budget).unwrap() {
                tracker.log_error("C", "own", "", &[]).unwrap();
                own += 1;
            }
            let mut counts = tracker.summary().unwrap();
            counts.sort_unstable_by(|one, other| one.error_type.cmp(&other.error_type));
            let expected = [counted("A", 5), counted("B", 5), counted("C", own)];
            assert_eq!(counts, expected, "{budget} bytes at a time");
            let recent = messages(&tracker.recent(9).unwrap());
            let expected = if own >= 3 { ["own", "own", "own"] } else { ["own", "9", "8"] };
            assert_eq!(recent, expected);

            let mut reader = ErrorReader::open(&memory, 2).unwrap();
            while !reader.advance(budget).unwrap() {}
            let report = reader.report().unwrap();
            assert_eq!(report.first.unwrap().error_message, "0");
            assert_eq!(messages(&report.recent), ["own", if own > 1 { "own" } else { "9" }]);
        }

        // Counts that were set to nothing stay so when the file is read later.
        let mut tracker = ErrorTracker::open(&memory, 3, None).unwrap();
        tracker.reset_counts();
        tracker.log_error("C", "own", "", &[]).unwrap();
        assert_eq!(tracker.summary().unwrap(), [counted("C", 1)]);
        assert_eq!(tracker.recent(9).unwrap().len(), 3);
    }

    #[test]
    fn types_and_bytes_are_bounded() {
        let memory = Memory::default();
        let mut tracker = ErrorTracker::open(&memory, 1000, None).unwrap();
        for number in 0..MOST_TYPES + 10 {
            tracker.log_error(&format!("T{number}"), "", "", &[]).unwrap();
        }
        let summary = tracker.summary().unwrap();
        assert!(summary.len() <= MOST_TYPES);
        assert_eq!(summary.iter().map(|kind| kind.count).sum::<u64>(), MOST_TYPES as u64 + 10);
        assert!(summary.iter().any(|kind| kind.error_type == OTHER_TYPES && kind.count > 10));
        assert!(Counts::default().most_frequent_first().is_empty());
        let long = format!("begin{}end", "\u{1}é".repeat(1 << 20));
        let context = [Field::new("huge", long.as_str())];
        for _ in 0..20 {
            tracker.log_error("A", &long, &long, &context).unwrap();
        }
        let recent = tracker.recent(20).unwrap();
        assert!((1..=8).contains(&recent.len()), "at most 16 MiB of recent errors stay in memory");
        let ErrorEntry { error_message, traceback, context, .. } = &recent[0];
        for text in [error_message, traceback] {
            assert!(text.starts_with("begin") && text.ends_with("end"));
            assert!(text.contains(" bytes omitted "), "it is cut, not dropped");
        }
        assert!(context.starts_with("{\"omitted_bytes\":"), "{context}");
        let content = String::from_utf8(memory.content(RunFile::ERRORS)).unwrap();
        assert!(content.lines().last().unwrap().len() <= LARGEST_RECORD);
    }
}

mod transcript {
    use super::*;

    #[test]
    fn the_streams_never_share_a_line() {
        let memory = Memory::default();
        let mut transcript = Transcript::new(&memory, &LoggingConfig::default());
        transcript.feed(Output::Stdout, b"half ").unwrap();
        transcript.feed(Output::Stderr, b"warning\n").unwrap();
        transcript.feed(Output::Stdout, b"a line\nrest").unwrap();
        transcript.finish().unwrap();
        assert_eq!(text(&memory, RunFile::CONSOLE), "warning\nhalf a line\nrest\n");
    }

    #[test]
    fn a_long_unfinished_line_is_written_without_waiting() {
        let memory = Memory::default();
        let mut transcript = Transcript::new(&memory, &LoggingConfig::default());
        transcript.feed(Output::Stdout, &[0xff; 70 << 10]).unwrap();
        assert!(text(&memory, RunFile::CONSOLE).starts_with('\u{fffd}'));
    }
}

mod verification_of_files {
    use super::*;

    fn check(memory: &Memory, file: &str, part: Part) -> crate::Result<VerificationReport> {
        verification::check(memory, file, part, Position::default(), u64::MAX)
    }

    #[test]
    fn a_file_is_checked_in_several_calls_too() {
        let memory = Memory::default();
        memory.change(RunFile::ERRORS, OWN, |bytes| {
            bytes.extend_from_slice(b"{\n\n{\"error_type\":\"A\"}\n\nx\n{\"timestamp\":\"2");
        });
        let whole = check(&memory, RunFile::ERRORS.0, OWN).unwrap();
        assert_eq!((whole.good_lines, whole.findings.len(), whole.next), (1, 3, None));
        for budget in 1..40 {
            let mut all = VerificationReport::default();
            let mut from = Some(Position::default());
            while let Some(position) = from {
                let piece =
                    verification::check(&memory, RunFile::ERRORS.0, OWN, position, budget).unwrap();
                all.good_lines += piece.good_lines;
                all.findings.extend(piece.findings);
                from = piece.next;
            }
            assert_eq!(all, whole, "{budget} bytes at a time");
        }
    }

    #[test]
    fn damage_is_reported_line_by_line() {
        let memory = Memory::default();
        memory.change(RunFile::MAIN_LOG, OWN, |bytes| {
            bytes.extend_from_slice(
                b"{\"a\":1}\n\n2026 INFO train: text\n{\"a\":\nx\xff\n{\"torn\"",
            );
        });
        let report = check(&memory, RunFile::MAIN_LOG.0, OWN).unwrap();
        assert_eq!(report.good_lines, 3, "a log may contain text records too");
        let problems: Vec<_> =
            report.findings.iter().map(|finding| (finding.line, &*finding.problem)).collect();
        assert_eq!(problems, [(4, "unexpected end of line"), (6, "the line is cut off")]);
        let offsets: Vec<_> = report.findings.iter().map(|f| (f.offset, f.length)).collect();
        assert_eq!(offsets, [(31, 6), (40, 7)]);
        assert!(check(&memory, RunFile::CONSOLE.0, OWN).is_err());
    }

    #[test]
    fn damage_ends_where_a_good_record_begins() {
        let memory = Memory::default();
        let good = b"{\"timestamp\":\"t\",\"error_type\":\"A\",\"context\":{\"x\":{\"timestamp\":\"u\"}}}\n";
        memory.change(RunFile::ERRORS, OWN, |bytes| {
            bytes.extend_from_slice(b"{\"timestamp\":\"20");
            bytes.extend_from_slice(good);
        });
        let report = check(&memory, RunFile::ERRORS.0, OWN).unwrap();
        assert_eq!(report.good_lines, 1);
        assert_eq!((report.findings[0].offset, report.findings[0].length), (0, 16));
        for file in [RunFile::METRICS, RunFile::PERFORMANCE] {
            assert_eq!(check(&memory, file.0, OWN).unwrap().good_lines, 0);
        }
    }

    #[test]
    fn findings_are_bounded() {
        let memory = Memory::default();
        memory
            .change(RunFile::ERRORS, OWN, |bytes| bytes.extend_from_slice(&b"{\n".repeat(10_003)));
        let report = check(&memory, RunFile::ERRORS.0, OWN).unwrap();
        assert_eq!((report.findings.len(), report.more), (10_000, 3));
    }
}

mod lines {
    use super::*;

    #[test]
    fn an_overlong_line_is_skipped() {
        let memory = Memory::default();
        memory.change(RunFile::METRICS, OWN, |bytes| {
            bytes.extend_from_slice(b"{}\n");
            bytes.resize(bytes.len() + MAX_LINE + (2 << 20), b'x');
            bytes.extend_from_slice(b"\n{}\n");
        });
        let mut lines = Lines::open(&memory, RunFile::METRICS, OWN).unwrap();
        let mut seen = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            seen.push((line.number, line.length, line.read(|_| Ok(())).is_ok()));
        }
        assert_eq!(
            seen,
            [(1, 3, true), (2, (MAX_LINE + (2 << 20) + 1) as u64, false), (3, 3, true)]
        );
        assert_eq!(lines.count(), 3);
    }

    #[test]
    fn a_file_that_shrinks_while_it_is_read_ends_early() {
        let memory = Memory::default();
        memory.change(RunFile::METRICS, OWN, |bytes| bytes.extend_from_slice(b"{}\n"));
        let mut lines = Lines::range(&memory, RunFile::METRICS, OWN, 0, 100);
        assert!(lines.next().unwrap().is_some());
        assert!(lines.next().unwrap().is_none());
        let other = Part { rank: Some(1), rotated: 0 };
        assert!(Lines::open(&memory, RunFile::METRICS, other).unwrap().next().unwrap().is_none());
        assert!(memory.read(RunFile::METRICS, other, 0, 1).is_err());
    }
}

mod values {
    use super::*;

    #[test]
    fn values_convert_from_rust_types_and_json() {
        assert_eq!(Value::from(u64::MAX), Value::Json(u64::MAX.to_string()));
        assert_eq!(Value::from(3_usize), Value::Integer(3));
        assert_eq!(Value::from(None::<i32>), Value::Null);
        assert_eq!(Value::from(Some("a")), Value::Text("a".into()));
        let json = serde_json::json!([null, true, 1, 0.5, "t", u64::MAX, {"a": 1}]);
        let values: Vec<Value> =
            json.as_array().unwrap().iter().cloned().map(Value::from).collect();
        assert_eq!(
            values,
            [
                Value::Null,
                Value::Boolean(true),
                Value::Integer(1),
                Value::Float(0.5),
                Value::Text("t".into()),
                Value::Json(u64::MAX.to_string()),
                Value::Json("{\"a\":1}".into()),
            ]
        );
        assert_eq!(Value::Boolean(true).as_ref().as_number(), None);
        assert_eq!(Value::Integer(2).as_ref().as_number(), Some(2.0));
    }

    #[test]
    fn levels_have_the_numbers_of_python_logging() {
        let numbers: Vec<u8> = Level::ALL.iter().map(|level| level.number()).collect();
        assert_eq!(numbers, [10, 20, 30, 40, 50]);
        assert_eq!("INFO".parse(), Ok(Level::Info));
        assert!("info".parse::<Level>().is_err());
        assert_eq!(format!("{:>8}", Level::Error), "   ERROR");
    }
}
