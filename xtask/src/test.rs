//! `cargo xtask test`: every test there is.

use anyhow::Result;

use crate::{cargo, python, root, run};

/// Run every test: the workspace's, the Python package's, and the fuzz targets over their corpus, which are
/// a workspace of their own.
pub(crate) fn test() -> Result<()> {
    run(cargo().args(["test", "--locked", "--workspace"]))?;
    python::test()?;
    run(cargo()
        .args(["test", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--target-dir"])
        .arg(root().join("target/fuzz-tests")))
}
