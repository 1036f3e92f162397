//! `model-foundry gpu`: the GPUs of the machine.

use anyhow::Result;
use model_foundry_tests::{model_foundry, printed, printed_json};
use serde_json::json;

#[test]
fn gpus_without_a_driver_are_unavailable() -> Result<()> {
    let page = printed(&model_foundry(["gpu"]));
    let as_json = printed_json(&model_foundry(["gpu", "--json"]))?;

    assert!(page.starts_with("unavailable: no NVIDIA driver: "), "{page}");
    assert_eq!(page.lines().count(), 1, "{page}");
    assert_eq!(as_json["devices"], json!([]));
    assert_eq!(as_json["unavailable"].as_str(), page.trim_end().strip_prefix("unavailable: "));
    Ok(())
}
