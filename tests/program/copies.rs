//! A run that is copied through `log`: its own lines are records.

use std::fs;

use anyhow::Result;
use model_foundry::{StepOrigin, fields};
use model_foundry_tests::{Experiment, NO_EPOCH, Workplace, model_foundry_fed, text};

#[test]
fn a_run_is_copied_through_log_without_loss() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();
    for step in 0..20_u64 {
        experiment.clock.advance(1_000_000);
        run.metrics().log_step(step, 0.5, &fields! { loss: 1.0 / step as f64, note: "é\u{9b}" })?;
    }
    run.metrics().log_epoch_summary(0.5, &fields! { val_loss: f64::NEG_INFINITY })?;
    run.logger("trainer").warning("careful", &fields! { step: 3 })?;
    run.errors().log("ValueError", "bad", "line 1\nline 2", &fields! { step: 3 })?;
    drop(run);
    let again = experiment.run();
    let origin = StepOrigin { inferred: true, epoch_step: Some(3) };
    again.metrics().log_step_of_output(10, None, &fields! { loss: 9.0 }, origin)?;
    again.metrics().log_step(11, NO_EPOCH, &fields! { loss: u64::MAX as f64 })?;
    drop(again);

    let place = Workplace::new();
    let copy = place.path("copy");
    for file in ["metrics.jsonl", "main.log", "errors.jsonl"] {
        let lines = experiment.text(file);
        let output = model_foundry_fed(["log", "--dir", copy.to_str().expect("UTF-8")], &lines);
        assert_eq!(output.status.code(), Some(0), "{file}: {}", text(&output.stderr));
        let copied = fs::read_to_string(copy.join(file))?;
        if file == "main.log" {
            // The copy has messages of its own too, and every message has a base context.
            assert!(copied.contains("\"logger\":\"trainer\",\"message\":\"careful\""), "{copied}");
        } else {
            // The copies of earlier attempts are attempts of the copy's own.
            assert_eq!(copied, lines, "{file}");
        }
    }
    Ok(())
}
