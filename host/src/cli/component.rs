//! `model-foundry component inspect`: what a component imports and exports. The imports are the whole of
//! its powers.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use model_foundry::COMPONENT;
use serde::Serialize;
use wit_component::DecodedWasm;
use wit_parser::{Resolve, WorldItem, WorldKey};

use super::terminal::{FAINT, PLAIN, STRONG, bytes, plain};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List imports and exports
    Inspect {
        /// A component; the built-in one where none is named
        file: Option<PathBuf>,

        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Serialize)]
struct Report {
    component: String,
    bytes: usize,
    imports: Vec<Item>,
    exports: Vec<Item>,
}

/// An interface, or a function that stands alone.
#[derive(Serialize)]
struct Item {
    name: String,
    functions: Vec<String>,
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let Action::Inspect { file, json } = arguments.action;
    let (name, component) = match &file {
        Some(file) => {
            let name = file.display().to_string();
            let bytes = std::fs::read(file).with_context(|| name.clone())?;
            (name, bytes)
        }
        None => ("built in".to_owned(), COMPONENT.to_vec()),
    };
    let report = inspect(name, &component)?;
    let mut out = anstream::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        writeln!(
            out,
            "{STRONG}{}{PLAIN}  {FAINT}{}{PLAIN}",
            plain(&report.component),
            bytes(report.bytes as u64)
        )?;
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
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn inspect(name: String, bytes: &[u8]) -> Result<Report> {
    if wasmparser::Parser::is_core_wasm(bytes) {
        bail!("{name}: this is a core module, not a component; encode it with wit-component");
    }
    if !wasmparser::Parser::is_component(bytes) {
        bail!("{name}: this is not WebAssembly");
    }
    let decoded = wit_component::decode(bytes)
        .with_context(|| format!("{name}: the component is damaged"))?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        bail!("{name}: this is a WIT package, not a component");
    };
    let world = &resolve.worlds[world];
    let items = |items: &mut dyn Iterator<Item = (&WorldKey, &WorldItem)>| {
        items.map(|(key, item)| describe(&resolve, key, item)).collect()
    };
    Ok(Report {
        component: name,
        bytes: bytes.len(),
        imports: items(&mut world.imports.iter()),
        exports: items(&mut world.exports.iter()),
    })
}

fn describe(resolve: &Resolve, key: &WorldKey, item: &WorldItem) -> Item {
    let functions = match item {
        WorldItem::Interface { id, .. } => {
            resolve.interfaces[*id].functions.keys().cloned().collect()
        }
        _ => Vec::new(),
    };
    Item { name: resolve.name_world_key(key), functions }
}
