//! `cargo xtask ci`: the one list of checks that a change must pass.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::{cargo, component, root, run, test, tools, wheel};

/// A check's name and what runs it.
type Check = (&'static str, fn() -> Result<()>);

/// The checks before the tests. What fails within seconds comes first.
const CHECKS: &[Check] = &[
    ("fmt", fmt),
    ("tools", tools::install),
    ("typos", typos),
    ("deny", deny),
    ("clippy", clippy),
    ("doc", doc),
    ("package", package),
    ("component", || component::component(true)),
];

/// The crates that are published, each after those it depends on.
const PUBLISHED: &[&str] = &["model-foundry-types", "model-foundry-guest", "model-foundry"];

/// Run every check and every test.
pub(crate) fn ci() -> Result<()> {
    for (name, check) in CHECKS {
        timed(name, check)?;
    }
    test::test(&test::Options::default())?;
    timed("wheel", || wheel::wheel(&wheel::Options { trial: true }))
}

/// Run a check, and print a line with its time.
pub(crate) fn timed(name: &str, check: impl FnOnce() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    let result = check();
    let outcome = if result.is_ok() { "passed" } else { "failed" };
    eprintln!("xtask: {outcome}: {name}, {:.1} s", start.elapsed().as_secs_f64());
    result.with_context(|| format!("the check `{name}` failed"))
}

fn fmt() -> Result<()> {
    run(cargo().args(["fmt", "--all", "--check"]))?;
    run(cargo().args(["fmt", "--all", "--check", "--manifest-path", "fuzz/Cargo.toml"]))
}

fn typos() -> Result<()> {
    run(Command::new(tools::path("typos")).current_dir(root()))
}

/// Check the dependencies' licenses, sources and versions, and their advisories if those can be fetched.
fn deny() -> Result<()> {
    run(cargo_deny().args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))?;
    // The advisories are in a git repository that some networks cannot reach. Only the fetch may fail.
    let fetch = cargo_deny().args(["fetch", "db", "index"]).output()?;
    if !fetch.status.success() {
        let errors = String::from_utf8_lossy(&fetch.stderr);
        let why = errors.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given");
        eprintln!("xtask: advisories not checked: {why}");
        return Ok(());
    }
    run(cargo_deny().args(["--offline", "check", "advisories"]))
}

fn cargo_deny() -> Command {
    let mut cargo_deny = Command::new(tools::path("cargo-deny"));
    cargo_deny.current_dir(root()).arg("--locked");
    cargo_deny
}

/// Package the published crates, in one call: they depend on each other, and cargo finds this version of
/// them only among the packages of the same call.
fn package() -> Result<()> {
    let packages: Vec<&str> = PUBLISHED.iter().flat_map(|name| ["--package", name]).collect();
    if packages.is_empty() {
        return Ok(());
    }
    // Not verified: that would compile wasmtime again, since the manifests inside packages have no profiles
    // and choose other features than the workspace does. `cargo publish` verifies them at a release.
    // Offline: the checks above have downloaded everything that Cargo.lock names.
    run(cargo()
        .args(["package", "--locked", "--offline", "--no-verify", "--allow-dirty"])
        .args(packages))
}

fn clippy() -> Result<()> {
    let arguments = ["clippy", "--locked", "--workspace", "--all-targets"];
    run(cargo().args(arguments).args(["--", "-D", "warnings"]))?;
    // The component's crate is empty except for WebAssembly.
    let component = ["clippy", "--locked", "--package", "model-foundry-component"];
    run(cargo().args(component).args(["--target", component::TARGET, "--", "-D", "warnings"]))
}

fn doc() -> Result<()> {
    let arguments = ["doc", "--locked", "--workspace", "--lib", "--no-deps"];
    run(cargo().args(arguments).env("RUSTDOCFLAGS", "-D warnings"))
}
