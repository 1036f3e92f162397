//! The Python package's part of `cargo xtask test`: its tests and doctests run, and its types are checked,
//! in a virtual environment under target/.

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::{cargo, root, run};

/// Build the package into the environment and test it there, and with the packages in `frameworks` if that is
/// given.
pub(crate) fn test(python: &Path, frameworks: Option<&Path>) -> Result<()> {
    let package = root().join("bindings/python");
    install(&package, python)?;
    let module = ["-m", "pytest", "--pyargs", "tests", "model_foundry"];
    run(command(python, &package).args(module))?;
    if let Some(frameworks) = frameworks {
        let module = ["-m", "pytest", "-m", "frameworks", "tests"];
        run(command(python, &package).env("PYTHONPATH", frameworks).args(module))?;
    }
    run(command(python, &package).args(["-m", "mypy", "--package", "model_foundry"]))?;
    run(command(python, &package).args(["-m", "mypy", "tests"]))
}

/// The folder to import packages from: that of a virtual environment, or `folder` itself.
pub(crate) fn packages(folder: &Path) -> Result<PathBuf> {
    let folder = folder
        .canonicalize()
        .with_context(|| format!("cannot use the packages in {}", folder.display()))?;
    let packages = if folder.join("pyvenv.cfg").exists() {
        site_packages(&interpreter(&folder))?
    } else {
        folder
    };
    // It comes first on the interpreter's path, and would be tested instead of this one.
    ensure!(
        !packages.join("model_foundry").exists(),
        "{} has a model_foundry of its own: uninstall it there first",
        packages.display()
    );
    Ok(packages)
}

fn command(python: &Path, folder: &Path) -> Command {
    let mut command = Command::new(python);
    // These could make Python import something other than the installed package.
    command.current_dir(folder).env_remove("PYTHONPATH").env_remove("PYTHONHOME");
    command
}

/// The interpreter of the environment in which the package is tested, with everything that the tests need.
pub(crate) fn test_environment() -> Result<PathBuf> {
    let python = environment(&root().join("target/python/venv"))?;
    pip(&python, &root().join("bindings/python/tests/requirements.txt"))?;
    Ok(python)
}

/// The interpreter of a virtual environment.
fn interpreter(environment: &Path) -> PathBuf {
    programs(environment).join("python")
}

/// Where an interpreter's packages are installed.
fn site_packages(python: &Path) -> Result<PathBuf> {
    let path = "import sysconfig; print(sysconfig.get_path('platlib'), end='')";
    let output = Command::new(python)
        .args(["-c", path])
        .output()
        .with_context(|| format!("cannot run {}", python.display()))?;
    ensure!(output.status.success(), "{} failed: {}", python.display(), output.status);
    Ok(String::from_utf8(output.stdout)?.into())
}

/// The interpreter of the virtual environment in `folder`, which is created if it is missing.
pub(crate) fn environment(folder: &Path) -> Result<PathBuf> {
    let python = interpreter(folder);
    if !python.exists() {
        let system = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
        run(Command::new(system).args(["-m", "venv"]).arg(folder)).context(
            "could not create a virtual environment; install Python 3.10 or later with venv \
             (apt-get install python3-venv), or set PYTHON to an interpreter that has it",
        )?;
    }
    Ok(python)
}

/// The folder of a virtual environment's programs.
pub(crate) fn programs(folder: &Path) -> PathBuf {
    folder.join("bin")
}

/// Install what a requirements file lists.
pub(crate) fn pip(python: &Path, requirements: &Path) -> Result<()> {
    let arguments = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
    run(Command::new(python).args(arguments).arg(requirements))
}

/// Install the package the way a wheel would, with the library from the workspace's own build.
///
/// maturin would build this package by itself. Cargo would then choose other features for shared
/// dependencies than it does for the whole workspace, and compile wasmtime a second time, which takes
/// longer than all tests.
fn install(package: &Path, python: &Path) -> Result<()> {
    let features = ["--features", "model-foundry-python/trap-for-tests"];
    run(cargo().args(["build", "--locked", "--workspace", "--lib"]).args(features))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| root().join("target"));
    let library = format!("{DLL_PREFIX}model_foundry_native{DLL_SUFFIX}");
    let library = root().join(target).join("debug").join(library);

    let installed = site_packages(python)?.join("model_foundry");
    if installed.exists() {
        fs::remove_dir_all(&installed)?;
    }
    copy(&package.join("python/model_foundry"), &installed)?;
    fs::copy(&library, installed.join("_native.abi3.so"))
        .with_context(|| format!("could not copy {}", library.display()))?;
    Ok(())
}

/// Copy a folder's sources, without libraries and caches that a build or an interpreter left among them.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        let is_built = path.extension().is_some_and(|extension| extension == "so");
        if path.is_dir() && name != OsStr::new("__pycache__") {
            copy(&path, &to.join(name))?;
        } else if path.is_file() && !is_built {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}
