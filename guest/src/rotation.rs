//! Logs that start a new file when the current one is full.

use crate::Result;
use crate::config::LoggingConfig;
use crate::imports::{Imports, RunFile};

/// A log that rotates by size, between records and never inside a record.
pub struct RotatingLog<I> {
    imports: I,
    file: RunFile,
    /// The maximum size of a file, in bytes.
    limit: u64,
    /// How many files to retain, including the current one.
    retained_files: u32,
    /// The file's size after the latest append, as the host reported it: it includes what other processes
    /// appended.
    size: Option<u64>,
}

impl<I: Imports> RotatingLog<I> {
    /// A log that rotates at `config.max_log_size_mb` MiB and retains `config.max_log_files` files.
    pub fn new(imports: &I, file: RunFile, config: &LoggingConfig) -> Self {
        Self {
            imports: imports.clone(),
            file,
            limit: u64::from(config.max_log_size_mb) << 20,
            retained_files: config.max_log_files,
            size: None,
        }
    }

    /// Appends whole lines; it starts a new file first if this one has no room for them. A record larger than
    /// the limit gets a file of its own. With `sync`, the lines are on the disk when this returns.
    ///
    /// # Errors
    ///
    /// If the host could not rotate or append.
    pub fn append(&mut self, lines: &str, sync: bool) -> Result<()> {
        let length = lines.len() as u64;
        if self.size.is_none_or(|size| size > 0 && size + length > self.limit) {
            // For a record larger than the limit this is 1: any content is too much.
            let at_size = self.limit.saturating_sub(length) + 1;
            self.imports.rotate(self.file, at_size, self.retained_files)?;
        }
        self.size = Some(self.imports.append(self.file, lines, sync)?);
        Ok(())
    }
}
