//! Nodes.

use std::collections::BTreeMap;

use domain::{
    driver::{Driver, Interface, InterfaceSet},
    plan::Executor,
    provision::Phase,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Secrets, is_false};
use crate::value::{ExtraFields, InstanceInfo, Properties};

/// What clients specified of a node, beside its name, driver and rack, which its intent has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    /// The allocation that it was given to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocation_uuid: Option<Uuid>,
    /// Whether it is cleaned automatically. `None` for the default: after use, but not before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub automated_clean: Option<bool>,
    /// Implementation of its BIOS interface. `None` for the driver's default, as for the other interfaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bios_interface: Option<String>,
    /// Implementation of its boot interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_interface: Option<String>,
    /// The firmware interface that its client said it boots with. Shown only until it is observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_mode: Option<String>,
    /// The chassis that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chassis_uuid: Option<Uuid>,
    /// Whether its console is on.
    #[serde(skip_serializing_if = "is_false")]
    pub console_enabled: bool,
    /// Implementation of its console interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_interface: Option<String>,
    /// Implementation of its deploy interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deploy_interface: Option<String>,
    /// Description, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether its power is never switched off.
    #[serde(skip_serializing_if = "is_false")]
    pub disable_power_off: bool,
    /// How its BMC is reached, in Ironic's words. `None` if no client of Ironic's API set it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver_info: Option<ExtraFields>,
    /// Anything that clients want to remember.
    #[serde(skip_serializing_if = "ExtraFields::is_empty")]
    pub extra: ExtraFields,
    /// The fault that put it into maintenance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Implementation of its firmware interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firmware_interface: Option<String>,
    /// Implementation of its inspect interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inspect_interface: Option<String>,
    /// What is deployed for its instance. `None` if nothing was ever set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_info: Option<ExtraFields>,
    /// Name of its instance, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_name: Option<String>,
    /// Its instance: an allocation's id, or what a client such as Nova set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_uuid: Option<String>,
    /// The project that it is lent to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lessee: Option<String>,
    /// Whether an operator works on it.
    #[serde(skip_serializing_if = "is_false")]
    pub maintenance: bool,
    /// Reason it is in maintenance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintenance_reason: Option<String>,
    /// Implementation of its management interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub management_interface: Option<String>,
    /// Static network configuration of its ramdisk.
    #[serde(skip_serializing_if = "ExtraFields::is_empty")]
    pub network_data: ExtraFields,
    /// Implementation of its network interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_interface: Option<String>,
    /// The project that owns it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The node that it is a part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_node: Option<String>,
    /// Implementation of its power interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_interface: Option<String>,
    /// What its hardware is and can do.
    #[serde(skip_serializing_if = "ExtraFields::is_empty")]
    pub properties: ExtraFields,
    /// Whether its deployment must not be removed.
    #[serde(skip_serializing_if = "is_false")]
    pub protected: bool,
    /// Reason it is protected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protected_reason: Option<String>,
    /// Its RAID configuration as it is.
    #[serde(skip_serializing_if = "ExtraFields::is_empty")]
    pub raid_config: ExtraFields,
    /// Implementation of its RAID interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raid_interface: Option<String>,
    /// Implementation of its rescue interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rescue_interface: Option<String>,
    /// The class of resource that it is scheduled as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_class: Option<String>,
    /// Whether it is to leave the fleet.
    #[serde(skip_serializing_if = "is_false")]
    pub retired: bool,
    /// Reason it is retired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retired_reason: Option<String>,
    /// Whether its client said that it boots securely. Shown only until it is observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<bool>,
    /// The shard that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<String>,
    /// Implementation of its storage interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_interface: Option<String>,
    /// Its RAID configuration as it is to be.
    #[serde(skip_serializing_if = "ExtraFields::is_empty")]
    pub target_raid_config: ExtraFields,
    /// Its traits, sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub traits: Vec<String>,
    /// Implementation of its vendor interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor_interface: Option<String>,
}

impl NodeSpec {
    /// The implementation of an interface that a client chose. `None` for the driver's default.
    #[must_use]
    pub fn interface(&self, interface: Interface) -> Option<&str> {
        match interface {
            Interface::Bios => &self.bios_interface,
            Interface::Boot => &self.boot_interface,
            Interface::Console => &self.console_interface,
            Interface::Deploy => &self.deploy_interface,
            Interface::Firmware => &self.firmware_interface,
            Interface::Inspect => &self.inspect_interface,
            Interface::Management => &self.management_interface,
            Interface::Network => &self.network_interface,
            Interface::Power => &self.power_interface,
            Interface::Raid => &self.raid_interface,
            Interface::Rescue => &self.rescue_interface,
            Interface::Storage => &self.storage_interface,
            Interface::Vendor => &self.vendor_interface,
        }
        .as_deref()
    }

    /// The implementation of an interface: the one that a client chose, or the driver's default.
    #[must_use]
    pub fn implementation(&self, interface: Interface, driver: Driver) -> Option<&str> {
        self.interface(interface).or_else(|| driver.default_implementation(interface))
    }

    /// The implementation of an interface that the next work uses: that of [`Self::implementation`], but what Ironic's
    /// `autodetect` finds in `instance_info` where that is chosen (`ironic/drivers/modules/autodetect.py`).
    #[must_use]
    pub fn implementation_in_use(&self, interface: Interface, driver: Driver) -> Option<&str> {
        let chosen = self.implementation(interface, driver);
        if interface != Interface::Deploy || chosen != Some("autodetect") {
            return chosen;
        }
        let info = self.instance_info.as_ref().map(InstanceInfo::of);
        if info.is_some_and(InstanceInfo::wants_ramdisk) {
            Some("ramdisk")
        } else if info.and_then(InstanceInfo::image_source).is_some_and(|source| source.starts_with("oci://")) {
            Some("bootc")
        } else {
            Some("direct")
        }
    }

    /// What executes the work of a phase on a node with this specification. `None` if nothing was specified.
    #[must_use]
    pub fn executor(spec: Option<&Self>, driver: Driver, phase: Phase) -> Executor {
        let unspecified = Self::default();
        let spec = spec.unwrap_or(&unspecified);
        Executor::of(driver, phase, |interface| spec.implementation_in_use(interface, driver))
    }

    /// Hints for the disk that an image is written to: those of the instance, or else those of the node.
    #[must_use]
    pub fn root_device(&self) -> BTreeMap<String, String> {
        let of_instance = self.instance_info.as_ref().map(|info| InstanceInfo::of(info).root_device());
        let named = of_instance.filter(|hints| !hints.is_empty());
        named.unwrap_or_else(|| Properties::of(&self.properties).root_device())
    }

    /// Interfaces whose chosen implementations this service does not carry out.
    #[must_use]
    pub fn not_carried_out(&self, driver: Driver) -> InterfaceSet {
        let chosen = |interface: Interface| self.implementation_in_use(interface, driver).unwrap_or_default();
        Interface::ALL.iter().copied().filter(|one| !driver.carries_out(*one, chosen(*one))).collect()
    }

    /// Returns whether the BMC is not told what to boot from, because an operator has set it (`noop`).
    #[must_use]
    pub fn keeps_boot_order(&self, driver: Driver) -> bool {
        let has_bmc = matches!(driver, Driver::Ipmi | Driver::Redfish);
        has_bmc && self.implementation(Interface::Management, driver) == Some("noop")
    }

    /// The instance that it has. `None` if it has none.
    #[must_use]
    pub fn instance(&self) -> Option<&str> {
        self.instance_uuid.as_deref().filter(|instance| !instance.is_empty())
    }

    /// Puts it into maintenance or ends it.
    pub fn set_maintenance(&mut self, is_on: bool, reason: &str) {
        self.maintenance = is_on;
        self.maintenance_reason = (is_on && !reason.is_empty()).then(|| reason.to_owned());
    }

    /// Forgets its instance, and what was deployed for it.
    pub fn forget_instance(&mut self) {
        self.instance_info = None;
        self.instance_uuid = None;
        self.instance_name = None;
        self.allocation_uuid = None;
    }
}

impl Secrets for NodeSpec {
    fn secret_fields(&mut self) -> Vec<(String, &mut ExtraFields)> {
        let named = [
            ("driver_info", self.driver_info.as_mut()),
            ("extra", Some(&mut self.extra)),
            ("instance_info", self.instance_info.as_mut()),
            ("properties", Some(&mut self.properties)),
        ];
        named.into_iter().filter_map(|(name, fields)| Some((name.to_owned(), fields?))).collect()
    }
}
