//! `model-foundry gpu`: the GPUs' memory as the NVIDIA driver reports it.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use model_foundry::{GpuDevice, gpu_inventory};
use serde::Serialize;

use crate::output::Output;
use crate::terminal::{NOTE, PLAIN, bytes, plain, table, table_text};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Sizes in JSON are in bytes
    #[command(flatten)]
    output: Output,
}

/// The answer: the devices, or why there are none.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Devices { devices: Vec<Device>, lost: Vec<String> },
    Unavailable { devices: [Device; 0], unavailable: String },
}

/// A device without the memory of a process: no process is watched here.
#[derive(Serialize)]
struct Device {
    index: u32,
    mig_instance: Option<u32>,
    uuid: String,
    name: String,
    total: u64,
    used: u64,
    free: u64,
    reserved: u64,
}

impl From<GpuDevice> for Device {
    fn from(device: GpuDevice) -> Self {
        let GpuDevice { index, mig_instance, uuid, name, total, used, free, reserved, process: _ } =
            device;
        Self { index, mig_instance, uuid, name, total, used, free, reserved }
    }
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let library = std::env::var_os("MODEL_FOUNDRY_NVML").map(Into::into);
    let answer = match gpu_inventory(library) {
        Ok(inventory) => Answer::Devices {
            devices: inventory.devices.into_iter().map(Device::from).collect(),
            lost: inventory.lost,
        },
        Err(reason) => Answer::Unavailable { devices: [], unavailable: reason },
    };
    arguments.output.print(&answer, |out| write_text(out, &answer))?;
    Ok(ExitCode::SUCCESS)
}

fn write_text(out: &mut dyn Write, answer: &Answer) -> Result<()> {
    let (devices, lost) = match answer {
        Answer::Devices { devices, lost } => (devices, lost),
        Answer::Unavailable { unavailable, .. } => {
            writeln!(out, "unavailable: {}", plain(unavailable))?;
            return Ok(());
        }
    };
    let header = ["gpu", "name", "used", "free", "reserved", "total", "uuid"];
    let mut rows = table(&header, &[0, 1, 6]);
    for device in devices {
        let instance = device.mig_instance.map(|n| format!(" MIG {n}")).unwrap_or_default();
        rows.add_row([
            format!("{}{instance}", device.index),
            plain(&device.name).into_owned(),
            bytes(device.used),
            bytes(device.free),
            bytes(device.reserved),
            bytes(device.total),
            plain(&device.uuid).into_owned(),
        ]);
    }
    write!(out, "{}", table_text(&rows))?;
    for lost in lost {
        writeln!(out, "  {NOTE}unavailable:{PLAIN} {}", plain(lost))?;
    }
    Ok(())
}
