//! `model-foundry verify`: find damaged lines in a run's files, and repair the files.

use std::process::ExitCode;

use anyhow::Result;

use crate::arguments::Folder;
use crate::output::Output;
use crate::terminal::{BAD, FAINT, GOOD, PLAIN, counted, plain};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    folder: Folder,

    /// Move damaged lines to <file>.torn, deleting nothing; refused while the run is being logged
    #[arg(long)]
    repair: bool,

    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let mut reader = arguments.folder.open()?;
    let reports = if arguments.repair { reader.repair()? } else { reader.verify()? };
    let damaged = reports.iter().any(|report| !report.findings.is_empty());
    arguments.output.print(&reports, |out| {
        for report in &reports {
            if report.findings.is_empty() {
                let lines = counted(report.good_lines, "line");
                writeln!(out, "{GOOD}ok{PLAIN}       {}  {FAINT}{lines}{PLAIN}", report.file)?;
                continue;
            }
            let damaged = counted(report.findings.len() as u64 + report.more, "damaged line");
            let good = counted(report.good_lines, "good one");
            let (style, word) = if arguments.repair { (GOOD, "repaired") } else { (BAD, "damaged") };
            writeln!(out, "{style}{word}{PLAIN}  {}  {damaged}, {good}", report.file)?;
            for finding in &report.findings {
                writeln!(
                    out,
                    "  line {}, {} from byte {}: {}",
                    finding.line,
                    counted(finding.length, "byte"),
                    finding.offset,
                    plain(&finding.problem)
                )?;
            }
            if report.more > 0 {
                writeln!(out, "  and {}", counted(report.more, "more line"))?;
            }
            if arguments.repair {
                writeln!(out, "  moved to {}.torn", report.file)?;
            }
        }
        Ok(())
    })?;
    // A script can act on the exit code.
    Ok(if damaged && !arguments.repair { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
