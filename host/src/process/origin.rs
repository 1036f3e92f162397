//! How this process was started: its code, its machine, and its surroundings, as far as they matter to a training.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::secrets::masked;

/// How long git may take. A repository on a slow file system does not delay a training for longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The commit of the code, and whether it was changed since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    /// The short hash, or "unknown" outside a repository.
    pub(crate) hash: String,
    /// Whether tracked files differ from the commit; none if that is unknown.
    pub(crate) is_dirty: Option<bool>,
}

impl Commit {
    /// The commit of the repository that a folder is in.
    pub(crate) fn of(folder: &Path) -> Self {
        let described = output(
            git(folder).args(["describe", "--always", "--dirty", "--abbrev=7", "--exclude=*"]),
            PATIENCE,
        );
        let described = described.map(|text| text.trim().to_owned()).filter(|it| !it.is_empty());
        match described {
            Some(text) => match text.strip_suffix("-dirty") {
                Some(hash) => Self { hash: hash.to_owned(), is_dirty: Some(true) },
                None => Self { hash: text, is_dirty: Some(false) },
            },
            None => Self { hash: "unknown".into(), is_dirty: None },
        }
    }
}

/// The changes of tracked files since the commit, as a patch.
pub(crate) fn diff(folder: &Path) -> Option<String> {
    output(git(folder).args(["diff", "HEAD", "--no-color", "--no-ext-diff"]), PATIENCE)
}

fn git(folder: &Path) -> Command {
    let mut git = Command::new("git");
    // Without optional locks git writes nothing to the repository.
    git.current_dir(folder).env("GIT_OPTIONAL_LOCKS", "0").env("LC_ALL", "C");
    git
}

/// What a command prints, if it ends successfully and in time.
fn output(command: &mut Command, patience: Duration) -> Option<String> {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let mut stdout = child.stdout.take()?;
    let reader = std::thread::Builder::new().spawn(move || {
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut stdout, &mut text).ok().map(|_| text)
    });
    let succeeded = wait(&mut child, patience);
    if !succeeded {
        return None;
    }
    let text = reader.ok()?.join().ok()??;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// Wait for a process's end, and end it if that takes too long. Whether it succeeded.
fn wait(child: &mut Child, patience: Duration) -> bool {
    let began = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if began.elapsed() < patience => std::thread::sleep(pause),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// The variables that are recorded, and the prefixes of further ones.
const VARIABLES: [&str; 22] = [
    "CONDA_DEFAULT_ENV",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "JAX_PLATFORMS",
    "KERAS_BACKEND",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "LSB_JOBID",
    "MASTER_ADDR",
    "MASTER_PORT",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "PBS_JOBID",
    "PYTHONHASHSEED",
    "RANK",
    "ROCR_VISIBLE_DEVICES",
    "TF_DETERMINISTIC_OPS",
    "TOKENIZERS_PARALLELISM",
    "VIRTUAL_ENV",
    "WORLD_SIZE",
    "XLA_FLAGS",
];
const PREFIXES: [&str; 6] =
    ["ACCELERATE_", "DEEPSPEED_", "NCCL_", "PYTORCH_", "TORCHELASTIC_", "TORCH_"];
const SLURM: [&str; 7] = [
    "SLURM_ARRAY_TASK_ID",
    "SLURM_JOB_ID",
    "SLURM_JOB_NAME",
    "SLURM_JOB_PARTITION",
    "SLURM_NNODES",
    "SLURM_NTASKS",
    "SLURM_RESTART_COUNT",
];

/// The environment variables that matter to a training, in alphabetical order, their secrets masked.
pub(crate) fn environment() -> Map<String, Value> {
    let is_recorded = |name: &str| {
        VARIABLES.contains(&name)
            || SLURM.contains(&name)
            || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    };
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let mut all: Vec<(String, String)> = std::env::vars_os()
        .map(|(name, value)| (text(name), text(value)))
        .filter(|(name, _)| is_recorded(name))
        .collect();
    all.sort();
    all.into_iter().map(|(name, value)| (name.clone(), masked(&name, &value).into())).collect()
}

/// A command as one line that can be pasted into a shell.
pub fn quoted(command: &[String]) -> String {
    let quote = |word: &String| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
        if !word.is_empty() && word.chars().all(is_plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    };
    command.iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_command_is_what_a_shell_reads() {
        let words = ["sh", "", "a b", "it's", "$HOME", "--x=1", "*", "é"].map(str::to_owned);
        let line = quoted(&words);
        assert_eq!(line, r"sh '' 'a b' 'it'\''s' '$HOME' --x=1 '*' 'é'");
        let script = format!("printf '%s\\n' {line}");
        let printed = Command::new("sh").args(["-c", &script]).output().unwrap();
        let printed = String::from_utf8(printed.stdout).unwrap();
        assert_eq!(printed.lines().collect::<Vec<_>>(), words);
    }

    #[test]
    fn a_changed_file_makes_a_commit_dirty() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert_eq!(Commit::of(folder), Commit { hash: "unknown".into(), is_dirty: None });
        let git = |arguments: &[&str]| {
            let identity = ["-c", "user.name=a", "-c", "user.email=a@b"];
            let status = git(folder).args(identity).args(arguments).output().unwrap().status;
            assert!(status.success(), "{arguments:?}");
        };
        std::fs::write(folder.join("a"), "1\n").unwrap();
        git(&["init", "-q"]);
        git(&["add", "a"]);
        git(&["commit", "-qm", "a"]);
        let clean = Commit::of(folder);
        assert_eq!((clean.hash.len(), clean.is_dirty), (7, Some(false)));
        std::fs::write(folder.join("a"), "2\n").unwrap();
        assert_eq!(Commit::of(folder), Commit { is_dirty: Some(true), ..clean });
        assert!(diff(folder).unwrap().contains("\n-1\n+2\n"));
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let began = Instant::now();
        let hangs = output(Command::new("sleep").arg("60"), Duration::from_millis(50));
        assert_eq!(hangs, None);
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}
