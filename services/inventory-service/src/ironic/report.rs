//! Converts the inventory of such an agent to a hardware report. Pure.

use domain::{
    hardware::{Disk, Hardware, Nic},
    power::BootMode,
};
use wire_ironic::agent as inventory;

/// Converts an inventory. What has no field here is stored in its original form.
pub(super) fn hardware(found: &inventory::Inventory) -> Hardware {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let booted = found.boot.pxe_interface.as_deref().unwrap_or_default().to_ascii_lowercase();
    let nics = found.interfaces.iter().filter_map(|interface| {
        Some(Nic {
            name: interface.name.clone(),
            mac: interface.mac_address.parse().ok()?,
            carrier: interface.has_carrier,
            // Some agents report it in the form of BOOTIF, with the hardware type as a prefix.
            booted_from: booted.replace('-', ":").ends_with(&interface.mac_address.to_ascii_lowercase()),
        })
    });
    Hardware {
        manufacturer: text(&found.system_vendor.manufacturer),
        product: text(&found.system_vendor.product_name),
        serial: text(&found.system_vendor.serial_number),
        uuid: String::new(),
        cpu_model: text(&found.cpu.model_name),
        cpu_arch: found.cpu.architecture.clone(),
        cpu_count: u32::try_from(found.cpu.count).unwrap_or(u32::MAX),
        memory_bytes: if found.memory.total > 0 { found.memory.total } else { found.memory.physical_mb << 20 },
        boot_mode: match found.boot.current_boot_mode.as_deref() {
            Some("uefi") => BootMode::Uefi,
            _ => BootMode::Bios,
        },
        disks: found.disks.iter().map(disk).collect(),
        nics: nics.collect(),
    }
}

fn disk(disk: &inventory::Disk) -> Disk {
    Disk {
        name: disk.name.trim_start_matches("/dev/").to_owned(),
        size_bytes: disk.size,
        serial: disk.serial.clone().unwrap_or_default(),
        model: disk.model.clone().unwrap_or_default(),
        rotational: disk.rotational,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_is_what_our_own_agent_would_have_said() {
        let said = json!({
            "interfaces": [
                {"name": "eth0", "mac_address": "52:54:00:AA:00:01", "has_carrier": true, "product": "0x1"},
                {"name": "ib0", "mac_address": "no MAC", "has_carrier": false},
            ],
            "cpu": {"model_name": "Xeon", "frequency": "2900.0", "count": 8, "architecture": "x86_64"},
            "disks": [{"name": "/dev/nvme0n1", "size": 107_374_182_400_u64, "rotational": false, "wwn": null}],
            "memory": {"total": 16_777_216_000_u64, "physical_mb": 16384},
            "boot": {"current_boot_mode": "uefi", "pxe_interface": "01-52-54-00-aa-00-01"},
            "system_vendor": {"product_name": "R1", "serial_number": null, "manufacturer": "Acme"},
        });
        let hardware = hardware(&serde_json::from_value(said).unwrap());
        assert_eq!(hardware.nics.len(), 1);
        assert!(hardware.nics[0].booted_from);
        assert_eq!((hardware.disks[0].name.as_str(), hardware.cpu_count), ("nvme0n1", 8));
        assert_eq!((hardware.boot_mode, hardware.serial.as_str()), (BootMode::Uefi, ""));
        assert_eq!(hardware.memory_bytes, 16_777_216_000);
    }
}
