//! The errors of the library.

use std::path::PathBuf;

use model_foundry_types as types;
use model_foundry_types::Violation;

/// An error of a run. Each message names what failed, on what, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration breaks rules.
    #[error("{}", list_violations(origin, violations))]
    Config {
        /// The file, or another source.
        origin: String,
        /// Every violation.
        violations: Vec<Violation>,
    },
    /// A file or folder cannot be used.
    #[error("{path}: {problem}", path = types::escaped(&path.to_string_lossy()))]
    Path {
        /// The file or folder.
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
    /// A record is larger than 16 MiB. It is counted as lost.
    #[error("{0}")]
    TooLarge(String),
    /// The storage refused a record. It is counted, and written with the next record if possible.
    #[error("{0}")]
    Storage(String),
    /// The component failed and was restarted; its state is read back from the files.
    #[error("the logging component failed and was restarted: {0}")]
    Trap(String),
}

/// What the library's calls return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<types::Error> for Error {
    fn from(error: types::Error) -> Self {
        match error {
            types::Error::Invalid(message) => Self::Invalid(message),
            types::Error::Limit(message) => Self::Limit(message),
            types::Error::TooLarge(message) => Self::TooLarge(message),
            types::Error::Storage(message) => Self::Storage(message),
            types::Error::Other(message) => Self::Component(message),
        }
    }
}

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
            text.push_str(&types::escaped(&violation.field));
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
