//! One started component: its Store, its bounds, and its restart after a trap.

use std::cell::Cell;
use std::sync::atomic::Ordering;

use wasmtime::{Store, StoreLimitsBuilder, UpdateDeadline};

use crate::bindings::Logging;
use crate::imports::{Powers, State};
use crate::runtime::Runtime;
use crate::{Error, Result};

/// The most memory that a component may have, in bytes: what ours has from the start, as `cargo xtask component`
/// builds it.
pub(crate) const MEMORY: usize = 160 << 20;

/// How many elements each of its two tables may have: functions are called through them.
const TABLE_ELEMENTS: usize = 100_000;

/// How much one call may pass through the imports: a record of 16 MiB and its copies.
const HOSTCALL_FUEL: usize = 64 << 20;

/// A started component.
pub(crate) struct Sandbox {
    runtime: Runtime,
    stage: Stage,
    traps: u64,
}

enum Stage {
    Started(Box<Started>),
    /// It could not be started anew: the next call tries again.
    Fallen(Box<Powers>),
    /// Only while it passes from one to the other.
    Between,
}

struct Started {
    store: Store<State>,
    guest: Logging,
}

impl Sandbox {
    pub(crate) fn start(runtime: &Runtime, powers: Powers) -> Result<Self> {
        let started = Started::new(runtime, Box::new(powers)).map_err(|(error, _)| error)?;
        Ok(Self { runtime: runtime.clone(), stage: Stage::Started(Box::new(started)), traps: 0 })
    }

    /// How often the component trapped.
    pub(crate) fn traps(&self) -> u64 {
        self.traps
    }

    /// What stands behind the imports.
    pub(crate) fn powers(&mut self) -> Result<&mut Powers> {
        match &mut self.stage {
            Stage::Started(started) => Ok(&mut started.store.data_mut().powers),
            Stage::Fallen(powers) => Ok(powers),
            Stage::Between => Err(gone()),
        }
    }

    /// Call the component. After a trap it is started anew before this returns: whatever it held is gone,
    /// and the caller opens its resources again.
    pub(crate) fn call<R>(
        &mut self,
        call: impl FnOnce(&Logging, &mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<R> {
        if !matches!(self.stage, Stage::Started(_)) {
            self.restart()?;
        }
        let Stage::Started(started) = &mut self.stage else { return Err(gone()) };
        let state = started.store.data_mut();
        state.ticks_in_imports.set(0);
        state.ticks_at_start = state.ticks.load(Ordering::Relaxed);
        started.store.set_epoch_deadline(1);
        match call(&started.guest, &mut started.store) {
            Ok(result) => Ok(result),
            Err(trap) => {
                self.traps += 1;
                // If this fails the next call tries again; what matters to the caller is the trap.
                let _ = self.restart();
                Err(Error::Trap(in_words(&trap)))
            }
        }
    }

    fn restart(&mut self) -> Result<()> {
        let powers = match std::mem::replace(&mut self.stage, Stage::Between) {
            Stage::Started(started) => Box::new(started.store.into_data().powers),
            Stage::Fallen(powers) => powers,
            Stage::Between => return Err(gone()),
        };
        match Started::new(&self.runtime, powers) {
            Ok(started) => {
                self.stage = Stage::Started(Box::new(started));
                Ok(())
            }
            Err((error, powers)) => {
                self.stage = Stage::Fallen(powers);
                Err(error)
            }
        }
    }
}

impl Started {
    /// Start the component; where it cannot be, the powers come back.
    fn new(runtime: &Runtime, powers: Box<Powers>) -> Result<Self, (Error, Box<Powers>)> {
        let limits = StoreLimitsBuilder::new()
            .memory_size(MEMORY)
            .instances(8)
            .memories(1)
            .tables(2)
            .table_elements(TABLE_ELEMENTS)
            .build();
        let ticks = runtime.ticks.clone();
        let ticks_at_start = ticks.load(Ordering::Relaxed);
        let ticks_in_imports = Cell::new(0);
        let state = State { powers: *powers, limits, ticks, ticks_in_imports, ticks_at_start };
        let mut store = Store::new(runtime.pre.engine(), state);
        store.limiter(|state| &mut state.limits);
        store.set_hostcall_fuel(HOSTCALL_FUEL);
        store.set_max_component_handles(10_000);
        store.set_epoch_deadline(1);
        let longest_call = runtime.longest_call;
        store.epoch_deadline_callback(move |store| {
            let state = store.data();
            let passed = state.ticks.load(Ordering::Relaxed) - state.ticks_at_start;
            if passed.saturating_sub(state.ticks_in_imports.get()) > longest_call {
                return Err(wasmtime::Trap::Interrupt.into());
            }
            Ok(UpdateDeadline::Continue(1))
        });
        match runtime.pre.instantiate(&mut store) {
            Ok(guest) => Ok(Self { store, guest }),
            Err(error) => {
                let error =
                    Error::Component(format!("it could not be started: {}", in_words(&error)));
                Err((error, Box::new(store.into_data().powers)))
            }
        }
    }
}

fn gone() -> Error {
    Error::Component("it could not be started anew after a failure".into())
}

/// A trap in the words of someone who does not read WebAssembly.
fn in_words(trap: &wasmtime::Error) -> String {
    match trap.downcast_ref::<wasmtime::Trap>() {
        Some(wasmtime::Trap::Interrupt) => "it computed for longer than a call may take".into(),
        Some(wasmtime::Trap::StackOverflow) => "it nested too deep".into(),
        Some(wasmtime::Trap::UnreachableCodeReached) => {
            "it stopped itself (out of memory, or a fault of its own)".into()
        }
        Some(trap) => trap.to_string(),
        None => trap.root_cause().to_string(),
    }
}
