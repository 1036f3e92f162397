//! What the component imports is all that it can do, so a test lists it. What it exports must be what wit/ says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result};
use model_foundry::COMPONENT;
use wasmparser::{
    CanonicalFunction, ComponentAlias, ExternalKind, Instance, MemoryType, Parser, Payload, TypeRef,
};
use wit_component::DecodedWasm;
use wit_parser::{InterfaceId, Resolve, WorldItem, WorldKey};

/// Interfaces by name, each with its functions.
type Interfaces = BTreeMap<String, BTreeSet<String>>;

/// The interfaces in a world's imports or exports. Anything else there fails the test.
fn interfaces<'w>(
    resolve: &Resolve,
    items: impl IntoIterator<Item = (&'w WorldKey, &'w WorldItem)>,
) -> Interfaces {
    let functions = |id: InterfaceId| {
        resolve.interfaces[id]
            .functions
            .values()
            .map(|function| {
                // With the number of parameters and results, so that a new parameter shows too.
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
            other => panic!("{} is not an interface: {other:?}", resolve.name_world_key(key)),
        })
        .collect()
}

/// The component's imports and exports.
fn decoded() -> Result<(Interfaces, Interfaces)> {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(COMPONENT)? else {
        panic!("the embedded component is a WIT package");
    };
    let world = &resolve.worlds[world];
    Ok((interfaces(&resolve, &world.imports), interfaces(&resolve, &world.exports)))
}

/// The world of wit/: its imports and exports.
fn written() -> Result<(Interfaces, Interfaces)> {
    let mut resolve = Resolve::default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
    let mut push = |package: &str| {
        resolve.push_dir(folder.join(package)).with_context(|| format!("wit/{package}"))
    };
    push("clocks")?;
    push("host")?;
    let (package, _) = push("logging")?;
    let world = resolve.select_world(&[package], Some("logging"))?;
    let world = &resolve.worlds[world];
    Ok((interfaces(&resolve, &world.imports), interfaces(&resolve, &world.exports)))
}

#[test]
fn it_imports_a_clock_files_gpu_and_system_and_nothing_else() -> Result<()> {
    let (mut imports, _) = decoded()?;
    if let Some(functions) = imports.remove("model-foundry:logging/types@0.1.0") {
        assert_eq!(functions, BTreeSet::new(), "types has no functions");
    }
    assert!(
        imports.keys().eq([
            "model-foundry:host/gpu@0.1.0",
            "model-foundry:host/run-files@0.1.0",
            "model-foundry:host/system@0.1.0",
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

/// What the component is built of, by index.
#[derive(Default)]
struct Outline<'a> {
    modules: Vec<Module<'a>>,
    /// The module of each core instance; `None` for an instance that only collects other instances' exports.
    instances: Vec<Option<u32>>,
    /// The instance that exports each core function; `None` for a function of the canonical ABI.
    functions: Vec<Option<u32>>,
    /// The core functions that are lifted to functions of the component.
    lifted: Vec<u32>,
}

/// A core module.
#[derive(Default)]
struct Module<'a> {
    /// The module and name of each imported function.
    imports: BTreeSet<(&'a str, &'a str)>,
    exports: BTreeSet<&'a str>,
    memories: Vec<MemoryType>,
    /// How many functions it defines.
    functions: u32,
}

impl<'a> Outline<'a> {
    /// The module whose sections are being read.
    fn module(&mut self) -> Result<&mut Module<'a>> {
        self.modules.last_mut().context("a section outside a module")
    }
}

fn outline() -> Result<Outline<'static>> {
    let mut outline = Outline::default();
    let (mut in_module, mut nested) = (false, 0);
    for payload in Parser::new(0).parse_all(COMPONENT) {
        match payload? {
            // Nested components only name the types of an exported interface. What they have is not part of the
            // outline.
            Payload::ComponentSection { .. } => nested += 1,
            Payload::End(_) if in_module => in_module = false,
            Payload::End(_) => nested -= 1,
            Payload::ModuleSection { .. } => {
                assert_eq!(nested, 0, "a module is in a nested component");
                in_module = true;
                outline.modules.push(Module::default());
            }
            _ if nested > 0 => {}
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import?;
                    if let TypeRef::Func(_) = import.ty {
                        outline.module()?.imports.insert((import.module, import.name));
                    }
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    outline.module()?.exports.insert(export?.name);
                }
            }
            Payload::MemorySection(section) => {
                outline.module()?.memories = section.into_iter().collect::<Result<_, _>>()?;
            }
            Payload::FunctionSection(section) => outline.module()?.functions = section.count(),
            Payload::InstanceSection(section) => {
                for instance in section {
                    outline.instances.push(match instance? {
                        Instance::Instantiate { module_index, .. } => Some(module_index),
                        Instance::FromExports(_) => None,
                    });
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    let ComponentAlias::CoreInstanceExport { kind, instance_index, .. } = alias?
                    else {
                        continue;
                    };
                    if kind == ExternalKind::Func {
                        outline.functions.push(Some(instance_index));
                    }
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    match function? {
                        CanonicalFunction::Lift { core_func_index, .. } => {
                            outline.lifted.push(core_func_index);
                        }
                        // All others are core functions.
                        _ => outline.functions.push(None),
                    }
                }
            }
            _ => {}
        }
    }
    Ok(outline)
}

/// Engines need not look up the size of a memory that cannot grow. It is 160 MiB, the most that the host grants to
/// any component.
#[test]
fn its_memory_has_one_size_from_start_to_end() -> Result<()> {
    let outline = outline()?;
    let memories: Vec<_> = outline
        .modules
        .iter()
        .flat_map(|module| &module.memories)
        .map(|memory| (memory.initial, memory.maximum))
        .collect();
    let pages = (160 << 20) / (64 << 10);
    assert_eq!(memories, [(pages, Some(pages))]);
    Ok(())
}

/// At each call wasmtime looks up the code of a function that a module defines, but not that of one it imports.
#[test]
fn its_exports_are_lifted_from_a_module_that_imports_them() -> Result<()> {
    let Outline { modules, instances, functions, lifted } = outline()?;
    assert!(lifted.len() > 40, "{} functions are lifted", lifted.len());
    let lifted_from: BTreeSet<_> =
        lifted.iter().map(|function| functions[*function as usize]).collect();
    let Some(&Some(instance)) = lifted_from.first().filter(|_| lifted_from.len() == 1) else {
        panic!("functions are lifted from several instances: {lifted_from:?}");
    };
    let module = instances[instance as usize].context("an instance of a module")?;
    let Module { imports, exports, functions, .. } = &modules[module as usize];
    assert_eq!(*functions, 0, "the module defines no function");
    assert_eq!(imports.len(), exports.len(), "it exports what it imports");
    assert!(imports.iter().all(|(from, _)| *from == "main"), "{imports:?}");
    Ok(())
}
