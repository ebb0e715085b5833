//! Inventory of a machine. Clients are strict about its types: a frequency is text, a size is a number.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Inventory.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Inventory {
    /// Network cards.
    pub interfaces: Vec<Interface>,
    /// Processor.
    pub cpu: Cpu,
    /// Disks.
    pub disks: Vec<Disk>,
    /// Memory.
    pub memory: Memory,
    /// IPv4 address of the BMC.
    pub bmc_address: Option<String>,
    /// IPv6 address of the BMC.
    pub bmc_v6address: Option<String>,
    /// MAC address of the BMC.
    pub bmc_mac: Option<String>,
    /// Manufacturer of the machine.
    pub system_vendor: SystemVendor,
    /// Boot mode and device.
    pub boot: Boot,
    /// Host name.
    pub hostname: Option<String>,
    /// Other members, kept unchanged.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// NIC.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    /// The system's name for it.
    pub name: String,
    /// MAC address.
    pub mac_address: String,
    /// IPv4 address.
    pub ipv4_address: Option<String>,
    /// IPv6 address.
    pub ipv6_address: Option<String>,
    /// Whether the link is up.
    pub has_carrier: bool,
    /// LLDP packets of the switch, as pairs of type and bytes.
    pub lldp: Option<Value>,
    /// PCI vendor id.
    pub vendor: Option<String>,
    /// PCI product id.
    pub product: Option<String>,
    /// DHCP client id, for InfiniBand.
    pub client_id: Option<String>,
    /// Name in the firmware.
    pub biosdevname: Option<String>,
    /// Speed.
    pub speed_mbps: Option<u64>,
    /// PCI address.
    pub pci_address: Option<String>,
    /// Driver.
    pub driver: Option<String>,
}

/// Processor.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Cpu {
    /// Its model.
    pub model_name: Option<String>,
    /// Frequency in MHz, as text.
    pub frequency: Option<String>,
    /// Number of threads.
    pub count: u64,
    /// Architecture, such as `x86_64`.
    pub architecture: String,
    /// Flags.
    pub flags: Vec<String>,
    /// Number of sockets.
    pub socket_count: Option<u64>,
}

/// Disk.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Disk {
    /// The system's name for it.
    pub name: String,
    /// Its model.
    pub model: Option<String>,
    /// Size in bytes.
    pub size: u64,
    /// Whether it is rotational.
    pub rotational: bool,
    /// WWN.
    pub wwn: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its maker.
    pub vendor: Option<String>,
    /// WWN with the vendor extension.
    pub wwn_with_extension: Option<String>,
    /// Vendor extension of the WWN.
    pub wwn_vendor_extension: Option<String>,
    /// SCSI address (host, channel, target, LUN).
    pub hctl: Option<String>,
    /// Persistent path (`/dev/disk/by-path`).
    pub by_path: Option<String>,
    /// Logical sector size in bytes.
    pub logical_sectors: Option<u64>,
    /// Physical sector size in bytes.
    pub physical_sectors: Option<u64>,
    /// Protocol, such as `nvme`.
    pub tran: Option<String>,
}

/// Memory.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Size that the system sees, in bytes.
    pub total: u64,
    /// Installed size in mebibytes.
    pub physical_mb: u64,
}

/// Manufacturer of the machine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SystemVendor {
    /// Product name.
    pub product_name: Option<String>,
    /// Its serial number.
    pub serial_number: Option<String>,
    /// Its maker.
    pub manufacturer: Option<String>,
    /// Its firmware.
    pub firmware: Firmware,
}

/// Firmware.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Firmware {
    /// Its maker.
    pub vendor: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Build date.
    pub build_date: Option<String>,
}

/// Boot mode and device of the machine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Boot {
    /// `uefi` or `bios`.
    pub current_boot_mode: Option<String>,
    /// MAC address of the NIC that it booted from.
    pub pxe_interface: Option<String>,
}
