//! `model-foundry component`: what the component may touch.

use anyhow::Result;
use model_foundry_tests::{Workplace, each, model_foundry, printed, printed_json, sentence};

#[test]
fn the_component_can_touch_nothing_else() -> Result<()> {
    let report = printed_json(&model_foundry(["component", "inspect", "--json"]))?;

    let imports: Vec<_> =
        each(&report["imports"]).filter_map(|import| import["name"].as_str()).collect();
    assert_eq!(
        imports,
        [
            "wasi:clocks/wall-clock@0.2.12",
            "model-foundry:host/run-files@0.1.0",
            "model-foundry:host/gpu@0.1.0",
            "model-foundry:host/system@0.1.0",
        ]
    );
    let page = printed(&model_foundry(["component", "inspect"]));
    let listed: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    assert!(imports.iter().all(|import| listed.contains(import)), "{page}");
    Ok(())
}

/// A number as WebAssembly writes it (LEB128).
fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A component with one section.
fn component(section: u8, content: &[u8]) -> Vec<u8> {
    [b"\0asm\x0d\0\x01\0", &[section][..], &leb(content.len()), content].concat()
}

#[test]
fn what_is_nested_very_deep_does_no_harm() -> Result<()> {
    let place = Workplace::new();
    // Each type is a component type that declares one type.
    let types = [vec![1], [0x41, 1, 1].repeat(100_000), vec![0x41, 0]].concat();
    place.write("types.wasm", component(7, &types));
    let mut nested = component(0, b"\x01x");
    for _ in 0..3_000 {
        nested = component(4, &nested);
    }
    place.write("components.wasm", nested);

    // As deep as types may be, the parser does not overflow its stack.
    let inspected = place.model_foundry(&["component", "inspect", "types.wasm"]);
    assert!(matches!(inspected.status.code(), Some(0 | 1)), "{inspected:?}");
    let refusal = sentence(&place.model_foundry(&["component", "inspect", "components.wasm"]));
    assert_eq!(refusal, "components.wasm: components are nested more than 100 levels deep");
    Ok(())
}

#[test]
fn what_is_no_component_is_told_in_one_sentence() -> Result<()> {
    let place = Workplace::new();
    place.write("garbage.wasm", "garbage");
    place.write("core.wasm", wat::parse_str("(module)")?);
    place.write("damaged.wasm", b"\0asm\x0d\0\x01\0\xff\xff\xff\xff");
    let refusal = |file| sentence(&place.model_foundry(&["component", "inspect", file]));

    assert_eq!(refusal("garbage.wasm"), "garbage.wasm: this is not WebAssembly");
    assert_eq!(
        refusal("core.wasm"),
        "core.wasm: this is a core module, not a component; encode it with wit-component"
    );
    let damaged = refusal("damaged.wasm");
    assert!(damaged.starts_with("damaged.wasm: the component is damaged: "), "{damaged}");
    let missing = refusal("nowhere.wasm");
    assert!(missing.starts_with("nowhere.wasm: "), "{missing}");
    Ok(())
}
