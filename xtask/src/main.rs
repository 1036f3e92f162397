//! The workspace's own commands.
//!
//!     cargo xtask component [--check]   build the logging component, or compare the committed one
//!     cargo xtask test                  every test there is
//!     cargo xtask venv                  the virtual environment of the tests, for `cargo test` by itself
//!     cargo xtask ci                    what has to pass before a change lands

mod component;
mod digest;
mod entrance;
mod python;
mod test;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The workspace's own commands")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build guest/ into host/component/model-foundry-logging.wasm
    Component {
        /// Build it aside and fail if the committed one differs
        #[arg(long)]
        check: bool,
    },
    /// Run every test
    Test(test::Options),
    /// Make the virtual environment that the tests use, in target/python/venv
    Venv,
    /// Run formatting, lints, the component's check and every test
    Ci,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Task::Component { check } => component::component(check),
        Task::Test(options) => test::test(&options),
        Task::Venv => python::environment().map(drop),
        Task::Ci => {
            run(cargo().args(["fmt", "--all", "--check"]))?;
            let clippy = ["clippy", "--locked", "--workspace", "--all-targets"];
            run(cargo().args(clippy).args(["--", "-D", "warnings"]))?;
            component::component(true)?;
            test::test(&test::Options::default())
        }
    }
}

/// The workspace's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Cargo, in the root of the workspace.
fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// Run a command, say which, and fail if it fails.
fn run(command: &mut Command) -> Result<()> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    eprintln!("xtask: {line}");
    let status = command.status().with_context(|| format!("`{line}` could not be started"))?;
    ensure!(status.success(), "`{line}` failed: {status}");
    Ok(())
}
