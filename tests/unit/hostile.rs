//! Malicious components, and files that are not components: each is a one-sentence error, and training continues.
//!
//! tests/hostile/*.wat are refused before they run. tests/hostile/answers/*.wat are parts of components that
//! implement the right world and answer every call with their function `$answer`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use model_foundry::{
    COMPONENT, ConfigReader, Console, Error, OnError, Run, Runtime, RuntimeOptions, Status, fields,
};
use model_foundry_tests::Experiment;
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

fn folder(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(below)
}

fn runtime(component: &[u8]) -> model_foundry::Result<Runtime> {
    Runtime::new(component, &RuntimeOptions::default())
}

/// The reason why bytes are refused.
fn refusal(component: &[u8]) -> String {
    match runtime(component) {
        Err(Error::Component(reason)) => reason,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("the bytes were accepted"),
    }
}

/// The reason why a file in tests/hostile is refused.
fn refusal_of(name: &str) -> Result<String> {
    let path = folder("hostile").join(name);
    Ok(refusal(&wat::parse_file(&path)?))
}

/// A component of the world in wit/ whose every function is `$answer` of a file in tests/hostile/answers.
fn answering(name: &str) -> Result<Runtime> {
    answering_within(name, &RuntimeOptions::default())
}

/// The same, with a limit of five seconds: on a busy machine a start takes one of them.
fn answering_soon(name: &str) -> Result<Runtime> {
    let mut options = RuntimeOptions::default();
    options.longest_call = Duration::from_secs(5);
    answering_within(name, &options)
}

fn answering_within(name: &str, options: &RuntimeOptions) -> Result<Runtime> {
    let path = folder("hostile/answers").join(name);
    let fields = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;

    let mut resolve = Resolve::default();
    let (_, _) = resolve.push_dir(folder("../wit/clocks"))?;
    let (_, _) = resolve.push_dir(folder("../wit/host"))?;
    let (package, _) = resolve.push_dir(folder("../wit/logging"))?;
    let world = resolve.select_world(&[package], Some("logging"))?;
    // The body of every function of a dummy is `unreachable`.
    let dummy = dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    let dummy = wasmprinter::print_bytes(dummy)?.replace("unreachable", "call $answer return");
    let lines = dummy.trim_end().strip_suffix(')').context("a module")?.lines();
    // `_initialize` would need another core instance, which is one more than the host grants.
    let lines = lines.filter(|line| !line.contains("_initialize"));
    let mut module: String = lines.map(|line| with_id(line) + "\n").collect();
    module.push_str(&fields);
    module.push(')');

    let mut module = wat::parse_str(&module)?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    let component = ComponentEncoder::default().module(&module)?.encode()?;
    Ok(Runtime::new(&component, options)?)
}

/// A line that imports a function, with an identifier made of the names of the module and the function.
fn with_id(line: &str) -> String {
    let mut parts = line.split('"');
    match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("  (import "), Some(module), Some(" "), Some(name), Some(rest)) => {
            let rest = rest.trim_start_matches(" (func (;");
            let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            let rest = rest.trim_start_matches(";)");
            format!("  (import \"{module}\" \"{name}\" (func $\"{module} {name}\"{rest}")
        }
        _ => line.to_owned(),
    }
}

/// The error of a call into a component of tests/hostile/answers. The next call must fail in the same way.
fn failure_of(name: &str) -> Result<String> {
    let mut reader = ConfigReader::new(&answering(name)?)?;
    let mut failure = || match reader.schema() {
        Err(Error::Trap(reason)) => reason,
        other => panic!("{other:?}"),
    };
    let first = failure();
    assert_eq!(failure(), first, "the component was started again");
    Ok(first)
}

#[test]
fn bytes_that_are_no_component_are_refused() {
    for bytes in [&b""[..], b"\0asm", b"not wasm at all", &[0xff; 1000], b"\x7fELF\x02\x01\x01"] {
        let reason = refusal(bytes);
        assert!(reason.starts_with("not a component that can be run: "), "{reason}");
    }
}

#[test]
fn a_component_that_was_cut_off_is_refused() {
    for part in 0..16 {
        let reason = refusal(&COMPONENT[..COMPONENT.len() * part / 16]);
        assert!(reason.starts_with("not a component that can be run: "), "{reason}");
    }
}

#[test]
fn a_core_module_is_refused() -> Result<()> {
    let reason = refusal_of("core_module.wat")?;
    assert!(reason.starts_with("not a component that can be run: "), "{reason}");
    Ok(())
}

#[test]
fn a_component_that_needs_what_is_not_given_is_refused_by_name() -> Result<()> {
    for (name, needed) in [
        ("network.wat", "wasi:sockets/tcp-create-socket@0.2.12"),
        ("environment.wat", "wasi:cli/environment@0.2.12"),
        ("paths.wat", "wasi:filesystem/preopens@0.2.12"),
        ("deletes.wat", "delete"),
        ("other_clock.wat", "wasi:clocks/wall-clock@0.2.12"),
    ] {
        let reason = refusal_of(name)?;
        assert!(
            reason.starts_with(
                "the component does not implement the world `model-foundry:logging/logging`: "
            ),
            "{reason}"
        );
        assert!(reason.contains(needed), "{needed} is not in {reason}");
    }
    Ok(())
}

#[test]
fn a_component_that_offers_nothing_is_refused() -> Result<()> {
    let reason = refusal_of("exports_nothing.wat")?;
    assert!(
        reason.starts_with(
            "the component does not implement the world `model-foundry:logging/logging`: "
        ),
        "{reason}"
    );
    assert!(reason.contains("model-foundry:logging/"), "{reason}");
    Ok(())
}

#[test]
fn every_hostile_file_is_used() -> Result<()> {
    let source = include_str!("hostile.rs");
    for entry in
        std::fs::read_dir(folder("hostile"))?.chain(std::fs::read_dir(folder("hostile/answers"))?)
    {
        let name = entry?.file_name().into_string().unwrap_or_default();
        let used = name == "answers" || source.contains(&format!("\"{name}\""));
        assert!(used, "no test uses {name}");
    }
    Ok(())
}

#[test]
fn one_that_stops_itself_is_started_anew() -> Result<()> {
    assert_eq!(failure_of("stops.wat")?, "it stopped itself (out of memory, or an internal error)");
    Ok(())
}

#[test]
fn one_that_calls_itself_without_end_is_stopped() -> Result<()> {
    assert_eq!(failure_of("recurses.wat")?, "it nested too deep");
    Ok(())
}

#[test]
fn one_that_takes_memory_without_end_gets_160_mib() -> Result<()> {
    assert_eq!(failure_of("grows.wat")?, "it stopped itself (out of memory, or an internal error)");
    Ok(())
}

#[test]
fn one_that_answers_with_what_is_no_answer_is_not_believed() -> Result<()> {
    for name in ["lies.wat", "points_outside.wat"] {
        let reason = failure_of(name)?;
        assert!(!reason.is_empty() && !reason.contains("wasm backtrace"), "{reason}");
    }
    Ok(())
}

#[test]
fn one_that_names_a_file_beyond_the_known_ones_is_stopped() -> Result<()> {
    let reason = failure_of("unknown_file.wat")?;
    assert!(reason.contains("99"), "{reason}");
    Ok(())
}

#[test]
fn one_that_makes_handles_without_end_is_stopped() -> Result<()> {
    let reason = failure_of("hoards.wat")?;
    assert!(reason.contains("handle") || reason.contains("resource"), "{reason}");
    Ok(())
}

#[test]
fn one_that_hands_over_a_huge_record_writes_nothing() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.builder().runtime(answering("floods.wat")?).open()?;

    let refused = run.metrics().log_step(1, None, &[]);

    assert!(matches!(refused, Err(Error::Trap(_))), "{refused:?}");
    for name in ["main.log", "metrics.jsonl"] {
        assert!(!experiment.path(name).exists(), "{name} was written");
    }
    Ok(())
}

/// The reason why a run cannot be opened with a component of tests/hostile/answers.
fn not_started(name: &str, runtime: Runtime) -> Result<String> {
    let experiment = Experiment::new();
    match experiment.builder().runtime(runtime).open() {
        Err(Error::Component(reason)) => Ok(reason),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("{name} was started"),
    }
}

#[test]
fn one_that_takes_memory_without_end_when_started_is_not_started() -> Result<()> {
    let reason = not_started("starts_growing.wat", answering("starts_growing.wat")?)?;
    assert!(reason.starts_with("cannot start the logging component: "), "{reason}");
    assert!(reason.contains("out of memory"), "{reason}");
    Ok(())
}

#[test]
fn one_with_a_table_of_gigabytes_is_not_started() -> Result<()> {
    let reason = not_started("starts_large.wat", answering("starts_large.wat")?)?;
    assert!(reason.starts_with("cannot start the logging component: "), "{reason}");
    Ok(())
}

#[test]
fn training_goes_on_whatever_the_component_does() -> Result<()> {
    for name in ["stops.wat", "recurses.wat", "lies.wat", "points_outside.wat", "hoards.wat"] {
        let experiment = Experiment::new();
        let run = Run::builder("tiny")
            .folder(experiment.folder())
            .console(Console::Silent)
            .on_error(OnError::Report)
            .runtime(answering(name)?)
            .open()?;

        run.logger("trainer").error("lost", &fields! { step: 1 })?;
        run.metrics().log_step(1, 0.5, &fields! { loss: 0.5 })?;
        run.metrics().log_epoch_summary(1, &[])?;
        run.errors().log("ValueError", "lost", "", &[])?;
        drop(run.performance().time_block("forward"));
        let failures = run.component_failures();
        run.finish(Status::Completed, None);

        assert!(failures >= 5, "{name}: {failures}");
        let manifest: serde_json::Value = serde_json::from_str(&experiment.text("run.json"))?;
        let attempt = &manifest["attempts"][0];
        assert_eq!(attempt["status"], "completed");
        assert!(attempt["component_failures"].as_u64() >= Some(failures), "{attempt}");
    }
    Ok(())
}

#[test]
fn one_that_computes_without_end_is_stopped() -> Result<()> {
    let mut reader = ConfigReader::new(&answering_soon("loops.wat")?)?;
    let Err(Error::Trap(reason)) = reader.schema() else { panic!("the call returned") };
    assert_eq!(reason, "it computed for longer than a call may take");
    Ok(())
}

#[test]
fn one_that_computes_without_end_when_started_is_stopped() -> Result<()> {
    let reason = not_started("starts_looping.wat", answering_soon("starts_looping.wat")?)?;
    assert!(reason.starts_with("cannot start the logging component: "), "{reason}");
    Ok(())
}
