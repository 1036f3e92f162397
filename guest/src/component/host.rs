//! The imports as the logic's trait.

use super::bindings::model_foundry::logging::{files, gpu, system};
use super::bindings::wasi::clocks::{monotonic_clock, wall_clock};
use crate::imports::{File, GpuDevice, GpuInventory, Imports, Part, StorageError, SystemMemory};

/// The component's host.
#[derive(Clone, Copy)]
pub(super) struct Host;

impl Imports for Host {
    fn now(&self) -> u64 {
        let now = wall_clock::now();
        now.seconds * 1_000_000 + u64::from(now.nanoseconds / 1_000)
    }

    fn monotonic(&self) -> u64 {
        monotonic_clock::now()
    }

    fn append(&self, file: File, lines: &str, sync: bool) -> Result<u64, StorageError> {
        files::append(file.into(), lines, sync).map_err(Into::into)
    }

    fn append_bytes(&self, file: File, bytes: &[u8]) -> Result<(), StorageError> {
        files::append_bytes(file.into(), bytes).map_err(Into::into)
    }

    fn read(
        &self,
        file: File,
        part: Part,
        offset: u64,
        length: u32,
    ) -> Result<Vec<u8>, StorageError> {
        files::read(file.into(), part.into(), offset, length).map_err(Into::into)
    }

    fn size(&self, file: File, part: Part) -> Result<u64, StorageError> {
        files::size(file.into(), part.into()).map_err(Into::into)
    }

    fn parts(&self, file: File) -> Result<Vec<Part>, StorageError> {
        let parts = files::parts(file.into())?;
        Ok(parts.into_iter().map(Into::into).collect())
    }

    fn rotate(&self, file: File, at_size: u64, keep: u32) -> Result<(), StorageError> {
        files::rotate(file.into(), at_size, keep).map_err(Into::into)
    }

    fn replace(&self, file: File, content: &[u8]) -> Result<(), StorageError> {
        files::replace(file.into(), content).map_err(Into::into)
    }

    fn gpu_devices(&self) -> Result<GpuInventory, String> {
        gpu::devices().map(Into::into)
    }

    fn system_memory(&self) -> Result<SystemMemory, String> {
        system::usage().map(Into::into)
    }
}

impl From<File> for files::File {
    fn from(file: File) -> Self {
        match file {
            File::MainLog => Self::MainLog,
            File::Metrics => Self::Metrics,
            File::Errors => Self::Errors,
            File::Performance => Self::Performance,
            File::Console => Self::Console,
            File::TimingReport => Self::TimingReport,
            File::MetricsIndex => Self::MetricsIndex,
            File::Wandb => Self::Wandb,
        }
    }
}

impl From<files::File> for File {
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

impl From<Part> for files::Part {
    fn from(Part { rank, rotated }: Part) -> Self {
        Self { rank, rotated }
    }
}

impl From<files::Part> for Part {
    fn from(files::Part { rank, rotated }: files::Part) -> Self {
        Self { rank, rotated }
    }
}

impl From<files::Error> for StorageError {
    fn from(error: files::Error) -> Self {
        match error {
            files::Error::NotFound => Self::NotFound,
            files::Error::Full(message) => Self::Full(message),
            files::Error::ReadOnly(message) => Self::ReadOnly(message),
            files::Error::Other(message) => Self::Other(message),
        }
    }
}

impl From<gpu::Inventory> for GpuInventory {
    fn from(inventory: gpu::Inventory) -> Self {
        let devices = inventory.devices.into_iter().map(|device| GpuDevice {
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

impl From<GpuInventory> for gpu::Inventory {
    fn from(inventory: GpuInventory) -> Self {
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

impl From<system::Memory> for SystemMemory {
    fn from(memory: system::Memory) -> Self {
        Self {
            process_resident: memory.process_resident,
            process_virtual: memory.process_virtual,
            machine_total: memory.machine_total,
            machine_used: memory.machine_used,
            machine_available: memory.machine_available,
        }
    }
}

impl From<SystemMemory> for system::Memory {
    fn from(memory: SystemMemory) -> Self {
        Self {
            process_resident: memory.process_resident,
            process_virtual: memory.process_virtual,
            machine_total: memory.machine_total,
            machine_used: memory.machine_used,
            machine_available: memory.machine_available,
        }
    }
}
