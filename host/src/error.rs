//! What can go wrong.

use std::path::PathBuf;

pub use model_foundry_guest::config::Violation;

/// An error of a run. Each is one sentence that names what failed and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration breaks its rules; every violation is told.
    #[error("{}", list_violations(origin, violations))]
    Config {
        /// The file, or what else it was read from.
        origin: String,
        /// Each field that is wrong.
        violations: Vec<Violation>,
    },
    /// A file or folder cannot be used.
    #[error("{path}: {problem}", path = path.display())]
    Path {
        /// Which.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The component cannot be used.
    #[error("{0}")]
    Component(String),
    /// An argument cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// A stated bound is reached.
    #[error("{0}")]
    Limit(String),
    /// A record is larger than one may be. It is counted as lost.
    #[error("{0}")]
    TooLarge(String),
    /// The storage refused a record. It is counted, and written with the next one if it can be.
    #[error("{0}")]
    Storage(String),
    /// The component failed and was started anew; its state was read back from the files.
    #[error("the logging component failed and was started anew: {0}")]
    Trap(String),
}

/// What the library's calls return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn path(path: impl Into<PathBuf>, problem: impl ToString) -> Self {
        Self::Path { path: path.into(), problem: problem.to_string() }
    }
}

fn list_violations(origin: &str, violations: &[Violation]) -> String {
    let mut text = match violations {
        [_] => format!("{origin} breaks a rule:"),
        several => format!("{origin} breaks {} rules:", several.len()),
    };
    for violation in violations {
        text.push_str("\n  ");
        if !violation.field.is_empty() {
            text.push_str(&violation.field);
            if !violation.value.is_empty() {
                text.push_str(" = ");
                text.push_str(&violation.value);
            }
            text.push_str(": ");
        }
        text.push_str(&violation.message);
    }
    text
}
