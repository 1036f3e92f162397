//! The logging configuration: its defaults, reading it from a file, checking it, writing it.
//!
//! [`LoggingConfig`] is declared once, below, with each field's description, type and default; what a
//! type allows is in `field`. Checking, writing and the JSON Schema all walk that one table.
//!
//! # What a document is
//!
//! A document with a `logging` key, or with a key that only experiment configurations have
//! (`experiment_name`, `data`, `tokenizer`, `model`, `training`, `random_seed`), is an experiment
//! configuration: its `logging` section is read, and the rest is not looked at. Any other document is
//! a logging configuration itself, every key of it a field. An empty document, of nothing but
//! whitespace and comments, means the defaults.
//!
//! # What JSON cannot hold
//!
//! [`normalize`] keeps what is in the other sections. What no JSON number can hold becomes text: NaN
//! and the infinities (`"nan"`, `"inf"`, `"-inf"`), TOML's dates and times, and TOML's integers beyond
//! 64 bits. In JSON and YAML such integers become the nearest double. YAML's aliases and merge keys are
//! expanded; tags and comments are gone. A key that is not text or is there twice is an error in every
//! format, and so is nesting beyond 32 levels.

mod check;
mod field;
mod read;
mod schema;
mod write;

#[cfg(test)]
mod tests;

use self::check::Document;
use self::field::Field;
use crate::level::Level;

/// When a record is safe. See the crash contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Durability {
    /// At most `flush_interval_ms` after the call.
    Buffered,
    /// When the call returns, against the death of the process.
    Immediate,
    /// When the call returns, against a power cut.
    Synced,
}

impl Durability {
    /// Every durability, in rising order of safety.
    pub const ALL: [Self; 3] = [Self::Buffered, Self::Immediate, Self::Synced];

    /// The name that configurations have: lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Buffered => "buffered",
            Self::Immediate => "immediate",
            Self::Synced => "synced",
        }
    }
}

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// RFC 8259.
    Json,
    /// TOML 1.1.
    Toml,
    /// YAML 1.2. `yes`, `no`, `on` and `off` are text, not booleans.
    Yaml,
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field, after `logging.` in an experiment configuration, or empty where the text as a whole
    /// is wrong.
    pub field: String,
    /// The value found, as JSON; empty where the text cannot be read.
    pub value: String,
    /// What is wrong, and what is allowed: one sentence without the field's name. Where the text cannot
    /// be read it begins with the place, `line 3, column 14: `, both counted from 1, columns in
    /// characters.
    pub message: String,
}

/// Declares [`LoggingConfig`], its [`Default`] and the table [`FIELDS`] from one list. A field's doc
/// comment is its description in the JSON Schema too.
macro_rules! logging_config {
    ($($(#[doc = $line:literal])+ $name:ident: $kind:ty = $default:expr,)+) => {
        /// The logging configuration. Every field has a default.
        #[derive(Clone, Debug, PartialEq, Eq)]
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

        /// Every field, in the order in which it is written.
        static FIELDS: &[Field] = &[$(
            Field {
                name: stringify!($name),
                description: concat!($($line),+).trim_ascii(),
                setting: |config| &mut config.$name,
            },
        )+];
    };
}

logging_config! {
    /// The least grave records shown on the console.
    console_level: Level = Level::Info,
    /// The least grave records kept in main.log.
    file_level: Level = Level::Debug,
    /// JSON Lines in main.log; otherwise text.
    use_structured_logging: bool = true,
    /// Write a Weights & Biases offline run beside the metrics.
    log_to_wandb: bool = true,
    /// How many files of a rotated log are kept.
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
    /// call returns, against the death of the process; synced, against a power cut too.
    durability: Durability = Durability::Immediate,
    /// The most that buffered may hold back, in milliseconds.
    flush_interval_ms: u32 = 200,
}

/// Read a configuration: a logging configuration itself, or an experiment configuration, whose `logging`
/// section is taken (an absent or null one means the defaults).
///
/// # Errors
///
/// Everything that is wrong, in the order of the document; or, where the text is not of the format, the
/// one place where reading stopped.
pub fn parse(text: &str, format: Format) -> Result<LoggingConfig, Vec<Violation>> {
    Document::read(text, format).map(|document| document.config)
}

/// The whole experiment configuration as indented JSON, its `logging` section filled in with the defaults
/// and every other section as it was. A plain logging configuration becomes the `logging` section of an
/// otherwise empty one. What JSON cannot hold: see [the module](self#what-json-cannot-hold).
///
/// # Errors
///
/// Those of [`parse`].
pub fn normalize(text: &str, format: Format) -> Result<String, Vec<Violation>> {
    Document::read(text, format).map(write::normalized)
}

/// A configuration as text that [`parse`] reads back: every field, one a line, in the order of
/// [`LoggingConfig`], with a newline at the end.
pub fn render(config: &LoggingConfig, format: Format) -> String {
    write::rendered(config, format)
}

/// The JSON Schema (2020-12) of the logging configuration, as indented JSON.
pub fn schema() -> String {
    schema::text()
}
