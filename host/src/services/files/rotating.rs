//! Rotates a log: starts a new file when the current one is full.

use std::io;
use std::time::{Duration, Instant};

use model_foundry_types::{Part, StorageError};

use super::Files;
use crate::folder::locks::{self, Change};
use crate::folder::parts;
use crate::folder::run_files::FileId;

/// How long a rotation waits for another process, and for how long it is postponed then.
const PATIENCE: Duration = Duration::from_millis(50);
const POSTPONED: Duration = Duration::from_secs(1);

impl Files {
    /// Starts a new file if this one has at least `at_size` bytes, and retains at most `retained_files` files
    /// in total. A failure is counted and the current file is used further, because a file that is too large is
    /// better than a lost record.
    pub(crate) fn rotate(
        &mut self,
        file: FileId,
        at_size: u64,
        retained_files: u32,
    ) -> Result<(), StorageError> {
        // A component that retained fewer files than configured would delete the user's data.
        let retained_files = retained_files.max(self.retained_files);
        if let Err(error) = self.try_rotate(file, at_size, retained_files) {
            self.note(file, &error);
        }
        Ok(())
    }

    fn try_rotate(&mut self, file: FileId, at_size: u64, retained_files: u32) -> io::Result<()> {
        let own = self.own_name(file)?;
        let large = |files: &Self| match files.dir()?.metadata(&own) {
            Ok(metadata) => Ok(metadata.len() >= at_size),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        };
        if !large(self)? {
            return Ok(());
        }
        // One process rotates at a time. When the others get the lock, they find that the file is small. A process
        // that holds the lock for long postpones the rotation.
        if self.rotation_postponed.is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        let _lock = match locks::change(self.dir()?, PATIENCE)? {
            Change::Busy(_) => {
                self.rotation_postponed = Some(Instant::now() + POSTPONED);
                return Ok(());
            }
            lock => lock,
        };
        if !large(self)? {
            return Ok(());
        }
        // Finish a partly written record in the file where it began.
        let writer = &mut self.writers[file.number() as usize];
        if let Some(open) = &writer.open {
            writer.pending.finish_record(&mut *self.disk, &open.file)?;
        }
        let dir = self.dir()?;
        // The oldest first: each name is free when the next younger file takes it.
        for part in parts(dir, file)?.into_iter().filter(|part| part.rank == self.rank) {
            let from = file.part(part);
            if part.rotated + 1 >= retained_files {
                dir.remove_file(&from)?;
            } else {
                let to = file.part(Part { rotated: part.rotated + 1, ..part });
                dir.rename(&from, dir, &to)?;
            }
        }
        self.writers[file.number() as usize].open = None;
        Ok(())
    }
}
