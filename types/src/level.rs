//! The severity of a record.

#[cfg(feature = "wasmtime")]
use wasmtime::component::{ComponentType, Lift, Lower};

use std::fmt;
use std::str::FromStr;

/// A record's level, in rising order of severity. The numbers are those of Python's `logging`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "UPPERCASE")]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(enum))]
#[repr(u8)]
pub enum Level {
    /// 10: detail for someone who looks for a fault.
    #[cfg_attr(feature = "wasmtime", component(name = "debug"))]
    Debug,
    /// 20: training proceeds as expected.
    #[cfg_attr(feature = "wasmtime", component(name = "info"))]
    Info,
    /// 30: something unexpected that does not stop training.
    #[cfg_attr(feature = "wasmtime", component(name = "warning"))]
    Warning,
    /// 40: something failed.
    #[cfg_attr(feature = "wasmtime", component(name = "error"))]
    Error,
    /// 50: training cannot continue.
    #[cfg_attr(feature = "wasmtime", component(name = "critical"))]
    Critical,
}

/// The text names no level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a level must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL")]
pub struct UnknownLevel;

impl Level {
    /// Every level, in rising order.
    pub const ALL: [Self; 5] =
        [Self::Debug, Self::Info, Self::Warning, Self::Error, Self::Critical];

    /// The level's name in records and configurations, in upper case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
        }
    }

    /// The number of the level in Python's `logging`: 10 to 50.
    pub const fn number(self) -> u8 {
        match self {
            Self::Debug => 10,
            Self::Info => 20,
            Self::Warning => 30,
            Self::Error => 40,
            Self::Critical => 50,
        }
    }
}

crate::error::lift_enum!(Level);

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Level {
    type Err = UnknownLevel;

    /// Parse the exact upper-case name.
    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        Self::ALL.into_iter().find(|level| level.name() == text).ok_or(UnknownLevel)
    }
}
