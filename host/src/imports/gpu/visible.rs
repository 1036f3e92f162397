//! CUDA_VISIBLE_DEVICES, which NVML does not know.

use model_foundry_guest::imports::GpuDevice;

/// Those of `devices` that a CUDA program with this value of CUDA_VISIBLE_DEVICES sees, in its order.
///
/// None (the variable is not set) is all of them; an empty value none. As in CUDA the list holds either
/// indices, or UUIDs that start with `GPU-`, or with `MIG-`; a UUID may be cut short while one device only
/// starts so; the first entry that names no device ends the list, and a device named twice empties it. A
/// number may have anything after it, as strtoul has it. An index names the first MIG instance where the
/// device has some, as CUDA takes no other.
///
/// Indices are the driver's, in the order of the bus: CUDA's own only under CUDA_DEVICE_ORDER=PCI_BUS_ID or
/// where all devices are of one kind.
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
    // MIG-GPU-…/1/1 is whole although it also begins MIG-GPU-…/1/10.
    if let Some(device) = devices.iter().find(|device| device.uuid == entry) {
        return Some(device);
    }
    let mut matching = devices.iter().filter(|device| device.uuid.starts_with(entry));
    matching.next().filter(|_| matching.next().is_none())
}

/// The number that `entry` starts with.
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

    /// The UUIDs seen on a machine of three devices, the last with two MIG instances.
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
    fn all_are_seen_where_the_variable_is_not_set_and_none_where_it_is_empty() {
        assert_eq!(seen(None), ["GPU-aa10", "GPU-aa20", "MIG-cc10", "MIG-cc1055"]);
        assert!(seen(Some("")).is_empty());
    }

    #[test]
    fn indices_keep_the_order_of_the_variable() {
        assert_eq!(seen(Some("1,0")), ["GPU-aa20", "GPU-aa10"]);
        assert_eq!(seen(Some(" 1 , 0 ")), ["GPU-aa20", "GPU-aa10"]);
    }

    #[test]
    fn an_index_is_the_drivers_and_not_the_place_in_the_list() {
        let without_the_first = vec![device(1, None, "GPU-b"), device(2, None, "GPU-c")];
        let seen = visible(without_the_first, Some("1"));
        assert_eq!(seen, [device(1, None, "GPU-b")]);
    }

    #[test]
    fn an_index_of_a_device_with_mig_is_its_first_instance() {
        assert_eq!(seen(Some("2,0")), ["MIG-cc10", "GPU-aa10"]);
    }

    #[test]
    fn a_number_may_have_anything_after_it() {
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
    fn a_uuid_may_be_cut_short_while_it_names_one_device() {
        assert_eq!(seen(Some("GPU-aa2,GPU-aa1")), ["GPU-aa20", "GPU-aa10"]);
        assert!(seen(Some("GPU-aa")).is_empty());
    }

    #[test]
    fn a_mig_uuid_names_its_instance() {
        assert_eq!(seen(Some("MIG-cc105")), ["MIG-cc1055"]);
        assert!(seen(Some("MIG-cc1,MIG-cc10")).is_empty());
    }

    #[test]
    fn a_whole_uuid_is_not_taken_for_the_start_of_another() {
        assert_eq!(seen(Some("MIG-cc10")), ["MIG-cc10"]);
    }
}
