//! Verifying a run folder's files line by line, and moving damaged lines aside.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};

use cap_std::fs::{Dir, OpenOptions};
use model_foundry_types::{Finding, Part, Position};

use crate::api::reader::RunReader;
use crate::folder::locks::{self, Occupancy};
use crate::folder::manifest::{self, MANIFEST, Manifest};
use crate::folder::replace::replace_with;
use crate::folder::run_files::{FileId, Verified};
use crate::{Error, Result, folder};

/// How many findings of a file are listed.
const MAX_FINDINGS: usize = 10_000;

/// What one file of a run holds.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct FileReport {
    /// The file's name in the run folder.
    pub file: String,
    /// How many lines are good.
    pub good_lines: u64,
    /// The damaged lines, at most 10,000 of them.
    pub findings: Vec<Finding>,
    /// How many more damaged lines there are.
    pub more: u64,
}

impl RunReader {
    /// Check every file of the run, rotated ones and shards too, line by line.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] if a file cannot be read.
    pub fn verify(&mut self) -> Result<Vec<FileReport>> {
        let mut reports = Vec::new();
        for (file, part) in self.verifiable()? {
            reports.push(self.report(file, part)?);
        }
        Ok(reports)
    }

    /// Check every file and move its damaged lines to `<file>.torn`, in their order. Nothing is deleted, and a crash
    /// leaves the file unchanged. The reports list what was found.
    ///
    /// # Errors
    ///
    /// [`Error::Path`] if the run is being logged, if the folder cannot be written, or if it has a newer format than
    /// [`FORMAT_VERSION`](crate::FORMAT_VERSION).
    pub fn repair(&mut self) -> Result<Vec<FileReport>> {
        let folder = self.folder().to_path_buf();
        let in_folder = |error: std::io::Error| Error::path(&folder, error);
        let dir = self.run_folder().try_clone_dir()?;
        // Held to the end, so that no process begins to log.
        let _changing = locks::change(&dir, locks::PATIENCE).map_err(in_folder)?;
        if locks::occupancy_now(&dir) != Occupancy::Alone {
            return Err(Error::path(
                &folder,
                "the run is being logged; repair it after it has ended",
            ));
        }
        if let Some(version) = self.newer_format() {
            // A line that looks damaged to this version may be a record that it does not know.
            return Err(Error::path(folder.join(MANIFEST), manifest::too_new(version)));
        }
        let mut reports = Vec::new();
        for (file, part) in self.verifiable()? {
            let found = self.report(file, part)?;
            let mut report = found.clone();
            // A report has at most so many lines: the next report has the next ones.
            while !report.findings.is_empty() {
                move_aside(&dir, &report)
                    .map_err(|error| Error::path(folder.join(&report.file), error))?;
                if report.more == 0 {
                    break;
                }
                report = self.report(file, part)?;
            }
            reports.push(found);
        }
        Ok(reports)
    }

    /// Every part of every file that can be verified.
    fn verifiable(&self) -> Result<Vec<(FileId, Part)>> {
        let run = self.run_folder();
        // Not `self.manifest()`, which takes a lock that `repair` holds.
        let manifest = Manifest::read(run.dir())
            .map_err(|error| Error::path(run.path().join(MANIFEST), error))?;
        let text_log = manifest.is_some_and(|manifest| {
            let logging = manifest.configuration.get("logging");
            let structured = logging.and_then(|logging| logging.get("use_structured_logging"));
            structured == Some(&serde_json::Value::Bool(false))
        });
        let is_verifiable = |file: &FileId| match file.get().verified {
            Verified::No => false,
            Verified::JsonLines => true,
            Verified::JsonLinesUnlessText => !text_log,
        };
        let mut verifiable = Vec::new();
        for file in FileId::all().filter(is_verifiable) {
            let parts =
                folder::parts(run.dir(), file).map_err(|error| Error::path(run.path(), error))?;
            verifiable.extend(parts.into_iter().map(|part| (file, part)));
        }
        Ok(verifiable)
    }

    fn report(&mut self, file: FileId, part: Part) -> Result<FileReport> {
        let mut report =
            FileReport { file: file.part(part), good_lines: 0, findings: Vec::new(), more: 0 };
        let mut start = Position::default();
        loop {
            let checked = self.check(file, part, start)?;
            report.good_lines += checked.good_lines;
            let room = MAX_FINDINGS - report.findings.len();
            report.more += checked.more + checked.findings.len().saturating_sub(room) as u64;
            report.findings.extend(checked.findings.into_iter().take(room));
            match checked.next {
                None => return Ok(report),
                Some(next) if next.offset > start.offset => start = next,
                Some(_) => {
                    let problem = "the component does not finish reading a file";
                    return Err(Error::Component(problem.into()));
                }
            }
        }
    }
}

/// Move the lines that a report lists to `<file>.torn`, and replace the file by one without them.
fn move_aside(dir: &Dir, report: &FileReport) -> std::io::Result<()> {
    let mut damaged = dir.open(&report.file)?;
    let permissions = damaged.metadata()?.permissions();
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    let mut torn = dir.open_with(format!("{}.torn", report.file), &options)?;
    replace_with(dir, &report.file, |repaired| {
        repaired.set_permissions(permissions)?;
        let mut position = 0;
        for finding in &report.findings {
            damaged.seek(SeekFrom::Start(position))?;
            let good = finding.offset - position;
            std::io::copy(&mut (&mut damaged).take(good), repaired)?;
            // The last byte is copied by itself, to see whether it is a newline.
            std::io::copy(&mut (&mut damaged).take(finding.length - 1), &mut torn)?;
            let mut last = [0];
            damaged.read_exact(&mut last)?;
            torn.write_all(&last)?;
            if last != *b"\n" {
                torn.write_all(b"\n")?;
            }
            position = finding.offset + finding.length;
        }
        std::io::copy(&mut damaged, repaired)?;
        // The lines must be safe in their new place before they are removed from the old one.
        torn.sync_data()?;
        // The index describes the file as it was.
        let _ = dir.remove_file("metrics.idx");
        Ok(())
    })
}
