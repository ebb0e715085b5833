//! Hardware reports.

use domain::hardware::{Disk, Hardware, Nic};

use super::{Invalid, text};
use crate::common::v1 as wire;

/// Maximum number of disks, and of NICs, in one report.
const MAX_PARTS: usize = 1024;
/// Maximum length of one text in a report, in characters.
const MAX_TEXT_CHARS: usize = 256;

impl From<Hardware> for wire::Hardware {
    fn from(hardware: Hardware) -> Self {
        Self {
            manufacturer: hardware.manufacturer,
            product: hardware.product,
            serial: hardware.serial,
            uuid: hardware.uuid,
            cpu_model: hardware.cpu_model,
            cpu_arch: hardware.cpu_arch,
            cpu_count: hardware.cpu_count,
            memory_bytes: hardware.memory_bytes,
            boot_mode: wire::BootMode::from(hardware.boot_mode).into(),
            disks: hardware.disks.into_iter().map(Into::into).collect(),
            nics: hardware.nics.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Disk> for wire::Disk {
    fn from(disk: Disk) -> Self {
        Self {
            name: disk.name,
            size_bytes: disk.size_bytes,
            serial: disk.serial,
            model: disk.model,
            rotational: disk.rotational,
        }
    }
}

impl From<Nic> for wire::Nic {
    fn from(nic: Nic) -> Self {
        Self { name: nic.name, mac: nic.mac.to_string(), carrier: nic.carrier, booted_from: nic.booted_from }
    }
}

impl TryFrom<wire::Hardware> for Hardware {
    type Error = Invalid;
    fn try_from(hardware: wire::Hardware) -> Result<Self, Invalid> {
        let boot_mode = hardware.boot_mode().try_into()?;
        if hardware.disks.len() > MAX_PARTS || hardware.nics.len() > MAX_PARTS {
            return Err(Invalid::wrong("hardware", format!("more than {MAX_PARTS} disks or NICs")));
        }
        Ok(Self {
            manufacturer: short(hardware.manufacturer),
            product: short(hardware.product),
            serial: short(hardware.serial),
            uuid: short(hardware.uuid),
            cpu_model: short(hardware.cpu_model),
            cpu_arch: short(hardware.cpu_arch),
            cpu_count: hardware.cpu_count,
            memory_bytes: hardware.memory_bytes,
            boot_mode,
            disks: hardware.disks.into_iter().map(disk).collect(),
            nics: hardware.nics.into_iter().map(nic).collect::<Result<_, _>>()?,
        })
    }
}

fn disk(disk: wire::Disk) -> Disk {
    Disk {
        name: short(disk.name),
        size_bytes: disk.size_bytes,
        serial: short(disk.serial),
        model: short(disk.model),
        rotational: disk.rotational,
    }
}

fn nic(nic: wire::Nic) -> Result<Nic, Invalid> {
    let mac = text("nics.mac", &nic.mac)?;
    Ok(Nic { name: short(nic.name), mac, carrier: nic.carrier, booted_from: nic.booted_from })
}

/// Shortens a text and removes its control characters: a report comes from an untrusted machine.
fn short(text: String) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT_CHARS).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_text_is_made_short_and_printable() {
        let report = wire::Hardware {
            serial: format!("\u{1b}[2J{}", "x".repeat(1000)),
            boot_mode: wire::BootMode::Bios.into(),
            ..wire::Hardware::default()
        };
        let serial = Hardware::try_from(report).unwrap().serial;
        assert!(serial.len() == MAX_TEXT_CHARS && serial.starts_with("[2Jxxx"), "{serial}");
    }
}
