//! The wall clock and the monotonic clock, and a clock that a test can set.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Linker, Lower};

use super::StoreData;

/// The time of day, as `wasi:clocks/wall-clock` has it.
#[derive(ComponentType, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

/// Link the import `wasi:clocks/wall-clock`, as far as the component uses it.
pub(super) fn add_to_linker(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    linker.instance("wasi:clocks/wall-clock@0.2.12")?.func_wrap(
        "now",
        |store: StoreContextMut<'_, StoreData>, (): ()| {
            let now = store.data().services.now();
            let nanoseconds = (now % 1_000_000) as u32 * 1_000;
            Ok((Datetime { seconds: now / 1_000_000, nanoseconds },))
        },
    )
}

/// The source of all times of a run.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's clocks.
    #[default]
    System,
    /// A clock that moves only when it is advanced.
    Manual(ManualClock),
}

impl Clock {
    /// Microseconds since 1970-01-01T00:00:00Z; 0 if the clock is set to an earlier time.
    pub(crate) fn now(&self) -> u64 {
        match self {
            Self::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_micros() as u64),
            Self::Manual(clock) => clock.0.load(Ordering::Relaxed) / 1_000,
        }
    }

    /// Nanoseconds since an instant that is fixed within the process.
    pub(crate) fn monotonic(&self) -> u64 {
        static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        match self {
            Self::System => START.elapsed().as_nanos() as u64,
            Self::Manual(clock) => clock.0.load(Ordering::Relaxed),
        }
    }
}

/// A clock for tests: both clocks read the same nanoseconds, counted from 1970-01-01T00:00:00Z.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock that reads this many microseconds since 1970-01-01T00:00:00Z.
    pub fn at(microseconds: u64) -> Self {
        Self(Arc::new(AtomicU64::new(microseconds * 1_000)))
    }

    /// Advances the clock by this many nanoseconds.
    pub fn advance(&self, nanoseconds: u64) {
        self.0.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}
