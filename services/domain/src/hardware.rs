//! Hardware of a machine, as its agent reports it.

use serde::{Deserialize, Serialize};

use crate::{net::MacAddr, power::BootMode};

/// Hardware report of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Hardware {
    /// Manufacturer from DMI.
    pub manufacturer: String,
    /// Its product name.
    pub product: String,
    /// Its serial number.
    pub serial: String,
    /// Its SMBIOS UUID.
    pub uuid: String,
    /// The processor's model.
    pub cpu_model: String,
    /// The instruction set, as `uname -m` says.
    pub cpu_arch: String,
    /// Logical processors.
    pub cpu_count: u32,
    /// Octets of memory that the kernel has.
    pub memory_bytes: u64,
    /// Firmware interface that the machine booted with.
    pub boot_mode: BootMode,
    /// Its disks, the smallest kernel name first.
    pub disks: Vec<Disk>,
    /// Its NICs, the smallest kernel name first.
    pub nics: Vec<Nic>,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Disk {
    /// The kernel's name, as `vda`.
    pub name: String,
    /// Octets.
    pub size_bytes: u64,
    /// The maker's serial number, where there is one.
    pub serial: String,
    /// The model, where there is one.
    pub model: String,
    /// Whether it has spinning platters.
    pub rotational: bool,
}

/// A NIC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// The kernel's name, as `eth0`.
    pub name: String,
    /// Its hardware address.
    pub mac: MacAddr,
    /// Whether the link has a carrier.
    pub carrier: bool,
    /// Whether the machine booted through it.
    pub booted_from: bool,
}
