//! Validates a node's fields for each of its interfaces. Pure.

use domain::{
    driver::{Driver, Interface},
    id::NodeId,
};
use driver_info::redfish::{self, InvalidRedfish};
use keyspace::value::InstanceInfo;
use serde_json::Value;
use wire_ironic::error::{Class, Error};

use super::node_document::driver_info;
use scheduler_core::node_view::NodeView;

/// Interfaces in the response; the vendor interface is not among them.
const VALIDATED_INTERFACES: &[(&str, Interface)] = &[
    ("bios", Interface::Bios),
    ("boot", Interface::Boot),
    ("console", Interface::Console),
    ("deploy", Interface::Deploy),
    ("firmware", Interface::Firmware),
    ("inspect", Interface::Inspect),
    ("management", Interface::Management),
    ("network", Interface::Network),
    ("power", Interface::Power),
    ("raid", Interface::Raid),
    ("rescue", Interface::Rescue),
    ("storage", Interface::Storage),
];

/// Reason that an interface of a node cannot be used, in Ironic's words.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidInterface {
    #[error("Driver {driver} does not support {interface} (disabled or not implemented).")]
    Unsupported { driver: Driver, interface: Interface },
    #[error(
        "The {interface} interface implementation '{name}' is not carried out by this service; set {interface}_interface \
         to one of: {}",
        carried_out(*.driver, *.interface)
    )]
    NotCarriedOut { driver: Driver, interface: Interface, name: String },
    #[error("Missing the following IPMI credentials in node's driver_info: ['ipmi_address'].")]
    NoIpmiAddress,
    #[error("{0}")]
    Redfish(InvalidRedfish),
    #[error(
        "Node {node} failed to validate deploy image info. Some parameters were missing. Missing are: \
         ['instance_info.image_source']"
    )]
    NoImageSource { node: NodeId },
    #[error("{0}")]
    Disks(String),
}

impl InvalidInterface {
    /// The reason that a node's implementation of an interface is not carried out.
    pub(super) fn not_carried_out(node: &NodeView, interface: Interface) -> Self {
        let driver = node.intent.driver;
        let name = node.spec().implementation_in_use(interface, driver).unwrap_or_default().to_owned();
        Self::NotCarriedOut { driver, interface, name }
    }
}

/// Lists the implementations of an interface that are carried out for a driver.
fn carried_out(driver: Driver, interface: Interface) -> String {
    let all = interface.implementations().iter().copied();
    let usable = all.filter(|name| driver.supports(interface, name) && driver.carries_out(interface, name));
    usable.collect::<Vec<_>>().join(", ")
}

/// Validates each interface.
pub(super) fn interfaces(node: &NodeView) -> Vec<(&'static str, Result<(), InvalidInterface>)> {
    VALIDATED_INTERFACES.iter().map(|(name, interface)| (*name, one(node, *interface))).collect()
}

/// Validates an interface of a node.
///
/// # Errors
/// 400 with what is missing, in Ironic's words.
pub(super) fn interface(node: &NodeView, interface: Interface) -> Result<(), Error> {
    one(node, interface).map_err(|why| Class::Invalid.error(why.to_string()))
}

fn one(node: &NodeView, interface: Interface) -> Result<(), InvalidInterface> {
    let (driver, chosen) = (node.intent.driver, node.interface(interface).unwrap_or_default());
    if chosen.starts_with("no-") {
        return Err(InvalidInterface::Unsupported { driver, interface });
    }
    if node.spec().not_carried_out(driver).contains(interface) {
        return Err(InvalidInterface::not_carried_out(node, interface));
    }
    match (driver, interface, chosen) {
        (_, _, "fake" | "noop") => Ok(()),
        (Driver::Ipmi, Interface::Power | Interface::Management, _) => ipmi(node),
        (Driver::Redfish, Interface::Power | Interface::Management, _) => {
            redfish::validate(node.node, &driver_info(node)).map_err(InvalidInterface::Redfish)
        }
        (_, Interface::Deploy, "direct" | "autodetect") => image(node),
        _ => Ok(()),
    }
}

fn ipmi(node: &NodeView) -> Result<(), InvalidInterface> {
    let info = driver_info(node);
    if info.get("ipmi_address").and_then(Value::as_str).is_some_and(|address| !address.is_empty()) {
        return Ok(());
    }
    Err(InvalidInterface::NoIpmiAddress)
}

fn image(node: &NodeView) -> Result<(), InvalidInterface> {
    if node.spec().instance_info.as_ref().and_then(|info| InstanceInfo::of(info).image_source()).is_none() {
        return Err(InvalidInterface::NoImageSource { node: node.node });
    }
    driver_info::check_disks(node.intent.driver, node.spec()).map_err(|error| InvalidInterface::Disks(error.text))
}

#[cfg(test)]
mod tests;
