//! How a user changes the way a trainer's output is read: on the command line and in a configuration.

use anyhow::Result;
use model_foundry::OutputParser;
use serde_json::{Map, Value};

/// The options of every command that reads a trainer's output.
#[derive(clap::Args, Default)]
pub(crate) struct Patterns {
    /// Read lines by a regular expression with groups named step, epoch, phase and after metrics, before anything
    /// else: 'it (?<step>\d+) \| ce=(?<loss>[\d.]+)'
    #[arg(long = "pattern", value_name = "REGEX")]
    patterns: Vec<String>,

    /// Do not read lines that match
    #[arg(long, value_name = "REGEX")]
    ignore: Vec<String>,

    /// Take the step from this metric
    #[arg(long, value_name = "NAME")]
    step_from: Option<String>,
}

impl Patterns {
    /// The patterns as JSON: those of the command line, then those under `output` in a configuration.
    ///
    /// # Errors
    ///
    /// The pattern that does not compile, or the key that is unknown.
    pub(crate) fn json(self, config: Option<&Map<String, Value>>) -> Result<String> {
        let configured = match config.and_then(|config| config.get("output")) {
            None => Map::new(),
            Some(Value::Object(configured)) => configured.clone(),
            Some(other) => {
                anyhow::bail!(
                    "`output` in the configuration must have `patterns`, `ignore` and `step_from`, got {other}"
                )
            }
        };
        let mut all = configured;
        let mut add = |key: &str, mut own: Vec<String>| {
            if let Some(Value::Array(configured)) = all.get_mut(key) {
                configured.splice(0..0, own.drain(..).map(Value::from));
            } else if !own.is_empty() && !all.contains_key(key) {
                all.insert(key.to_owned(), own.into());
            }
        };
        add("patterns", self.patterns);
        add("ignore", self.ignore);
        if let Some(name) = self.step_from {
            all.insert("step_from".into(), name.into());
        }
        if all.is_empty() {
            return Ok(String::new());
        }
        let json = Value::from(all).to_string();
        // A pattern that does not compile is reported before anything else happens.
        OutputParser::with_patterns(None, &json)?;
        Ok(json)
    }
}
