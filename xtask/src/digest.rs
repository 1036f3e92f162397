//! A digest of everything that the component is built from, committed next to it. With it an ordinary test
//! detects a stale component, also on machines without the WebAssembly target.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::root;

/// The path of the committed digest.
pub(crate) fn committed() -> PathBuf {
    root().join("host/component/sources.sha256")
}

/// The digest of guest/, wit/, the toolchain, the code here that builds the component, and the locked
/// packages that it is built from.
pub(crate) fn of_sources() -> Result<String> {
    let mut files = BTreeSet::new();
    for folder in ["guest", "types", "wit"] {
        collect(&root().join(folder), &mut files)?;
    }
    for file in ["rust-toolchain.toml", "xtask/src/component.rs", "xtask/src/entrance.rs"] {
        files.insert(root().join(file));
    }
    let mut hasher = Sha256::new();
    for file in files {
        let name = file.strip_prefix(root())?.to_string_lossy().replace('\\', "/");
        let content = fs::read_to_string(&file)
            .with_context(|| format!("could not read {}", file.display()))?;
        hasher.update(name.as_bytes());
        hasher.update([0]);
        // The line endings of a checkout do not change the build.
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

/// The crates of this workspace that the component is built from: their folders and names.
const CRATES: [(&str, &str); 3] = [
    ("guest/component", "model-foundry-component"),
    ("guest", "model-foundry-guest"),
    ("types", "model-foundry-types"),
];

/// The crates with which xtask encodes the component.
const ENCODERS: [&str; 3] = ["wasm-encoder", "wasmparser", "wit-component"];

/// Name, version and checksum of every package that the component is built from and encoded with.
fn locked_packages() -> Result<Vec<String>> {
    let lock: toml::Table = fs::read_to_string(root().join("Cargo.lock"))?.parse()?;
    let text = |value: Option<&toml::Value>| {
        value.and_then(toml::Value::as_str).unwrap_or_default().to_owned()
    };
    // The lock file names a package "name", or "name version" if there are several versions of it.
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
    let locked = |name: &str| packages.get(name).with_context(|| format!("{name} is not locked"));
    // The lock file also has dependencies of these crates that are only for tests or for other features.
    let mut waiting = Vec::new();
    for (folder, name) in CRATES {
        let own = dependencies(&root().join(folder).join("Cargo.toml"))?;
        waiting.extend(locked(name)?.1.iter().filter(|dependency| is_in(&own, dependency)));
    }
    waiting.extend(locked("xtask")?.1.iter().filter(|dependency| is_in(&ENCODERS, dependency)));
    let mut found = BTreeSet::new();
    while let Some(name) = waiting.pop() {
        // The workspace's own crates are listed above.
        if CRATES.iter().any(|(_, own)| own == name) {
            continue;
        }
        let (line, dependencies) = locked(name)?;
        if found.insert(line.clone()) {
            waiting.extend(dependencies);
        }
    }
    Ok(found.into_iter().collect())
}

/// Whether a dependency of the lock file, "name" or "name version", is one of these.
fn is_in(names: &[impl AsRef<str>], dependency: &str) -> bool {
    let name = dependency.split(' ').next().unwrap_or_default();
    names.iter().any(|known| known.as_ref() == name)
}

/// The dependencies that a manifest names for WebAssembly, without the optional ones.
fn dependencies(manifest: &Path) -> Result<Vec<String>> {
    let manifest: toml::Table = fs::read_to_string(manifest)
        .with_context(|| format!("cannot read {}", manifest.display()))?
        .parse()?;
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let tables = targets.into_iter().flatten().filter_map(|(_, target)| target.get("dependencies"));
    let tables = manifest.get("dependencies").into_iter().chain(tables);
    let is_optional = |dependency: &toml::Value| {
        dependency.get("optional").and_then(toml::Value::as_bool).unwrap_or_default()
    };
    Ok(tables
        .filter_map(toml::Value::as_table)
        .flatten()
        .filter(|(_, dependency)| !is_optional(dependency))
        .map(|(name, _)| name.clone())
        .collect())
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
            "the sources of the component changed; run `cargo xtask component` and commit host/component/"
        );
    }
}
