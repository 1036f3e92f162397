//! The component's imports are the whole of its powers: they grow only on purpose.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result};
use model_foundry::COMPONENT;
use wit_component::DecodedWasm;
use wit_parser::{InterfaceId, Resolve, WorldItem, WorldKey};

/// Interfaces by name, each with its functions.
type Interfaces = BTreeMap<String, BTreeSet<String>>;

/// The interfaces among a world's imports or exports; anything else there fails the test.
fn interfaces<'w>(
    resolve: &Resolve,
    items: impl IntoIterator<Item = (&'w WorldKey, &'w WorldItem)>,
) -> Interfaces {
    let functions = |id: InterfaceId| {
        resolve.interfaces[id]
            .functions
            .values()
            .map(|function| {
                // With its shape, so that a parameter more shows as well.
                let (parameters, results) =
                    (function.params.len(), usize::from(function.result.is_some()));
                format!("{} ({parameters} -> {results})", function.name)
            })
            .collect()
    };
    items
        .into_iter()
        .map(|(key, item)| match item {
            WorldItem::Interface { id, .. } => (resolve.name_world_key(key), functions(*id)),
            other => panic!("{} is no interface: {other:?}", resolve.name_world_key(key)),
        })
        .collect()
}

/// The component's imports and exports.
fn decoded() -> Result<(Interfaces, Interfaces)> {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(COMPONENT)? else {
        panic!("the embedded component is none");
    };
    let world = &resolve.worlds[world];
    Ok((interfaces(&resolve, &world.imports), interfaces(&resolve, &world.exports)))
}

/// The world of wit/: its imports and exports.
fn written() -> Result<(Interfaces, Interfaces)> {
    let mut resolve = Resolve::default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
    let (package, _) = resolve.push_dir(folder).context("wit/")?;
    let world = resolve.select_world(&[package], Some("logging"))?;
    let world = &resolve.worlds[world];
    Ok((interfaces(&resolve, &world.imports), interfaces(&resolve, &world.exports)))
}

#[test]
fn it_imports_two_clocks_files_gpu_and_system_and_nothing_else() -> Result<()> {
    let (mut imports, _) = decoded()?;
    if let Some(functions) = imports.remove("model-foundry:logging/types@0.1.0") {
        assert_eq!(functions, BTreeSet::new(), "types are no power");
    }
    assert!(
        imports.keys().eq([
            "model-foundry:logging/files@0.1.0",
            "model-foundry:logging/gpu@0.1.0",
            "model-foundry:logging/system@0.1.0",
            "wasi:clocks/monotonic-clock@0.2.12",
            "wasi:clocks/wall-clock@0.2.12",
        ]),
        "{imports:?}"
    );
    Ok(())
}

#[test]
fn each_import_has_only_the_functions_of_wit() -> Result<()> {
    let (imports, _) = decoded()?;
    let (written, _) = written()?;
    for (name, functions) in &imports {
        let known = written.get(name).with_context(|| format!("{name} is not in wit/"))?;
        assert!(functions.is_subset(known), "{name}: {functions:?}, wit/ has {known:?}");
    }
    assert!(imports["wasi:clocks/wall-clock@0.2.12"].iter().eq(["now (0 -> 1)"]));
    Ok(())
}

#[test]
fn it_exports_what_wit_says() -> Result<()> {
    let (_, exports) = decoded()?;
    let (_, written) = written()?;
    assert_eq!(exports, written);
    Ok(())
}

/// A size that cannot change is one that engines need not look up: 160 MiB, as much as the host lets any
/// component have.
#[test]
fn its_memory_has_one_size_from_start_to_end() -> Result<()> {
    let text = wasmprinter::print_bytes(COMPONENT)?;
    let memories = text.lines().map(str::trim).filter(|line| line.starts_with("(memory (;"));
    let pages = (160 << 20) / (64 << 10);
    assert_eq!(memories.collect::<Vec<_>>(), [format!("(memory (;0;) {pages} {pages})")]);
    Ok(())
}

/// Wasmtime looks the code of a module's own function up at each call, and that of an imported one not.
#[test]
fn its_exports_are_lifted_from_a_module_that_imports_them() -> Result<()> {
    let text = wasmprinter::print_bytes(COMPONENT)?;
    let (_, entrance) = text.rsplit_once("(core module").context("there is a core module")?;
    let (entrance, behind) = entrance.split_once("(core instance").context("it is started")?;
    let imports = entrance.matches("(import \"main\" ").count();
    assert_eq!(imports, entrance.matches("(export ").count());
    assert_eq!(imports, entrance.matches("(func (;").count(), "it has code of its own");
    // It is the last instance: what is lifted behind it is its own.
    let (number, _) = behind.trim_start().split_once(' ').context("it has a number")?;
    let number = number.trim_matches(|character: char| !character.is_ascii_digit());
    let from_it = format!("(alias core export {number} ");
    assert_eq!(behind.matches("(alias core export ").count(), imports);
    assert_eq!(behind.matches(&from_it).count(), imports);
    assert!(behind.matches("(canon lift ").count() > 40);
    Ok(())
}
