//! Logs that start a new file when one is full.

use crate::Result;
use crate::config::LoggingConfig;
use crate::imports::{File, Imports};

/// A log that rotates by size, between records and never inside one.
pub struct RotatingLog<I> {
    imports: I,
    file: File,
    /// The size in bytes that a file stays within, and how many files are kept.
    limit: u64,
    keep: u32,
    /// The file's size after the latest append. The host tells it then, so that what other processes
    /// append counts too.
    size: Option<u64>,
}

impl<I: Imports> RotatingLog<I> {
    /// A log that rotates as the configuration says.
    pub fn new(imports: &I, file: File, config: &LoggingConfig) -> Self {
        Self {
            imports: imports.clone(),
            file,
            limit: u64::from(config.max_log_size_mb) << 20,
            keep: config.max_log_files,
            size: None,
        }
    }

    /// Append whole lines, to a new file if this one has no room for them. A record larger than the limit
    /// has a file to itself.
    pub fn append(&mut self, lines: &str, sync: bool) -> Result<()> {
        let length = lines.len() as u64;
        if self.size.is_none_or(|size| size > 0 && size + length > self.limit) {
            // Any content is too much for a record that is too large itself.
            let at_size = self.limit.saturating_sub(length) + 1;
            self.imports.rotate(self.file, at_size, self.keep)?;
        }
        self.size = Some(self.imports.append(self.file, lines, sync)?);
        Ok(())
    }
}
