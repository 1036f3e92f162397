//! `model-foundry config`: check a configuration, or print the defaults or the schema.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use model_foundry::{ConfigReader, Error, Format, Runtime, Violation};

use crate::output::Output;
use crate::terminal::{BAD, GOOD, PLAIN, STRONG, plain, plain_path};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Check a configuration file and print the resulting configuration
    Check {
        /// A .json, .toml, .yaml or .yml file: a logging configuration, or an experiment's
        file: PathBuf,

        #[command(flatten)]
        output: Output,
    },
    /// Print the default configuration
    Default {
        /// The format
        #[arg(long, value_enum, default_value_t = Shape::Toml)]
        format: Shape,

        /// Print JSON, like --format json
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of the logging configuration
    Schema {
        /// Accepted for consistency: the schema is always JSON
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
    match arguments.action {
        Action::Check { file, output } => return check(&mut reader, &file, &output),
        Action::Default { format, json } => {
            let format = if json { Format::Json } else { format.into() };
            print(&reader.defaults(format)?)?;
        }
        Action::Schema { json: _ } => print(&reader.schema()?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print(text: &str) -> Result<()> {
    let mut out = anstream::stdout().lock();
    write!(out, "{text}")?;
    out.flush()?;
    Ok(())
}

fn check(reader: &mut ConfigReader, file: &Path, output: &Output) -> Result<ExitCode> {
    match reader.read_file(file) {
        Ok(config) => {
            let text = reader.render(&config.logging, Format::Toml)?;
            output.print(&config.whole, |out| {
                writeln!(out, "{GOOD}ok{PLAIN}  {}", plain_path(file))?;
                write!(out, "{text}")?;
                Ok(())
            })?;
            Ok(ExitCode::SUCCESS)
        }
        Err(Error::Config { violations, .. }) => {
            let answer = serde_json::json!({ "violations": violations });
            output.print(&answer, |out| {
                writeln!(out, "{BAD}not valid{PLAIN}  {}", plain_path(file))?;
                violations.iter().try_for_each(|violation| write_violation(out, violation))
            })?;
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(error.into()),
    }
}

fn write_violation(out: &mut dyn std::io::Write, violation: &Violation) -> Result<()> {
    write!(out, "  ")?;
    if !violation.field.is_empty() {
        write!(out, "{STRONG}{}{PLAIN}", plain(&violation.field))?;
        if !violation.value.is_empty() {
            write!(out, " = {}", plain(&violation.value))?;
        }
        write!(out, ": ")?;
    }
    writeln!(out, "{}", plain(&violation.message))?;
    Ok(())
}
