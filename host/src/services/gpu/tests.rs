//! Tests with tests/nvml-stand-in, a libnvidia-ml that takes its answers from a file.

use std::time::{Duration, Instant};

use nvml_stand_in::StandInDriver;

use super::{Gpu, GpuDevice, has_process_lists};

trait Machine {
    /// The GPUs of a machine with this driver.
    fn gpu(&self) -> Gpu;
}

impl Machine for StandInDriver {
    fn gpu(&self) -> Gpu {
        let mut gpu = Gpu::new(Some(self.library()));
        // Even if the tests run in a container.
        gpu.same_pids = true;
        gpu
    }
}

const ONE: &str = "
    count=1
    device.0.uuid=GPU-aa
    device.0.name=NVIDIA H100 80GB HBM3
    device.0.total=1000
    device.0.reserved=10
    device.0.used=200
";

const TWO: &str = "
    count=2
    device.0.uuid=GPU-aa
    device.0.total=1000
    device.1.uuid=GPU-bb
    device.1.total=2000
";

/// `scenario` with further lines, which must not repeat a key.
fn and(scenario: &str, further: &str) -> String {
    format!("{scenario}\n{further}\n")
}

fn uuids(devices: &[GpuDevice]) -> Vec<&str> {
    devices.iter().map(|device| device.uuid.as_str()).collect()
}

/// The `process` of the only device.
fn process_bytes(scenario: &str, watched: &[u32]) -> Option<u64> {
    let inventory = StandInDriver::new(scenario).gpu().devices(watched);
    inventory.expect("an inventory").devices[0].process
}

fn me() -> u32 {
    std::process::id()
}

#[test]
fn a_missing_driver_is_reported_and_is_not_loaded_again_for_a_minute() {
    let machine = StandInDriver::new(ONE);
    let library = machine.library();
    let elsewhere = library.with_file_name("elsewhere.so");
    std::fs::rename(&library, &elsewhere).expect("moved");
    let mut gpu = machine.gpu();
    let start = Instant::now();

    let reason = gpu.devices_at(&[], start).expect_err("no driver");
    let begin = format!("no NVIDIA driver: {} could not be loaded (", library.display());
    assert!(reason.starts_with(&begin), "{reason}");

    std::fs::rename(&elsewhere, &library).expect("moved back");
    let at = |seconds| start + Duration::from_secs(seconds);
    assert_eq!(gpu.devices_at(&[], at(59)), Err(reason));
    assert!(gpu.devices_at(&[], at(60)).is_ok());
}

#[test]
fn a_library_that_is_not_nvml_is_a_reason() {
    let machine = StandInDriver::new(ONE).without("nvmlInit_v2");
    let reason = machine.gpu().devices(&[]).expect_err("not NVML");
    assert!(reason.starts_with("NVML: function symbol failed to load"), "{reason}");
}

#[test]
fn a_driver_that_refuses_gives_its_reason_and_is_tried_again_after_ten_seconds() {
    for (error, reason) in [
        (9, "no NVIDIA driver: its kernel module is not loaded"),
        (4, "NVML: no permission: this user may not use the NVIDIA driver"),
        (18, "NVML: the library and the kernel module have different versions; reboot to fix this"),
        (27, "NVML: error 27"),
    ] {
        let machine = StandInDriver::new(&format!("init.error={error}"));
        let mut gpu = machine.gpu();
        let start = Instant::now();
        assert_eq!(gpu.devices_at(&[], start), Err(reason.to_owned()));

        machine.becomes(ONE);
        let later = start + Duration::from_secs(9);
        assert_eq!(gpu.devices_at(&[], later), Err(reason.to_owned()));
        let later = start + Duration::from_secs(10);
        assert!(gpu.devices_at(&[], later).is_ok());
    }
}

#[test]
fn a_driver_without_devices_is_a_reason() {
    let machine = StandInDriver::new("count=0");
    assert_eq!(machine.gpu().devices(&[]), Err("NVML: the driver lists no devices".to_owned()));
}

#[test]
fn one_device_reports_total_used_free_and_reserved() {
    let inventory = StandInDriver::new(ONE).gpu().devices(&[]).expect("an inventory");
    assert_eq!(
        inventory.devices,
        [GpuDevice {
            index: 0,
            mig_instance: None,
            uuid: "GPU-aa".to_owned(),
            name: "NVIDIA H100 80GB HBM3".to_owned(),
            total: 1000,
            used: 200,
            free: 790,
            reserved: 10,
            process: Some(0),
        }]
    );
    assert!(inventory.lost.is_empty());
}

#[test]
fn several_devices_are_listed_in_the_order_of_the_driver() {
    let inventory = StandInDriver::new(TWO).gpu().devices(&[]).expect("an inventory");
    assert_eq!(uuids(&inventory.devices), ["GPU-aa", "GPU-bb"]);
    assert_eq!(inventory.devices[1].index, 1);
    assert_eq!(inventory.devices[1].total, 2000);
}

#[test]
fn changes_between_two_calls_are_reported() {
    let machine = StandInDriver::new(ONE);
    let mut gpu = machine.gpu();
    gpu.devices(&[]).expect("an inventory");
    machine.becomes(&ONE.replace("used=200", "used=300"));
    let inventory = gpu.devices(&[]).expect("an inventory");
    assert_eq!(inventory.devices[0].used, 300);
}

#[test]
fn an_older_driver_counts_reserved_memory_as_used() {
    let absent = StandInDriver::new(ONE).without("nvmlDeviceGetMemoryInfo_v2");
    let unknown = StandInDriver::new(&and(ONE, "device.0.memory_v2.error=13"));
    let other_version = StandInDriver::new(&and(ONE, "device.0.memory_v2.error=25"));
    for machine in [absent, unknown, other_version] {
        let inventory = machine.gpu().devices(&[]).expect("an inventory");
        let device = &inventory.devices[0];
        assert_eq!((device.total, device.used), (1000, 210));
        assert_eq!((device.free, device.reserved), (790, 0));
    }
}

#[test]
fn a_device_that_does_not_report_its_memory_is_listed_as_lost() {
    let scenario = and(ONE, "device.0.memory_v2.error=3\ndevice.0.memory.error=3");
    let inventory = StandInDriver::new(&scenario).gpu().devices(&[]);
    let inventory = inventory.expect("an inventory");
    assert!(inventory.devices.is_empty());
    assert_eq!(inventory.lost, ["GPU 0: it does not report its memory"]);
}

#[test]
fn the_bytes_of_this_process_and_its_children_are_summed() {
    let scenario = and(ONE, &format!("device.0.compute={}:100 11:30 12:7", me()));
    assert_eq!(process_bytes(&scenario, &[]), Some(100));
    assert_eq!(process_bytes(&scenario, &[11]), Some(130));
}

#[test]
fn a_process_on_several_lists_counts_once() {
    let me = me();
    let lists = format!(
        "device.0.compute={me}:100\ndevice.0.graphics={me}:100 11:8\ndevice.0.mps={me}:100"
    );
    assert_eq!(process_bytes(&and(ONE, &lists), &[11]), Some(108));
}

#[test]
fn a_client_of_mps_is_found() {
    let scenario = and(ONE, &format!("device.0.mps={}:100", me()));
    assert_eq!(process_bytes(&scenario, &[]), Some(100));
}

#[test]
fn a_list_with_more_processes_than_fit_at_once_is_read() {
    let others: String = (1000..1100).map(|pid| format!("{pid}:1 ")).collect();
    let scenario = and(ONE, &format!("device.0.compute={others} {}:5", me()));
    assert_eq!(process_bytes(&scenario, &[]), Some(5));
}

#[test]
fn a_process_that_is_not_listed_uses_nothing() {
    let scenario = and(ONE, "device.0.compute=11:30");
    assert_eq!(process_bytes(&scenario, &[]), Some(0));
}

#[test]
fn bytes_that_the_driver_does_not_report_are_none() {
    let scenario = and(ONE, &format!("device.0.compute={}:- 11:5", me()));
    assert_eq!(process_bytes(&scenario, &[11]), None);
    // Other processes do not matter.
    let scenario = and(ONE, "device.0.compute=11:- 12:5");
    assert_eq!(process_bytes(&scenario, &[]), Some(0));
}

#[test]
fn without_a_process_list_the_bytes_are_none_and_the_device_is_still_listed() {
    let own = format!("device.0.compute={}:100\n", me());
    for error in [3, 4, 999] {
        let refused = format!("{own}device.0.compute.error={error}");
        assert_eq!(process_bytes(&and(ONE, &refused), &[]), None);
    }
    let absent = "nvmlDeviceGetComputeRunningProcesses_v3";
    let machine = StandInDriver::new(&and(ONE, &own)).without(absent);
    let inventory = machine.gpu().devices(&[]).expect("an inventory");
    assert_eq!(inventory.devices[0].process, None);
    assert_eq!(inventory.devices[0].used, 200);
}

#[test]
fn another_list_that_is_missing_matters_only_if_it_could_contain_this_process() {
    let own = format!("device.0.compute={}:100\n", me());
    let not_supported = "device.0.graphics.error=3\ndevice.0.mps.error=3";
    let refused = "device.0.mps.error=4";
    assert_eq!(process_bytes(&and(ONE, not_supported), &[]), Some(0));
    assert_eq!(process_bytes(&and(ONE, refused), &[]), None);
    assert_eq!(process_bytes(&and(ONE, &format!("{own}{refused}")), &[]), Some(100));
}

#[test]
fn in_a_container_only_bytes_listed_for_this_process_are_reported() {
    let inside = |lists: &str| {
        let machine = StandInDriver::new(&and(ONE, lists));
        let mut gpu = machine.gpu();
        gpu.same_pids = false;
        gpu.devices(&[]).expect("an inventory").devices[0].process
    };
    assert_eq!(inside(""), None);
    assert_eq!(inside("device.0.compute=4000000:100"), None);
    assert_eq!(inside(&format!("device.0.compute={}:0", me())), None);
    assert_eq!(inside(&format!("device.0.compute={}:9", me())), Some(9));
}

#[test]
fn the_process_list_of_a_driver_that_writes_past_its_end_is_not_read() {
    let list = format!("driver=535.54.03\ndevice.0.compute={}:100", me());
    assert_eq!(process_bytes(&and(ONE, &list), &[]), None);
    for (driver, read) in [
        ("530.41.03", true),
        ("535.43.02", false),
        ("535.86.05", false),
        ("535.98", true),
        ("570.86.15", true),
        ("", true),
    ] {
        assert_eq!(has_process_lists(driver), read, "{driver}");
    }
}

const MIG: &str = "
    count=2
    device.0.uuid=GPU-aa
    device.0.mig_mode=0
    device.1.uuid=GPU-bb
    device.1.mig_mode=1
    device.1.mig_slots=7
    device.1.mig.0.uuid=MIG-b0
    device.1.mig.0.name=NVIDIA A100 MIG 3g.20gb
    device.1.mig.0.total=500
    device.1.mig.0.reserved=5
    device.1.mig.0.used=50
    device.1.mig.2.uuid=MIG-b2
    device.1.mig.2.total=300
";

#[test]
fn a_device_with_mig_is_listed_by_its_instances() {
    let scenario = and(MIG, &format!("device.1.mig.0.compute={}:40", me()));
    let inventory = StandInDriver::new(&scenario).gpu().devices(&[]);
    let inventory = inventory.expect("an inventory");
    assert!(inventory.lost.is_empty());
    assert_eq!(uuids(&inventory.devices), ["GPU-aa", "MIG-b0", "MIG-b2"]);
    assert_eq!(inventory.devices[0].mig_instance, None);
    assert_eq!(
        inventory.devices[1],
        GpuDevice {
            index: 1,
            mig_instance: Some(0),
            uuid: "MIG-b0".to_owned(),
            name: "NVIDIA A100 MIG 3g.20gb".to_owned(),
            total: 500,
            used: 50,
            free: 445,
            reserved: 5,
            process: Some(40),
        }
    );
    assert_eq!(inventory.devices[2].mig_instance, Some(2));
    assert_eq!(inventory.devices[2].process, Some(0));
}

#[test]
fn an_instance_without_permission_is_reported_and_the_others_are_listed() {
    let scenario = and(MIG, "device.1.mig.0.error=4");
    let inventory = StandInDriver::new(&scenario).gpu().devices(&[]);
    let inventory = inventory.expect("an inventory");
    assert_eq!(uuids(&inventory.devices), ["GPU-aa", "MIG-b2"]);
    assert_eq!(inventory.lost, ["GPU 1 MIG 0: no permission: this user may not query it"]);
}

#[test]
fn mig_without_instances_is_reported() {
    let scenario = and(ONE, "device.0.mig_mode=1\ndevice.0.mig_slots=7");
    let inventory = StandInDriver::new(&scenario).gpu().devices(&[]);
    let inventory = inventory.expect("an inventory");
    assert!(inventory.devices.is_empty());
    assert_eq!(inventory.lost, ["GPU 0 (GPU-aa): MIG is enabled but has no instances"]);
}

#[test]
fn a_device_without_permission_is_reported_and_the_others_are_listed() {
    let scenario = and(TWO, "device.0.handle.error=4");
    let inventory = StandInDriver::new(&scenario).gpu().devices(&[]);
    let inventory = inventory.expect("an inventory");
    assert_eq!(uuids(&inventory.devices), ["GPU-bb"]);
    assert_eq!(inventory.lost, ["GPU 0: no permission: this user may not query it"]);
}

#[test]
fn a_device_lost_between_two_calls_is_reported_with_its_uuid() {
    let machine = StandInDriver::new(TWO);
    let mut gpu = machine.gpu();
    assert_eq!(gpu.devices(&[]).expect("an inventory").devices.len(), 2);

    machine.becomes(&and(TWO, "device.1.error=15"));
    let inventory = gpu.devices(&[]).expect("an inventory");
    assert_eq!(uuids(&inventory.devices), ["GPU-aa"]);
    assert_eq!(inventory.lost, ["GPU 1 (GPU-bb): lost: it fell off the bus or does not answer"]);

    machine.becomes(TWO);
    let inventory = gpu.devices(&[]).expect("an inventory");
    assert_eq!(inventory.devices.len(), 2);
    assert!(inventory.lost.is_empty());
}

#[test]
fn a_device_lost_during_a_query_is_reported() {
    for call in ["uuid", "name", "mig_mode", "memory_v2", "compute", "mps"] {
        let scenario = and(TWO, &format!("device.1.{call}.error=15"));
        let inventory = StandInDriver::new(&scenario).gpu().devices(&[]);
        let inventory = inventory.expect("an inventory");
        assert_eq!(uuids(&inventory.devices), ["GPU-aa"], "{call}");
        assert_eq!(inventory.lost.len(), 1, "{call}");
    }
}

#[test]
fn a_device_that_the_driver_no_longer_lists_is_reported() {
    let machine = StandInDriver::new(TWO);
    let mut gpu = machine.gpu();
    gpu.devices(&[]).expect("an inventory");
    // The other device moves up.
    machine.becomes("count=1\ndevice.0.uuid=GPU-bb");
    let inventory = gpu.devices(&[]).expect("an inventory");
    assert_eq!(uuids(&inventory.devices), ["GPU-bb"]);
    assert_eq!(inventory.lost, ["GPU 0 (GPU-aa): lost: the driver no longer lists it"]);

    machine.becomes("count=1\ndevice.0.uuid=GPU-bb\ndevice.0.error=15");
    let inventory = gpu.devices(&[]).expect("an inventory");
    assert_eq!(
        inventory.lost,
        [
            "GPU 0 (GPU-bb): lost: it fell off the bus or does not answer",
            "GPU 0 (GPU-aa): lost: the driver no longer lists it",
        ]
    );
}

#[test]
fn a_driver_unloaded_during_the_run_is_a_reason_until_it_is_back() {
    for (error, reason) in [
        ("count.error=9", "no NVIDIA driver: its kernel module is not loaded"),
        ("device.0.error=1", "NVML: the driver ended the session"),
    ] {
        let machine = StandInDriver::new(ONE);
        let mut gpu = machine.gpu();
        let start = Instant::now();
        gpu.devices_at(&[], start).expect("an inventory");

        machine.becomes(&and(ONE, error));
        assert_eq!(gpu.devices_at(&[], start), Err(reason.to_owned()));
        machine.becomes(ONE);
        let later = start + Duration::from_secs(9);
        assert_eq!(gpu.devices_at(&[], later), Err(reason.to_owned()));
        let later = start + Duration::from_secs(10);
        assert!(gpu.devices_at(&[], later).is_ok());
    }
}

#[test]
fn a_driver_whose_devices_are_all_lost_is_opened_again_after_ten_seconds() {
    let machine = StandInDriver::new(ONE);
    let mut gpu = machine.gpu();
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    gpu.devices_at(&[], start).expect("an inventory");

    // Only a new session calls init.
    machine.becomes(&and(ONE, "device.0.error=15\ninit.error=9"));
    for seconds in [9, 10] {
        let inventory = gpu.devices_at(&[], at(seconds)).expect("an inventory");
        assert!(inventory.devices.is_empty());
        assert_eq!(inventory.lost.len(), 1);
    }
    let reason = gpu.devices_at(&[], at(11)).expect_err("a new session");
    assert_eq!(reason, "no NVIDIA driver: its kernel module is not loaded");

    machine.becomes(ONE);
    let inventory = gpu.devices_at(&[], at(21)).expect("an inventory");
    assert_eq!(uuids(&inventory.devices), ["GPU-aa"]);
}

#[test]
fn it_can_be_sent_to_another_thread() {
    fn sent<T: Send>() {}
    sent::<Gpu>();
}
