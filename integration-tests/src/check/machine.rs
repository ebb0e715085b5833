//! The log of a BMC of ours, as the checker wants it.

use domain::time::Timestamp;
use wire_ipmi::{
    app::Reset,
    chassis::{
        Control,
        boot::{Choice, Device, Firmware, Persistence},
    },
    responder::machine::Change,
};

use super::{Deed, What};

/// A command that our BMC carried out.
#[must_use]
pub fn done(at: Timestamp, session: u32, change: Change) -> Deed {
    Deed { at, session, what: What::Command { words: words(change), executed: true } }
}

/// A change in the words that power-service's journal has for it; a boot order without its step.
#[must_use]
pub fn words(change: Change) -> String {
    match change {
        Change::Power(control) => match control {
            Control::On => "power on",
            Control::Off => "power off",
            Control::Soft => "soft off",
            Control::Cycle => "cycle",
            Control::Reset => "reset",
            Control::Diagnostic => "nmi",
        }
        .to_owned(),
        Change::Boot(choice) => boot(choice),
        Change::Identify(_) => "identify".to_owned(),
        Change::Reset(Reset::Cold) => "cold reset of the BMC".to_owned(),
        Change::Reset(Reset::Warm) => "warm reset of the BMC".to_owned(),
    }
}

fn boot(choice: Choice) -> String {
    let persistence = match choice.persistence {
        Persistence::Once => "Once",
        Persistence::Always => "Persistent",
    };
    let firmware = match choice.firmware {
        Firmware::Bios => "bios",
        Firmware::Uefi => "uefi",
    };
    let device = match choice.device {
        Device::Network => "Pxe",
        Device::Disk => "Disk",
        Device::Cd => "Cdrom",
        Device::Setup => "Bios",
        Device::Unchanged => "unchanged",
        Device::SafeDisk => "safe-disk",
        Device::Diagnostic => "diagnostic",
        Device::RemoteRemovable => "remote-removable",
        Device::RemoteCd => "remote-cd",
        Device::RemoteDisk => "remote-disk",
        Device::Removable => "removable",
    };
    format!("boot {device} {persistence} {firmware}")
}
