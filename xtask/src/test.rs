//! `cargo xtask test`: every test.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::checks::timed;
use crate::{cargo, python, root, run};

/// Names the folder of frameworks if `--python-path` does not.
const FRAMEWORKS: &str = "MODEL_FOUNDRY_FRAMEWORKS";

/// The options of `cargo xtask test`.
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
    /// The folder of the frameworks, if the tests run with them.
    fn frameworks(&self) -> Result<Option<PathBuf>> {
        if !self.frameworks {
            return Ok(None);
        }
        let named =
            self.python_path.clone().or_else(|| std::env::var_os(FRAMEWORKS).map(Into::into));
        let folder = named.with_context(|| {
            format!(
                "--frameworks needs --python-path DIR or {FRAMEWORKS}: a virtual environment, or a folder \
                 filled by `pip install --target DIR torch lightning transformers accelerate optuna`"
            )
        })?;
        python::packages(&folder).map(Some)
    }
}

/// Run every test: the workspace's, the Python package's, and the fuzz targets over their corpus.
pub(crate) fn test(options: &Options) -> Result<()> {
    // Before the workspace's tests, which take minutes.
    let frameworks = options.frameworks()?;
    // The workspace's tests use wandb from this environment.
    let python = python::test_environment()?;
    timed("tests", workspace)?;
    timed("python", || python::test(&python, frameworks.as_deref()))?;
    timed("fuzz", fuzz_targets)
}

fn workspace() -> Result<()> {
    run(cargo().args(["test", "--locked", "--workspace"]))
}

/// The fuzz targets are a workspace of their own, with other profiles: they get a target directory of their
/// own.
fn fuzz_targets() -> Result<()> {
    run(cargo()
        .args(["test", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--target-dir"])
        .arg(root().join("target/fuzz-tests")))
}
