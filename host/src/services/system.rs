//! The memory of this process, of the commands that it watches, and of the machine.

use model_foundry_types::SystemMemory;
use sysinfo::{MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use super::StoreData;

/// Link the import `model-foundry:host/system`.
pub(super) fn add_to_linker(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    linker
        .instance("model-foundry:host/system@0.1.0")?
        .func_wrap("usage", |store: StoreContextMut<'_, StoreData>, (): ()| {
            Ok((store.data().services.system(),))
        })
}

/// Reads memory figures through sysinfo.
#[derive(Default)]
pub(crate) struct MachineMemory {
    /// Created on first use.
    system: Option<System>,
}

impl MachineMemory {
    /// The current figures, in bytes. If commands are watched, the process figures are the sums over those
    /// commands and all that they started, without this process. Otherwise they are those of this process.
    ///
    /// # Errors
    ///
    /// A sentence that says why the figures are not available.
    pub(crate) fn read(&mut self, watched: &[u32]) -> Result<SystemMemory, String> {
        let system = match &mut self.system {
            Some(system) => system,
            none => none.insert(System::new().map_err(|error| error.to_string())?),
        };
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        let memory = ProcessRefreshKind::nothing().with_memory().without_tasks();
        let own;
        let roots = if watched.is_empty() {
            own = [std::process::id()];
            // Only this process, because listing all of them takes milliseconds.
            let pids = [Pid::from_u32(own[0])];
            system.refresh_processes_specifics(ProcessesToUpdate::Some(&pids), true, memory);
            &own[..]
        } else {
            system.refresh_processes_specifics(ProcessesToUpdate::All, true, memory);
            watched
        };
        let (mut resident, mut address_space) = (0, 0);
        for pid in family(system, roots) {
            if let Some(process) = system.process(pid) {
                resident += process.memory();
                address_space += process.virtual_memory();
            }
        }
        if resident == 0 && watched.is_empty() {
            return Err("the operating system does not report this process's memory".into());
        }
        Ok(SystemMemory {
            process_resident: resident,
            process_virtual: address_space,
            machine_total: system.total_memory(),
            machine_used: system.used_memory(),
            machine_available: system.available_memory(),
        })
    }
}

/// The processes and all that they started, directly or indirectly.
pub(crate) fn descendants(roots: &[u32]) -> Vec<u32> {
    let Ok(mut system) = System::new() else { return roots.to_vec() };
    let nothing = ProcessRefreshKind::nothing().without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, nothing);
    family(&system, roots).into_iter().map(Pid::as_u32).collect()
}

fn family(system: &System, roots: &[u32]) -> Vec<Pid> {
    let mut family: Vec<Pid> = roots.iter().map(|&pid| Pid::from_u32(pid)).collect();
    let mut at = 0;
    while at < family.len() {
        let parent = family[at];
        for (&pid, process) in system.processes() {
            if process.parent() == Some(parent) && !family.contains(&pid) {
                family.push(pid);
            }
        }
        at += 1;
    }
    family
}
