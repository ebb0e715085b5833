//! Names of boot devices and overrides in the Redfish schema.

use domain::power::BootDevice;

/// Boot devices by their schema name (DSP0268, `ComputerSystem`, `BootSourceOverrideTarget`).
pub(super) const TARGETS: &[(&str, BootDevice)] = &[
    ("Pxe", BootDevice::Pxe),
    ("Hdd", BootDevice::Disk),
    ("Cd", BootDevice::Cdrom),
    ("BiosSetup", BootDevice::Bios),
    ("UefiHttp", BootDevice::UefiHttp),
];
/// Value of `BootSourceOverrideEnabled` for one boot.
pub(super) const ONCE: &str = "Once";
/// Value of `BootSourceOverrideEnabled` until it is changed.
pub(super) const CONTINUOUS: &str = "Continuous";
