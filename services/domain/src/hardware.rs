//! Hardware of a machine, as its agent reports it.

use serde::{Deserialize, Serialize};

use crate::{net::MacAddr, power::BootMode};

/// Hardware report of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Hardware {
    /// Manufacturer, from DMI.
    pub manufacturer: String,
    /// Product name.
    pub product: String,
    /// Serial number.
    pub serial: String,
    /// SMBIOS UUID.
    pub uuid: String,
    /// Processor model.
    pub cpu_model: String,
    /// Instruction set, as in `uname -m`.
    pub cpu_arch: String,
    /// Number of logical processors.
    pub cpu_count: u32,
    /// Memory available to the kernel, in bytes.
    pub memory_bytes: u64,
    /// Firmware interface that the machine booted with.
    pub boot_mode: BootMode,
    /// Disks, sorted by kernel name.
    pub disks: Vec<Disk>,
    /// NICs, sorted by kernel name.
    pub nics: Vec<Nic>,
}

/// Disk.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Disk {
    /// Kernel name, such as `vda`.
    pub name: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Serial number, if known.
    pub serial: String,
    /// Model, if known.
    pub model: String,
    /// Whether it is rotational.
    pub rotational: bool,
}

/// NIC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// Kernel name, such as `eth0`.
    pub name: String,
    /// MAC address.
    pub mac: MacAddr,
    /// Whether the link has a carrier.
    pub carrier: bool,
    /// Whether the machine booted from it.
    pub booted_from: bool,
}
