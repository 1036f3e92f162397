//! Records that could not be written to the disk yet.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::disk::Disk;
use super::write_all;

/// How many bytes may wait per file.
const MAX_BYTES: usize = 1 << 20;

/// Records that wait, of which the first may be partly written.
#[derive(Default)]
pub(super) struct Pending {
    bytes: Vec<u8>,
    /// How many of `bytes` are already in the file.
    written: usize,
    /// The size of the file after those were written.
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

    /// Adds lines, of which the first `written` bytes are already in the file. Returns how many records were
    /// refused for lack of room.
    pub(super) fn hold(&mut self, lines: &[u8], written: usize) -> u64 {
        // A record whose beginning is on the disk must be finished, so it is held whatever its size.
        if written == 0 && self.bytes.len() + lines.len() > MAX_BYTES {
            let room = MAX_BYTES.saturating_sub(self.bytes.len());
            let fits = lines[..room.min(lines.len())].iter().rposition(|&byte| byte == b'\n');
            let (held, refused) = lines.split_at(fits.map_or(0, |at| at + 1));
            self.bytes.extend_from_slice(held);
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

    /// Adds a newline before the records that wait, because the file ends inside a line.
    pub(super) fn begin_line(&mut self) {
        if self.written == 0 {
            self.bytes.insert(0, b'\n');
        }
    }

    /// Remembers the size of the file, to detect later whether another process has appended.
    pub(super) fn expect_end(&mut self, file: &File) {
        self.end = file.metadata().ok().map(|metadata| metadata.len());
    }

    /// Writes the records that wait. The rest of a partly written record is appended directly after its
    /// beginning. If another process has appended since, the beginning is left as a torn line, and the whole
    /// record is written again.
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

    /// Finishes the partly written record. The others may go to another file.
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

    /// Prepares for another file: a record that could not be finished in the old file is written again
    /// completely.
    pub(super) fn start_over(&mut self) {
        self.written = 0;
        self.end = None;
    }

    /// Drops the records that wait, and returns how many they were.
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
            // The other process may have ended the line already.
            if !end.is_some_and(|end| ends_a_line(file, end)) {
                self.bytes.insert(0, b'\n');
            }
        }
    }

    /// Removes the records that are completely on the disk.
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

/// How many records the lines are. A lone newline, which ends a torn line, is not a record.
fn count(bytes: &[u8]) -> u64 {
    bytes.split_inclusive(|&byte| byte == b'\n').filter(|line| line.len() > 1).count() as u64
}
