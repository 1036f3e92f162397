//! Adds an entrance to the component: a module that imports the main module's functions and exports them
//! again.
//!
//! On each call of an export, wasmtime 48 creates the reference to the function, for which it looks up the
//! function's code twice. A function that a module has imported already has its reference. The component's
//! exports are therefore lifted from the entrance. It has no code: a call goes straight to the main
//! module's function, and takes 90 ns less.
//!
//! Delete this file when the workspace moves to wasmtime 50, which needs Rust 1.97. That version keeps the
//! reference in `component::Func` (wasmtime PR #14189).

use std::collections::HashMap;

use anyhow::{Context as _, Result, bail};
use wasm_encoder::reencode::{Reencode as _, RoundtripReencoder};
use wasm_encoder::{
    Alias, Component, ComponentAliasSection, EntityType, ExportKind, ExportSection, ImportSection,
    InstanceSection, Module, ModuleArg, ModuleSection, RawSection, TypeSection,
};
use wasmparser::{
    Chunk, ComponentAlias, ExternalKind, FuncType, Instance, Parser, Payload, TypeRef,
};

/// The main module's name in the entrance's imports.
const MAIN: &str = "main";

/// The same component, with its exports lifted from an entrance.
pub(crate) fn add(component: &[u8]) -> Result<Vec<u8>> {
    let sections = sections(component)?;
    let is_instances = |section: &Payload| matches!(section, Payload::InstanceSection(_));
    let Some(last_instances) = sections.iter().rposition(is_instances) else {
        bail!("the component has no core instances");
    };
    let (start, rest) = sections.split_at(last_instances + 1);

    let mut modules = Vec::new();
    let mut instances = Vec::new();
    for section in start {
        match section {
            Payload::ModuleSection { unchecked_range, .. } => {
                modules.push(&component[unchecked_range.clone()]);
            }
            Payload::InstanceSection(section) => {
                for instance in section.clone() {
                    instances.push(instance?);
                }
            }
            _ => {}
        }
    }
    // After the last core instance, every function taken from an instance is lifted.
    let mut lifted = Vec::new();
    let mut main = None;
    for section in rest {
        if let Payload::ComponentAliasSection(aliases) = section {
            for alias in aliases.clone() {
                if let Some((instance, name)) = function(&alias?) {
                    lifted.push(name);
                    if main.replace(instance).is_some_and(|known| known != instance) {
                        bail!("exports are lifted from more than one core instance");
                    }
                }
            }
        }
    }
    let main = main.context("the component exports no function")?;
    let Some(Instance::Instantiate { module_index, .. }) = instances.get(main as usize) else {
        bail!("exports are lifted from an instance that was not made from a module");
    };
    let module = modules
        .get(*module_index as usize)
        .context("the component does not contain its main module")?;
    let entrance = entrance(module, &lifted)?;
    let (module, instance) = (modules.len() as u32, instances.len() as u32);

    let mut out = Component::new();
    start.iter().try_for_each(|section| copy(&mut out, component, section))?;
    out.section(&ModuleSection(&entrance));
    let mut instantiation = InstanceSection::new();
    instantiation.instantiate(module, [(MAIN, ModuleArg::Instance(main))]);
    out.section(&instantiation);
    for section in rest {
        let Payload::ComponentAliasSection(aliases) = section else {
            copy(&mut out, component, section)?;
            continue;
        };
        let mut passed = ComponentAliasSection::new();
        for alias in aliases.clone() {
            let alias = alias?;
            passed.alias(match function(&alias) {
                Some((_, name)) => {
                    Alias::CoreInstanceExport { instance, kind: ExportKind::Func, name }
                }
                None => wasm_encoder::reencode::component_utils::component_alias(
                    &mut RoundtripReencoder,
                    alias,
                )?,
            });
        }
        out.section(&passed);
    }
    Ok(out.finish())
}

/// A component's own sections, without those of nested modules and components.
fn sections(component: &[u8]) -> Result<Vec<Payload<'_>>> {
    let mut parser = Parser::new(0);
    let mut sections = Vec::new();
    let mut at = 0;
    while at < component.len() {
        let Chunk::Parsed { consumed, payload } = parser.parse(&component[at..], true)? else {
            bail!("the component ends too early");
        };
        at += consumed;
        if let Payload::ModuleSection { unchecked_range, .. }
        | Payload::ComponentSection { unchecked_range, .. } = &payload
        {
            at += unchecked_range.len();
        }
        sections.push(payload);
    }
    Ok(sections)
}

/// The core instance from which an alias takes a function, and the function's name there.
fn function<'a>(alias: &ComponentAlias<'a>) -> Option<(u32, &'a str)> {
    match *alias {
        ComponentAlias::CoreInstanceExport { kind: ExternalKind::Func, instance_index, name } => {
            Some((instance_index, name))
        }
        _ => None,
    }
}

/// Copy a section unchanged.
fn copy(out: &mut Component, component: &[u8], section: &Payload<'_>) -> Result<()> {
    match section {
        // `Component` writes these itself.
        Payload::Version { .. } | Payload::End(_) => {}
        _ => {
            let (id, range) =
                section.as_section().context("the component has a part that is not a section")?;
            out.section(&RawSection { id, data: &component[range] });
        }
    }
    Ok(())
}

/// A module that imports functions of the main module and exports them again.
fn entrance(main: &[u8], names: &[&str]) -> Result<Module> {
    let mut types: Vec<FuncType> = Vec::new();
    let mut functions: Vec<u32> = Vec::new();
    let mut exports = HashMap::new();
    for section in Parser::new(0).parse_all(main) {
        match section? {
            Payload::TypeSection(section) => {
                for ty in section.into_iter_err_on_gc_types() {
                    types.push(ty?);
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    if let TypeRef::Func(ty) = import?.ty {
                        functions.push(ty);
                    }
                }
            }
            Payload::FunctionSection(section) => {
                for ty in section {
                    functions.push(ty?);
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    if export.kind == ExternalKind::Func {
                        exports.insert(export.name, export.index as usize);
                    }
                }
            }
            _ => {}
        }
    }
    let mut type_section = TypeSection::new();
    let mut imports = ImportSection::new();
    let mut exported = ExportSection::new();
    for (number, name) in (0..).zip(names) {
        let ty = exports
            .get(name)
            .and_then(|&function| types.get(*functions.get(function)? as usize))
            .with_context(|| format!("the main module exports no function {name}"))?;
        type_section.ty().func_type(&RoundtripReencoder.func_type(ty.clone())?);
        imports.import(MAIN, name, EntityType::Function(number));
        exported.export(name, ExportKind::Func, number);
    }
    let mut module = Module::new();
    module.section(&type_section).section(&imports).section(&exported);
    Ok(module)
}
