//! A digest of everything that the component is built from, committed beside it: a stale component fails
//! an ordinary test, on machines without the WebAssembly target too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::root;

/// Where the digest is committed.
pub(crate) fn committed() -> PathBuf {
    root().join("host/component/sources.sha256")
}

/// The digest of guest/, wit/, the toolchain, how the component is built and put together, and that part of
/// the lock file.
pub(crate) fn of_sources() -> Result<String> {
    let mut files = BTreeSet::new();
    for folder in ["guest", "wit"] {
        collect(&root().join(folder), &mut files)?;
    }
    for file in ["rust-toolchain.toml", "xtask/src/component.rs", "xtask/src/entrance.rs"] {
        files.insert(root().join(file));
    }
    let mut hasher = Sha256::new();
    for file in files {
        let name = file.strip_prefix(root())?.to_string_lossy().replace('\\', "/");
        let content = fs::read_to_string(&file)
            .with_context(|| format!("{} cannot be read", file.display()))?;
        hasher.update(name.as_bytes());
        hasher.update([0]);
        // A checkout with other line endings builds the same.
        hasher.update(content.replace("\r\n", "\n").as_bytes());
        hasher.update([0]);
    }
    for package in locked_packages()? {
        hasher.update(package.as_bytes());
        hasher.update([0]);
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn collect(folder: &Path, files: &mut BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.insert(path);
        }
    }
    Ok(())
}

/// What xtask puts the component together with.
const ENCODERS: [&str; 3] = ["wasm-encoder", "wasmparser", "wit-component"];

/// Name, version and checksum of every package that the component is built from and put together with.
fn locked_packages() -> Result<Vec<String>> {
    let lock: toml::Table = fs::read_to_string(root().join("Cargo.lock"))?.parse()?;
    let manifest: toml::Table = fs::read_to_string(root().join("guest/Cargo.toml"))?.parse()?;
    let text = |value: Option<&toml::Value>| {
        value.and_then(toml::Value::as_str).unwrap_or_default().to_owned()
    };
    // A package is named "name" in the lock file, or "name version" where there are several of it.
    let mut packages = BTreeMap::new();
    for package in lock.get("package").and_then(toml::Value::as_array).into_iter().flatten() {
        let (name, version) = (text(package.get("name")), text(package.get("version")));
        let dependencies = package.get("dependencies").and_then(toml::Value::as_array);
        let dependencies: Vec<String> =
            dependencies.into_iter().flatten().map(|dependency| text(Some(dependency))).collect();
        let line = format!("{name} {version} {}", text(package.get("checksum")));
        packages.insert(format!("{name} {version}"), (line.clone(), dependencies.clone()));
        packages.insert(name, (line, dependencies));
    }
    let guest = &packages.get("model-foundry-guest").context("the guest is not locked")?.1;
    let xtask = &packages.get("xtask").context("xtask is not locked")?.1;
    // What only its tests need is in the lock file too, and no part of the component.
    let own = manifest.get("dependencies").and_then(toml::Value::as_table);
    let own: Vec<&str> = own.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let is_in = |names: &[&str], dependency: &str| {
        names.contains(&dependency.split(' ').next().unwrap_or_default())
    };
    let mut waiting: Vec<&String> = guest.iter().filter(|name| is_in(&own, name)).collect();
    waiting.extend(xtask.iter().filter(|name| is_in(&ENCODERS, name)));
    let mut found = BTreeSet::new();
    while let Some(name) = waiting.pop() {
        let (line, dependencies) =
            packages.get(name).with_context(|| format!("{name} is not locked"))?;
        if found.insert(line.clone()) {
            waiting.extend(dependencies);
        }
    }
    Ok(found.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_component_is_of_these_sources() {
        let known = fs::read_to_string(committed()).unwrap_or_default();
        assert_eq!(
            known.trim(),
            of_sources().unwrap(),
            "guest/, wit/ or their dependencies changed: run `cargo xtask component` and commit \
             host/component/"
        );
    }
}
