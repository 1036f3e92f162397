//! console.log: the unmodified output of a watched command.

use crate::Result;
use crate::config::LoggingConfig;
use crate::console::Output;
use crate::imports::{Imports, RunFile};
use crate::rotation::RotatingLog;

/// An unfinished line longer than this is written without waiting for its end, in bytes.
const MAX_PENDING: usize = 64 << 10;

/// Writes a command's output to console.log.
pub struct Transcript<I> {
    log: RotatingLog<I>,
    /// The unfinished line of standard output, and that of standard error.
    pending: [Vec<u8>; 2],
}

impl<I: Imports> Transcript<I> {
    /// A transcript that appends to console.log.
    pub fn new(imports: &I, config: &LoggingConfig) -> Self {
        Self {
            log: RotatingLog::new(imports, RunFile::CONSOLE, config),
            pending: [Vec::new(), Vec::new()],
        }
    }

    /// Takes output and appends its whole lines to the file, so that the two streams never share a line. Bytes
    /// that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    ///
    /// If the host could not write the lines.
    pub fn feed(&mut self, stream: Output, bytes: &[u8]) -> Result<()> {
        let pending = &mut self.pending[stream as usize];
        pending.extend_from_slice(bytes);
        let whole = match memchr::memrchr(b'\n', pending) {
            Some(at) => at + 1,
            None if pending.len() > MAX_PENDING => pending.len(),
            None => return Ok(()),
        };
        let rest = pending.split_off(whole);
        let lines = std::mem::replace(pending, rest);
        self.write(&lines)
    }

    /// Writes the unfinished lines, when the output has ended.
    ///
    /// # Errors
    ///
    /// If the host could not write them.
    pub fn finish(&mut self) -> Result<()> {
        for stream in [Output::Stdout, Output::Stderr] {
            let pending = std::mem::take(&mut self.pending[stream as usize]);
            if !pending.is_empty() {
                self.write(&pending)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        self.log.append(&text, false)
    }
}
