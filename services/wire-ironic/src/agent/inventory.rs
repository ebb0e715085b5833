//! The inventory of a machine. Clients are strict about its types: a frequency is text, a size is a number.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A whole inventory.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Inventory {
    /// Network cards.
    pub interfaces: Vec<Interface>,
    /// The processor.
    pub cpu: Cpu,
    /// Disks.
    pub disks: Vec<Disk>,
    /// Memory.
    pub memory: Memory,
    /// The BMC, by IPv4.
    pub bmc_address: Option<String>,
    /// The BMC, by IPv6.
    pub bmc_v6address: Option<String>,
    /// The BMC's card.
    pub bmc_mac: Option<String>,
    /// Who made the machine.
    pub system_vendor: SystemVendor,
    /// How it booted.
    pub boot: Boot,
    /// What it calls itself.
    pub hostname: Option<String>,
    /// What else the agent found; kept as it came.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    /// The system's name for it.
    pub name: String,
    /// Its address.
    pub mac_address: String,
    /// By IPv4.
    pub ipv4_address: Option<String>,
    /// By IPv6.
    pub ipv6_address: Option<String>,
    /// Whether the other end is there.
    pub has_carrier: bool,
    /// What the switch said, as pairs of type and bytes.
    pub lldp: Option<Value>,
    /// PCI vendor.
    pub vendor: Option<String>,
    /// PCI product.
    pub product: Option<String>,
    /// For DHCP, of InfiniBand.
    pub client_id: Option<String>,
    /// The firmware's name for it.
    pub biosdevname: Option<String>,
    /// Its speed.
    pub speed_mbps: Option<u64>,
    /// Where it sits.
    pub pci_address: Option<String>,
    /// Its driver.
    pub driver: Option<String>,
}

/// The processor.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Cpu {
    /// Its model.
    pub model_name: Option<String>,
    /// In MHz, as text.
    pub frequency: Option<String>,
    /// Threads.
    pub count: u64,
    /// Such as `x86_64`.
    pub architecture: String,
    /// Its flags.
    pub flags: Vec<String>,
    /// Sockets.
    pub socket_count: Option<u64>,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Disk {
    /// The system's name for it.
    pub name: String,
    /// Its model.
    pub model: Option<String>,
    /// Bytes.
    pub size: u64,
    /// Whether it turns.
    pub rotational: bool,
    /// World-wide name.
    pub wwn: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its maker.
    pub vendor: Option<String>,
    /// With the controller's part.
    pub wwn_with_extension: Option<String>,
    /// The controller's part.
    pub wwn_vendor_extension: Option<String>,
    /// Where SCSI has it.
    pub hctl: Option<String>,
    /// A name that stays.
    pub by_path: Option<String>,
    /// Bytes of a sector, as told.
    pub logical_sectors: Option<u64>,
    /// Bytes of a sector, as made.
    pub physical_sectors: Option<u64>,
    /// Such as `nvme`.
    pub tran: Option<String>,
}

/// Memory.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Bytes that the system has.
    pub total: u64,
    /// Mebibytes that are plugged in.
    pub physical_mb: u64,
}

/// Who made the machine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SystemVendor {
    /// Its name.
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
    /// When it was made.
    pub build_date: Option<String>,
}

/// How the machine booted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Boot {
    /// `uefi` or `bios`.
    pub current_boot_mode: Option<String>,
    /// The address of the card that it booted from.
    pub pxe_interface: Option<String>,
}
