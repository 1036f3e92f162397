//! Whether the files of a run folder are what they should be.

use crate::errors::ErrorEntry;
use crate::imports::{File, Imports, Part};
use crate::json::{Problem, Reader};
use crate::lines::Lines;
use crate::metrics::Entry;
use crate::{Error, Result};

/// How many findings of a file are told one by one.
const MOST_FINDINGS: usize = 10_000;

/// A damaged line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its number, from 1.
    pub line: u64,
    /// Where it starts, in bytes.
    pub offset: u64,
    /// Its length in bytes, with the newline unless a good record follows on the same line.
    pub length: u64,
    /// What is wrong.
    pub problem: String,
}

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Whole, good lines.
    pub good_lines: u64,
    /// The damaged ones.
    pub findings: Vec<Finding>,
    /// How many more there are.
    pub more: u64,
}

/// Read one part of a file of JSON Lines line by line.
pub fn check<I: Imports>(imports: &I, file: File, part: Part) -> Result<Report> {
    let judge: fn(&str) -> Result<(), Problem> = match file {
        File::Metrics => |line| Entry::read(line)?.numbers(&mut |_, _| {}),
        File::Errors => |line| ErrorEntry::read(line).map(drop),
        File::MainLog | File::Performance => whole_object,
        _ => return Err(Error::Invalid("this file is not JSON Lines".into())),
    };
    let mut report = Report::default();
    let mut lines = Lines::open(imports, file, part)?;
    while let Some(line) = lines.next()? {
        // A log may have been text for a time.
        if file == File::MainLog && !line.bytes.is_empty() && line.bytes[0] != b'{' && !line.torn {
            report.good_lines += 1;
            continue;
        }
        let (length, problem) = match line.read(judge) {
            Ok(found) => {
                report.good_lines += 1;
                match found.fragment {
                    // The record behind the fragment is good: what is damaged ends where it begins.
                    Some((length, problem)) => (length as u64, problem),
                    None => continue,
                }
            }
            Err(problem) => (line.length, problem),
        };
        if report.findings.len() < MOST_FINDINGS {
            report.findings.push(Finding {
                line: line.number,
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

fn whole_object(line: &str) -> Result<(), Problem> {
    let mut object = Reader::object(line)?;
    while object.next()?.is_some() {}
    Ok(())
}
