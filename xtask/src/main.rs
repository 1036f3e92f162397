//! The workspace's own commands.
//!
//!     cargo xtask component [--check]   build the logging component, or compare the committed one
//!     cargo xtask test                  run every test
//!     cargo xtask venv                  make the virtual environment of the tests, for `cargo test` by itself
//!     cargo xtask wheel                 build a wheel of the Python package with the program, and use it
//!     cargo xtask ci                    run every check that a change must pass, and every test

mod checks;
mod component;
mod digest;
mod entrance;
mod python;
mod test;
mod tools;
mod wheel;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

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
        /// Write nothing; fail if the committed component differs
        #[arg(long)]
        check: bool,
    },
    /// Run every test
    Test(test::Options),
    /// Make the virtual environment that the tests use, in target/python/venv
    Venv,
    /// Build a wheel of the Python package with the program in it, and use it in an empty environment
    Wheel(wheel::Options),
    /// Run every check that a change must pass, and every test
    Ci,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Task::Component { check } => component::component(check),
        Task::Test(options) => test::test(&options),
        Task::Venv => python::test_environment().map(drop),
        Task::Wheel(options) => wheel::wheel(&options),
        Task::Ci => checks::ci(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without the backtrace that anyhow adds when RUST_BACKTRACE is set.
            eprintln!("xtask: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Cargo, started in the workspace's root.
fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// Print a command and run it; an exit code other than 0 is an error.
fn run(command: &mut Command) -> Result<()> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    eprintln!("xtask: {line}");
    let status = command.status().with_context(|| format!("`{line}` could not be started"))?;
    ensure!(status.success(), "`{line}` failed: {status}");
    Ok(())
}
