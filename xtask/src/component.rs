//! `cargo xtask component`: builds guest/ and encodes it as a component.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use wasmparser::Validator;
use wit_component::ComponentEncoder;

use crate::{cargo, digest, entrance, root, run};

pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// The size of the component's memory in bytes, fixed, and the most that the host allows. The logic limits
/// its own use to less than half of it, however long a run is; the rest is room for one huge record. Unused
/// memory is never touched and only costs address space. A system that limits address space (`ulimit -v`,
/// `ulimit -d`, no overcommit) counts all of it.
const MEMORY: u32 = 160 << 20;

/// The path of the committed component.
fn committed() -> PathBuf {
    root().join("host/component/model-foundry-logging.wasm")
}

/// Build the component and write it, or compare it with the committed one if `check` is set.
pub(crate) fn component(check: bool) -> Result<()> {
    add_target();
    let built = build()?;
    if !check {
        fs::write(committed(), &built)?;
        fs::write(digest::committed(), digest::of_sources()? + "\n")?;
        eprintln!("xtask: wrote {} ({} KiB)", committed().display(), built.len() >> 10);
        return Ok(());
    }
    let known = fs::read(committed()).with_context(|| {
        format!("could not read {}; run `cargo xtask component`", committed().display())
    })?;
    if known != built {
        bail!(
            "{} differs from what guest/ builds; run `cargo xtask component` and commit the result",
            committed().display()
        );
    }
    eprintln!("xtask: {} is up to date", committed().display());
    Ok(())
}

/// Add the target if rustup manages the toolchain. If it does not, the build reports what is missing.
fn add_target() {
    let _ = Command::new("rustup").args(["target", "add", TARGET]).current_dir(root()).status();
}

fn build() -> Result<Vec<u8>> {
    // A target directory of its own, so that CARGO_TARGET_DIR does not change the module's path.
    let target_dir = root().join("target/component");
    run(cargo()
        .args(["build", "--locked", "--package", "model-foundry-component", "--lib"])
        .args(["--target", TARGET, "--profile", "component"])
        .arg("--target-dir")
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", flags().join("\x1f"))
        .env_remove("RUSTFLAGS"))?;
    let module = target_dir.join(TARGET).join("component/model_foundry_component.wasm");
    let module = fs::read(&module).with_context(|| format!("{} is missing", module.display()))?;
    let component = ComponentEncoder::default()
        .module(&module)?
        .encode()
        .context("could not encode the module as a component")?;
    let component =
        entrance::add(&component).context("could not add the entrance to the component")?;
    Validator::new().validate_all(&component)?;
    Ok(component)
}

/// The compiler's flags. They enable SIMD for searching and copying, fix the memory's size, and remove this
/// machine's paths from the result.
fn flags() -> Vec<String> {
    let home = |name: &str, default: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(default)))
    };
    let mut flags = vec![
        "-Ctarget-feature=+simd128".to_owned(),
        format!("-Clink-arg=--initial-memory={MEMORY}"),
        format!("-Clink-arg=--max-memory={MEMORY}"),
    ];
    let mut remap = |from: &Path, to: &str| {
        flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    };
    remap(&root(), "/model-foundry");
    if let Some(cargo_home) = home("CARGO_HOME", ".cargo") {
        // The registry's folder name contains a hash of its address, which differs between machines.
        let sources = cargo_home.join("registry/src");
        for registry in fs::read_dir(&sources).into_iter().flatten().flatten() {
            remap(&registry.path(), "/registry");
        }
    }
    if let Some(rustup_home) = home("RUSTUP_HOME", ".rustup") {
        remap(&rustup_home, "/rustup");
    }
    flags
}
