//! Logging a record allocates nothing, neither in the host nor in the logic that is also the component's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use anyhow::Result;
use model_foundry::{Clock, Console, Durability, Level, LoggingConfig, Run, fields};
use model_foundry_bench::native::NativeImports;
use model_foundry_guest::imports::Imports as _;
use model_foundry_guest::metrics::{Column, Kind, MetricsLogger, Options};
use model_foundry_guest::structured::StructuredLogger;
use model_foundry_guest::value::each;
use model_foundry_tests::without_wandb;

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

#[expect(unsafe_code, reason = "GlobalAlloc is an unsafe trait")]
// SAFETY: every call is passed to the system's allocator unchanged, and counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The allocations of a thousand calls, after a hundred in which buffers grow.
fn allocations(mut call: impl FnMut(u64) -> Result<()>) -> Result<u64> {
    (0..100).try_for_each(&mut call)?;
    let before = ALLOCATIONS.get();
    (100..1_100).try_for_each(&mut call)?;
    Ok(ALLOCATIONS.get() - before)
}

fn config(durability: Durability) -> LoggingConfig {
    LoggingConfig { durability, ..without_wandb() }
}

fn open(folder: &tempfile::TempDir, durability: Durability) -> Result<Run> {
    let builder = Run::builder("tiny-lm").folder(folder.path().join("run"));
    Ok(builder.console(Console::Silent).config(config(durability)).open()?)
}

#[test]
fn the_host_allocates_nothing_for_a_row() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let run = open(&folder, Durability::Immediate)?;
    let columns = run.metrics().columns(&["loss", "grad_norm"])?;
    assert_eq!(allocations(|step| Ok(columns.log(step, 0.5, &[2.5, 0.125])?))?, 0);

    let mut metrics = fields! { loss: 2.5, tokens: 4096 };
    let by_name = |step: u64| {
        metrics[1].value = step.into();
        Ok(run.metrics().log_step(step, 0.5, &metrics)?)
    };
    assert_eq!(allocations(by_name)?, 0, "a step by name allocates nothing either");
    Ok(())
}

#[test]
fn the_training_thread_allocates_nothing_for_a_buffered_row() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let run = open(&folder, Durability::Buffered)?;
    let columns = run.metrics().columns(&["loss", "grad_norm"])?;
    // Fill as many batches as the measured rows need, so that their buffers are used again.
    for step in 0..4_096 {
        columns.log(step, 0.5, &[2.5, 0.125])?;
    }
    run.flush();
    assert_eq!(allocations(|step| Ok(columns.log(step, 0.5, &[2.5, 0.125])?))?, 0);
    Ok(())
}

#[test]
fn the_host_allocates_nothing_for_a_record() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let run = open(&folder, Durability::Immediate)?;
    let logger = run.logger("trainer");
    let fields = fields! { step: 1, loss: 0.25, phase: "train" };
    assert_eq!(allocations(|_| Ok(logger.debug("a step was made", &fields)?))?, 0);
    Ok(())
}

#[test]
fn a_record_below_the_level_allocates_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = LoggingConfig {
        file_level: Level::Info,
        console_level: Level::Info,
        ..config(Durability::Immediate)
    };
    let builder = Run::builder("tiny-lm").folder(folder.path().join("run"));
    let logger = builder.console(Console::Silent).config(config).open()?.logger("trainer");
    let fields = fields! { step: 1, phase: "train" };
    assert_eq!(allocations(|_| Ok(logger.debug("not wanted", &fields)?))?, 0);
    Ok(())
}

#[test]
fn the_logic_allocates_nothing_for_a_row() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let imports = NativeImports::open(folder.path(), Clock::System, None)?;
    let options = Options {
        attempt: 2,
        config: serde_json::to_string(&config(Durability::Immediate))?,
        ..Options::default()
    };
    let mut logger = MetricsLogger::open(&imports, &options)?;
    let column = |name: &str, kind| Column { name: name.to_owned(), kind };
    let names = vec![column("loss", Kind::Float), column("tokens", Kind::Integer)];
    let columns = logger.column_set(names)?;
    let row = |step| {
        // Some values that JSON cannot represent.
        let loss = if step % 7 == 0 { f64::NAN } else { 2.5 };
        Ok(logger.log_row(columns, imports.now(), step, 0.5, &[loss, 4096.0])?)
    };
    assert_eq!(allocations(row)?, 0);
    Ok(())
}

#[test]
fn the_logic_allocates_nothing_for_a_record() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let imports = NativeImports::open(folder.path(), Clock::System, None)?;
    let context = fields! { experiment: "tiny-lm", device: "cpu" };
    let config = config(Durability::Immediate);
    let mut logger = StructuredLogger::new(&imports, "trainer", &config, context);
    let fields = fields! { step: 1, loss: 0.25, phase: "train" };
    let record = |_| {
        logger.log(imports.now(), Level::Debug, "a step was made", each(&fields))?;
        Ok(())
    };
    assert_eq!(allocations(record)?, 0);
    Ok(())
}
