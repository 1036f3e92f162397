//! Disks that fail as they are told.

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::Arc;

use model_foundry::Disk;
use parking_lot::Mutex;

/// How a disk stands. Clones are the same disk.
#[derive(Clone, Default)]
pub(crate) struct TestDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// How many bytes there is room for; none for as many as there may be.
    room: Option<usize>,
    /// The calls that fail, counted from 0, whatever the room.
    failing_calls: Option<std::ops::Range<u64>>,
    syncs_fail: bool,
    writes: u64,
    syncs: u64,
}

impl TestDisk {
    /// The disk for a run.
    pub(crate) fn boxed(&self) -> Box<dyn Disk> {
        Box::new(self.clone())
    }

    /// Room for so many bytes from now on.
    pub(crate) fn has_room_for(&self, bytes: usize) {
        self.state.lock().room = Some(bytes);
    }

    /// Somebody freed some space.
    pub(crate) fn has_room(&self) {
        self.state.lock().room = None;
    }

    /// These calls fail, writes and syncs counted together from 0.
    pub(crate) fn fails_at(&self, calls: std::ops::Range<u64>) {
        self.state.lock().failing_calls = Some(calls);
    }

    /// Whether bringing data to the platter fails.
    pub(crate) fn syncs_fail(&self, fail: bool) {
        self.state.lock().syncs_fail = fail;
    }

    /// How many syncs there were.
    pub(crate) fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }

    /// How many calls there were.
    pub(crate) fn calls(&self) -> u64 {
        let state = self.state.lock();
        state.writes + state.syncs
    }
}

impl State {
    fn refuses(&self) -> bool {
        let call = self.writes + self.syncs;
        self.failing_calls.as_ref().is_some_and(|calls| calls.contains(&call))
    }
}

impl Disk for TestDisk {
    fn write(&mut self, mut file: &File, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state.lock();
        let refused = state.refuses() || state.room == Some(0);
        state.writes += 1;
        if refused {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let written = file.write(&bytes[..bytes.len().min(state.room.unwrap_or(usize::MAX))])?;
        state.room = state.room.map(|room| room - written);
        Ok(written)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        let mut state = self.state.lock();
        let refused = state.refuses() || state.syncs_fail;
        state.syncs += 1;
        if refused {
            return Err(io::Error::other("the platter is gone"));
        }
        file.sync_data()
    }
}
