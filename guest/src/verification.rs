//! Damaged lines in the files of a run folder.

use crate::errors::read_entry;
use crate::imports::{Imports, Part, RunFile};
use crate::json::{Problem, Reader};
use crate::lines::Lines;
use crate::metrics::Entry;
use crate::{Error, Result};
use model_foundry_types::{Finding, Position, VerificationReport};

/// How many findings of a file are listed.
const MOST_FINDINGS: usize = 10_000;

/// A file of JSON Lines, and how one of its lines is checked.
type Checked = (RunFile, fn(&str) -> Result<(), Problem>);

/// The files of JSON Lines.
const CHECKED: [Checked; 4] = [
    (RunFile::MAIN_LOG, object),
    (RunFile::METRICS, |line| Entry::read(line)?.members(&mut |_, _| {})),
    (RunFile::ERRORS, |line| read_entry(line).map(drop)),
    (RunFile::PERFORMANCE, object),
];

/// Check one part of a run file of JSON Lines, line by line, from a position on, about `budget` bytes of it. `file`
/// is the file's granted name.
///
/// # Errors
///
/// [`Error::Invalid`] if the file does not consist of JSON Lines, [`Error::Storage`] if it cannot be read.
pub fn check<I: Imports>(
    imports: &I,
    file: &str,
    part: Part,
    start: Position,
    mut budget: u64,
) -> Result<VerificationReport> {
    let Some(&(file, check_line)) = CHECKED.iter().find(|(known, _)| known.0 == file) else {
        let known = CHECKED.map(|(known, _)| known.0).join(", ");
        return Err(Error::Invalid(format!("{file} is not a file of JSON Lines ({known})")));
    };
    let mut report = VerificationReport::default();
    let size = imports.size(file, part)?;
    let mut lines = Lines::range(imports, file, part, start.offset, size);
    let mut reached = start;
    loop {
        if budget == 0 {
            report.next = Some(reached);
            break;
        }
        let Some(line) = lines.next()? else { break };
        budget = budget.saturating_sub(line.length);
        reached = Position { offset: line.offset + line.length, lines: start.lines + line.number };
        // A log may have been text for a part of the run.
        if file == RunFile::MAIN_LOG
            && !line.bytes.is_empty()
            && line.bytes[0] != b'{'
            && !line.torn
        {
            report.good_lines += 1;
            continue;
        }
        let (length, problem) = match line.read(check_line) {
            Ok(found) => {
                report.good_lines += 1;
                match found.fragment {
                    // The record after the fragment is good: the damage ends where it begins.
                    Some((length, problem)) => (length as u64, problem),
                    None => continue,
                }
            }
            Err(problem) => (line.length, problem),
        };
        if report.findings.len() < MOST_FINDINGS {
            report.findings.push(Finding {
                line: reached.lines,
                offset: line.offset,
                length,
                problem: problem.to_owned(),
            });
        } else {
            report.more += 1;
        }
    }
    Ok(report)
}

fn object(line: &str) -> Result<(), Problem> {
    let mut object = Reader::object(line)?;
    while object.next()?.is_some() {}
    Ok(())
}
