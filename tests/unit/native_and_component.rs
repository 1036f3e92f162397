//! The logic in the sandbox and the same logic linked natively write the same bytes.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use model_foundry::{
    Clock, Column, Durability, Field, Kind, Level, LoggingConfig, ManualClock, OnError, Run,
    StepOrigin, TimedBlock, Value, fields,
};
use model_foundry_bench::native::NativeImports;
use model_foundry_guest::imports::Imports as _;
use model_foundry_guest::value::each;
use model_foundry_guest::{errors, metrics, performance, structured};
use model_foundry_tests::{ConsoleLines, START, without_wandb};
use proptest::prelude::*;
use tempfile::TempDir;

/// The files that are compared.
const FILES: [&str; 5] =
    ["main.log", "metrics.jsonl", "performance.jsonl", "errors.jsonl", "timing_report.json"];

/// The sets of columns for rows.
const COLUMNS: [&[(&str, Kind)]; 3] = [
    &[("loss", Kind::Float), ("tokens", Kind::Integer)],
    &[("lr/encoder", Kind::Float)],
    &[("größe \"x\"\n", Kind::Integer), ("loss", Kind::Float), ("", Kind::Float)],
];

/// Where an inferred step within an epoch comes from.
const INFERRED: StepOrigin = StepOrigin { inferred: true, epoch_step: Some(7) };

/// One call of a program that logs.
#[derive(Clone, Debug)]
enum Call {
    Log { level: Level, message: String, fields: Vec<Field> },
    UpdateContext(Vec<Field>),
    ClearContextField(String),
    Step { step: u64, epoch: Option<f64>, metrics: Vec<Field>, inferred: bool },
    Row { columns: usize, step: u64, epoch: Option<f64>, values: Vec<f64> },
    EpochSummary { epoch: f64, summary: Vec<Field> },
    Begin(String),
    End { block: usize, failed: bool },
    Record { name: String, seconds: f64 },
    ResetTimers,
    Error { error_type: String, message: String, traceback: String, context: Vec<Field> },
    ResetCounts,
    Pass { nanoseconds: u64 },
}

/// The result of a call: the seconds of a block that ended, or the error.
type Answer = Result<Option<f64>, String>;

fn done<E: ToString>(result: Result<(), E>) -> Answer {
    result.map(|()| None).map_err(|error| error.to_string())
}

/// What calls leave, line by line: the answers, the console, the statistics, and each file.
type Outcome = Vec<(&'static str, Vec<String>)>;

fn outcome(
    answers: &[Answer],
    console: Vec<String>,
    statistics: Vec<String>,
    folder: &Path,
) -> Outcome {
    let answers = answers.iter().map(|answer| format!("{answer:?}")).collect();
    let mut all = vec![("answers", answers), ("console", console), ("statistics", statistics)];
    all.extend(FILES.map(|name| {
        // A missing file has no lines.
        let bytes = std::fs::read(folder.join(name)).unwrap_or_default();
        let text = String::from_utf8(bytes).expect("a file is UTF-8");
        (name, text.split_inclusive('\n').map(str::to_owned).collect())
    }));
    all
}

/// Make the calls through the component and natively: what they leave, which must be the same.
fn both_ways(config: &LoggingConfig, calls: &[Call]) -> Result<Outcome> {
    let component = through_the_component(config, calls).context("through the component")?;
    let native = natively(config, calls).context("natively")?;
    for ((name, component), (_, native)) in component.iter().zip(&native) {
        let lines = component.iter().zip(native);
        if let Some((component, native)) = lines.clone().find(|(one, other)| one != other) {
            bail!("{name}: the component wrote\n{component}\nand the native logic\n{native}");
        }
        ensure!(component.len() == native.len(), "{name}: the numbers of lines differ");
    }
    Ok(component)
}

/// The base context of a logger, without anything of this machine.
fn context() -> Vec<Field> {
    fields! { experiment: "same", git_hash: "0123abc", device: "cpu" }
}

/// Make the calls through the component.
fn through_the_component(config: &LoggingConfig, calls: &[Call]) -> Result<Outcome> {
    let folder = TempDir::new()?;
    let clock = ManualClock::at(START);
    let console = ConsoleLines::default();
    let run = Run::builder("same")
        .folder(folder.path())
        .config(config.clone())
        .clock(Clock::Manual(clock.clone()))
        .console(console.console())
        .on_error(OnError::Return)
        .nvml(folder.path().join("no-driver.so"))
        .open()?;
    let logger = run.logger("trainer");
    logger.update_context(context());
    let (metrics, performance, errors) = (run.metrics(), run.performance(), run.errors());
    let mut blocks: Vec<TimedBlock> = Vec::new();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(match call.clone() {
            Call::Log { level, message, fields } => done(logger.log(level, &message, &fields)),
            Call::UpdateContext(fields) => {
                logger.update_context(fields);
                Ok(None)
            }
            Call::ClearContextField(name) => {
                logger.clear_context_field(&name);
                Ok(None)
            }
            Call::Step { step, epoch, metrics: fields, inferred: false } => {
                done(metrics.log_step(step, epoch, &fields))
            }
            Call::Step { step, epoch, metrics: fields, inferred: true } => {
                done(metrics.log_step_of_output(step, epoch, &fields, INFERRED))
            }
            Call::Row { columns, step, epoch, values } => {
                let column =
                    |(name, kind): &(&str, Kind)| Column { name: (*name).to_owned(), kind: *kind };
                let columns = metrics.typed_columns(COLUMNS[columns].iter().map(column).collect());
                done(columns.and_then(|columns| columns.log(step, epoch, &values)))
            }
            Call::EpochSummary { epoch, summary } => {
                done(metrics.log_epoch_summary(epoch, &summary))
            }
            Call::Begin(name) => {
                blocks.push(performance.time_block(&name));
                Ok(None)
            }
            Call::End { .. } if blocks.is_empty() => Ok(None),
            Call::End { block, failed } => {
                let block = blocks.remove(block % blocks.len());
                Ok(if failed { block.fail() } else { block.end() })
            }
            Call::Record { name, seconds } => done(performance.record(&name, seconds)),
            Call::ResetTimers => done(performance.reset_timers()),
            Call::Error { error_type, message, traceback, context } => {
                done(errors.log(&error_type, &message, &traceback, &context))
            }
            Call::ResetCounts => done(errors.reset_counts()),
            Call::Pass { nanoseconds } => {
                clock.advance(nanoseconds);
                Ok(None)
            }
        });
    }
    for block in blocks {
        answers.push(Ok(block.end()));
    }

    let mut statistics = Vec::new();
    for metric in metrics.all_statistics()? {
        let of = metric.statistics;
        let figures = [of.mean, of.min, of.max, of.std, of.last, of.p50, of.p95, of.p99];
        statistics.push(format!("{} {} {figures:?}", metric.name, of.count));
    }
    for counted in errors.summary()? {
        statistics.push(format!("{} {}", counted.error_type, counted.count));
    }
    for entry in errors.recent(3)? {
        statistics.push(format!("{} {}", entry.error_message, entry.context));
    }
    drop((logger, metrics, performance, errors, run));
    let mut outcome = outcome(&answers, console.lines(), statistics, folder.path());
    // The host itself warns of a step that goes back.
    for (_, lines) in &mut outcome {
        lines.retain(|line| !line.contains(" was logged after step "));
    }
    Ok(outcome)
}

/// Make the calls natively.
fn natively(config: &LoggingConfig, calls: &[Call]) -> Result<Outcome> {
    let folder = TempDir::new()?;
    let clock = ManualClock::at(START);
    let imports = NativeImports::open(folder.path(), Clock::Manual(clock.clone()), None)?;
    // A change of the context makes a new logger, as the host does it.
    let mut base = context();
    let new_logger = |base: &[Field]| {
        structured::StructuredLogger::new(&imports, "trainer", config, base.to_vec())
    };
    let mut logger = new_logger(&base);
    let options = metrics::Options {
        attempt: 1,
        config: serde_json::to_string(config)?,
        ..metrics::Options::default()
    };
    let mut metrics = metrics::MetricsLogger::open(&imports, &options)?;
    let mut performance = performance::PerformanceLogger::open(&imports, config)?;
    let mut errors = errors::ErrorTracker::open(&imports, config.max_errors_to_track, None)?;
    let mut blocks: Vec<(String, u64)> = Vec::new();
    let (mut answers, mut console) = (Vec::new(), Vec::new());
    for call in calls {
        answers.push(match call.clone() {
            Call::Log { level, message, fields } => {
                let (time, fields) = (imports.now(), each(&fields));
                if level >= config.console_level {
                    console.push(logger.text(time, level, &message, fields.clone()));
                }
                done(logger.log(time, level, &message, fields))
            }
            Call::UpdateContext(fields) => {
                for field in fields {
                    match base.iter_mut().find(|known| known.name == field.name) {
                        Some(known) => known.value = field.value,
                        None => base.push(field),
                    }
                }
                logger = new_logger(&base);
                Ok(None)
            }
            Call::ClearContextField(name) => {
                base.retain(|field| field.name != name);
                logger = new_logger(&base);
                Ok(None)
            }
            Call::Step { step, epoch, metrics: fields, inferred } => {
                let origin = if inferred { INFERRED } else { StepOrigin::default() };
                done(metrics.log_step(step, epoch, &fields, origin))
            }
            Call::Row { columns, step, epoch, values } => {
                let column =
                    |(name, kind): &(&str, Kind)| Column { name: (*name).to_owned(), kind: *kind };
                let columns = metrics.column_set(COLUMNS[columns].iter().map(column).collect());
                let epoch = epoch.unwrap_or(f64::NAN);
                done(columns.and_then(|columns| {
                    metrics.log_row(columns, imports.now(), step, epoch, &values)
                }))
            }
            Call::EpochSummary { epoch, summary } => {
                done(metrics.log_epoch_summary(epoch, &summary))
            }
            Call::Begin(name) => {
                blocks.push((name, imports.monotonic()));
                Ok(None)
            }
            Call::End { .. } if blocks.is_empty() => Ok(None),
            Call::End { block, failed } => {
                let (name, began) = blocks.remove(block % blocks.len());
                let seconds = (imports.monotonic() - began) as f64 / 1e9;
                let finished = performance.record(&name, seconds, failed);
                Ok(finished.ok().map(|finished| finished.seconds))
            }
            Call::Record { name, seconds } => {
                done(performance.record(&name, seconds, false).map(drop))
            }
            Call::ResetTimers => {
                performance.reset();
                Ok(None)
            }
            Call::Error { error_type, message, traceback, context } => {
                done(errors.log_error(&error_type, &message, &traceback, &context))
            }
            Call::ResetCounts => {
                errors.reset_counts();
                Ok(None)
            }
            Call::Pass { nanoseconds } => {
                clock.advance(nanoseconds);
                Ok(None)
            }
        });
    }
    for (name, began) in blocks {
        let seconds = (imports.monotonic() - began) as f64 / 1e9;
        let finished = performance.record(&name, seconds, false);
        answers.push(Ok(finished.ok().map(|finished| finished.seconds)));
    }

    let mut statistics = Vec::new();
    for metric in metrics.all_statistics()?.named() {
        let of = metric.statistics;
        let figures = [of.mean, of.min, of.max, of.std, of.last, of.p50, of.p95, of.p99];
        statistics.push(format!("{} {} {figures:?}", metric.name, of.count));
    }
    for counted in errors.summary()? {
        statistics.push(format!("{} {}", counted.error_type, counted.count));
    }
    for entry in errors.recent(3)? {
        statistics.push(format!("{} {}", entry.error_message, entry.context));
    }
    // A run that timed nothing writes no report.
    let timed =
        |call: &Call| matches!(call, Call::Begin { .. } | Call::Record { .. } | Call::ResetTimers);
    if calls.iter().any(timed) {
        performance.export_report()?;
    }
    Ok(outcome(&answers, console, statistics, folder.path()))
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Boolean),
        any::<i64>().prop_map(Value::Integer),
        prop::num::f64::ANY.prop_map(Value::Float),
        (-1000_i32..1000).prop_map(|number| Value::Float(f64::from(number) / 8.0)),
        any::<String>().prop_map(Value::Text),
        any::<String>().prop_map(Value::Json),
        prop::sample::select(&["[1, {\"a\": null}]", "{\"a\":1e400}", "1.50", "NaN", " [ ] "][..])
            .prop_map(|json| Value::Json(json.to_owned())),
    ]
}

fn name() -> impl Strategy<Value = String> {
    const KNOWN: &[&str] = &["loss", "lr", "epoch", "device", "grad norm", "a\"b\\c\n\u{1}é🦀", ""];
    prop_oneof![
        4 => prop::sample::select(KNOWN).prop_map(str::to_owned).boxed(),
        1 => any::<String>().boxed(),
    ]
}

fn some_fields() -> impl Strategy<Value = Vec<Field>> {
    let field = (name(), value()).prop_map(|(name, value)| Field { name, value });
    prop::collection::vec(field, 0..6)
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        prop::num::f64::ANY,
        (-100_i32..100).prop_map(f64::from),
        prop::sample::select(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 9e15, 9.1e15][..]),
    ]
}

fn row() -> impl Strategy<Value = Call> {
    (0..COLUMNS.len(), 0..50_u64, prop::option::of(number())).prop_flat_map(
        |(columns, step, epoch)| {
            prop::collection::vec(number(), COLUMNS[columns].len())
                .prop_map(move |values| Call::Row { columns, step, epoch, values })
        },
    )
}

fn call() -> impl Strategy<Value = Call> {
    let level = prop::sample::select(&Level::ALL[..]);
    let step = prop_oneof![0..50_u64, any::<u64>()];
    let seconds = prop_oneof![
        (0_u32..10_000).prop_map(|milliseconds| f64::from(milliseconds) / 1e3),
        number(),
    ];
    prop_oneof![
        4 => (level, any::<String>(), some_fields())
            .prop_map(|(level, message, fields)| Call::Log { level, message, fields }),
        1 => some_fields().prop_map(Call::UpdateContext),
        1 => name().prop_map(Call::ClearContextField),
        4 => (step, prop::option::of(number()), some_fields(), any::<bool>()).prop_map(
            |(step, epoch, metrics, inferred)| Call::Step { step, epoch, metrics, inferred }
        ),
        4 => row(),
        1 => (number(), some_fields())
            .prop_map(|(epoch, summary)| Call::EpochSummary { epoch, summary }),
        3 => name().prop_map(Call::Begin),
        3 => (any::<usize>(), any::<bool>())
            .prop_map(|(block, failed)| Call::End { block, failed }),
        2 => (name(), seconds).prop_map(|(name, seconds)| Call::Record { name, seconds }),
        1 => Just(Call::ResetTimers),
        2 => (name(), any::<String>(), any::<String>(), some_fields()).prop_map(
            |(error_type, message, traceback, context)| {
                Call::Error { error_type, message, traceback, context }
            }
        ),
        1 => Just(Call::ResetCounts),
        3 => (0..5_000_000_000_u64).prop_map(|nanoseconds| Call::Pass { nanoseconds }),
    ]
}

prop_compose! {
    fn config()(
        levels in prop::array::uniform2(prop::sample::select(&Level::ALL[..])),
        structured in prop::bool::weighted(0.8),
        max_errors_to_track in 1..4_u32,
    ) -> LoggingConfig {
        LoggingConfig {
            console_level: levels[0],
            file_level: levels[1].min(Level::Warning),
            use_structured_logging: structured,
            max_errors_to_track,
            ..without_wandb()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn write_the_same_bytes(config in config(), calls in prop::collection::vec(call(), 0..60)) {
        if let Err(difference) = both_ways(&config, &calls) {
            prop_assert!(false, "{difference:#}");
        }
    }

    #[test]
    fn buffered_and_immediate_records_are_the_same_bytes(
        config in config(),
        calls in prop::collection::vec(call(), 0..60),
    ) {
        let buffered = LoggingConfig { durability: Durability::Buffered, ..config.clone() };
        let files = |config| {
            let mut outcome = through_the_component(config, &calls).expect("through the component");
            outcome.retain(|(name, _)| FILES.contains(name));
            outcome
        };
        prop_assert_eq!(files(&buffered), files(&config));
    }
}

/// WebAssembly and x86 differ in the minimum and maximum of zeros of both signs.
#[test]
fn zeros_of_both_signs_are_the_same_both_ways() -> Result<()> {
    let record = |seconds| Call::Record { name: "forward".into(), seconds };
    let config = without_wandb();
    both_ways(&config, &[record(-0.0), record(0.0)])?;
    both_ways(&config, &[record(0.0), record(-0.0)])?;
    Ok(())
}

/// Both keep a step that goes back.
#[test]
fn a_step_that_goes_back_is_the_same_both_ways() -> Result<()> {
    let step = |step| {
        let metrics = vec![Field::new("loss", 0.5)];
        Call::Step { step, epoch: None, metrics, inferred: false }
    };
    both_ways(&without_wandb(), &[step(30), step(0)])?;
    Ok(())
}

/// A name that is there twice cannot name columns, and its last value counts.
#[test]
fn a_name_that_stands_twice_is_the_same_both_ways() -> Result<()> {
    let metrics = fields! { loss: -0.0, lr: 0.5, loss: 0.0 };
    let step = Call::Step { step: 0, epoch: None, metrics, inferred: false };
    let config = without_wandb();
    both_ways(&config, &[step.clone(), step])?;
    Ok(())
}

/// A program that makes every call once.
fn fixed_script() -> Vec<Call> {
    let pass = |nanoseconds| Call::Pass { nanoseconds };
    vec![
        Call::Log {
            level: Level::Info,
            message: "started".into(),
            fields: fields! { seed: 42, resumed: false, config: Value::Json("{\"layers\": 12}".into()) },
        },
        Call::UpdateContext(fields! { phase: "warm\tup" }),
        Call::Log {
            level: Level::Warning,
            message: "the loss \"jumped\"".into(),
            fields: fields! { loss: f64::NAN, device: "cuda:1", best: Value::Null },
        },
        Call::ClearContextField("phase".into()),
        pass(1_500_000),
        Call::Step {
            step: 10,
            epoch: Some(0.5),
            metrics: fields! { loss: 2.5, tokens: 8500, grad_norm: f64::INFINITY, note: "é" },
            inferred: false,
        },
        Call::Step { step: 11, epoch: None, metrics: fields! { loss: 2.0 }, inferred: true },
        Call::Row { columns: 0, step: 12, epoch: Some(1.0), values: vec![1e-7, 8500.0] },
        Call::Row { columns: 0, step: 13, epoch: None, values: vec![f64::NEG_INFINITY, 0.5] },
        Call::EpochSummary { epoch: 1.0, summary: fields! { loss: 2.25, done: true } },
        Call::Begin("forward".into()),
        pass(50_000_000),
        Call::End { block: 0, failed: false },
        Call::Begin("save".into()),
        pass(123_456_789),
        Call::End { block: 0, failed: true },
        Call::Record { name: "forward".into(), seconds: 0.125 },
        Call::Error {
            error_type: "ValueError".into(),
            message: "bad value".into(),
            traceback: "Traceback …\nValueError: bad value".into(),
            context: fields! { step: 13, loss: f64::NAN },
        },
        Call::Log { level: Level::Critical, message: "the end".into(), fields: Vec::new() },
    ]
}

/// The bytes of every file, so that a change of the format is visible and deliberate.
#[test]
fn the_format_is_what_it_was() -> Result<()> {
    let config = without_wandb();
    let outcome = both_ways(&config, &fixed_script())?;
    let files = outcome.iter().filter(|(name, _)| FILES.contains(name));
    let text: String =
        files.map(|(name, lines)| format!("== {name}\n{}", lines.concat())).collect();
    insta::assert_snapshot!(text, @r#"
    == main.log
    {"timestamp":"2025-01-02T03:04:05.678901Z","level":"INFO","logger":"trainer","message":"started","context":{"experiment":"same","git_hash":"0123abc","device":"cpu","seed":42,"resumed":false,"config":{"layers":12}}}
    {"timestamp":"2025-01-02T03:04:05.678901Z","level":"WARNING","logger":"trainer","message":"the loss \"jumped\"","context":{"experiment":"same","git_hash":"0123abc","phase":"warm\tup","loss":null,"device":"cuda:1","best":null},"non_finite":{"loss":"NaN"}}
    {"timestamp":"2025-01-02T03:04:05.853857Z","level":"CRITICAL","logger":"trainer","message":"the end","context":{"experiment":"same","git_hash":"0123abc","device":"cpu"}}
    == metrics.jsonl
    {"timestamp":"2025-01-02T03:04:05.680401Z","step":10,"epoch":0.5,"metrics":{"loss":2.5,"tokens":8500,"grad_norm":null,"note":"é"},"non_finite":{"grad_norm":"inf"}}
    {"timestamp":"2025-01-02T03:04:05.680401Z","step":11,"step_inferred":true,"epoch_step":7,"metrics":{"loss":2.0}}
    {"timestamp":"2025-01-02T03:04:05.680401Z","step":12,"epoch":1,"metrics":{"loss":1e-7,"tokens":8500}}
    {"timestamp":"2025-01-02T03:04:05.680401Z","step":13,"metrics":{"loss":null,"tokens":0.5},"non_finite":{"loss":"-inf"}}
    {"timestamp":"2025-01-02T03:04:05.680401Z","epoch":1,"summary":{"loss":2.25,"done":true}}
    == performance.jsonl
    {"timestamp":"2025-01-02T03:04:05.730401Z","name":"forward","seconds":0.05}
    {"timestamp":"2025-01-02T03:04:05.853857Z","name":"save","seconds":0.123456789,"failed":true}
    {"timestamp":"2025-01-02T03:04:05.853857Z","name":"forward","seconds":0.125}
    == errors.jsonl
    {"timestamp":"2025-01-02T03:04:05.853857Z","error_type":"ValueError","error_message":"bad value","traceback":"Traceback …\nValueError: bad value","context":{"step":13,"loss":"NaN"}}
    == timing_report.json
    {
      "forward": {"count": 2, "mean": 0.0875, "min": 0.05, "max": 0.125, "std": 0.05303300858899107, "total": 0.175, "p50": 0.05, "p95": 0.125, "p99": 0.125},
      "save": {"count": 1, "mean": 0.123456789, "min": 0.123456789, "max": 0.123456789, "std": 0.0, "total": 0.123456789, "p50": 0.123456789, "p95": 0.123456789, "p99": 0.123456789}
    }
    "#);
    Ok(())
}
