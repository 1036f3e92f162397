//! Reading a configuration. Its rules are the component's; this reads the text into JSON and passes it on.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::path::Path;
use std::str::FromStr;

use model_foundry_types::{LoggingConfig, Violation, document};
use serde_json::{Map, Value};

use crate::engine::runtime::Runtime;
use crate::engine::sandbox::Sandbox;
use crate::services::HostServices;
use crate::services::clocks::Clock;
use crate::services::files::Files;
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

/// The text names no format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a configuration's format must be one of json, toml, yaml, yml")]
pub struct UnknownFormat;

impl Format {
    /// The format of a file by its extension: `.json`, `.toml`, `.yaml` or `.yml`.
    ///
    /// # Errors
    ///
    /// [`Error::Path`] if it has none of these.
    pub fn of(path: &Path) -> Result<Self> {
        let extension =
            path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        extension.to_ascii_lowercase().parse().map_err(|UnknownFormat| {
            Error::path(path, "the name of a configuration must end in .json, .toml, .yaml or .yml")
        })
    }

    /// Read a text of this format into JSON text.
    fn to_json(self, text: &str) -> Result<String, Violation> {
        match self {
            // The component reads JSON itself.
            Self::Json => Ok(text.to_owned()),
            Self::Toml => document::toml(text).map(|value| value.to_string()),
            Self::Yaml => document::yaml(text).map(|value| value.to_string()),
        }
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        match name {
            "json" => Ok(Self::Json),
            "toml" => Ok(Self::Toml),
            "yaml" | "yml" => Ok(Self::Yaml),
            _ => Err(UnknownFormat),
        }
    }
}

/// An experiment's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct ExperimentConfig {
    /// The `logging` section, the defaults filled in.
    pub logging: LoggingConfig,
    /// The whole configuration: `logging` with every field, every other section unchanged.
    pub whole: serde_json::Map<String, serde_json::Value>,
}

/// Reads configurations through the component.
pub struct ConfigReader {
    sandbox: Sandbox,
}

impl std::fmt::Debug for ConfigReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfigReader").finish_non_exhaustive()
    }
}

impl ConfigReader {
    /// A reader that uses this runtime.
    ///
    /// # Errors
    ///
    /// [`Error::Component`] if the component cannot be started.
    pub fn new(runtime: &Runtime) -> Result<Self> {
        let services = HostServices::new(Files::nowhere(), Clock::System);
        Ok(Self { sandbox: Sandbox::start(runtime, services)? })
    }

    /// Read a configuration file: a logging configuration, or an experiment configuration with a `logging` section.
    ///
    /// # Errors
    ///
    /// [`Error::Path`] if it cannot be read or its format is not known; [`Error::Config`] with every violation if it
    /// breaks a rule.
    pub fn read_file(&mut self, path: &Path) -> Result<ExperimentConfig> {
        let format = Format::of(path)?;
        let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::path(path, "no such file"),
            std::io::ErrorKind::InvalidData => Error::path(path, "the file is not UTF-8 text"),
            _ => Error::path(path, error),
        })?;
        self.read(&text, format, &path.display().to_string())
    }

    /// Read a configuration from text. `origin` names it in errors.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with every violation.
    pub fn read(&mut self, text: &str, format: Format, origin: &str) -> Result<ExperimentConfig> {
        let text = format.to_json(text).map_err(|violation| Error::Config {
            origin: origin.to_owned(),
            violations: vec![violation],
        })?;
        check_text(&mut self.sandbox, &text, origin)
    }

    /// A configuration as text, every field with its value.
    ///
    /// # Errors
    ///
    /// [`Error::Component`] if the configuration cannot be written as JSON.
    pub fn render(&self, config: &LoggingConfig, format: Format) -> Result<String> {
        let fields = match serde_json::to_value(config) {
            Ok(Value::Object(fields)) => fields,
            _ => return Err(Error::Component("cannot write the configuration as JSON".into())),
        };
        let mut text = String::new();
        for (name, value) in &fields {
            let _ = match (format, value) {
                (Format::Json, _) => break,
                // A JSON boolean, integer or string without escapes is a TOML one too.
                (Format::Toml, _) => writeln!(text, "{name} = {value}"),
                // The name of a level or a durability is text in YAML without quotes.
                (Format::Yaml, Value::String(choice)) => writeln!(text, "{name}: {choice}"),
                (Format::Yaml, _) => writeln!(text, "{name}: {value}"),
            };
        }
        Ok(match format {
            Format::Json => format!("{:#}\n", Value::Object(fields)),
            Format::Toml | Format::Yaml => text,
        })
    }

    /// The default logging configuration as text.
    ///
    /// # Errors
    ///
    /// [`Error::Trap`] if the component fails.
    pub fn defaults(&mut self, format: Format) -> Result<String> {
        let defaults = self
            .sandbox
            .call(|guest, store| guest.model_foundry_logging_config().call_defaults(store))?;
        let defaults = serde_json::from_str(&defaults).map_err(not_json)?;
        self.render(&defaults, format)
    }

    /// The JSON Schema (2020-12) of the logging configuration.
    ///
    /// # Errors
    ///
    /// [`Error::Trap`] if the component fails.
    pub fn schema(&mut self) -> Result<String> {
        self.sandbox.call(|guest, store| guest.model_foundry_logging_config().call_schema(store))
    }
}

/// Check an experiment's configuration.
pub(crate) fn check(
    sandbox: &mut Sandbox,
    sections: &Map<String, Value>,
    origin: &str,
) -> Result<ExperimentConfig> {
    let text = serde_json::to_string(sections).map_err(not_json)?;
    check_text(sandbox, &text, origin)
}

fn check_text(sandbox: &mut Sandbox, text: &str, origin: &str) -> Result<ExperimentConfig> {
    let checked = sandbox
        .call(|guest, store| guest.model_foundry_logging_config().call_check(store, text))?;
    let checked =
        checked.map_err(|violations| Error::Config { origin: origin.to_owned(), violations })?;
    let whole: Map<String, Value> = serde_json::from_str(&checked).map_err(not_json)?;
    let logging = whole.get("logging").cloned().unwrap_or_default();
    Ok(ExperimentConfig { logging: serde_json::from_value(logging).map_err(not_json)?, whole })
}

fn not_json(error: serde_json::Error) -> Error {
    Error::Component(format!("the component returned a configuration that is not JSON: {error}"))
}
