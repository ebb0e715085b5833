//! Which device a machine boots from next (IPMI 2.0 §28.12 and §28.13, Table 28-14).

use super::number;
use crate::Malformed;
use crate::message::{Command, Completion, netfn};
use crate::read::Reader;

/// Boot option parameters (Table 28-14).
pub(crate) mod parameter {
    pub(crate) const SET_IN_PROGRESS: u8 = 0;
    pub(crate) const VALID_BIT_CLEARING: u8 = 3;
    pub(crate) const ACKNOWLEDGE: u8 = 4;
    pub(crate) const FLAGS: u8 = 5;
}

/// The version of the parameters (Table 28-13); every answer opens with it.
pub(crate) const VERSION: u8 = 1;
const VALID: u8 = 0x80;
const PERSISTENT: u8 = 0x40;
const UEFI: u8 = 0x20;

/// What to boot from (Table 28-14, parameter 5, second octet, bits 5 to 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// Whatever the firmware's own order says.
    Unchanged = 0,
    /// The network.
    Network = 1,
    /// The default hard disk.
    Disk = 2,
    /// The default hard disk, in safe mode.
    SafeDisk = 3,
    /// The diagnostic partition.
    Diagnostic = 4,
    /// The CD or DVD.
    Cd = 5,
    /// The firmware's set-up.
    Setup = 6,
    /// A virtual (remote) floppy or other removable medium.
    RemoteRemovable = 7,
    /// A virtual (remote) CD.
    RemoteCd = 8,
    /// A virtual (remote) hard disk.
    RemoteDisk = 11,
    /// A floppy or other primary removable medium.
    Removable = 15,
}

impl Device {
    fn of(number: u8) -> Option<Self> {
        [
            Self::Unchanged,
            Self::Network,
            Self::Disk,
            Self::SafeDisk,
            Self::Diagnostic,
            Self::Cd,
            Self::Setup,
            Self::RemoteRemovable,
            Self::RemoteCd,
            Self::RemoteDisk,
            Self::Removable,
        ]
        .into_iter()
        .find(|device| *device as u8 == number)
    }
}

/// For how long a choice holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// For the next boot.
    Once,
    /// For all boots to come.
    Always,
}

/// Which firmware boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// PC compatible.
    Bios,
    /// Extensible.
    Uefi,
}

/// Whether the firmware is to heed the choice. `ipmi_sim` answers *ignored* even when it obeys (seen with 2.0.33).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// It is to be heeded.
    Valid,
    /// It is not, or the BMC does not keep the bit.
    Invalid,
}

/// A choice of boot device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// From what.
    pub device: Device,
    /// For how long.
    pub persistence: Persistence,
    /// By which firmware.
    pub firmware: Firmware,
}

/// One command of a change, and what to make of a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The request. It changes the BMC.
    pub command: Command,
    /// Whether the change failed when this step is refused.
    pub weight: Weight,
}

impl Step {
    /// Whether the change may go on after this answer.
    #[must_use]
    pub fn passes(&self, completion: Completion) -> bool {
        completion.is_ok() || self.weight == Weight::Optional
    }
}

/// Whether a step matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// A refusal fails the change.
    Required,
    /// A refusal is normal: parameter 0 is optional, and `ipmi_sim` 2.0.33 answers it with 0xCC.
    Optional,
}

impl Choice {
    /// The commands that make the choice, in order. All are absolute: each may be repeated.
    #[must_use]
    pub fn steps(self) -> Vec<Step> {
        // 0x08: keep the choice although no reset follows within 60 seconds. The others are for the firmware to
        // clear it after it was used: for one boot.
        const KEEP_WITHOUT_RESET: u8 = 0x08;
        vec![
            step(Weight::Optional, parameter::SET_IN_PROGRESS, &[1]),
            step(Weight::Optional, parameter::VALID_BIT_CLEARING, &[KEEP_WITHOUT_RESET]),
            // "The BIOS has not yet handled it": the mask, then its bit (§28.12, parameter 4).
            step(Weight::Optional, parameter::ACKNOWLEDGE, &[1, 1]),
            step(Weight::Required, parameter::FLAGS, &self.encode()),
            step(Weight::Optional, parameter::SET_IN_PROGRESS, &[0]),
        ]
    }

    /// *Set System Boot Options*, parameter 5 alone: enough for most BMCs.
    #[must_use]
    pub fn command(self) -> Command {
        set(parameter::FLAGS, &self.encode())
    }

    pub(crate) fn encode(self) -> [u8; 5] {
        let once = match self.persistence {
            Persistence::Once => 0,
            Persistence::Always => PERSISTENT,
        };
        let firmware = match self.firmware {
            Firmware::Bios => 0,
            Firmware::Uefi => UEFI,
        };
        [VALID | once | firmware, (self.device as u8) << 2, 0, 0, 0]
    }

    pub(crate) fn of(flags: [u8; 5]) -> Option<(Self, Validity)> {
        let [first, second, ..] = flags;
        let persistence = if first & PERSISTENT == 0 { Persistence::Once } else { Persistence::Always };
        let firmware = if first & UEFI == 0 { Firmware::Bios } else { Firmware::Uefi };
        let validity = if first & VALID == 0 { Validity::Invalid } else { Validity::Valid };
        let device = Device::of(second >> 2 & 0x0f)?;
        Some((Self { device, persistence, firmware }, validity))
    }
}

fn step(weight: Weight, parameter: u8, value: &[u8]) -> Step {
    Step { command: set(parameter, value), weight }
}

fn set(parameter: u8, value: &[u8]) -> Command {
    Command::new(netfn::CHASSIS, number::SET_BOOT_OPTIONS, [&[parameter], value].concat())
}

/// *Get System Boot Options*, parameter 5 (§28.13). Reads; [`choice`] reads the answer.
#[must_use]
pub fn get() -> Command {
    Command::new(netfn::CHASSIS, number::GET_BOOT_OPTIONS, [parameter::FLAGS, 0, 0])
}

/// Reads an answer to [`get`]. Whether an *invalid* choice counts is the caller's to say (see [`Validity`]).
///
/// # Errors
/// [`Malformed`] when it is too short, answers another parameter, or names a device that the table does not.
pub fn choice(data: &[u8]) -> Result<(Choice, Validity), Malformed> {
    let mut fields = Reader::new(data);
    let [_version, parameter] = fields.array()?;
    if parameter & 0x7f != parameter::FLAGS {
        return Err(Malformed::Unexpected);
    }
    Choice::of(fields.array()?).ok_or(Malformed::Inconsistent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_read_back_as_it_was_made() {
        for device in 0..16 {
            let Some(device) = Device::of(device) else { continue };
            for (persistence, firmware) in [(Persistence::Once, Firmware::Uefi), (Persistence::Always, Firmware::Bios)]
            {
                let made = Choice { device, persistence, firmware };
                let answer = [&[VERSION, parameter::FLAGS][..], &made.encode()].concat();
                assert_eq!(choice(&answer), Ok((made, Validity::Valid)));
            }
        }
    }

    #[test]
    fn an_answer_of_ipmi_sim_with_the_invalid_bit_still_names_the_device() {
        let (read, validity) = choice(&[1, 5, 0, 4, 0, 0, 0]).unwrap();
        assert_eq!((read.device, validity), (Device::Network, Validity::Invalid));
    }

    #[test]
    fn only_a_refused_flags_step_fails_the_change() {
        let made = Choice { device: Device::Disk, persistence: Persistence::Once, firmware: Firmware::Uefi };
        let failing: Vec<Vec<u8>> = made
            .steps()
            .into_iter()
            .filter(|step| !step.passes(Completion::BAD_FIELD))
            .map(|step| step.command.data)
            .collect();
        assert_eq!(failing, [vec![5, 0xa0, 0x08, 0, 0, 0]]);
    }
}
