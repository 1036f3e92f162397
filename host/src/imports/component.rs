//! The component's imports: nothing but conversions.

use std::sync::atomic::Ordering;

use model_foundry_guest::imports as guest;
use wasmtime::StoreContextMut;
use wasmtime::component::{HasSelf, Linker, WasmStr};

use super::State;
use crate::bindings::Logging;
use crate::bindings::model_foundry::logging::{files, gpu, system};
use crate::bindings::wasi::clocks::{monotonic_clock, wall_clock};

/// Link the imports.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    Logging::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    // The generated function copies the lines into a string of its own: here the disk gets them from the
    // component's memory.
    linker.allow_shadowing(true);
    linker.instance("model-foundry:logging/files@0.1.0")?.func_wrap(
        "append",
        |store: StoreContextMut<'_, State>, (file, lines, sync): (files::File, WasmStr, bool)| {
            let lines = lines.to_str(&store)?;
            Ok((store.data().append_lines(file, &lines, sync),))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

impl State {
    /// Do a file's work without its time counting as the component's.
    fn outside<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        let before = self.ticks.load(Ordering::Relaxed);
        let result = work(self);
        self.count_as_outside(before);
        result
    }

    fn count_as_outside(&self, since: u64) {
        let passed = self.ticks.load(Ordering::Relaxed) - since;
        self.ticks_in_imports.set(self.ticks_in_imports.get() + passed);
    }

    fn append_lines(
        &self,
        file: files::File,
        lines: &str,
        sync: bool,
    ) -> Result<u64, files::Error> {
        // Part of a line would run into the next record.
        if !lines.ends_with('\n') {
            return Err(files::Error::Other("only whole lines can be appended".into()));
        }
        let before = self.ticks.load(Ordering::Relaxed);
        let appended = self.powers.files.borrow_mut().append(file.into(), lines.as_bytes(), sync);
        self.count_as_outside(before);
        Ok(appended?)
    }
}

impl wall_clock::Host for State {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        let now = self.powers.now();
        Ok(wall_clock::Datetime {
            seconds: now / 1_000_000,
            nanoseconds: (now % 1_000_000) as u32 * 1_000,
        })
    }
}

impl monotonic_clock::Host for State {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.powers.clock.monotonic())
    }
}

impl files::Host for State {
    fn append(
        &mut self,
        file: files::File,
        lines: String,
        sync: bool,
    ) -> wasmtime::Result<Result<u64, files::Error>> {
        Ok(self.append_lines(file, &lines, sync))
    }

    fn append_bytes(
        &mut self,
        file: files::File,
        bytes: Vec<u8>,
    ) -> wasmtime::Result<Result<(), files::Error>> {
        Ok(self.outside(|state| {
            if file != files::File::Wandb {
                return Err(files::Error::Other("this file takes whole lines alone".into()));
            }
            Ok(state.powers.files().append_bytes(file.into(), &bytes)?)
        }))
    }

    fn read(
        &mut self,
        file: files::File,
        part: files::Part,
        offset: u64,
        length: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, files::Error>> {
        Ok(self.outside(|state| {
            Ok(state.powers.files().read(file.into(), part.into(), offset, length)?)
        }))
    }

    fn size(
        &mut self,
        file: files::File,
        part: files::Part,
    ) -> wasmtime::Result<Result<u64, files::Error>> {
        Ok(self.outside(|state| Ok(state.powers.files().size(file.into(), part.into())?)))
    }

    fn parts(
        &mut self,
        file: files::File,
    ) -> wasmtime::Result<Result<Vec<files::Part>, files::Error>> {
        Ok(self.outside(|state| {
            let parts = state.powers.files().parts(file.into())?;
            Ok(parts.into_iter().map(Into::into).collect())
        }))
    }

    fn rotate(
        &mut self,
        file: files::File,
        at_size: u64,
        keep: u32,
    ) -> wasmtime::Result<Result<(), files::Error>> {
        Ok(self.outside(|state| {
            let file = file.into();
            // What the run is about is never rotated, whoever asks.
            if !super::files::rotates(file) {
                return Err(files::Error::Other("this file is never rotated".into()));
            }
            Ok(state.powers.files().rotate(file, at_size, keep)?)
        }))
    }

    fn replace(
        &mut self,
        file: files::File,
        content: Vec<u8>,
    ) -> wasmtime::Result<Result<(), files::Error>> {
        Ok(self.outside(|state| {
            if !matches!(file, files::File::TimingReport | files::File::MetricsIndex) {
                return Err(files::Error::Other("this file can only be appended to".into()));
            }
            Ok(state.powers.files().replace(file.into(), &content)?)
        }))
    }
}

impl gpu::Host for State {
    fn devices(&mut self) -> wasmtime::Result<Result<gpu::Inventory, String>> {
        Ok(self.powers.gpu().map(Into::into))
    }
}

impl system::Host for State {
    fn usage(&mut self) -> wasmtime::Result<Result<system::Memory, String>> {
        Ok(self.powers.system().map(Into::into))
    }
}

impl From<files::File> for guest::File {
    fn from(file: files::File) -> Self {
        match file {
            files::File::MainLog => Self::MainLog,
            files::File::Metrics => Self::Metrics,
            files::File::Errors => Self::Errors,
            files::File::Performance => Self::Performance,
            files::File::Console => Self::Console,
            files::File::TimingReport => Self::TimingReport,
            files::File::MetricsIndex => Self::MetricsIndex,
            files::File::Wandb => Self::Wandb,
        }
    }
}

impl From<guest::File> for files::File {
    fn from(file: guest::File) -> Self {
        match file {
            guest::File::MainLog => Self::MainLog,
            guest::File::Metrics => Self::Metrics,
            guest::File::Errors => Self::Errors,
            guest::File::Performance => Self::Performance,
            guest::File::Console => Self::Console,
            guest::File::TimingReport => Self::TimingReport,
            guest::File::MetricsIndex => Self::MetricsIndex,
            guest::File::Wandb => Self::Wandb,
        }
    }
}

impl From<files::Part> for guest::Part {
    fn from(files::Part { rank, rotated }: files::Part) -> Self {
        Self { rank, rotated }
    }
}

impl From<guest::Part> for files::Part {
    fn from(guest::Part { rank, rotated }: guest::Part) -> Self {
        Self { rank, rotated }
    }
}

impl From<guest::StorageError> for files::Error {
    fn from(error: guest::StorageError) -> Self {
        match error {
            guest::StorageError::NotFound => Self::NotFound,
            guest::StorageError::Full(message) => Self::Full(message),
            guest::StorageError::ReadOnly(message) => Self::ReadOnly(message),
            guest::StorageError::Other(message) => Self::Other(message),
        }
    }
}

impl From<guest::GpuInventory> for gpu::Inventory {
    fn from(inventory: guest::GpuInventory) -> Self {
        let devices = inventory.devices.into_iter().map(|device| gpu::Device {
            index: device.index,
            mig_instance: device.mig_instance,
            uuid: device.uuid,
            name: device.name,
            total: device.total,
            used: device.used,
            free: device.free,
            reserved: device.reserved,
            process: device.process,
        });
        Self { devices: devices.collect(), lost: inventory.lost }
    }
}

impl From<guest::SystemMemory> for system::Memory {
    fn from(memory: guest::SystemMemory) -> Self {
        Self {
            process_resident: memory.process_resident,
            process_virtual: memory.process_virtual,
            machine_total: memory.machine_total,
            machine_used: memory.machine_used,
            machine_available: memory.machine_available,
        }
    }
}
