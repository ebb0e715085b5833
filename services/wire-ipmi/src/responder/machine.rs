//! Simulated machine behind a [`Responder`](super::Responder): power, boot options, identify light.

use super::Call;
use crate::app::{Reset, number as app};
use crate::chassis::boot::{self, Choice, parameter};
use crate::chassis::{Control, Identify, Power, Status, number as chassis};
use crate::message::{Command, Completion, netfn};
use crate::rakp::Privilege;

/// Change of the machine by a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Power control was executed; for [`Control::Soft`] the power is still on until
    /// [`Machine::set_power`] says otherwise.
    Power(Control),
    /// Another boot device was chosen.
    Boot(Choice),
    /// The identify light was changed.
    Identify(Identify),
    /// The BMC restarts. Its driver may answer before, or not at all; sessions end with
    /// [`Responder::reboot`](super::Responder::reboot).
    Reset(Reset),
}

/// Response to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Completion code.
    pub completion: Completion,
    /// Data.
    pub data: Vec<u8>,
    /// Change of the machine, if any.
    pub change: Option<Change>,
}

/// Chassis and boot options as a BMC keeps them.
#[derive(Debug, Clone)]
pub struct Machine {
    power: Power,
    flags: [u8; 5],
}

impl Default for Machine {
    fn default() -> Self {
        Self::new(Power::Off)
    }
}

impl Machine {
    /// Creates a machine without a chosen boot device.
    #[must_use]
    pub const fn new(power: Power) -> Self {
        Self { power, flags: [0; 5] }
    }

    /// Returns the power state.
    #[must_use]
    pub const fn power(&self) -> Power {
        self.power
    }

    /// Changes the power without a command, as the power button or a shutdown of the operating system does.
    pub const fn set_power(&mut self, power: Power) {
        self.power = power;
    }

    /// Returns the chosen boot device, if any.
    #[must_use]
    pub fn boot(&self) -> Option<Choice> {
        let (choice, validity) = Choice::of(self.flags)?;
        (validity == boot::Validity::Valid).then_some(choice)
    }

    /// Returns the boot device for a start of the firmware, and clears a choice for one boot.
    pub fn take_boot(&mut self) -> Option<Choice> {
        let choice = self.boot()?;
        if choice.persistence == boot::Persistence::Once {
            self.flags = [0; 5];
        }
        Some(choice)
    }

    /// Executes a command.
    pub fn answer(&mut self, call: &Call) -> Answer {
        let Command { netfn, command, data } = &call.command;
        let needed = match (*netfn, *command) {
            // Appendix G: commands that change the chassis require the operator privilege.
            (netfn::CHASSIS, chassis::CONTROL | chassis::IDENTIFY | chassis::SET_BOOT_OPTIONS) => Privilege::Operator,
            (netfn::CHASSIS, chassis::GET_BOOT_OPTIONS) => Privilege::Operator,
            (netfn::APP, app::COLD_RESET | app::WARM_RESET) => Privilege::Administrator,
            _ => Privilege::User,
        };
        if call.privilege < needed {
            return refusal(Completion::NO_PRIVILEGE);
        }
        match (*netfn, *command) {
            (netfn::APP, app::GET_DEVICE_ID) => device_id(),
            (netfn::APP, app::COLD_RESET) => changed(Change::Reset(Reset::Cold)),
            (netfn::APP, app::WARM_RESET) => changed(Change::Reset(Reset::Warm)),
            (netfn::CHASSIS, chassis::GET_STATUS) => answer(Status { power: self.power, faults: 0 }.encode()),
            (netfn::CHASSIS, chassis::CONTROL) => self.control(data),
            (netfn::CHASSIS, chassis::IDENTIFY) => changed(Change::Identify(Identify::of(data))),
            (netfn::CHASSIS, chassis::SET_BOOT_OPTIONS) => self.set_boot(data),
            (netfn::CHASSIS, chassis::GET_BOOT_OPTIONS) => self.get_boot(data),
            _ => refusal(Completion::UNKNOWN_COMMAND),
        }
    }

    fn control(&mut self, data: &[u8]) -> Answer {
        let [number] = data else {
            return refusal(Completion::BAD_LENGTH);
        };
        let Some(control) = Control::of(*number) else {
            return refusal(Completion::BAD_FIELD);
        };
        match (control, self.power) {
            (Control::Cycle | Control::Reset | Control::Diagnostic, Power::Off) => {
                return refusal(Completion::NOT_NOW);
            }
            (Control::On, _) => self.power = Power::On,
            (Control::Off, _) => self.power = Power::Off,
            (Control::Cycle | Control::Reset | Control::Diagnostic | Control::Soft, _) => {}
        }
        changed(Change::Power(control))
    }

    fn set_boot(&mut self, data: &[u8]) -> Answer {
        const PARAMETER_NOT_SUPPORTED: Completion = Completion(0x80);
        let Some((named, value)) = data.split_first() else {
            return refusal(Completion::BAD_LENGTH);
        };
        match named & 0x7f {
            parameter::FLAGS => {
                let Ok(flags) = <[u8; 5]>::try_from(value) else {
                    return refusal(Completion::BAD_LENGTH);
                };
                let Some((choice, _)) = Choice::of(flags) else {
                    return refusal(Completion::BAD_FIELD);
                };
                self.flags = flags;
                changed(Change::Boot(choice))
            }
            parameter::SET_IN_PROGRESS | parameter::VALID_BIT_CLEARING | parameter::ACKNOWLEDGE => answer([]),
            _ => refusal(PARAMETER_NOT_SUPPORTED),
        }
    }

    fn get_boot(&self, data: &[u8]) -> Answer {
        const PARAMETER_NOT_SUPPORTED: Completion = Completion(0x80);
        let [named, _set, _block] = data else {
            return refusal(Completion::BAD_LENGTH);
        };
        let named = named & 0x7f;
        match named {
            parameter::FLAGS => answer([&[boot::VERSION, named][..], &self.flags].concat()),
            parameter::SET_IN_PROGRESS | parameter::VALID_BIT_CLEARING => answer([boot::VERSION, named, 0]),
            parameter::ACKNOWLEDGE => answer([boot::VERSION, named, 0, 0]),
            _ => refusal(PARAMETER_NOT_SUPPORTED),
        }
    }
}

fn answer(data: impl Into<Vec<u8>>) -> Answer {
    Answer { completion: Completion::OK, data: data.into(), change: None }
}

const fn refusal(completion: Completion) -> Answer {
    Answer { completion, data: Vec::new(), change: None }
}

const fn changed(change: Change) -> Answer {
    Answer { completion: Completion::OK, data: Vec::new(), change: Some(change) }
}

/// Returns the device id (Table 20-2): IPMI 2.0, a chassis device, no manufacturer.
fn device_id() -> Answer {
    const CHASSIS_DEVICE: u8 = 0x80;
    answer([0x20, 0x01, 0x01, 0x00, 0x02, CHASSIS_DEVICE, 0, 0, 0, 1, 0, 0, 0, 0, 0])
}
