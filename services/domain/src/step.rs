//! Steps that a person names for cleaning or servicing a machine, and who can make them.

use serde::{Deserialize, Serialize};

use crate::driver::Driver;

/// A step that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Step {
    /// The interface whose step it is, by Ironic's word.
    pub interface: String,
    /// Its name there.
    pub step: String,
}

/// Steps that are no interface's, and that anybody can make.
const RESERVED: &[&str] = &["power_on", "power_off", "reboot", "wait"];

/// What each driver's machines can be asked for, as `interface.step`. Source: the steps of Ironic's fake hardware, and
/// those of the stock agent that ours makes too.
const fn known(driver: Driver) -> &'static [&'static str] {
    match driver {
        Driver::FakeHardware => &[
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
        Driver::Ipmi | Driver::ManualManagement | Driver::Redfish => {
            &["deploy.erase_devices", "deploy.erase_devices_metadata"]
        }
    }
}

impl Step {
    /// Whether a machine of this driver can be asked for it.
    #[must_use]
    pub fn is_known(&self, driver: Driver) -> bool {
        RESERVED.contains(&self.step.as_str())
            || known(driver).iter().any(|one| one.split_once('.') == Some((&self.interface, &self.step)))
    }
}

/// The first of these steps that the driver's machines can not be asked for.
#[must_use]
pub fn unknown(steps: &[Step], driver: Driver) -> Option<&Step> {
    steps.iter().find(|step| !step.is_known(driver))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(interface: &str, step: &str) -> Step {
        Step { interface: interface.to_owned(), step: step.to_owned() }
    }

    #[test]
    fn a_step_is_known_by_interface_and_name_or_is_anybodys() {
        let steps = [step("deploy", "erase_devices"), step("power", "reboot"), step("raid", "erase_devices")];
        assert_eq!(unknown(&steps[..2], Driver::Ipmi), None);
        assert_eq!(unknown(&steps, Driver::Ipmi), Some(&steps[2]));
        assert_eq!(unknown(&[step("bios", "factory_reset")], Driver::FakeHardware), None);
    }
}
