//! `model-foundry component inspect`: what a component imports and exports. Its imports are everything it can
//! do.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use model_foundry::COMPONENT;
use serde::Serialize;
use wasmparser::component_types::{ComponentEntityType, ComponentItem};
use wasmparser::types::Types;
use wasmparser::{Parser, Payload, Validator};

use crate::output::Output;
use crate::terminal::{FAINT, PLAIN, STRONG, bytes, plain};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List imports and exports
    Inspect {
        /// A component [default: the one built in]
        file: Option<PathBuf>,

        #[command(flatten)]
        output: Output,
    },
}

#[derive(Serialize)]
struct Report {
    component: String,
    bytes: usize,
    imports: Vec<Item>,
    exports: Vec<Item>,
}

/// An interface with its functions, or a function outside any interface.
#[derive(Serialize)]
struct Item {
    name: String,
    functions: Vec<String>,
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let Action::Inspect { file, output } = arguments.action;
    let (name, component) = match &file {
        Some(file) => {
            let name = file.display().to_string();
            let bytes = std::fs::read(file).with_context(|| name.clone())?;
            (name, bytes)
        }
        None => ("built in".to_owned(), COMPONENT.to_vec()),
    };
    let report = inspect(name, &component)?;
    output.print(&report, |out| write_text(out, &report))?;
    Ok(ExitCode::SUCCESS)
}

fn write_text(out: &mut dyn Write, report: &Report) -> Result<()> {
    let size = bytes(report.bytes as u64);
    writeln!(out, "{STRONG}{}{PLAIN}  {FAINT}{size}{PLAIN}", plain(&report.component))?;
    for (what, items) in [("imports", &report.imports), ("exports", &report.exports)] {
        writeln!(out, "\n{STRONG}{what}{PLAIN}")?;
        if items.is_empty() {
            writeln!(out, "  nothing")?;
        }
        for item in items {
            writeln!(out, "  {}", plain(&item.name))?;
            for function in &item.functions {
                writeln!(out, "    {FAINT}{}{PLAIN}", plain(function))?;
            }
        }
    }
    Ok(())
}

/// How deep components may be nested.
const DEEPEST: u32 = 100;

/// How much of the stack the parser needs for each byte of types that are nested as deep as possible.
const STACK_PER_BYTE: usize = 2 << 10;

/// Inspect a component, with a stack that suffices for the deepest types that so many bytes can hold.
fn inspect(name: String, bytes: &[u8]) -> Result<Report> {
    let stack = (16 << 20) + bytes.len().saturating_mul(STACK_PER_BYTE).min(8 << 30);
    std::thread::scope(|scope| {
        let inspector = std::thread::Builder::new().stack_size(stack);
        let inspector = inspector.spawn_scoped(scope, || inspect_here(name, bytes));
        let inspector = inspector.context("no memory for a stack that is large enough")?;
        inspector.join().unwrap_or_else(|_| bail!("the component cannot be read"))
    })
}

fn inspect_here(name: String, bytes: &[u8]) -> Result<Report> {
    if Parser::is_core_wasm(bytes) {
        bail!("{name}: this is a core module, not a component; encode it with wit-component");
    }
    if !Parser::is_component(bytes) {
        bail!("{name}: this is not WebAssembly");
    }
    let damaged = || format!("{name}: the component is damaged");
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.with_context(damaged)? {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            _ => {}
        }
        // The validator's time grows with the square of it.
        if depth > DEEPEST {
            bail!("{name}: components are nested more than {DEEPEST} levels deep");
        }
    }
    let types = Validator::new().validate_all(bytes).with_context(damaged)?;
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    // Components and modules can be nested: only the outermost component's own items count.
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.with_context(damaged)? {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    let import = import.with_context(damaged)?.name.name;
                    imports.push(Item {
                        functions: functions(&types, types.component_item_for_import(import)),
                        name: import.to_owned(),
                    });
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    let export = export.with_context(damaged)?.name.name;
                    exports.push(Item {
                        functions: functions(&types, types.component_item_for_export(export)),
                        name: export.to_owned(),
                    });
                }
            }
            _ => {}
        }
    }
    Ok(Report { component: name, bytes: bytes.len(), imports, exports })
}

/// The names of the functions in an interface; none for another kind of item.
fn functions(types: &Types, item: Option<&ComponentItem>) -> Vec<String> {
    let Some(ComponentEntityType::Instance(interface)) = item.map(|item| item.ty) else {
        return Vec::new();
    };
    let exports = &types[interface].exports;
    let is_function = |item: &ComponentItem| matches!(item.ty, ComponentEntityType::Func(_));
    exports.iter().filter(|(_, item)| is_function(item)).map(|(name, _)| name.clone()).collect()
}
