//! Disks that fail on demand.

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::Arc;

use model_foundry::Disk;
use parking_lot::{Condvar, Mutex};

/// A disk with limited room and failing calls. Clones are the same disk.
#[derive(Clone, Default)]
pub(crate) struct TestDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// The bytes that still fit; `None` for no limit.
    room: Option<usize>,
    /// The calls that fail, counted from 0, even if there is room.
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

    /// Take only this many more bytes.
    pub(crate) fn has_room_for(&self, bytes: usize) {
        self.state.lock().room = Some(bytes);
    }

    /// Take any number of bytes again.
    pub(crate) fn has_room(&self) {
        self.state.lock().room = None;
    }

    /// Fail these calls; writes and syncs are counted together, from 0.
    pub(crate) fn fails_at(&self, calls: std::ops::Range<u64>) {
        self.state.lock().failing_calls = Some(calls);
    }

    /// Set whether syncs fail.
    pub(crate) fn syncs_fail(&self, fail: bool) {
        self.state.lock().syncs_fail = fail;
    }

    /// The number of syncs so far.
    pub(crate) fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }

    /// The number of writes and syncs so far.
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
            return Err(io::Error::other("the sync failed"));
        }
        file.sync_data()
    }
}

/// A disk that blocks every write until it is released. Clones are the same disk.
#[derive(Clone, Default)]
pub(crate) struct HangingDisk {
    released: Arc<(Mutex<bool>, Condvar)>,
}

impl HangingDisk {
    /// Let all writes proceed from now on.
    pub(crate) fn release(&self) {
        *self.released.0.lock() = true;
        self.released.1.notify_all();
    }
}

impl Disk for HangingDisk {
    fn write(&mut self, mut file: &File, bytes: &[u8]) -> io::Result<usize> {
        let mut released = self.released.0.lock();
        while !*released {
            self.released.1.wait(&mut released);
        }
        drop(released);
        file.write(bytes)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}
