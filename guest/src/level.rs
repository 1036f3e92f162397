//! Levels: how severe a record is.

use std::fmt;
use std::str::FromStr;

/// A record's level. The numbers are those of Python's `logging`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// 10: details for debugging.
    Debug,
    /// 20: normal operation.
    Info,
    /// 30: something unexpected; training continues.
    Warning,
    /// 40: something failed.
    Error,
    /// 50: training cannot continue.
    Critical,
}

impl Level {
    /// Every level, from the least to the most severe.
    pub const ALL: [Self; 5] =
        [Self::Debug, Self::Info, Self::Warning, Self::Error, Self::Critical];

    /// The level's name in records and configurations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
        }
    }

    /// The level's number in Python's `logging`: 10 to 50.
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

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Level {
    type Err = ();

    /// Parses the exact upper-case name.
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|level| level.name() == text).ok_or(())
    }
}
