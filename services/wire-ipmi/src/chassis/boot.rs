//! Boot device of a machine (IPMI 2.0 §28.12 and §28.13, Table 28-14).

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

/// *Set System Boot Options*: another console has begun a change and not ended it (§28.12).
pub const SET_IN_PROGRESS: Completion = Completion(0x81);

/// Version of the parameters (Table 28-13), with which every response starts.
pub(crate) const VERSION: u8 = 1;
const VALID: u8 = 0x80;
const PERSISTENT: u8 = 0x40;
const UEFI: u8 = 0x20;

/// Boot device (Table 28-14, parameter 5, second octet, bits 5 to 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The firmware's boot order.
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
    /// Firmware setup.
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

/// Duration of a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// The next boot.
    Once,
    /// All boots.
    Always,
}

/// Firmware for the boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// BIOS.
    Bios,
    /// UEFI.
    Uefi,
}

/// Whether the firmware uses the choice. `ipmi_sim` 2.0.33 reports *ignored* although it uses the choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// The firmware uses it.
    Valid,
    /// The firmware ignores it, or the BMC does not store the bit.
    Invalid,
}

/// Choice of a boot device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Device.
    pub device: Device,
    /// Duration.
    pub persistence: Persistence,
    /// Firmware.
    pub firmware: Firmware,
}

/// Command of a change, and the effect of its failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Command. It changes the BMC.
    pub command: Command,
    /// Whether the change fails if this command fails.
    pub weight: Weight,
}

impl Step {
    /// Returns whether the change continues after this completion code.
    #[must_use]
    pub fn passes(&self, completion: Completion) -> bool {
        completion.is_ok() || self.weight == Weight::Optional
    }

    /// Returns whether the command disables the timeout, after which the BMC forgets the choice.
    #[must_use]
    pub fn is_for_timeout(&self) -> bool {
        self.command.data.first() == Some(&parameter::VALID_BIT_CLEARING)
    }
}

/// Effect of a failed command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// The change fails.
    Required,
    /// None: parameter 0 is optional, and the response of `ipmi_sim` 2.0.33 is 0xCC.
    Optional,
}

impl Choice {
    /// Returns the commands that make the choice, in order. All are absolute: each may be repeated.
    #[must_use]
    pub fn steps(self) -> Vec<Step> {
        // 0x08: the BMC keeps the choice if no reset follows within 60 seconds. The other bits would clear a choice for one
        // boot too early.
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

    /// *Set System Boot Options* with only parameter 5, which suffices for most BMCs.
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

/// *Get System Boot Options*, parameter 5 (§28.13). Read-only; decode the response with [`choice`].
#[must_use]
pub fn get() -> Command {
    Command::new(netfn::CHASSIS, number::GET_BOOT_OPTIONS, [parameter::FLAGS, 0, 0])
}

/// Decodes a response to [`get`]. The caller decides whether it uses an *invalid* choice (see [`Validity`]).
///
/// # Errors
/// [`Malformed`] if the response is too short, is for another parameter, or contains an unknown device.
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
    fn a_choice_is_decoded_as_itself() {
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
    fn a_response_of_ipmi_sim_with_the_invalid_bit_has_the_device() {
        let (read, validity) = choice(&[1, 5, 0, 4, 0, 0, 0]).unwrap();
        assert_eq!((read.device, validity), (Device::Network, Validity::Invalid));
    }

    #[test]
    fn only_the_failure_of_the_flags_fails_the_change() {
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
