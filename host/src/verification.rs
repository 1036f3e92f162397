//! Checking a run folder's files line by line, and moving damaged lines aside.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};

use cap_std::fs::{Dir, OpenOptions};
use model_foundry_guest::imports::{File, Part};

use crate::bindings::exports::model_foundry::logging::verification as component;
use crate::imports::files::{Files, name};
use crate::manifest::{self, MANIFEST, Manifest};
use crate::reader::RunReader;
use crate::{Error, Result, locks};

pub use component::Finding;

/// The files that are lines of JSON. main.log is text where `use_structured_logging` is off, and then
/// not judged.
const JUDGED: [File; 4] = [File::MainLog, File::Metrics, File::Errors, File::Performance];

/// What one file of a run holds.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct FileReport {
    /// The file's name in the run folder.
    pub file: String,
    /// Whole, good lines.
    pub good_lines: u64,
    /// The damaged ones, at most 10,000 of them.
    pub findings: Vec<Finding>,
    /// How many more there are.
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
        for (file, part) in self.judged()? {
            reports.push(self.check(file, part)?);
        }
        Ok(reports)
    }

    /// Check every file and move its damaged lines to `<file>.torn`, in their order. Nothing is deleted,
    /// and a crash in between leaves the file as it was. The reports tell what was found.
    ///
    /// # Errors
    ///
    /// [`Error::Path`] if the run is being logged at present, the folder cannot be written, or it has a newer
    /// format than [`FORMAT_VERSION`](crate::FORMAT_VERSION).
    pub fn repair(&mut self) -> Result<Vec<FileReport>> {
        let folder = self.folder().to_path_buf();
        let in_folder = |error: std::io::Error| Error::path(&folder, error);
        let dir = self.dir().try_clone().map_err(in_folder)?;
        // Held to the end: no process begins to log meanwhile.
        let _changing = locks::change(&dir).map_err(in_folder)?;
        if locks::occupancy_now(&dir) != locks::Occupancy::Alone {
            return Err(Error::path(
                &folder,
                "the run is being logged; repair it when it has ended",
            ));
        }
        if let Some(version) = self.newer_format() {
            // A line that this version finds damaged may be a record that it does not know.
            return Err(Error::path(folder.join(MANIFEST), manifest::too_new(version)));
        }
        let mut reports = Vec::new();
        for (file, part) in self.judged()? {
            let mut found = self.check(file, part)?;
            let mut report = found.clone();
            // Line by line up to the bound of a report, and then the next ones.
            while !report.findings.is_empty() {
                move_aside(&dir, &report)
                    .map_err(|error| Error::path(folder.join(&report.file), error))?;
                if report.more == 0 {
                    break;
                }
                report = self.check(file, part)?;
            }
            found.file = name(file, part);
            reports.push(found);
        }
        Ok(reports)
    }

    fn judged(&mut self) -> Result<Vec<(File, Part)>> {
        // Not `self.manifest()`: whether an attempt still runs takes a lock to tell, which `repair` holds.
        let manifest = Manifest::read(self.dir())
            .map_err(|error| Error::path(self.folder().join(MANIFEST), error))?;
        let text_log = manifest.is_some_and(|manifest| {
            let logging = manifest.configuration.get("logging");
            let structured = logging.and_then(|logging| logging.get("use_structured_logging"));
            structured == Some(&serde_json::Value::Bool(false))
        });
        let own = self.dir().try_clone().map_err(|error| Error::path(self.folder(), error))?;
        let files = Files::new(own, None, false, false);
        let mut judged = Vec::new();
        for file in JUDGED {
            if file == File::MainLog && text_log {
                continue;
            }
            let parts = files.parts(file).map_err(|error| Error::Storage(error.to_string()))?;
            judged.extend(parts.into_iter().map(|part| (file, part)));
        }
        Ok(judged)
    }

    fn check(&mut self, file: File, part: Part) -> Result<FileReport> {
        let report = self.answer(|guest, store| {
            let verification = guest.model_foundry_logging_verification();
            verification.call_check(store, file.into(), part.into())
        })?;
        Ok(FileReport {
            file: name(file, part),
            good_lines: report.good_lines,
            findings: report.findings,
            more: report.more,
        })
    }
}

/// Move the lines that a report finds damaged to `<file>.torn`, and put the file without them in its
/// place.
fn move_aside(dir: &Dir, report: &FileReport) -> std::io::Result<()> {
    let mut damaged = dir.open(&report.file)?;
    let permissions = damaged.metadata()?.permissions();
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    let mut torn = dir.open_with(format!("{}.torn", report.file), &options)?;
    let temporary = format!("{}.new-{}", report.file, std::process::id());
    let mend = || -> std::io::Result<()> {
        let mut mended = dir.create(&temporary)?;
        mended.set_permissions(permissions)?;
        let mut position = 0;
        for finding in &report.findings {
            damaged.seek(SeekFrom::Start(position))?;
            let good = finding.offset - position;
            std::io::copy(&mut (&mut damaged).take(good), &mut mended)?;
            // All but the last byte, and that: whether it is a newline is to be known.
            std::io::copy(&mut (&mut damaged).take(finding.length - 1), &mut torn)?;
            let mut last = [0];
            damaged.read_exact(&mut last)?;
            torn.write_all(&last)?;
            if last != *b"\n" {
                torn.write_all(b"\n")?;
            }
            position = finding.offset + finding.length;
        }
        std::io::copy(&mut damaged, &mut mended)?;
        // The lines are safe where they go to before they are gone from where they were.
        torn.sync_data()?;
        mended.sync_data()?;
        // An index of the file as it was is of no use.
        let _ = dir.remove_file("metrics.idx");
        dir.rename(&temporary, dir, &report.file)
    };
    let mended = mend();
    if mended.is_err() {
        let _ = dir.remove_file(&temporary);
    }
    mended
}
