//! Applies CUDA_VISIBLE_DEVICES, which NVML ignores.

use model_foundry_types::GpuDevice;

/// The `devices` that a CUDA program with this value of CUDA_VISIBLE_DEVICES sees, in the order of the value.
///
/// If the variable is not set (none), these are all devices; if it is empty, there are none. The rules are
/// CUDA's. The list contains either indices, or UUIDs that begin with `GPU-`, or UUIDs that begin with `MIG-`.
/// A UUID may be shortened to a prefix that is unique. The first entry that names no device ends the list, and
/// a device that is named twice empties it. A number may be followed by anything, as with strtoul. The index of
/// a device with MIG instances means the first instance, the only one that CUDA uses.
///
/// Indices are those of the driver, in the order of the bus. CUDA uses the same ones only with
/// CUDA_DEVICE_ORDER=PCI_BUS_ID, or if all devices are of the same model.
pub(crate) fn visible(devices: Vec<GpuDevice>, variable: Option<&str>) -> Vec<GpuDevice> {
    let Some(variable) = variable else {
        return devices;
    };
    let family =
        ["GPU-", "MIG-"].into_iter().find(|family| variable.trim_start().starts_with(family));
    let mut chosen: Vec<&GpuDevice> = Vec::new();
    for entry in variable.split(',').map(str::trim) {
        let device = match family {
            Some(family) if entry.starts_with(family) => by_uuid(&devices, entry),
            Some(_) => None,
            None => number(entry).and_then(|index| devices.iter().find(|it| it.index == index)),
        };
        let Some(device) = device else { break };
        if chosen.contains(&device) {
            return Vec::new();
        }
        chosen.push(device);
    }
    chosen.into_iter().cloned().collect()
}

fn by_uuid<'a>(devices: &'a [GpuDevice], entry: &str) -> Option<&'a GpuDevice> {
    // MIG-GPU-…/1/1 is a complete UUID, although MIG-GPU-…/1/10 begins with it.
    if let Some(device) = devices.iter().find(|device| device.uuid == entry) {
        return Some(device);
    }
    let mut matching = devices.iter().filter(|device| device.uuid.starts_with(entry));
    matching.next().filter(|_| matching.next().is_none())
}

/// The number at the start of `entry`.
fn number(entry: &str) -> Option<u32> {
    let digits = entry.strip_prefix('+').unwrap_or(entry);
    let end = digits.find(|character: char| !character.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(index: u32, mig_instance: Option<u32>, uuid: &str) -> GpuDevice {
        GpuDevice {
            index,
            mig_instance,
            uuid: uuid.to_owned(),
            name: String::new(),
            total: 0,
            used: 0,
            free: 0,
            reserved: 0,
            process: None,
        }
    }

    /// The visible UUIDs on a machine with three devices, the last of which has two MIG instances.
    fn seen(variable: Option<&str>) -> Vec<String> {
        let devices = vec![
            device(0, None, "GPU-aa10"),
            device(1, None, "GPU-aa20"),
            device(2, Some(0), "MIG-cc10"),
            device(2, Some(1), "MIG-cc1055"),
        ];
        visible(devices, variable).into_iter().map(|device| device.uuid).collect()
    }

    #[test]
    fn all_devices_are_visible_if_the_variable_is_not_set_and_none_if_it_is_empty() {
        assert_eq!(seen(None), ["GPU-aa10", "GPU-aa20", "MIG-cc10", "MIG-cc1055"]);
        assert!(seen(Some("")).is_empty());
    }

    #[test]
    fn indices_keep_the_order_of_the_variable() {
        assert_eq!(seen(Some("1,0")), ["GPU-aa20", "GPU-aa10"]);
        assert_eq!(seen(Some(" 1 , 0 ")), ["GPU-aa20", "GPU-aa10"]);
    }

    #[test]
    fn an_index_is_that_of_the_driver_and_not_the_position_in_the_list() {
        let without_the_first = vec![device(1, None, "GPU-b"), device(2, None, "GPU-c")];
        let seen = visible(without_the_first, Some("1"));
        assert_eq!(seen, [device(1, None, "GPU-b")]);
    }

    #[test]
    fn the_index_of_a_device_with_mig_means_its_first_instance() {
        assert_eq!(seen(Some("2,0")), ["MIG-cc10", "GPU-aa10"]);
    }

    #[test]
    fn a_number_may_be_followed_by_anything() {
        assert_eq!(seen(Some("1gpu2,+0x")), ["GPU-aa20", "GPU-aa10"]);
    }

    #[test]
    fn the_first_entry_that_names_no_device_ends_the_list() {
        for none in ["-1", "NoDevFiles", "7", ",0", "99999999999", "GPU-bb", "-1,0"] {
            assert!(seen(Some(none)).is_empty(), "{none}");
        }
        for first_only in ["1,-1,0", "1,7,0", "1,,0", "1,GPU-aa10"] {
            assert_eq!(seen(Some(first_only)), ["GPU-aa20"], "{first_only}");
        }
        assert_eq!(seen(Some("GPU-aa2,MIG-cc10,GPU-aa10")), ["GPU-aa20"]);
        assert_eq!(seen(Some("GPU-aa2,0")), ["GPU-aa20"]);
    }

    #[test]
    fn a_device_named_twice_empties_the_list() {
        assert!(seen(Some("0,1,0")).is_empty());
        assert!(seen(Some("GPU-aa10,GPU-aa1")).is_empty());
    }

    #[test]
    fn a_uuid_may_be_shortened_to_a_unique_prefix() {
        assert_eq!(seen(Some("GPU-aa2,GPU-aa1")), ["GPU-aa20", "GPU-aa10"]);
        assert!(seen(Some("GPU-aa")).is_empty());
    }

    #[test]
    fn a_mig_uuid_names_its_instance() {
        assert_eq!(seen(Some("MIG-cc105")), ["MIG-cc1055"]);
        assert!(seen(Some("MIG-cc1,MIG-cc10")).is_empty());
    }

    #[test]
    fn a_complete_uuid_is_not_taken_for_the_prefix_of_another() {
        assert_eq!(seen(Some("MIG-cc10")), ["MIG-cc10"]);
    }
}
