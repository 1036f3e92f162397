//! `model-foundry errors`: the errors of a run, the first of them in full.

use anyhow::Result;
use model_foundry_tests::{each, logged_experiment, model_foundry_on, printed, printed_json};

#[test]
fn errors_are_counted_and_the_earliest_is_told_in_full() -> Result<()> {
    let experiment = logged_experiment()?;

    insta::assert_snapshot!(printed(&model_foundry_on("errors", &experiment)), @r#"
         1 × OSError
         1 × ValueError

    the earliest, the likely cause of the others:
      2025-01-02 03:04:05  ValueError: bad value
        {"step":3}
        line 1
        line 2

    the newest:
      2025-01-02 03:04:05  OSError: no file
      2025-01-02 03:04:05  ValueError: bad value
        {"step":3}
    "#);
    let report = printed_json(&model_foundry_on("errors --json -n 1", &experiment))?;
    assert_eq!(report["first"]["error_type"], "ValueError");
    let recent: Vec<_> = each(&report["recent"]).map(|error| &error["error_type"]).collect();
    assert_eq!(recent, ["OSError"]);
    assert_eq!(report["first"]["context"]["step"], 3, "a context is an object, not text");
    Ok(())
}
