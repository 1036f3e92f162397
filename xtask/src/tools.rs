//! The tools that the checks run, in a virtual environment under target/. The packages contain compiled
//! programs, so installing them takes seconds.

use std::path::PathBuf;

use anyhow::Result;

use crate::python::{self, pip};
use crate::root;

fn folder() -> PathBuf {
    root().join("target/tools")
}

/// Install the tools that are missing or differ in version from tools.txt.
pub(crate) fn install() -> Result<()> {
    let python = python::environment(&folder())?;
    pip(&python, &root().join("xtask/tools.txt"))
}

/// Install the tools of `cargo xtask wheel`, as [`install`] does.
pub(crate) fn install_for_wheels() -> Result<()> {
    let python = python::environment(&folder())?;
    pip(&python, &root().join("xtask/wheel-tools.txt"))
}

/// The path of a tool's program.
pub(crate) fn path(name: &str) -> PathBuf {
    python::programs(&folder()).join(name)
}
