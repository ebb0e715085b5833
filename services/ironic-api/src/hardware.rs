//! Encodes a hardware report in ironic-python-agent's format. Pure.

use domain::{
    hardware::{Disk, Hardware, Nic},
    power::BootMode,
};
use serde_json::{Value, json};
use wire_ironic::agent as inventory;

/// Encodes a hardware report.
pub(super) fn shown(hardware: &Hardware) -> Value {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let booted = hardware.nics.iter().find(|nic| nic.booted_from);
    json!(inventory::Inventory {
        interfaces: hardware.nics.iter().map(interface).collect(),
        cpu: inventory::Cpu {
            model_name: text(&hardware.cpu_model),
            count: hardware.cpu_count.into(),
            architecture: hardware.cpu_arch.clone(),
            ..inventory::Cpu::default()
        },
        disks: hardware.disks.iter().map(disk).collect(),
        memory: inventory::Memory { total: hardware.memory_bytes, physical_mb: hardware.memory_bytes >> 20 },
        system_vendor: inventory::SystemVendor {
            product_name: text(&hardware.product),
            serial_number: text(&hardware.serial),
            manufacturer: text(&hardware.manufacturer),
            ..inventory::SystemVendor::default()
        },
        boot: inventory::Boot {
            current_boot_mode: Some(match hardware.boot_mode {
                BootMode::Bios => "bios".to_owned(),
                BootMode::Uefi => "uefi".to_owned(),
            }),
            pxe_interface: booted.map(|nic| nic.mac.to_string()),
        },
        ..inventory::Inventory::default()
    })
}

fn interface(nic: &Nic) -> inventory::Interface {
    inventory::Interface {
        name: nic.name.clone(),
        mac_address: nic.mac.to_string(),
        has_carrier: nic.carrier,
        ..inventory::Interface::default()
    }
}

fn disk(disk: &Disk) -> inventory::Disk {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    inventory::Disk {
        name: format!("/dev/{}", disk.name),
        model: text(&disk.model),
        size: disk.size_bytes,
        rotational: disk.rotational,
        serial: text(&disk.serial),
        ..inventory::Disk::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_the_names_and_units_of_the_protocol() {
        let nic = Nic {
            name: "eth0".to_owned(),
            mac: "52:54:00:00:00:01".parse().unwrap(),
            carrier: true,
            booted_from: true,
        };
        let disk = Disk { name: "vda".to_owned(), size_bytes: 1 << 30, ..Disk::default() };
        let hardware =
            Hardware { memory_bytes: 1 << 30, cpu_count: 2, disks: vec![disk], nics: vec![nic], ..Hardware::default() };
        let shown = shown(&hardware);
        assert_eq!(shown["memory"], json!({"total": 1 << 30, "physical_mb": 1024}));
        assert_eq!(shown["disks"][0]["name"], "/dev/vda");
        assert_eq!(shown["boot"]["pxe_interface"], "52:54:00:00:00:01");
        assert_eq!(shown["cpu"]["frequency"], Value::Null);
    }
}
