//! Power, boot device and identify light: the Chassis commands (IPMI 2.0 §28).

use crate::Malformed;
use crate::message::{Command, netfn};
use crate::read::Reader;

pub mod boot;

/// Command numbers of the Chassis family (IPMI 2.0 Appendix G).
pub(crate) mod number {
    pub(crate) const GET_STATUS: u8 = 0x01;
    pub(crate) const CONTROL: u8 = 0x02;
    pub(crate) const IDENTIFY: u8 = 0x04;
    pub(crate) const SET_BOOT_OPTIONS: u8 = 0x08;
    pub(crate) const GET_BOOT_OPTIONS: u8 = 0x09;
}

/// *Get Chassis Status* (§28.2). Read-only; decode the response with [`Status::decode`].
#[must_use]
pub fn get_status() -> Command {
    Command::new(netfn::CHASSIS, number::GET_STATUS, [])
}

/// Power state of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// On.
    On,
    /// Off; only the BMC has power.
    Off,
}

/// Response to *Get Chassis Status* (Table 28-3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// System power.
    pub power: Power,
    /// Bits 1 to 4 of the first octet: overload, interlock, fault, control fault. 0 if there is no fault.
    pub faults: u8,
}

impl Status {
    /// Decodes a response. Additional octets are ignored.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] if the response is empty.
    pub fn decode(data: &[u8]) -> Result<Self, Malformed> {
        let state = Reader::new(data).octet()?;
        let power = if state & 1 == 1 { Power::On } else { Power::Off };
        Ok(Self { power, faults: state >> 1 & 0x0f })
    }

    pub(crate) const fn encode(self) -> [u8; 3] {
        let power = match self.power {
            Power::On => 1,
            Power::Off => 0,
        };
        // Power restore policy: stays off (bits 6 and 5). No last event, nothing in the third octet.
        [power | self.faults << 1, 0, 0]
    }
}

/// Actions of *Chassis Control* (Table 28-4). All of them change the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Power off at once. Absolute: may be sent again.
    Off = 0,
    /// Power on. Absolute: may be sent again.
    On = 1,
    /// Power off, and on again after a second. **Not** absolute.
    Cycle = 2,
    /// Hard reset. **Not** absolute.
    Reset = 3,
    /// Diagnostic interrupt (NMI). **Not** absolute.
    Diagnostic = 4,
    /// Request the operating system to shut down (emulated fatal overtemperature).
    Soft = 5,
}

impl Control {
    /// Returns the command.
    #[must_use]
    pub fn command(self) -> Command {
        Command::new(netfn::CHASSIS, number::CONTROL, [self as u8])
    }

    /// Returns whether a repeated command has no further effect. Send the others with [`Retry::once`](crate::Retry::once).
    #[must_use]
    pub const fn is_absolute(self) -> bool {
        matches!(self, Self::Off | Self::On | Self::Soft)
    }

    pub(crate) fn of(number: u8) -> Option<Self> {
        [Self::Off, Self::On, Self::Cycle, Self::Reset, Self::Diagnostic, Self::Soft]
            .into_iter()
            .find(|control| *control as u8 == number & 0x0f)
    }
}

/// Duration of the identify light.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identify {
    /// Off.
    Off,
    /// This number of seconds.
    Seconds(u8),
    /// On until it is switched off. Optional for a BMC (§28.5).
    Always,
}

impl Identify {
    /// *Chassis Identify* (§28.5).
    #[must_use]
    pub fn command(self) -> Command {
        match self {
            Self::Off => Command::new(netfn::CHASSIS, number::IDENTIFY, [0]),
            Self::Seconds(seconds) => Command::new(netfn::CHASSIS, number::IDENTIFY, [seconds]),
            Self::Always => Command::new(netfn::CHASSIS, number::IDENTIFY, [0, 1]),
        }
    }

    /// The default is 15 seconds (Table 28-6).
    pub(crate) fn of(data: &[u8]) -> Self {
        match data {
            [_, forced, ..] if forced & 1 == 1 => Self::Always,
            [0, ..] => Self::Off,
            [seconds, ..] => Self::Seconds(*seconds),
            [] => Self::Seconds(15),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_control_is_decoded_as_itself() {
        for number in 0..=5 {
            let control = Control::of(number).unwrap();
            assert_eq!(control.command().data, [number]);
        }
        assert_eq!(Control::of(6), None);
    }

    #[test]
    fn a_status_with_additional_octets_is_decoded() {
        let status = Status::decode(&[0x61, 0x10, 0x40, 0x54, 0xff, 0xff]).unwrap();
        assert_eq!(status, Status { power: Power::On, faults: 0 });
        assert_eq!(Status::decode(&[]), Err(Malformed::Truncated));
    }
}
