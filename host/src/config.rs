//! Reading a configuration. The rules are the component's; this only brings it the text.

use std::path::Path;
use std::str::FromStr;

pub use model_foundry_guest::config::{Durability, LoggingConfig};

use crate::bindings::exports::model_foundry::logging::config as component;
use crate::error::Violation;
use crate::imports::Powers;
use crate::imports::clocks::Clock;
use crate::imports::files::Files;
use crate::runtime::Runtime;
use crate::sandbox::Sandbox;
use crate::{Error, Result};

/// A text format of configurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 8259.
    Json,
    /// TOML 1.1.
    Toml,
    /// YAML 1.2.
    Yaml,
}

impl Format {
    /// The format that a file's ending stands for: `.json`, `.toml`, `.yaml` or `.yml`.
    ///
    /// # Errors
    ///
    /// [`Error::Path`] if it is none of these.
    pub fn of(path: &Path) -> Result<Self> {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        ending.to_ascii_lowercase().parse().map_err(|()| {
            Error::path(path, "a configuration's name ends in .json, .toml, .yaml or .yml")
        })
    }
}

impl FromStr for Format {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "json" => Ok(Self::Json),
            "toml" => Ok(Self::Toml),
            "yaml" | "yml" => Ok(Self::Yaml),
            _ => Err(()),
        }
    }
}

impl From<Format> for component::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Json => Self::Json,
            Format::Toml => Self::Toml,
            Format::Yaml => Self::Yaml,
        }
    }
}

/// An experiment's configuration, as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct ExperimentConfig {
    /// The `logging` section, defaults filled in.
    pub logging: LoggingConfig,
    /// The whole as JSON: `logging` as above, every other section untouched.
    pub whole: serde_json::Map<String, serde_json::Value>,
}

/// Reads configurations through the component.
pub struct ConfigReader {
    sandbox: Sandbox,
}

impl ConfigReader {
    /// A reader that uses this runtime.
    ///
    /// # Errors
    ///
    /// [`Error::Component`] if the component cannot be started.
    pub fn new(runtime: &Runtime) -> Result<Self> {
        let powers = Powers::new(Files::nowhere(), Clock::System);
        Ok(Self { sandbox: Sandbox::start(runtime, powers)? })
    }

    /// Read a configuration file: a logging configuration, or an experiment configuration with a
    /// `logging` section.
    ///
    /// # Errors
    ///
    /// [`Error::Path`] if it cannot be read or its format is not known; [`Error::Config`] with every
    /// violation if it breaks the rules.
    pub fn read_file(&mut self, path: &Path) -> Result<ExperimentConfig> {
        let format = Format::of(path)?;
        let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::path(path, "there is no such file"),
            std::io::ErrorKind::InvalidData => Error::path(path, "the file is not UTF-8 text"),
            _ => Error::path(path, error),
        })?;
        self.read(&text, format, &path.display().to_string())
    }

    /// Read a configuration from text; `origin` names it in errors.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with every violation.
    pub fn read(&mut self, text: &str, format: Format, origin: &str) -> Result<ExperimentConfig> {
        let logging =
            self.call(origin, |config, store| config.call_parse(store, text, format.into()))?;
        let whole =
            self.call(origin, |config, store| config.call_normalize(store, text, format.into()))?;
        let whole = serde_json::from_str(&whole)
            .map_err(|error| Error::Component(format!("its configuration is no JSON: {error}")))?;
        Ok(ExperimentConfig { logging: logging.into(), whole })
    }

    /// A configuration as text.
    ///
    /// # Errors
    ///
    /// [`Error::Trap`] if the component fails.
    pub fn render(&mut self, config: &LoggingConfig, format: Format) -> Result<String> {
        let config = config.into();
        self.sandbox.call(|guest, store| {
            guest.model_foundry_logging_config().call_render(store, config, format.into())
        })
    }

    /// The JSON Schema of the logging configuration.
    ///
    /// # Errors
    ///
    /// [`Error::Trap`] if the component fails.
    pub fn schema(&mut self) -> Result<String> {
        self.sandbox.call(|guest, store| guest.model_foundry_logging_config().call_schema(store))
    }

    fn call<R>(
        &mut self,
        origin: &str,
        call: impl FnOnce(
            &component::Guest,
            &mut wasmtime::Store<crate::imports::State>,
        ) -> wasmtime::Result<Result<R, Vec<component::Violation>>>,
    ) -> Result<R> {
        let result =
            self.sandbox.call(|guest, store| call(guest.model_foundry_logging_config(), store))?;
        result.map_err(|violations| Error::Config {
            origin: origin.to_owned(),
            violations: violations
                .into_iter()
                .map(|component::Violation { field, value, message }| Violation {
                    field,
                    value,
                    message,
                })
                .collect(),
        })
    }
}

/// A logging configuration as the `logging` section of an otherwise empty experiment configuration.
pub(crate) fn as_json(config: &LoggingConfig) -> serde_json::Map<String, serde_json::Value> {
    use model_foundry_guest::config::{Format, render};
    let logging = serde_json::from_str(&render(config, Format::Json)).unwrap_or_default();
    serde_json::Map::from_iter([("logging".to_owned(), logging)])
}
