//! `cargo xtask test`: every test there is.

use anyhow::Result;

use crate::{cargo, run};

/// Run every test.
pub(crate) fn test() -> Result<()> {
    run(cargo().args(["test", "--locked", "--workspace"]))
}
