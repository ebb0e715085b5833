//! Power, boot devices and modes.

use domain::{
    power::{BmcReset, Boot, BootDevice, BootMode, Persistence, Power, PowerTarget},
    raw_command::RawCommand,
    secret::Secret,
};

use super::{
    Invalid, required,
    time::{time, wire_time},
};
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

impl From<BootDevice> for wire::BootDevice {
    fn from(device: BootDevice) -> Self {
        match device {
            BootDevice::Pxe => Self::Pxe,
            BootDevice::Disk => Self::Disk,
            BootDevice::Cdrom => Self::Cdrom,
            BootDevice::Bios => Self::Bios,
            BootDevice::Safe => Self::Safe,
            BootDevice::UefiHttp => Self::UefiHttp,
        }
    }
}

impl TryFrom<wire::BootDevice> for BootDevice {
    type Error = Invalid;
    fn try_from(device: wire::BootDevice) -> Result<Self, Invalid> {
        match device {
            wire::BootDevice::Unspecified => Err(Invalid::Missing("boot.device")),
            wire::BootDevice::Pxe => Ok(Self::Pxe),
            wire::BootDevice::Disk => Ok(Self::Disk),
            wire::BootDevice::Cdrom => Ok(Self::Cdrom),
            wire::BootDevice::Bios => Ok(Self::Bios),
            wire::BootDevice::Safe => Ok(Self::Safe),
            wire::BootDevice::UefiHttp => Ok(Self::UefiHttp),
        }
    }
}

impl From<Boot> for wire::Boot {
    fn from(boot: Boot) -> Self {
        Self {
            device: wire::BootDevice::from(boot.device).into(),
            persistent: boot.persistence == Persistence::Persistent,
            mode: wire::BootMode::from(boot.mode).into(),
        }
    }
}

impl TryFrom<wire::Boot> for Boot {
    type Error = Invalid;
    fn try_from(boot: wire::Boot) -> Result<Self, Invalid> {
        let device = boot.device().try_into()?;
        let persistence = if boot.persistent { Persistence::Persistent } else { Persistence::Once };
        Ok(Self { device, persistence, mode: boot.mode().try_into()? })
    }
}

impl From<BmcReset> for wire::BmcResetKind {
    fn from(reset: BmcReset) -> Self {
        match reset {
            BmcReset::Cold => Self::Cold,
            BmcReset::Warm => Self::Warm,
        }
    }
}

impl TryFrom<wire::BmcResetKind> for BmcReset {
    type Error = Invalid;
    fn try_from(kind: wire::BmcResetKind) -> Result<Self, Invalid> {
        match kind {
            wire::BmcResetKind::Unspecified => Err(Invalid::Missing("kind")),
            wire::BmcResetKind::Cold => Ok(Self::Cold),
            wire::BmcResetKind::Warm => Ok(Self::Warm),
        }
    }
}

impl From<PowerTarget> for wire::PowerTarget {
    fn from(target: PowerTarget) -> Self {
        let target = match target {
            PowerTarget::On => Target::On(wire::power_target::On {}),
            PowerTarget::Off => Target::Off(wire::power_target::Off {}),
            PowerTarget::SoftOff { by } => {
                Target::SoftOff(wire::power_target::SoftOff { expire_time: by.map(wire_time) })
            }
            PowerTarget::Booted { boot } => Target::Booted(wire::power_target::Booted { boot: boot.map(Into::into) }),
            PowerTarget::SoftBooted { by } => {
                Target::SoftBooted(wire::power_target::SoftBooted { expire_time: Some(wire_time(by)) })
            }
            PowerTarget::BootOrder { boot } => {
                Target::BootOrder(wire::power_target::BootOrder { boot: Some(boot.into()) })
            }
            PowerTarget::Interrupted { by } => {
                Target::Interrupted(wire::power_target::Interrupted { expire_time: by.map(wire_time) })
            }
            PowerTarget::BmcReset { reset, by } => {
                let (kind, expire_time) = (wire::BmcResetKind::from(reset).into(), by.map(wire_time));
                Target::BmcReset(wire::power_target::BmcReset { kind, expire_time })
            }
            PowerTarget::RawCommand { netfn, command, by } => {
                let (netfn, command, expire_time) = (netfn.into(), command.into(), by.map(wire_time));
                Target::RawCommand(wire::power_target::RawCommand { netfn, command, expire_time })
            }
        };
        Self { target: Some(target) }
    }
}

impl TryFrom<wire::PowerTarget> for PowerTarget {
    type Error = Invalid;
    fn try_from(target: wire::PowerTarget) -> Result<Self, Invalid> {
        let optional = |by: Option<_>| by.map(|by| time("target.expire_time", by)).transpose();
        Ok(match required("target", target.target)? {
            Target::On(_) => Self::On,
            Target::Off(_) => Self::Off,
            Target::SoftOff(soft) => Self::SoftOff { by: optional(soft.expire_time)? },
            Target::Booted(booted) => Self::Booted { boot: booted.boot.map(Boot::try_from).transpose()? },
            Target::SoftBooted(soft) => {
                let by = required("target.expire_time", soft.expire_time)?;
                Self::SoftBooted { by: time("target.expire_time", by)? }
            }
            Target::Interrupted(nmi) => Self::Interrupted { by: optional(nmi.expire_time)? },
            Target::BmcReset(reset) => {
                Self::BmcReset { reset: reset.kind().try_into()?, by: optional(reset.expire_time)? }
            }
            Target::RawCommand(raw) => {
                let valid = RawCommand::new(raw.netfn, raw.command, Secret::new(Vec::new()));
                let valid = valid.map_err(|why| Invalid::wrong("target.raw_command", why.to_string()))?;
                let (netfn, command, by) = (valid.netfn(), valid.command(), optional(raw.expire_time)?);
                Self::RawCommand { netfn, command, by }
            }
            Target::BootOrder(order) => Self::BootOrder { boot: required("target.boot", order.boot)?.try_into()? },
        })
    }
}

#[cfg(test)]
mod tests {
    use domain::time::Timestamp;

    use super::*;

    #[test]
    fn every_target_reads_back_as_it_was_written() {
        let boot = |device| Boot { device, persistence: Persistence::Persistent, mode: BootMode::Bios };
        let by = Timestamp::from_millis(1_795_305_600_123);
        let plain = [
            PowerTarget::On,
            PowerTarget::Off,
            PowerTarget::SoftOff { by: None },
            PowerTarget::SoftOff { by: Some(by) },
            PowerTarget::SoftBooted { by },
            PowerTarget::Interrupted { by: None },
            PowerTarget::Interrupted { by: Some(by) },
            PowerTarget::BmcReset { reset: BmcReset::Cold, by: None },
            PowerTarget::BmcReset { reset: BmcReset::Warm, by: Some(by) },
            PowerTarget::RawCommand { netfn: 6, command: 255, by: None },
            PowerTarget::RawCommand { netfn: 6, command: 255, by: Some(by) },
            PowerTarget::Booted { boot: None },
            PowerTarget::Booted { boot: Some(boot(BootDevice::Disk)) },
        ];
        let orders = BootDevice::ALL.map(|device| PowerTarget::BootOrder { boot: boot(device) });
        for target in plain.into_iter().chain(orders) {
            assert_eq!(PowerTarget::try_from(wire::PowerTarget::from(target)), Ok(target));
        }
    }

    #[test]
    fn an_unspecified_value_is_refused_with_the_name_of_its_field() {
        let boot = wire::Boot { device: 0, persistent: false, mode: 1 };
        assert_eq!(Boot::try_from(boot), Err(Invalid::Missing("boot.device")));
        assert_eq!(PowerTarget::try_from(wire::PowerTarget { target: None }), Err(Invalid::Missing("target")));
        let order = Target::BootOrder(wire::power_target::BootOrder { boot: None });
        let order = wire::PowerTarget { target: Some(order) };
        assert_eq!(PowerTarget::try_from(order), Err(Invalid::Missing("target.boot")));
        assert_eq!(BmcReset::try_from(wire::BmcResetKind::Unspecified), Err(Invalid::Missing("kind")));
        for (netfn, command, text) in [(7, 1, "0x07"), (0x40, 1, "0x40"), (6, 256, "256")] {
            let raw = Target::RawCommand(wire::power_target::RawCommand { netfn, command, expire_time: None });
            let refused = PowerTarget::try_from(wire::PowerTarget { target: Some(raw) }).unwrap_err().to_string();
            assert!(refused.contains(text), "{refused}");
        }
    }
}
