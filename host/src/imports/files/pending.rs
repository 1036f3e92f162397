//! Records that the disk has not taken yet.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::disk::Disk;
use super::write_all;

/// How many bytes of one file may wait.
const MOST: usize = 1 << 20;

/// Whole records that wait, the first perhaps half written.
#[derive(Default)]
pub(super) struct Pending {
    bytes: Vec<u8>,
    /// How much of `bytes` the file has already.
    written: usize,
    /// Where the file ended after that.
    end: Option<u64>,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many records wait.
    pub(super) fn records(&self) -> u64 {
        count(&self.bytes)
    }

    /// Keep lines, of which the file has `written` bytes already; how many records had to be refused.
    pub(super) fn hold(&mut self, lines: &[u8], written: usize) -> u64 {
        // A record whose start is on the disk is kept whatever its size: it must be finished.
        if written == 0 && self.bytes.len() + lines.len() > MOST {
            // As many whole lines as fit.
            let room = MOST.saturating_sub(self.bytes.len());
            let fits = lines[..room.min(lines.len())].iter().rposition(|&byte| byte == b'\n');
            let (kept, refused) = lines.split_at(fits.map_or(0, |at| at + 1));
            self.bytes.extend_from_slice(kept);
            return count(refused);
        }
        if self.bytes.is_empty() {
            self.written = written;
        }
        self.bytes.extend_from_slice(lines);
        if written > 0 {
            self.drop_whole_records();
        }
        0
    }

    /// The file ends in the middle of a line: what waits starts on a line of its own.
    pub(super) fn begin_line(&mut self) {
        if self.written == 0 {
            self.bytes.insert(0, b'\n');
        }
    }

    /// Remember where the file ends now, to see later whether another process appended.
    pub(super) fn expect_end(&mut self, file: &File) {
        self.end = file.metadata().ok().map(|metadata| metadata.len());
    }

    /// Write what waits. The rest of a half-written record goes where its start ends; where another
    /// process has appended since, its start is closed off and it is written anew.
    pub(super) fn write(&mut self, disk: &mut dyn Disk, file: &File) -> io::Result<()> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        self.resume(file);
        let (written, result) = write_all(disk, file, &self.bytes[self.written..]);
        self.written += written;
        match result {
            Ok(()) => {
                self.clear();
                Ok(())
            }
            Err(error) => {
                self.drop_whole_records();
                self.expect_end(file);
                Err(error)
            }
        }
    }

    /// Finish the record that is half written; the others may go to another file.
    pub(super) fn finish_record(&mut self, disk: &mut dyn Disk, file: &File) -> io::Result<()> {
        if self.written == 0 {
            return Ok(());
        }
        let end = self.bytes[self.written..]
            .iter()
            .position(|&byte| byte == b'\n')
            .map_or(self.bytes.len(), |at| self.written + at + 1);
        let rest = self.bytes.split_off(end);
        let result = self.write(disk, file);
        self.bytes.extend_from_slice(&rest);
        result
    }

    /// The file is left for another one: what could not be finished there is written whole.
    pub(super) fn start_over(&mut self) {
        self.written = 0;
        self.end = None;
    }

    /// Give up what waits; how many records that were.
    pub(super) fn give_up(&mut self) -> u64 {
        let records = self.records();
        self.clear();
        records
    }

    fn resume(&mut self, file: &File) {
        if self.written == 0 {
            return;
        }
        let end = file.metadata().ok().map(|metadata| metadata.len());
        if end != self.end {
            self.written = 0;
            // The other process' record may have ended the line already.
            if !end.is_some_and(|end| ends_a_line(file, end)) {
                self.bytes.insert(0, b'\n');
            }
        }
    }

    /// Forget the records that are on the disk whole.
    fn drop_whole_records(&mut self) {
        if let Some(at) = self.bytes[..self.written].iter().rposition(|&byte| byte == b'\n') {
            self.bytes.drain(..=at);
            self.written -= at + 1;
        }
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

fn ends_a_line(file: &File, end: u64) -> bool {
    let mut last = [0];
    end > 0 && file.read_exact_at(&mut last, end - 1).is_ok() && last == *b"\n"
}

/// How many lines; a newline alone, which closes off a fragment, is none.
fn count(bytes: &[u8]) -> u64 {
    bytes.split_inclusive(|&byte| byte == b'\n').filter(|line| line.len() > 1).count() as u64
}
