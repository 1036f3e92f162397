//! `model-foundry gpu`: what the NVIDIA driver says of the GPUs' memory.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use model_foundry::gpu_inventory;
use serde::Serialize;

use super::terminal::{NOTE, PLAIN, bytes, plain, table, table_text};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Print JSON, sizes in bytes
    #[arg(long)]
    json: bool,
}

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

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let library = std::env::var_os("MODEL_FOUNDRY_NVML").map(Into::into);
    let inventory = gpu_inventory(library);
    let mut out = anstream::stdout().lock();
    let (devices, lost) = match inventory {
        Ok(inventory) => (inventory.devices, inventory.lost),
        Err(reason) => {
            if arguments.json {
                let answer = serde_json::json!({ "devices": [], "unavailable": reason });
                serde_json::to_writer_pretty(&mut out, &answer)?;
                writeln!(out)?;
            } else {
                writeln!(out, "unavailable: {}", plain(&reason))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
    };
    let devices: Vec<Device> = devices
        .into_iter()
        .map(|device| Device {
            index: device.index,
            mig_instance: device.mig_instance,
            uuid: device.uuid,
            name: device.name,
            total: device.total,
            used: device.used,
            free: device.free,
            reserved: device.reserved,
        })
        .collect();
    if arguments.json {
        let answer = serde_json::json!({ "devices": devices, "lost": lost });
        serde_json::to_writer_pretty(&mut out, &answer)?;
        writeln!(out)?;
    } else {
        let header = ["gpu", "name", "used", "free", "reserved", "total", "uuid"];
        let mut rows = table(&header, &[0, 1, 6]);
        for device in &devices {
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
        for lost in &lost {
            writeln!(out, "  {NOTE}unavailable:{PLAIN} {}", plain(lost))?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
