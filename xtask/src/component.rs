//! `cargo xtask component`: build guest/ and encode it as a component.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use wasmparser::Validator;
use wit_component::ComponentEncoder;

use crate::{cargo, digest, entrance, root, run};

const TARGET: &str = "wasm32-unknown-unknown";

/// The size of the component's memory in bytes, from start to end: as much as the host lets it have. The
/// logic's own bounds keep what it uses under half of that however long a run is; the rest is room for one huge
/// record. What is not used is never touched, and costs addresses; where the system counts them (`ulimit -v`,
/// `ulimit -d`, no overcommitting) it counts all.
const MEMORY: u32 = 160 << 20;

/// Where the built component is committed.
fn committed() -> PathBuf {
    root().join("host/component/model-foundry-logging.wasm")
}

/// Build the component and write it, or compare it with the committed one.
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
        format!("{} cannot be read; run `cargo xtask component`", committed().display())
    })?;
    if known != built {
        bail!(
            "{} is not what guest/ builds; run `cargo xtask component` and commit it",
            committed().display()
        );
    }
    eprintln!("xtask: {} is what guest/ builds", committed().display());
    Ok(())
}

/// Add the target where rustup manages the toolchain. Where it does not, the build tells what is missing.
fn add_target() {
    let _ = Command::new("rustup").args(["target", "add", TARGET]).current_dir(root()).status();
}

fn build() -> Result<Vec<u8>> {
    // A target directory of its own: the flags differ, and the caller holds the usual one's lock.
    let target_dir = root().join("target/component");
    run(cargo()
        .args(["build", "--locked", "--package", "model-foundry-guest", "--lib"])
        .args(["--features", "component", "--target", TARGET, "--profile", "component"])
        .arg("--target-dir")
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", flags().join("\x1f"))
        .env_remove("RUSTFLAGS"))?;
    let module = target_dir.join(TARGET).join("component/model_foundry_guest.wasm");
    let module = fs::read(&module).with_context(|| format!("{} is missing", module.display()))?;
    let component = ComponentEncoder::default()
        .module(&module)?
        .encode()
        .context("the module could not be encoded as a component")?;
    let component = entrance::add(&component).context("the component has got no entrance")?;
    Validator::new().validate_all(&component)?;
    Ok(component)
}

/// The compiler's flags: SIMD for searching and copying, a memory of fixed size, and no path of this machine
/// in the result.
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
        // The registry's folder carries a hash of its address: each crate's path starts behind it.
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
