//! console.log: what a watched command printed, kept as it came.

use crate::Result;
use crate::config::LoggingConfig;
use crate::console::Stream;
use crate::imports::{File, Imports};
use crate::rotation::RotatingLog;

/// How much of a line without an end waits before it is written all the same.
const WAITING: usize = 64 << 10;

/// Keeps output in console.log.
pub struct Transcript<I> {
    log: RotatingLog<I>,
    /// Standard output's unfinished line, and standard error's.
    pending: [Vec<u8>; 2],
}

impl<I: Imports> Transcript<I> {
    /// Append to console.log.
    pub fn new(imports: &I, config: &LoggingConfig) -> Self {
        Self {
            log: RotatingLog::new(imports, File::Console, config),
            pending: [Vec::new(), Vec::new()],
        }
    }

    /// Keep bytes. Whole lines are written at once, so that the two streams never share a line.
    pub fn feed(&mut self, stream: Stream, bytes: &[u8]) -> Result<()> {
        let pending = &mut self.pending[stream as usize];
        pending.extend_from_slice(bytes);
        let whole = match memchr::memrchr(b'\n', pending) {
            Some(at) => at + 1,
            None if pending.len() > WAITING => pending.len(),
            None => return Ok(()),
        };
        let rest = pending.split_off(whole);
        let lines = std::mem::replace(pending, rest);
        self.write(&lines)
    }

    /// Write what still waits.
    pub fn finish(&mut self) -> Result<()> {
        for stream in [Stream::Stdout, Stream::Stderr] {
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
