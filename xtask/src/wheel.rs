//! `cargo xtask wheel`: a wheel of the Python package with the program in it, for every Linux of the last ten years.
//!
//! maturin builds the library, and cargo-zigbuild the program. Both link with zig, against the C library that a
//! `manylinux2014` wheel may expect.

use std::env::consts::ARCH;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::{python, root, run, tools};

/// The version of glibc that `manylinux2014` has.
const GLIBC: &str = "2.17";

/// The options of `cargo xtask wheel`.
#[derive(Default, clap::Args)]
pub(crate) struct Options {
    /// Build it fast, to try it; the wheel is slow
    #[arg(long)]
    pub(crate) trial: bool,
}

/// Build the wheel, install it in an empty environment, and use it there.
pub(crate) fn wheel(options: &Options) -> Result<()> {
    tools::install_for_wheels()?;
    let wheel = build(options)?;
    test(&wheel)?;
    eprintln!("xtask: wrote {}", wheel.display());
    Ok(())
}

/// Build the wheel; its path.
fn build(options: &Options) -> Result<PathBuf> {
    let package = root().join("bindings/python");
    // Each build has other features, and another linker: nothing in it is of use to the others.
    let target = root().join("target/wheel/program");
    let profile = if options.trial { "trial" } else { "release" };
    let triple = format!("{ARCH}-unknown-linux-gnu");

    let program = ["zigbuild", "--locked", "-p", "model-foundry-cli", "--profile", profile];
    run(tool("cargo-zigbuild", &target)
        .current_dir(root())
        .args(program)
        .args(["--target", &format!("{triple}.{GLIBC}")]))?;

    let scripts = package.join("model_foundry._native.data/scripts");
    fs::create_dir_all(&scripts)?;
    let program = scripts.join("model-foundry");
    let built = target.join(&triple).join(profile).join("model-foundry");
    fs::copy(&built, &program).with_context(|| format!("cannot copy {}", built.display()))?;
    // Without binutils the wheel is larger.
    let _ = Command::new("strip").arg(&program).status();

    let target = root().join("target/wheel/library");
    let wheels = root().join("target/wheel/wheels");
    if wheels.exists() {
        fs::remove_dir_all(&wheels)?;
    }
    let built = run(tool("maturin", &target)
        .current_dir(&package)
        .args([
            "build",
            "--locked",
            "--zig",
            "--compatibility",
            "manylinux2014",
            "--profile",
            profile,
        ])
        .args(["--target", &triple, "--out"])
        .arg(&wheels));
    // The folder is no part of the package's sources.
    fs::remove_dir_all(package.join("model_foundry._native.data"))?;
    built?;
    let mut found = fs::read_dir(&wheels)?.map(|entry| entry.map(|entry| entry.path()));
    let wheel = found.next().context("maturin wrote no wheel")??;
    let name = wheel.file_name().unwrap_or_default().to_string_lossy();
    ensure!(
        name.contains("manylinux2014") || name.contains("manylinux_2_17"),
        "{name}: not a tag of PyPI"
    );
    Ok(wheel)
}

/// A tool that builds into `target`, and finds zig in the tools' environment.
fn tool(name: &str, target: &Path) -> Command {
    let mut command = Command::new(tools::path(name));
    let tools = tools::path("").display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{tools}:{path}")).env("CARGO_TARGET_DIR", target);
    command
}

/// Install a wheel as a user does, and use what it brings.
fn test(wheel: &Path) -> Result<()> {
    let folder = root().join("target/wheel/environment");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let python = python::environment(&folder)?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).arg(wheel))?;
    let place = tempfile::tempdir()?;
    let program = python::programs(&folder).join("model-foundry");
    let script = "import model_foundry\n\
                  run = model_foundry.init('tiny-lm')\n\
                  run.log({'loss': 0.5})\n";
    fs::write(place.path().join("t.py"), script)?;
    run(Command::new(&program).arg("run").arg(&python).arg("t.py").current_dir(place.path()))?;
    let text = fs::read_to_string(place.path().join("runs/t/metrics.jsonl"))?;
    ensure!(text.contains("\"loss\":0.5"), "the script's step is missing: {text}");
    run(Command::new(&python).args(["-m", "model_foundry", "show"]).current_dir(place.path()))
}
