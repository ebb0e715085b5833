//! What a machine is made of, as its agent reported it.

use serde::{Deserialize, Serialize};

use crate::{net::MacAddr, power::BootMode};

/// A machine's report of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Hardware {
    /// The machine's maker, as DMI says.
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
    /// The firmware that it booted with.
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
    /// Whether it sees a carrier.
    pub carrier: bool,
    /// Whether the machine booted through it.
    pub booted_from: bool,
}
