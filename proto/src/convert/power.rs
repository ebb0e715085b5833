//! Power, boot devices and modes.

use domain::power::{Boot, BootDevice, BootMode, Persistence, Power, PowerTarget};

use super::{Invalid, required};
use crate::common::v1::{self as wire, power_target::Target};

impl From<Power> for wire::Power {
    fn from(power: Power) -> Self {
        match power {
            Power::On => Self::On,
            Power::Off => Self::Off,
        }
    }
}

impl TryFrom<wire::Power> for Power {
    type Error = Invalid;
    fn try_from(power: wire::Power) -> Result<Self, Invalid> {
        match power {
            wire::Power::Unspecified => Err(Invalid::Missing("power")),
            wire::Power::On => Ok(Self::On),
            wire::Power::Off => Ok(Self::Off),
        }
    }
}

impl From<BootMode> for wire::BootMode {
    fn from(mode: BootMode) -> Self {
        match mode {
            BootMode::Bios => Self::Bios,
            BootMode::Uefi => Self::Uefi,
        }
    }
}

impl TryFrom<wire::BootMode> for BootMode {
    type Error = Invalid;
    fn try_from(mode: wire::BootMode) -> Result<Self, Invalid> {
        match mode {
            wire::BootMode::Unspecified => Err(Invalid::Missing("boot_mode")),
            wire::BootMode::Bios => Ok(Self::Bios),
            wire::BootMode::Uefi => Ok(Self::Uefi),
        }
    }
}

impl From<Boot> for wire::Boot {
    fn from(boot: Boot) -> Self {
        let device = match boot.device {
            BootDevice::Pxe => wire::BootDevice::Pxe,
            BootDevice::Disk => wire::BootDevice::Disk,
            BootDevice::Cdrom => wire::BootDevice::Cdrom,
            BootDevice::Bios => wire::BootDevice::Bios,
        };
        Self {
            device: device.into(),
            persistent: boot.persistence == Persistence::Persistent,
            mode: wire::BootMode::from(boot.mode).into(),
        }
    }
}

impl TryFrom<wire::Boot> for Boot {
    type Error = Invalid;
    fn try_from(boot: wire::Boot) -> Result<Self, Invalid> {
        let device = match boot.device() {
            wire::BootDevice::Unspecified => return Err(Invalid::Missing("boot.device")),
            wire::BootDevice::Pxe => BootDevice::Pxe,
            wire::BootDevice::Disk => BootDevice::Disk,
            wire::BootDevice::Cdrom => BootDevice::Cdrom,
            wire::BootDevice::Bios => BootDevice::Bios,
        };
        let persistence = if boot.persistent { Persistence::Persistent } else { Persistence::Once };
        Ok(Self { device, persistence, mode: boot.mode().try_into()? })
    }
}

impl From<PowerTarget> for wire::PowerTarget {
    fn from(target: PowerTarget) -> Self {
        let target = match target {
            PowerTarget::On => Target::On(wire::power_target::On {}),
            PowerTarget::Off => Target::Off(wire::power_target::Off {}),
            PowerTarget::SoftOff => Target::SoftOff(wire::power_target::SoftOff {}),
            PowerTarget::Booted { boot } => Target::Booted(wire::power_target::Booted { boot: boot.map(Into::into) }),
        };
        Self { target: Some(target) }
    }
}

impl TryFrom<wire::PowerTarget> for PowerTarget {
    type Error = Invalid;
    fn try_from(target: wire::PowerTarget) -> Result<Self, Invalid> {
        Ok(match required("target", target.target)? {
            Target::On(_) => Self::On,
            Target::Off(_) => Self::Off,
            Target::SoftOff(_) => Self::SoftOff,
            Target::Booted(booted) => Self::Booted { boot: booted.boot.map(Boot::try_from).transpose()? },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_reads_back_as_it_was_written() {
        let boot = Boot { device: BootDevice::Disk, persistence: Persistence::Persistent, mode: BootMode::Bios };
        for target in [
            PowerTarget::On,
            PowerTarget::Off,
            PowerTarget::SoftOff,
            PowerTarget::Booted { boot: None },
            PowerTarget::Booted { boot: Some(boot) },
        ] {
            assert_eq!(PowerTarget::try_from(wire::PowerTarget::from(target)), Ok(target));
        }
    }

    #[test]
    fn what_is_not_specified_is_refused_by_name() {
        let boot = wire::Boot { device: 0, persistent: false, mode: 1 };
        assert_eq!(Boot::try_from(boot), Err(Invalid::Missing("boot.device")));
        assert_eq!(PowerTarget::try_from(wire::PowerTarget { target: None }), Err(Invalid::Missing("target")));
    }
}
