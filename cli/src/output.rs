//! How a command prints its answer: as JSON under `--json`, as text without.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use clap::Args;
use model_foundry::{Damage, DamagedLine, Omitted, ReadReport};
use serde::Serialize;

use crate::terminal::{counted, note, plain_json};

/// The format of a command's answer.
#[derive(Args)]
pub(crate) struct Output {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl Output {
    /// Print an answer on standard output: `answer` as JSON, or what `text` writes.
    pub(crate) fn print(
        &self,
        answer: &(impl Serialize + ?Sized),
        text: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        let mut out = anstream::stdout().lock();
        if self.json {
            let json = serde_json::to_string_pretty(answer)?;
            writeln!(out, "{}", plain_json(&json))?;
        } else {
            text(&mut out)?;
        }
        out.flush()?;
        Ok(())
    }
}

/// Report on standard error what was left out of the metrics.
pub(crate) fn report_left_out(folder: &Path, report: &ReadReport) {
    if let Some(omitted) = omitted(&report.omitted) {
        note(&omitted);
    }
    warn_of_damage(folder, &report.damage);
}

/// What was omitted, in words; none if nothing was.
pub(crate) fn omitted(omitted: &Omitted) -> Option<String> {
    let rows = (omitted.rows > 0).then(|| counted(omitted.rows, "row"));
    let values = (omitted.values > 0).then(|| counted(omitted.values, "value"));
    let what: Vec<String> = rows.into_iter().chain(values).collect();
    (!what.is_empty()).then(|| {
        format!(
            "omitted {} that a later attempt logged again; show them with --all-attempts or --attempt N",
            what.join(" and ")
        )
    })
}

/// Report on standard error which lines were skipped.
fn warn_of_damage(folder: &Path, damage: &Damage) {
    let Some(DamagedLine { file, line, problem }) = &damage.first else { return };
    let others = match damage.lines {
        1 => String::new(),
        lines => format!(" and {} more", lines - 1),
    };
    note(&format!(
        "skipped {file} line {line} ({problem}){others}; list them with `model-foundry verify {}`",
        folder.display()
    ));
}
