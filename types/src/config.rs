//! The logging configuration.
//!
//! [`LoggingConfig`] is declared once, below, with each field's description, type and default. The rules of each
//! field are the logic's; it walks [`LoggingConfig::FIELDS`].

#[cfg(feature = "wasmtime")]
use wasmtime::component::{ComponentType, Lift, Lower};

use serde::{Deserialize, Serialize};

use crate::Level;

/// When a record is safe. See the crash contract in the README.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// At most `flush_interval_ms` after the call.
    Buffered,
    /// When the call returns, against the death of the process.
    Immediate,
    /// When the call returns, against a power loss.
    Synced,
}

impl Durability {
    /// Every durability, in rising order of safety.
    pub const ALL: [Self; 3] = [Self::Buffered, Self::Immediate, Self::Synced];

    /// The name in configurations, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Buffered => "buffered",
            Self::Immediate => "immediate",
            Self::Synced => "synced",
        }
    }
}

/// A rule that a configuration breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "wasmtime", derive(ComponentType, Lift, Lower), component(record))]
pub struct Violation {
    /// The field, after `logging.` in an experiment configuration, or empty if the text as a whole is wrong.
    pub field: String,
    /// The value found, as JSON; empty if the text cannot be read.
    #[serde(serialize_with = "crate::value::serialize_json")]
    pub value: String,
    /// What is wrong, and what is allowed: one sentence without the field's name. If the text cannot be read it
    /// begins with the place, `line 3, column 14: `, both counted from 1, columns in characters.
    pub message: String,
}

/// A field of a configuration, to be read or set.
#[derive(Debug)]
pub enum FieldMut<'a> {
    /// A level.
    Level(&'a mut Level),
    /// A durability.
    Durability(&'a mut Durability),
    /// A flag.
    Flag(&'a mut bool),
    /// A count, 1 or more.
    Count(&'a mut u32),
}

macro_rules! field_mut_from {
    ($($kind:ty => $variant:ident),*) => {
        $(impl<'a> From<&'a mut $kind> for FieldMut<'a> {
            fn from(field: &'a mut $kind) -> Self {
                Self::$variant(field)
            }
        })*
    };
}

field_mut_from! { Level => Level, Durability => Durability, bool => Flag, u32 => Count }

/// What is known of a field of the configuration.
#[derive(Debug)]
pub struct LoggingField {
    /// The key in a document.
    pub name: &'static str,
    /// What it means, in one sentence.
    pub description: &'static str,
    /// The field of a configuration.
    pub of: fn(&mut LoggingConfig) -> FieldMut<'_>,
}

/// Declares [`LoggingConfig`], its [`Default`] and the table of its fields from one list. A field's doc comment
/// is its description in the JSON Schema too.
macro_rules! logging_config {
    ($($(#[doc = $line:literal])+ $name:ident: $kind:ty = $default:expr,)+) => {
        /// The logging configuration. Every field has a default.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct LoggingConfig {
            $(
                $(#[doc = $line])+
                #[doc = concat!("\n\nDefault: `", stringify!($default), "`.")]
                pub $name: $kind,
            )+
        }

        impl Default for LoggingConfig {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl LoggingConfig {
            /// Every field, in the order in which it is written.
            pub const FIELDS: &[LoggingField] = &[$(
                LoggingField {
                    name: stringify!($name),
                    description: concat!($($line),+).trim_ascii(),
                    of: |config| (&mut config.$name).into(),
                },
            )+];
        }
    };
}

logging_config! {
    /// The minimum level of records shown on the console.
    console_level: Level = Level::Info,
    /// The minimum level of records written to main.log.
    file_level: Level = Level::Debug,
    /// Write JSON Lines to main.log; otherwise text.
    use_structured_logging: bool = true,
    /// Write a Weights & Biases offline run in addition to the metrics.
    log_to_wandb: bool = true,
    /// How many files of a rotated log are retained.
    max_log_files: u32 = 10,
    /// The size in MiB at which a log rotates.
    max_log_size_mb: u32 = 100,
    /// Steps between metrics.
    log_metrics_every_n_steps: u32 = 10,
    /// Steps between detailed metrics.
    log_detailed_metrics_every_n_steps: u32 = 100,
    /// Time the parts of a step.
    profile_performance: bool = false,
    /// Steps between memory samples.
    log_memory_every_n_steps: u32 = 100,
    /// How many recent errors stay in memory.
    max_errors_to_track: u32 = 1000,
    /// When a record is safe: buffered, at most flush_interval_ms after the call; immediate, when the
    /// call returns, against the death of the process; synced, against a power loss too.
    durability: Durability = Durability::Immediate,
    /// How long buffered may hold a record back, in milliseconds.
    flush_interval_ms: u32 = 200,
}
