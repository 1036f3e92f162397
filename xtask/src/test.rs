//! `cargo xtask test`: run every test.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::{cargo, python, root, run};

/// Names the folder of frameworks where `--python-path` does not.
const FRAMEWORKS: &str = "MODEL_FOUNDRY_FRAMEWORKS";

/// What `cargo xtask test` takes.
#[derive(Default, clap::Args)]
pub(crate) struct Options {
    /// Also test the Python package with PyTorch, Lightning and Transformers
    #[arg(long)]
    frameworks: bool,
    /// A virtual environment that has them, or a folder filled by `pip install --target` [default:
    /// $MODEL_FOUNDRY_FRAMEWORKS]
    #[arg(long, value_name = "DIR", requires = "frameworks")]
    python_path: Option<PathBuf>,
}

impl Options {
    /// Where the frameworks are, if the tests are to run with them.
    fn frameworks(&self) -> Result<Option<PathBuf>> {
        if !self.frameworks {
            return Ok(None);
        }
        let named =
            self.python_path.clone().or_else(|| std::env::var_os(FRAMEWORKS).map(Into::into));
        let folder = named.with_context(|| {
            format!(
                "--frameworks needs --python-path DIR or {FRAMEWORKS}: a virtual environment, or a folder \
                 filled by `pip install --target DIR torch lightning transformers accelerate`"
            )
        })?;
        python::packages(&folder).map(Some)
    }
}

/// Run every test: the workspace's, the Python package's, and the fuzz targets over their corpus. The fuzz
/// targets are a workspace of their own.
pub(crate) fn test(options: &Options) -> Result<()> {
    // First, because the workspace's tests take minutes.
    let frameworks = options.frameworks()?;
    // Before the workspace's tests, which use wandb from the environment.
    let python = python::environment()?;
    run(cargo().args(["test", "--locked", "--workspace"]))?;
    python::test(&python, frameworks.as_deref())?;
    run(cargo()
        .args(["test", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--target-dir"])
        .arg(root().join("target/fuzz-tests")))
}
