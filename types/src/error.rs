//! Why the logic refused a call.

#[cfg(feature = "wasmtime")]
use wasmtime::component::{ComponentType, Lift, Lower};

use crate::StorageError;

/// An error of the logic. Each message is one sentence that names what failed and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(variant))]
pub enum Error {
    /// An argument cannot be used.
    #[error("{0}")]
    #[cfg_attr(feature = "wasmtime", component(name = "invalid"))]
    Invalid(String),
    /// A stated bound is reached. The record itself is written where possible.
    #[error("{0}")]
    #[cfg_attr(feature = "wasmtime", component(name = "limit"))]
    Limit(String),
    /// A record is larger than 16 MiB, and was not written.
    #[error("{0}")]
    #[cfg_attr(feature = "wasmtime", component(name = "too-large"))]
    TooLarge(String),
    /// The storage refused. The host counts this and tries again with the next record.
    #[error("{0}")]
    #[cfg_attr(feature = "wasmtime", component(name = "storage"))]
    Storage(String),
    /// Any other failure.
    #[error("{0}")]
    #[cfg_attr(feature = "wasmtime", component(name = "other"))]
    Other(String),
}

/// What the logic's calls return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        Self::Storage(error.to_string())
    }
}

/// Gives an enum the function through which the component's generated bindings build one from its number. The
/// host has checked the number by then; a wrong one traps.
macro_rules! lift_enum {
    ($name:ident) => {
        impl $name {
            #[doc(hidden)]
            pub fn _lift(number: u8) -> Self {
                Self::ALL[usize::from(number)]
            }
        }
    };
}

pub(crate) use lift_enum;
