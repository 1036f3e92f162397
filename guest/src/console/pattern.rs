//! The user's own patterns, for formats that no recognizer knows: regular expressions in the syntax of the `regex-lite`
//! crate (that of `regex` without classes of Unicode), which take linear time. They are tried before the recognizers.

use regex_lite::{Regex, RegexBuilder};
use serde_json::Value as Json;

use super::names;
use super::numbers;
use super::observation::{Observation, PrintedStep};
use super::phase;
use crate::{Error, Result};

/// The most patterns of each kind.
const MAX_PATTERNS: usize = 64;

/// The longest pattern, in bytes.
const MAX_PATTERN: usize = 4_096;

/// The most memory of a compiled pattern, in bytes.
const MAX_COMPILED: usize = 1 << 20;

/// Patterns that are tried before the recognizers.
#[derive(Debug, Default)]
pub struct Patterns {
    patterns: Vec<Regex>,
    ignored: Vec<Regex>,
    step_from: Option<String>,
}

impl Patterns {
    /// Patterns from their configuration as JSON, `{"patterns": […], "ignore": […], "step_from": "…"}`; every key may
    /// be missing, and an empty text is no configuration.
    ///
    /// A pattern has named groups: `step`, `epoch`, `phase` (`train`, `val`, `test` and their other forms), and any other
    /// name for a metric: `it (?<step>\d+) \| ce=(?<loss>[\d.]+)`. Lines that match one of `ignore` are not read.
    /// `step_from` names the metric that is the step.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] with the pattern, and why it does not compile or has no metric.
    pub fn from_json(json: &str) -> Result<Self> {
        let mut patterns = Self::default();
        if json.trim().is_empty() {
            return Ok(patterns);
        }
        let config: Json = serde_json::from_str(json)
            .map_err(|error| invalid(format!("the patterns are not valid JSON: {error}")))?;
        let Json::Object(config) = config else {
            return Err(invalid(
                "the patterns must be an object with `patterns`, `ignore` and `step_from`",
            ));
        };
        for (key, value) in &config {
            match (key.as_str(), value) {
                ("patterns", value) => {
                    for text in texts(key, value)? {
                        patterns.patterns.push(with_metric(text, compiled("pattern", text)?)?);
                    }
                }
                ("ignore", value) => {
                    for text in texts(key, value)? {
                        patterns.ignored.push(compiled("pattern to ignore", text)?);
                    }
                }
                ("step_from", Json::String(name)) if name.is_empty() => {}
                ("step_from", Json::String(name)) => {
                    let normal = names::field_name(name);
                    if normal.is_empty() {
                        return Err(invalid(format!(
                            "`step_from` must be the name of a metric, got {name:?}"
                        )));
                    }
                    patterns.step_from = Some(normal.to_lowercase());
                }
                ("step_from", _) => {
                    return Err(invalid("`step_from` must be the name of a metric"));
                }
                _ => {
                    return Err(invalid(format!(
                        "unknown key {key:?}; the keys are `patterns`, `ignore` and `step_from`"
                    )));
                }
            }
        }
        Ok(patterns)
    }

    /// Whether a line must not be read.
    pub(super) fn ignores(&self, text: &str) -> bool {
        self.ignored.iter().any(|pattern| pattern.is_match(text))
    }

    /// What the first pattern that matches a line, and finds a number for a metric, reads in it.
    pub(super) fn read(&self, text: &str) -> Option<Observation> {
        self.patterns.iter().find_map(|pattern| read(pattern, text))
    }

    /// Takes the step from the metric that was chosen for it.
    pub(super) fn take_step(&self, observation: &mut Observation) {
        let Some(name) = &self.step_from else { return };
        let value = observation.metrics.iter().find(|field| field.name.to_lowercase() == *name);
        if let Some(value) = value.and_then(|field| numbers::as_step(&field.value)) {
            observation.step = Some(PrintedStep::of_rank(names::RUN, value, None));
        }
    }
}

fn read(pattern: &Regex, text: &str) -> Option<Observation> {
    let captures = pattern.captures(text)?;
    let mut observation = Observation::default();
    for name in pattern.capture_names().flatten() {
        let Some(found) = captures.name(name) else { continue };
        let found = found.as_str().trim();
        match name {
            "step" => {
                let value = numbers::as_step(&numbers::with_unit(found)?.value)?;
                observation.step = Some(PrintedStep::marker(value));
            }
            "epoch" => observation.epoch = Some(numbers::as_epoch(&numbers::exact(found)?)?),
            "phase" => observation.phase = phase::of_words(found).unwrap_or_default(),
            name => {
                if let Some(value) = numbers::cell(found) {
                    observation.metrics.add(name, value);
                }
            }
        }
    }
    (!observation.metrics.is_empty()).then_some(observation)
}

fn texts<'a>(key: &str, value: &'a Json) -> Result<Vec<&'a str>> {
    let wrong = || invalid(format!("`{key}` must be a list of patterns"));
    let Json::Array(values) = value else { return Err(wrong()) };
    if values.len() > MAX_PATTERNS {
        return Err(invalid(format!(
            "`{key}` must have at most {MAX_PATTERNS} patterns, got {}",
            values.len()
        )));
    }
    values.iter().map(|value| value.as_str().ok_or_else(wrong)).collect()
}

fn compiled(what: &str, text: &str) -> Result<Regex> {
    if text.len() > MAX_PATTERN {
        return Err(invalid(format!(
            "a {what} must have at most {MAX_PATTERN} bytes, got {}",
            text.len()
        )));
    }
    RegexBuilder::new(text).size_limit(MAX_COMPILED).build().map_err(|error| {
        let message = error.to_string();
        let reason = message.lines().last().unwrap_or(&message);
        let reason = reason.strip_prefix("error: ").unwrap_or(reason);
        invalid(format!("the {what} {text:?} does not compile: {reason}"))
    })
}

fn with_metric(text: &str, pattern: Regex) -> Result<Regex> {
    let has_metric =
        pattern.capture_names().flatten().any(|name| !matches!(name, "step" | "epoch" | "phase"));
    if has_metric {
        return Ok(pattern);
    }
    Err(invalid(format!("the pattern {text:?} has no group for a metric, such as (?<loss>\\S+)")))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::Invalid(message.into())
}
