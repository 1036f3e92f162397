//! Between the logic's types, which are also this library's, and the generated ones.

use model_foundry_guest::config::{Durability, LoggingConfig};
use model_foundry_guest::{Field, Level, Value};

use crate::Error;
use crate::bindings::exports::model_foundry::logging::config;
use crate::bindings::exports::model_foundry::logging::types;

impl From<Level> for types::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warning => Self::Warning,
            Level::Error => Self::Error,
            Level::Critical => Self::Critical,
        }
    }
}

impl From<types::Level> for Level {
    fn from(level: types::Level) -> Self {
        match level {
            types::Level::Debug => Self::Debug,
            types::Level::Info => Self::Info,
            types::Level::Warning => Self::Warning,
            types::Level::Error => Self::Error,
            types::Level::Critical => Self::Critical,
        }
    }
}

impl From<Value> for types::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Boolean(boolean) => Self::Boolean(boolean),
            Value::Integer(integer) => Self::Integer(integer),
            Value::Float(float) => Self::Float(float),
            Value::Text(text) => Self::Text(text),
            Value::Json(json) => Self::Json(json),
        }
    }
}

impl From<types::Value> for Value {
    fn from(value: types::Value) -> Self {
        match value {
            types::Value::Null => Self::Null,
            types::Value::Boolean(boolean) => Self::Boolean(boolean),
            types::Value::Integer(integer) => Self::Integer(integer),
            types::Value::Float(float) => Self::Float(float),
            types::Value::Text(text) => Self::Text(text),
            types::Value::Json(json) => Self::Json(json),
        }
    }
}

/// Fields for the component.
pub(crate) fn fields_to(fields: &[Field]) -> Vec<types::Field> {
    let field =
        |(name, value): &Field| types::Field { name: name.clone(), value: value.clone().into() };
    fields.iter().map(field).collect()
}

/// Fields from the component.
pub(crate) fn fields_from(fields: Vec<types::Field>) -> Vec<Field> {
    fields.into_iter().map(|field| (field.name, field.value.into())).collect()
}

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

impl From<Durability> for config::Durability {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Buffered => Self::Buffered,
            Durability::Immediate => Self::Immediate,
            Durability::Synced => Self::Synced,
        }
    }
}

impl From<config::Durability> for Durability {
    fn from(durability: config::Durability) -> Self {
        match durability {
            config::Durability::Buffered => Self::Buffered,
            config::Durability::Immediate => Self::Immediate,
            config::Durability::Synced => Self::Synced,
        }
    }
}

impl From<&LoggingConfig> for config::LoggingConfig {
    fn from(config: &LoggingConfig) -> Self {
        Self {
            console_level: config.console_level.into(),
            file_level: config.file_level.into(),
            use_structured_logging: config.use_structured_logging,
            log_to_wandb: config.log_to_wandb,
            max_log_files: config.max_log_files,
            max_log_size_mb: config.max_log_size_mb,
            log_metrics_every_n_steps: config.log_metrics_every_n_steps,
            log_detailed_metrics_every_n_steps: config.log_detailed_metrics_every_n_steps,
            profile_performance: config.profile_performance,
            log_memory_every_n_steps: config.log_memory_every_n_steps,
            max_errors_to_track: config.max_errors_to_track,
            durability: config.durability.into(),
            flush_interval_ms: config.flush_interval_ms,
        }
    }
}

impl From<config::LoggingConfig> for LoggingConfig {
    fn from(config: config::LoggingConfig) -> Self {
        Self {
            console_level: config.console_level.into(),
            file_level: config.file_level.into(),
            use_structured_logging: config.use_structured_logging,
            log_to_wandb: config.log_to_wandb,
            max_log_files: config.max_log_files,
            max_log_size_mb: config.max_log_size_mb,
            log_metrics_every_n_steps: config.log_metrics_every_n_steps,
            log_detailed_metrics_every_n_steps: config.log_detailed_metrics_every_n_steps,
            profile_performance: config.profile_performance,
            log_memory_every_n_steps: config.log_memory_every_n_steps,
            max_errors_to_track: config.max_errors_to_track,
            durability: config.durability.into(),
            flush_interval_ms: config.flush_interval_ms,
        }
    }
}
