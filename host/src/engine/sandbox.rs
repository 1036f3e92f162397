//! One instance of a component: its Store, its limits, and its replacement after a trap.

use std::cell::Cell;
use std::sync::atomic::Ordering;

use wasmtime::{Store, UpdateDeadline};

use super::bindings::Exports;
use super::limits;
use super::runtime::Runtime;
use crate::services::{HostServices, StoreData};
use crate::{Error, Result};

/// About how many bytes the component reads in one call. A call may take a minute; in lines of any shape, reading
/// this much takes a few seconds at most.
pub(crate) const BUDGET: u64 = 64 << 20;

/// How many calls a piece of work may take: 1 TiB of a file.
const MAX_CALLS: usize = 1 << 14;

/// An instance of a component, which is replaced after a trap.
pub(crate) struct Sandbox {
    runtime: Runtime,
    stage: Stage,
    traps: u64,
}

enum Stage {
    Started(Box<Started>),
    /// No instance could be created after a trap: the next call tries again.
    Down(Box<HostServices>),
    /// Only during the replacement.
    Replacing,
}

struct Started {
    store: Store<StoreData>,
    guest: Exports,
}

impl Sandbox {
    pub(crate) fn start(runtime: &Runtime, services: HostServices) -> Result<Self> {
        let started = Started::new(runtime, Box::new(services)).map_err(|(error, _)| error)?;
        Ok(Self { runtime: runtime.clone(), stage: Stage::Started(Box::new(started)), traps: 0 })
    }

    /// How often the component trapped.
    pub(crate) fn traps(&self) -> u64 {
        self.traps
    }

    /// The services behind the imports.
    pub(crate) fn services(&mut self) -> Result<&mut HostServices> {
        match &mut self.stage {
            Stage::Started(started) => Ok(&mut started.store.data_mut().services),
            Stage::Down(services) => Ok(services),
            Stage::Replacing => Err(gone()),
        }
    }

    /// Call the component. After a trap a new instance replaces it before this returns: its resources are gone,
    /// and the caller opens them again.
    pub(crate) fn call<R>(
        &mut self,
        call: impl FnOnce(&Exports, &mut Store<StoreData>) -> wasmtime::Result<R>,
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
                // If this fails the next call tries again. The caller has to learn of the trap.
                let _ = self.restart();
                Err(Error::Trap(describe(&trap)))
            }
        }
    }

    fn restart(&mut self) -> Result<()> {
        let services = match std::mem::replace(&mut self.stage, Stage::Replacing) {
            Stage::Started(started) => Box::new(started.store.into_data().services),
            Stage::Down(services) => services,
            Stage::Replacing => return Err(gone()),
        };
        match Started::new(&self.runtime, services) {
            Ok(started) => {
                self.stage = Stage::Started(Box::new(started));
                Ok(())
            }
            Err((error, services)) => {
                self.stage = Stage::Down(services);
                Err(error)
            }
        }
    }
}

impl Started {
    /// Create an instance. On failure the services are returned.
    fn new(
        runtime: &Runtime,
        services: Box<HostServices>,
    ) -> Result<Self, (Error, Box<HostServices>)> {
        let limits = limits::store_limits();
        let ticks = runtime.ticks.clone();
        let ticks_at_start = ticks.load(Ordering::Relaxed);
        let ticks_in_imports = Cell::new(0);
        let state =
            StoreData { services: *services, limits, ticks, ticks_in_imports, ticks_at_start };
        let mut store = Store::new(runtime.pre.engine(), state);
        store.limiter(|state| &mut state.limits);
        store.set_hostcall_fuel(limits::HOSTCALL_FUEL);
        store.set_max_component_handles(limits::HANDLES);
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
                let error = Error::Component(format!(
                    "cannot start the logging component: {}",
                    describe(&error)
                ));
                Err((error, Box::new(store.into_data().services)))
            }
        }
    }
}

/// Repeat a call that does a part of some work, until there is a result. Each call may take a minute.
pub(crate) fn until_done<R>(mut call: impl FnMut() -> Result<Option<R>>) -> Result<R> {
    for _ in 0..MAX_CALLS {
        if let Some(result) = call()? {
            return Ok(result);
        }
    }
    Err(Error::Component("the component does not finish reading a file".into()))
}

fn gone() -> Error {
    Error::Component("cannot restart the logging component after a failure".into())
}

/// A trap described for someone who does not read WebAssembly.
fn describe(trap: &wasmtime::Error) -> String {
    match trap.downcast_ref::<wasmtime::Trap>() {
        Some(wasmtime::Trap::Interrupt) => "it computed for longer than a call may take".into(),
        Some(wasmtime::Trap::StackOverflow) => "it nested too deep".into(),
        Some(wasmtime::Trap::UnreachableCodeReached) => {
            "it stopped itself (out of memory, or an internal error)".into()
        }
        Some(trap) => trap.to_string(),
        None => trap.root_cause().to_string(),
    }
}
