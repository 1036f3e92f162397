//! PerformanceLogger: timings with the monotonic clock, and memory samples.

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Result, bail};
use model_foundry::{Error, Level, PerformanceLogger, RunReader, fields};
use model_foundry_tests::{Experiment, START_TEXT, StandInDriver};
use serde_json::{Value, json};

/// A millisecond of the clock, in nanoseconds.
const MS: u64 = 1_000_000;

/// Time a block of this many milliseconds.
fn block(experiment: &Experiment, performance: &PerformanceLogger, name: &str, ms: u64) {
    let _timed = performance.time_block(name);
    experiment.clock.advance(ms * MS);
}

/// The names and seconds in performance.jsonl.
fn timings(experiment: &Experiment) -> Vec<(String, f64)> {
    experiment
        .records("performance.jsonl")
        .iter()
        .map(|line| {
            let name = line["name"].as_str().unwrap_or_default().to_owned();
            (name, line["seconds"].as_f64().unwrap_or(f64::NAN))
        })
        .collect()
}

#[test]
fn time_block_measures_duration() -> Result<()> {
    let experiment = Experiment::new();
    let performance = experiment.run().performance();

    let timed = performance.time_block("forward");
    experiment.clock.advance(50 * MS);
    let seconds = timed.end();

    assert_eq!(seconds, Some(0.05));
    assert_eq!(performance.statistics("forward")?.total, 0.05);
    assert_eq!(
        experiment.text("performance.jsonl"),
        format!(
            "{{\"timestamp\":\"{}\",\"name\":\"forward\",\"seconds\":0.05}}\n",
            START_TEXT.replace(".678901", ".728901")
        )
    );
    Ok(())
}

#[test]
fn time_block_logs_duration() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();
    let (performance, logger) = (run.performance(), run.logger("trainer"));
    {
        let _timed = performance.time_block("forward").log_to(&logger, Level::Debug);
        experiment.clock.advance(50 * MS);
    }
    let record = experiment.record("main.log");
    assert_eq!(record["level"], "DEBUG");
    assert_eq!(record["message"], "forward completed in 0.0500s");
    Ok(())
}

#[test]
fn time_block_tracks_multiple_calls() -> Result<()> {
    let experiment = Experiment::new();
    let performance = experiment.run().performance();
    for ms in [10, 20, 30] {
        block(&experiment, &performance, "forward", ms);
    }
    assert_eq!(performance.statistics("forward")?.count, 3);
    let expected = [0.01, 0.02, 0.03].map(|seconds| ("forward".to_owned(), seconds));
    assert_eq!(timings(&experiment), expected);
    Ok(())
}

#[test]
fn time_block_handles_exceptions() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();
    let (performance, logger) = (run.performance(), run.logger("trainer"));

    let load = || -> Result<()> {
        let _timed = performance.time_block("load");
        experiment.clock.advance(10 * MS);
        bail!("no such shard")
    };
    let failure = load().expect_err("the error is passed on");
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _timed = performance.time_block("train").log_to(&logger, Level::Debug);
        experiment.clock.advance(20 * MS);
        panic!("out of memory");
    }));
    let timed = performance.time_block("save");
    experiment.clock.advance(30 * MS);
    assert_eq!(timed.fail(), Some(0.03));

    assert_eq!(failure.to_string(), "no such shard");
    let panic = panicked.expect_err("the panic is passed on");
    assert_eq!(panic.downcast_ref(), Some(&"out of memory"));
    let lines = experiment.records("performance.jsonl");
    assert_eq!((&lines[0]["name"], &lines[0]["seconds"]), (&json!("load"), &json!(0.01)));
    assert_eq!((&lines[1]["name"], &lines[1]["seconds"]), (&json!("train"), &json!(0.02)));
    assert_eq!(lines[1]["failed"], true);
    assert_eq!(lines[2]["failed"], true);
    assert_eq!(performance.statistics("train")?.count, 1);
    assert_eq!(experiment.record("main.log")["message"], "train failed after 0.0200s");
    Ok(())
}

#[test]
fn get_timing_statistics() -> Result<()> {
    let experiment = Experiment::new();
    let performance = experiment.run().performance();
    for ms in [10, 20, 30, 40] {
        block(&experiment, &performance, "forward", ms);
    }
    block(&experiment, &performance, "backward", 500);

    let forward = performance.statistics("forward")?;

    assert_eq!(forward.count, 4);
    assert!((forward.mean - 0.025).abs() < 1e-12, "{}", forward.mean);
    assert_eq!((forward.min, forward.max), (0.01, 0.04));
    // Divided by n − 1: √(0.0005 / 3).
    assert!((forward.std - (0.0005_f64 / 3.0).sqrt()).abs() < 1e-12, "{}", forward.std);
    assert_eq!(performance.statistics("unknown")?.count, 0);
    let slowest: Vec<_> = performance.all_statistics()?.into_iter().map(|op| op.name).collect();
    assert_eq!(slowest, ["backward", "forward"]);
    Ok(())
}

#[test]
fn get_timing_statistics_single_sample() -> Result<()> {
    let experiment = Experiment::new();
    let performance = experiment.run().performance();
    block(&experiment, &performance, "forward", 10);
    let forward = performance.statistics("forward")?;
    assert_eq!((forward.count, forward.std), (1, 0.0));
    assert_eq!((forward.mean, forward.min, forward.max), (0.01, 0.01, 0.01));
    Ok(())
}

#[test]
fn log_memory_usage_cpu() -> Result<()> {
    let experiment = Experiment::new();
    let performance = experiment.run().performance();

    let sample = performance.log_memory_usage(Some(100))?.expect("the sample is logged");

    let memory = sample.cpu.map_err(anyhow::Error::msg)?;
    assert!(memory.process_resident > 1 << 20, "{memory:?}");
    assert!(memory.process_virtual >= memory.process_resident, "{memory:?}");
    assert!(memory.machine_total >= memory.machine_used, "{memory:?}");
    let record = experiment.record("performance.jsonl");
    assert_eq!(record["timestamp"], START_TEXT);
    assert_eq!(record["step"], 100);
    assert_eq!(
        record["memory"],
        json!({
            "process_resident": memory.process_resident,
            "process_virtual": memory.process_virtual,
            "machine_total": memory.machine_total,
            "machine_used": memory.machine_used,
            "machine_available": memory.machine_available,
        })
    );
    assert!(sample.messages[0].starts_with("Memory - Process: "), "{:?}", sample.messages);
    let peaks = RunReader::open(experiment.folder())?.memory_peaks()?;
    assert_eq!((peaks.samples, peaks.process_resident), (1, memory.process_resident));
    Ok(())
}

/// Two devices. This process uses both.
fn two_gpus() -> String {
    let gib = |count: u64| count << 30;
    format!(
        "count=2
        device.0.uuid=GPU-aa
        device.0.name=NVIDIA H100 80GB HBM3
        device.0.total={}
        device.0.used={}
        device.0.reserved={}
        device.0.compute={}:{}
        device.1.uuid=GPU-bb
        device.1.name=NVIDIA H100 80GB HBM3
        device.1.total={}
        device.1.compute={}:{}",
        gib(80),
        gib(20),
        gib(1) / 2,
        std::process::id(),
        gib(16),
        gib(80),
        std::process::id(),
        gib(1) / 4,
    )
}

#[test]
fn log_memory_usage_gpu() -> Result<()> {
    let experiment = Experiment::new();
    let driver = StandInDriver::new(&two_gpus());
    let performance = experiment.builder().nvml(driver.library()).open()?.performance();

    let sample = performance.log_memory_usage(None)?.expect("the sample is logged");

    assert_eq!(
        sample.messages[1..],
        [
            "GPU memory - Allocated: 17.18GB, Reserved: 0.54GB \
             (GPU 0: NVIDIA H100 80GB HBM3; used 21.47GB of 85.90GB)",
            "GPU memory - Allocated: 0.27GB, Reserved: 0.00GB \
             (GPU 1: NVIDIA H100 80GB HBM3; used 0.00GB of 85.90GB)",
        ]
    );
    let record = experiment.record("performance.jsonl");
    assert_eq!(
        record["gpus"][0],
        json!({
            "index": 0,
            "uuid": "GPU-aa",
            "name": "NVIDIA H100 80GB HBM3",
            "total": 80_u64 << 30,
            "used": 20_u64 << 30,
            "free": (60_u64 << 30) - (1 << 29),
            "reserved": 1_u64 << 29,
            "process": 16_u64 << 30,
        })
    );
    assert_eq!(record["gpus"][1]["uuid"], "GPU-bb");
    let peaks = RunReader::open(experiment.folder())?.memory_peaks()?;
    assert_eq!(peaks.gpus[0].process, Some(16 << 30));
    Ok(())
}

#[test]
fn log_memory_usage_gpu_is_skipped_with_its_reason_without_a_driver() -> Result<()> {
    let experiment = Experiment::new();
    let performance = experiment.run().performance();

    let sample = performance.log_memory_usage(None)?.expect("the sample is logged");

    let reason = sample.gpu.expect_err("no driver");
    let library = experiment.path("no-driver.so");
    let expected = format!("no NVIDIA driver: {} could not be loaded", library.display());
    assert!(reason.starts_with(&expected), "{reason}");
    assert_eq!(sample.messages.len(), 1, "no GPU is reported: {:?}", sample.messages);
    let record = experiment.record("performance.jsonl");
    assert_eq!(record["gpu_unavailable"], Value::String(reason));
    assert!(record.get("gpus").is_none());
    assert!(record.get("memory").is_some());
    Ok(())
}

#[test]
fn a_gpu_lost_while_training_is_said_and_the_others_are_sampled() -> Result<()> {
    let experiment = Experiment::new();
    let driver = StandInDriver::new(&two_gpus());
    let performance = experiment.builder().nvml(driver.library()).open()?.performance();

    driver.becomes(&format!("{}\ndevice.1.error=15", two_gpus()));
    let sample = performance.log_memory_usage(None)?.expect("the sample is logged");

    let lost = "GPU 1 (GPU-bb): lost: it fell off the bus or does not answer";
    assert_eq!(sample.messages[2], format!("GPU memory - unavailable: {lost}"));
    let record = experiment.record("performance.jsonl");
    assert_eq!(record["gpus"].as_array().map(Vec::len), Some(1));
    assert_eq!(record["gpus_lost"], json!([lost]));
    Ok(())
}

#[test]
fn reset_timers() -> Result<()> {
    let experiment = Experiment::new();
    let performance = experiment.run().performance();
    block(&experiment, &performance, "forward", 10);

    performance.reset_timers()?;

    assert_eq!(performance.all_statistics()?.len(), 0);
    assert_eq!(performance.statistics("forward")?.count, 0);
    assert_eq!(timings(&experiment).len(), 1, "the file is unchanged");
    block(&experiment, &performance, "forward", 20);
    assert_eq!(performance.statistics("forward")?.count, 1);
    Ok(())
}

#[test]
fn export_timing_report() -> Result<()> {
    let experiment = Experiment::new();
    let performance = experiment.run().performance();
    for ms in [125, 375] {
        block(&experiment, &performance, "forward", ms);
    }
    block(&experiment, &performance, "back\"ward", 750);

    performance.export_timing_report()?;

    let report = experiment.json("timing_report.json");
    let operations: Vec<_> =
        report.as_object().into_iter().flat_map(|report| report.keys()).collect();
    assert_eq!(operations, ["back\"ward", "forward"]);
    let forward = &report["forward"];
    assert_eq!((&forward["count"], &forward["mean"]), (&json!(2), &json!(0.25)));
    assert_eq!((&forward["min"], &forward["max"]), (&json!(0.125), &json!(0.375)));
    assert_eq!(forward["std"], performance.statistics("forward")?.std);
    assert_eq!(report["back\"ward"]["std"], 0.0);
    Ok(())
}

#[test]
fn export_timing_report_writes_whole_or_not_at_all() -> Result<()> {
    let experiment = Experiment::new();
    let performance = experiment.run().performance();
    block(&experiment, &performance, "forward", 10);
    // A folder that is not empty cannot be replaced by the report.
    std::fs::create_dir(experiment.path("timing_report.json"))?;
    std::fs::write(experiment.path("timing_report.json/old"), "old")?;

    let refused = performance.export_timing_report();

    assert!(matches!(refused, Err(Error::Storage(_))), "{refused:?}");
    assert_eq!(experiment.text("timing_report.json/old"), "old");
    for entry in std::fs::read_dir(experiment.folder())? {
        let name = entry?.file_name().into_string().unwrap_or_default();
        assert!(!name.starts_with("timing_report.json."), "{name} is left over");
    }
    Ok(())
}

#[test]
fn nested_time_blocks() -> Result<()> {
    let experiment = Experiment::new();
    let performance = experiment.run().performance();
    {
        let _outer = performance.time_block("outer");
        experiment.clock.advance(10 * MS);
        block(&experiment, &performance, "inner", 20);
        experiment.clock.advance(10 * MS);
    }
    assert_eq!(timings(&experiment), [("inner".to_owned(), 0.02), ("outer".to_owned(), 0.04)]);
    assert!(performance.statistics("outer")?.total > performance.statistics("inner")?.total);
    Ok(())
}

#[test]
fn blocks_of_one_name_may_overlap() -> Result<()> {
    let experiment = Experiment::new();
    let performance = experiment.run().performance();
    let first = performance.time_block("load");
    experiment.clock.advance(10 * MS);
    let second = performance.time_block("load");
    experiment.clock.advance(10 * MS);
    assert_eq!(first.end(), Some(0.02));
    experiment.clock.advance(10 * MS);
    assert_eq!(second.end(), Some(0.02));
    assert_eq!(performance.statistics("load")?.count, 2);
    Ok(())
}

#[test]
fn a_duration_measured_elsewhere_is_recorded_under_its_name() -> Result<()> {
    let experiment = Experiment::new();
    let performance = experiment.run().performance();
    // The unit of torch.cuda.Event.elapsed_time.
    let milliseconds = 12.5;

    performance.record("forward (cuda)", milliseconds / 1e3)?;

    assert_eq!(timings(&experiment), [("forward (cuda)".to_owned(), 0.0125)]);
    assert_eq!(performance.statistics("forward (cuda)")?.mean, 0.0125);
    Ok(())
}

#[test]
fn a_duration_that_is_none_is_the_callers_fault() {
    let experiment = Experiment::new();
    let performance = experiment.run().performance();
    for seconds in [-1.0, f64::NAN, f64::INFINITY] {
        let refused = performance.record("forward", seconds);
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    }
    assert!(!experiment.path("performance.jsonl").exists());
}

#[test]
fn timings_go_on_where_a_run_is_opened_again() -> Result<()> {
    let experiment = Experiment::new();
    block(&experiment, &experiment.run().performance(), "forward", 125);
    let performance = experiment.run().performance();
    block(&experiment, &performance, "forward", 375);
    assert_eq!(performance.statistics("forward")?.count, 2);
    let read = RunReader::open(experiment.folder())?.timings()?;
    assert_eq!((read[0].count, read[0].mean), (2, 0.25));
    Ok(())
}

#[test]
fn a_run_that_ends_leaves_its_timing_report() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();
    block(&experiment, &run.performance(), "forward", 10);
    run.logger("trainer").info("done", &fields! { step: 1 })?;
    drop(run);
    let report = experiment.json("timing_report.json");
    assert_eq!(report["forward"]["count"], 1);
    Ok(())
}

#[test]
fn a_driver_that_hangs_does_not_stop_a_training() -> Result<()> {
    let driver = StandInDriver::new("driver=570.86.15\ninit.seconds=3600\ncount=1\n");
    let experiment = Experiment::new();
    let began = std::time::Instant::now();
    let run = experiment.builder().nvml(driver.library()).open()?;
    for step in 0..100 {
        let sample = run.performance().log_memory_usage(Some(step))?.expect("a sample");
        let unavailable = sample.gpu.expect_err("no answer");
        assert_eq!(unavailable, "NVML: the driver does not answer");
    }
    run.metrics().log_step(1, 0.0, &model_foundry::fields! { loss: 0.5 })?;
    drop(run);
    assert!(began.elapsed() < std::time::Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(experiment.records("metrics.jsonl").len(), 1);
    Ok(())
}

#[test]
fn a_library_that_lacks_a_function_is_no_driver() -> Result<()> {
    let driver = StandInDriver::new("driver=570.86.15\ncount=1\n").without("nvmlShutdown");
    let experiment = Experiment::new();
    let run = experiment.builder().nvml(driver.library()).open()?;
    let sample = run.performance().log_memory_usage(None)?.expect("a sample");
    let unavailable = sample.gpu.expect_err("it is not used");
    assert!(unavailable.contains("nvmlShutdown"), "{unavailable}");
    Ok(())
}
