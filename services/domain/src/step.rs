//! Steps that a user requests for cleaning, servicing or deploying a machine, and the drivers that support them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    driver::{Driver, Interface},
    power::PowerTarget,
    provision::Phase,
};

/// Requested step.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Step {
    /// Interface that the step belongs to, by its name in Ironic.
    pub interface: String,
    /// Name of the step within its interface.
    pub step: String,
    /// Arguments by name.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub args: Map<String, Value>,
}

/// Step that belongs to no interface and that the scheduler executes itself, whatever the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReservedStep {
    /// Stop until a user releases the node.
    Hold,
    /// Wait for this duration, or, if `None`, for the agent's next heartbeat.
    Wait(Option<Duration>),
    /// Change the power to this target.
    Power(PowerTarget),
}

/// Steps of Ironic's fake hardware in every phase but the deployment, as `interface.step`.
const FAKE_STEPS: &[&str] = &[
    "bios.apply_configuration",
    "bios.factory_reset",
    "deploy.erase_devices",
    "deploy.erase_devices_metadata",
    "firmware.update",
    "raid.create_configuration",
    "raid.delete_configuration",
    "vendor.log_passthrough",
];

/// Returns the steps that a driver supports in a phase, as `interface.step`. Source: the steps of Ironic's fake
/// hardware, and those of ironic-python-agent that `ironmesh-agent` implements too.
fn supported(driver: Driver, phase: Phase) -> impl Iterator<Item = &'static str> {
    let (steps, others): (&[&str], &[&str]) = match (driver, phase) {
        (Driver::FakeHardware, Phase::Deploy) => {
            (&["deploy.deploy", "firmware.update", "raid.apply_configuration"], &[])
        }
        (Driver::FakeHardware, Phase::Service) => (FAKE_STEPS, &["vendor.trigger_servicewait"]),
        (Driver::FakeHardware, _) => (FAKE_STEPS, &[]),
        (Driver::Ipmi | Driver::ManualManagement | Driver::Redfish, Phase::Deploy) => (&["deploy.write_image"], &[]),
        (Driver::Ipmi | Driver::ManualManagement | Driver::Redfish, _) => {
            (&["deploy.erase_devices", "deploy.erase_devices_metadata"], &[])
        }
    };
    steps.iter().chain(others).copied()
}

impl Step {
    /// Returns the reserved step of this name, or `None` if the step belongs to an interface.
    #[must_use]
    pub fn reserved(&self) -> Option<ReservedStep> {
        Some(match self.step.as_str() {
            "hold" => ReservedStep::Hold,
            "wait" => ReservedStep::Wait(self.args.get("seconds").and_then(seconds)),
            "power_on" => ReservedStep::Power(PowerTarget::On),
            "power_off" => ReservedStep::Power(PowerTarget::Off),
            "reboot" => ReservedStep::Power(PowerTarget::Booted { boot: None }),
            _ => return None,
        })
    }

    /// Returns whether the step is a core step of every deploy interface: a request may disable it, but not replace it.
    #[must_use]
    pub fn is_core(&self) -> bool {
        self.interface == "deploy" && self.step == "deploy"
    }

    /// Returns whether the step of Ironic's fake hardware leaves the node in `service wait`.
    #[must_use]
    pub fn awaits_service(&self) -> bool {
        self.interface == "vendor" && self.step == "trigger_servicewait"
    }

    /// Returns whether the executor of the node's work carries out the step.
    #[must_use]
    pub fn is_work(&self) -> bool {
        self.reserved().is_none() && !self.awaits_service()
    }

    /// Returns whether the step is simulated on a node without a machine (`fake-hardware`) whose other steps a stand-in for
    /// an agent executes: those of the deploy interface are the agent's, and the other interfaces are simulated, as in
    /// Ironic.
    #[must_use]
    pub fn is_simulated_beside_agent(&self, phase: Phase) -> bool {
        self.is_work() && self.interface != "deploy" && self.is_supported(Driver::FakeHardware, phase)
    }

    /// Returns the interface that the step belongs to. `None` for a reserved step, or if there is no such interface.
    #[must_use]
    pub fn interface(&self) -> Option<Interface> {
        let named = Interface::ALL.iter().copied().find(|interface| interface.name() == self.interface);
        named.filter(|_| self.reserved().is_none())
    }

    /// Creates the reserved step that reboots the machine.
    #[must_use]
    pub fn reboot() -> Self {
        Self { interface: "power".to_owned(), step: "reboot".to_owned(), args: Map::new() }
    }

    /// Returns whether a driver supports the step in a phase.
    #[must_use]
    pub fn is_supported(&self, driver: Driver, phase: Phase) -> bool {
        self.reserved().is_some()
            || supported(driver, phase).any(|name| name.split_once('.') == Some((&self.interface, &self.step)))
    }
}

/// Parses a number of seconds, which may also be given as text.
fn seconds(value: &Value) -> Option<Duration> {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    Some(Duration::from_secs(number))
}

/// Removes the deploy steps that the driver does not have, as Ironic does where no agent lists steps of its own
/// (`ironic/conductor/steps.py`, `skip_missing`). Returns the names of the removed steps, as `interface.step`.
#[must_use]
pub fn skip_unknown_deploy_steps(steps: &mut Vec<Step>, driver: Driver) -> Vec<String> {
    let unknown = steps.extract_if(.., |step| !step.is_supported(driver, Phase::Deploy));
    unknown.map(|step| format!("{}.{}", step.interface, step.step)).collect()
}

/// Returns the first of these steps that the driver does not support in this phase.
#[must_use]
pub fn first_unsupported(steps: &[Step], driver: Driver, phase: Phase) -> Option<&Step> {
    steps.iter().find(|step| !step.is_supported(driver, phase))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(interface: &str, step: &str) -> Step {
        Step { interface: interface.to_owned(), step: step.to_owned(), args: Map::new() }
    }

    #[test]
    fn a_step_is_supported_by_interface_and_name_or_is_reserved() {
        let steps = [step("deploy", "erase_devices"), step("power", "hold"), step("raid", "erase_devices")];
        assert_eq!(first_unsupported(&steps[..2], Driver::Ipmi, Phase::ManualClean), None);
        assert_eq!(first_unsupported(&steps, Driver::Ipmi, Phase::ManualClean), Some(&steps[2]));
        assert_eq!(first_unsupported(&[step("bios", "factory_reset")], Driver::FakeHardware, Phase::Service), None);
        // A step that waits for an agent is for service alone, as in Ironic.
        let waits = [step("vendor", "trigger_servicewait")];
        assert_eq!(first_unsupported(&waits, Driver::FakeHardware, Phase::Service), None);
        assert_eq!(first_unsupported(&waits, Driver::FakeHardware, Phase::ManualClean), Some(&waits[0]));
        // Deploy steps are not clean steps, and vice versa.
        let write = [step("deploy", "write_image")];
        assert_eq!(first_unsupported(&write, Driver::Ipmi, Phase::Deploy), None);
        assert_eq!(first_unsupported(&write, Driver::Ipmi, Phase::ManualClean), Some(&write[0]));
        assert_eq!(first_unsupported(&steps[..1], Driver::Ipmi, Phase::Deploy), Some(&steps[0]));
    }

    #[test]
    fn an_unknown_deploy_step_is_skipped_and_the_others_are_kept() {
        for (driver, name, is_kept) in [
            (Driver::FakeHardware, "deploy.deploy", true),
            (Driver::FakeHardware, "deploy.write_image", false),
            (Driver::FakeHardware, "bios.apply_configuration", false),
            (Driver::FakeHardware, "vendor.log_passthrough", false),
            (Driver::FakeHardware, "power.hold", true),
            (Driver::Ipmi, "deploy.write_image", true),
            (Driver::Ipmi, "deploy.nope", false),
            (Driver::Redfish, "raid.apply_configuration", false),
        ] {
            let (interface, word) = name.split_once('.').unwrap();
            let mut steps = vec![step(interface, word)];
            let skipped = skip_unknown_deploy_steps(&mut steps, driver);
            assert_eq!((steps.len() == 1, skipped.is_empty()), (is_kept, is_kept), "{driver} {name}");
        }
    }
}
