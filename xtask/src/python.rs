//! `cargo xtask test`, the Python package's part: a virtual environment under target/ with the package in
//! it, its tests and doctests, and its types checked.

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::{cargo, root, run};

/// Build the package into the environment and test it there.
pub(crate) fn test() -> Result<()> {
    let package = root().join("bindings/python");
    let python = environment()?;
    install(&package, &python)?;
    let module = ["-m", "pytest", "--pyargs", "tests", "model_foundry"];
    run(command(&python, &package).args(module))?;
    run(command(&python, &package).args(["-m", "mypy", "--package", "model_foundry"]))?;
    run(command(&python, &package).args(["-m", "mypy", "tests"]))
}

fn command(python: &Path, folder: &Path) -> Command {
    let mut command = Command::new(python);
    // Only what is installed is tested.
    command.current_dir(folder).env_remove("PYTHONPATH").env_remove("PYTHONHOME");
    command
}

/// The environment's interpreter, with everything that the tests need.
fn environment() -> Result<PathBuf> {
    let folder = root().join("target/python/venv");
    let python = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    if !python.exists() {
        let system = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
        run(Command::new(system).args(["-m", "venv"]).arg(&folder)).context(
            "Python 3.10 or later with venv is needed (apt-get install python3-venv); PYTHON \
             names another interpreter than python3",
        )?;
    }
    let requirements = root().join("bindings/python/tests/requirements.txt");
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
    run(Command::new(&python).args(pip).arg(requirements))?;
    Ok(python)
}

/// Put the package into the environment as a wheel would.
///
/// maturin builds this one package, for which cargo chooses other features of shared dependencies than for
/// the whole workspace: it would compile wasmtime a second time, which takes longer than all the tests. So
/// the library is that of the workspace's own build.
fn install(package: &Path, python: &Path) -> Result<()> {
    run(cargo().args(["build", "--locked", "--workspace", "--lib"]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| root().join("target"));
    let library = format!("{DLL_PREFIX}model_foundry_native{DLL_SUFFIX}");
    let library = root().join(target).join("debug").join(library);

    let path = "import sysconfig; print(sysconfig.get_path('platlib'), end='')";
    let told = Command::new(python).args(["-c", path]).output()?;
    ensure!(told.status.success(), "{} does not run", python.display());
    let installed = Path::new(&String::from_utf8(told.stdout)?).join("model_foundry");
    if installed.exists() {
        fs::remove_dir_all(&installed)?;
    }
    copy(&package.join("python/model_foundry"), &installed)?;
    let native = if cfg!(windows) { "_native.pyd" } else { "_native.abi3.so" };
    fs::copy(&library, installed.join(native))
        .with_context(|| format!("{} cannot be copied", library.display()))?;
    Ok(())
}

/// Copy a folder's sources: what a build or an interpreter left among them is not the package's.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        let is_built = path.extension().is_some_and(|ending| ending == "so" || ending == "pyd");
        if path.is_dir() && name != OsStr::new("__pycache__") {
            copy(&path, &to.join(name))?;
        } else if path.is_file() && !is_built {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}
