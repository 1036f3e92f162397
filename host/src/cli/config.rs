//! `model-foundry config`: check a configuration, or print the defaults or the schema.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use model_foundry::{ConfigReader, Error, Format, LoggingConfig, Runtime};

use super::terminal::{BAD, GOOD, PLAIN, STRONG, plain};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Check a configuration file and print what it comes to
    Check {
        /// A .json, .toml, .yaml or .yml file: a logging configuration, or an experiment's
        file: PathBuf,

        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the default configuration
    Default {
        /// In which format
        #[arg(long, value_enum, default_value_t = Shape::Toml)]
        format: Shape,

        /// Print JSON; the same as --format json
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of the logging configuration
    Schema {
        /// The schema is JSON with or without this
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Shape {
    Json,
    Toml,
    Yaml,
}

impl From<Shape> for Format {
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::Json => Self::Json,
            Shape::Toml => Self::Toml,
            Shape::Yaml => Self::Yaml,
        }
    }
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let mut reader = ConfigReader::new(&Runtime::shared()?)?;
    let mut out = anstream::stdout().lock();
    match arguments.action {
        Action::Check { file, json } => match reader.read_file(&file) {
            Ok(config) if json => {
                serde_json::to_writer_pretty(&mut out, &config.whole)?;
                writeln!(out)?;
            }
            Ok(config) => {
                writeln!(out, "{GOOD}ok{PLAIN}  {}", file.display())?;
                write!(out, "{}", reader.render(&config.logging, Format::Toml)?)?;
            }
            Err(Error::Config { violations, .. }) => {
                if json {
                    let violations: Vec<_> = violations
                        .iter()
                        .map(|violation| {
                            serde_json::json!({
                                "field": violation.field,
                                "value": violation.value,
                                "message": violation.message,
                            })
                        })
                        .collect();
                    let answer = serde_json::json!({ "violations": violations });
                    serde_json::to_writer_pretty(&mut out, &answer)?;
                    writeln!(out)?;
                } else {
                    writeln!(out, "{BAD}wrong{PLAIN}  {}", file.display())?;
                    for violation in &violations {
                        write!(out, "  ")?;
                        if !violation.field.is_empty() {
                            write!(out, "{STRONG}{}{PLAIN}", plain(&violation.field))?;
                            if !violation.value.is_empty() {
                                write!(out, " = {}", plain(&violation.value))?;
                            }
                            write!(out, ": ")?;
                        }
                        writeln!(out, "{}", plain(&violation.message))?;
                    }
                }
                out.flush()?;
                return Ok(ExitCode::FAILURE);
            }
            Err(error) => return Err(error.into()),
        },
        Action::Default { format, json } => {
            let format = if json { Format::Json } else { format.into() };
            write!(out, "{}", reader.render(&LoggingConfig::default(), format)?)?;
        }
        Action::Schema { json: _ } => write!(out, "{}", reader.schema()?)?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
