//! Why a call did not do what it was asked.

use crate::imports::StorageError;

/// An error of the logging logic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An argument cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// A stated bound is reached.
    #[error("{0}")]
    Limit(String),
    /// A record is larger than one may be.
    #[error("{0}")]
    TooLarge(String),
    /// The storage refused.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What the logic's calls return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
