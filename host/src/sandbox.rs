//! One started component: its Store, its bounds, and its restart after a trap.

use std::sync::atomic::Ordering;

use wasmtime::{Store, StoreLimitsBuilder, UpdateDeadline};

use crate::bindings::Logging;
use crate::imports::{Powers, State};
use crate::runtime::{Runtime, TICK};
use crate::{Error, Result};

/// The most memory that a component may have. The logic's own bounds keep it under half of that however
/// long a run is; the rest is room for one huge record.
pub(crate) const MEMORY: usize = 160 << 20;

/// How much one call may pass through the imports: a record of 16 MiB and its copies.
const HOSTCALL_FUEL: usize = 64 << 20;

/// How long the component itself may compute in one call, in ticks. Time in imports does not count.
const LONGEST_CALL: u64 = 60_000 / TICK.as_millis() as u64;

/// A started component.
pub(crate) struct Sandbox {
    runtime: Runtime,
    /// None only while it is started anew.
    started: Option<Started>,
    traps: u64,
}

struct Started {
    store: Store<State>,
    guest: Logging,
}

impl Sandbox {
    pub(crate) fn start(runtime: &Runtime, powers: Powers) -> Result<Self> {
        let started = Started::new(runtime, powers)?;
        Ok(Self { runtime: runtime.clone(), started: Some(started), traps: 0 })
    }

    /// How often the component trapped.
    pub(crate) fn traps(&self) -> u64 {
        self.traps
    }

    /// What stands behind the imports.
    pub(crate) fn powers(&mut self) -> Result<&mut Powers> {
        let started = self.started.as_mut().ok_or_else(gone)?;
        Ok(&mut started.store.data_mut().powers)
    }

    /// Call the component. After a trap it is started anew before this returns: whatever it held is gone,
    /// and the caller opens its resources again.
    pub(crate) fn call<R>(
        &mut self,
        call: impl FnOnce(&Logging, &mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<R> {
        let started = self.started.as_mut().ok_or_else(gone)?;
        let state = started.store.data_mut();
        state.ticks_in_imports = 0;
        state.ticks_at_start = state.ticks.load(Ordering::Relaxed);
        started.store.set_epoch_deadline(1);
        match call(&started.guest, &mut started.store) {
            Ok(result) => Ok(result),
            Err(trap) => {
                self.traps += 1;
                self.restart()?;
                Err(Error::Trap(in_words(&trap)))
            }
        }
    }

    fn restart(&mut self) -> Result<()> {
        let started = self.started.take().ok_or_else(gone)?;
        let powers = started.store.into_data().powers;
        self.started = Some(Started::new(&self.runtime, powers)?);
        Ok(())
    }
}

impl Started {
    fn new(runtime: &Runtime, powers: Powers) -> Result<Self> {
        let limits = StoreLimitsBuilder::new()
            .memory_size(MEMORY)
            .instances(3)
            .memories(1)
            .tables(2)
            .build();
        let ticks = runtime.ticks.clone();
        let state = State { powers, limits, ticks, ticks_in_imports: 0, ticks_at_start: 0 };
        let mut store = Store::new(runtime.pre.engine(), state);
        store.limiter(|state| &mut state.limits);
        store.set_hostcall_fuel(HOSTCALL_FUEL);
        store.set_max_component_handles(10_000);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|store| {
            let state = store.data();
            let passed = state.ticks.load(Ordering::Relaxed) - state.ticks_at_start;
            if passed.saturating_sub(state.ticks_in_imports) > LONGEST_CALL {
                return Err(wasmtime::Trap::Interrupt.into());
            }
            Ok(UpdateDeadline::Continue(1))
        });
        let guest = runtime
            .pre
            .instantiate(&mut store)
            .map_err(|error| Error::Component(format!("it could not be started: {error:#}")))?;
        Ok(Self { store, guest })
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
