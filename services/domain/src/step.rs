//! Steps that a person names for cleaning or servicing a machine, and who can make them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{course::Turn, driver::Driver, power::PowerTarget, provision::Phase};

/// A step that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Step {
    /// The interface whose step it is, by Ironic's word.
    pub interface: String,
    /// Its name there.
    pub step: String,
    /// What it is told, by name.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub args: Map<String, Value>,
}

/// What each driver's machines can be asked for, as `interface.step`. Source: the steps of Ironic's fake hardware, and
/// those of the stock agent that ours makes too.
const fn known(driver: Driver, phase: Phase) -> &'static [&'static str] {
    match (driver, phase) {
        (Driver::FakeHardware, _) => &[
            "bios.apply_configuration",
            "bios.factory_reset",
            "deploy.deploy",
            "deploy.erase_devices",
            "deploy.erase_devices_metadata",
            "firmware.update",
            "raid.create_configuration",
            "raid.delete_configuration",
            "vendor.log_passthrough",
        ],
        (Driver::Ipmi | Driver::ManualManagement | Driver::Redfish, Phase::Deploy) => &["deploy.write_image"],
        (Driver::Ipmi | Driver::ManualManagement | Driver::Redfish, _) => {
            &["deploy.erase_devices", "deploy.erase_devices_metadata"]
        }
    }
}

impl Step {
    /// What it is, where it is one of those that are no interface's and that anybody can make.
    #[must_use]
    pub fn reserved(&self) -> Option<Turn> {
        Some(match self.step.as_str() {
            "hold" => Turn::Hold,
            "wait" => Turn::Pause(self.args.get("seconds").and_then(seconds)),
            "power_on" => Turn::Power(PowerTarget::On),
            "power_off" => Turn::Power(PowerTarget::Off),
            "reboot" => Turn::Power(PowerTarget::Booted { boot: None }),
            _ => return None,
        })
    }

    /// The reserved one that has the machine rebooted.
    #[must_use]
    pub fn reboot() -> Self {
        Self { interface: "power".to_owned(), step: "reboot".to_owned(), args: Map::new() }
    }

    /// Whether a machine of this driver can be asked for it.
    #[must_use]
    pub fn is_known(&self, driver: Driver, phase: Phase) -> bool {
        self.reserved().is_some()
            || known(driver, phase).iter().any(|one| one.split_once('.') == Some((&self.interface, &self.step)))
    }
}

/// A number of seconds, also as text.
fn seconds(value: &Value) -> Option<Duration> {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    Some(Duration::from_secs(number))
}

/// The first of these steps that the driver's machines can not be asked for.
#[must_use]
pub fn unknown(steps: &[Step], driver: Driver, phase: Phase) -> Option<&Step> {
    steps.iter().find(|step| !step.is_known(driver, phase))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(interface: &str, step: &str) -> Step {
        Step { interface: interface.to_owned(), step: step.to_owned(), args: Map::new() }
    }

    #[test]
    fn a_step_is_known_by_interface_and_name_or_is_anybodys() {
        let steps = [step("deploy", "erase_devices"), step("power", "hold"), step("raid", "erase_devices")];
        assert_eq!(unknown(&steps[..2], Driver::Ipmi, Phase::ManualClean), None);
        assert_eq!(unknown(&steps, Driver::Ipmi, Phase::ManualClean), Some(&steps[2]));
        assert_eq!(unknown(&[step("bios", "factory_reset")], Driver::FakeHardware, Phase::Service), None);
        // What deploys is nothing to clean by, nor the other way round.
        let write = [step("deploy", "write_image")];
        assert_eq!(unknown(&write, Driver::Ipmi, Phase::Deploy), None);
        assert_eq!(unknown(&write, Driver::Ipmi, Phase::ManualClean), Some(&write[0]));
        assert_eq!(unknown(&steps[..1], Driver::Ipmi, Phase::Deploy), Some(&steps[0]));
    }
}
