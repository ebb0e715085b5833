//! Errors with texts that clients know, each defined once.
//!
//! A text that belongs to a single rule is defined with that rule. This module has the errors that the API itself
//! returns, because only it knows the nodes.

use super::{Class, Error};

/// The request's version is too old for a feature that it uses.
#[must_use]
pub fn not_acceptable() -> Error {
    Class::NotAcceptable.error("Request not acceptable.")
}

/// The same, with the first version that supports the feature.
#[must_use]
pub fn needs_version(minor: u16) -> Error {
    Class::NotAcceptable.error(format!("Request not acceptable. The minimal required API version should be 1.{minor}"))
}

/// A resource does not exist. `kind` is the first word of the text, such as `Node` or `Chassis`.
#[must_use]
pub fn not_found(kind: &str, ident: &str) -> Error {
    Class::NotFound.error(format!("{kind} {ident} could not be found."))
}

/// A node has no visible allocation.
#[must_use]
pub fn no_allocation(node: &str) -> Error {
    Class::NotFound.error(format!("Allocation for node {node} was not found"))
}

/// The caller lacks a permission. `rule` is the name of the policy rule.
#[must_use]
pub fn denied(rule: &str) -> Error {
    Class::Forbidden.error(format!("Access was denied to the following resource: {rule}"))
}

/// Not found, without details, as for lookups by an agent.
#[must_use]
pub fn resource_not_found() -> Error {
    Class::NotFound.error("Resource could not be found.")
}

/// The path does not exist.
#[must_use]
pub fn no_such_path() -> Error {
    Class::NotFound.router_error("")
}

/// The path does not support the method.
#[must_use]
pub fn method_not_allowed() -> Error {
    Class::MethodNotAllowed.router_error("")
}

/// The identifier in the path is neither a UUID nor a name.
#[must_use]
pub fn bad_identifier(of: &str, ident: &str) -> Error {
    Class::Invalid.router_error(format!("Expected UUID or name for {of}: {ident}"))
}

/// The same for a port, with the name of the parameter.
#[must_use]
pub fn bad_port(kind: &str, of: &str, ident: &str) -> Error {
    Class::Invalid.error(format!("Expected {kind} for {of}: {ident}"))
}

/// The node is locked by another change.
#[must_use]
pub fn locked(node: &str, holder: &str) -> Error {
    Class::Conflict.error(format!(
        "Node {node} is locked by host {holder}, please retry after the current operation is completed."
    ))
}

/// The state does not allow the verb, or the verb is unknown.
#[must_use]
pub fn wrong_state(action: &str, node: &str, state: Option<&str>) -> Error {
    let state = state.unwrap_or("None");
    Class::Invalid.error(format!(
        "The requested action \"{action}\" can not be performed on node \"{node}\" while it is in state \"{state}\"."
    ))
}

/// The node is in maintenance. `operation` is such as `provisioning` or `cleaning`.
#[must_use]
pub fn in_maintenance(operation: &str, node: &str) -> Error {
    Class::Invalid
        .error(format!("The {operation} operation can't be performed on node {node} because it's in maintenance mode."))
}

/// The name, UUID or address is in use. `what` is such as `A node with name x`.
#[must_use]
pub fn already_exists(what: &str) -> Error {
    Class::Conflict.error(format!("{what} already exists."))
}

/// No conductor serves this driver and conductor group.
#[must_use]
pub fn no_valid_host(driver: &str, group: &str) -> Error {
    Class::Invalid.error(format!(
        "No valid host was found. Reason: No conductor service registered which supports driver {driver} for conductor \
         group \"{group}\". Ensure the driver is valid and enabled."
    ))
}

/// The driver does not support the operation: [`Class::Invalid`], or [`Class::NotFound`] for RAID.
#[must_use]
pub fn unsupported(driver: &str, what: &str, class: Class) -> Error {
    class.error(format!("Driver {driver} does not support {what} (disabled or not implemented)."))
}

/// An IPMI command failed while the client waited.
#[must_use]
pub fn ipmi_failed(why: &str) -> Error {
    Class::Server.error(format!("IPMI call failed: {why}."))
}

/// A Redfish service rejected a request while the client waited.
#[must_use]
pub fn redfish_failed(why: &str) -> Error {
    Class::Server.error(format!("Redfish exception occurred. Error: {why}"))
}

/// A Redfish service did not respond while the client waited.
#[must_use]
pub fn redfish_silent(node: &str, why: &str) -> Error {
    Class::Server.error(format!("Redfish connection failed for node {node}: {why}"))
}

/// The node is protected from deletion, rebuild and undeploy.
#[must_use]
pub fn protected(node: &str) -> Error {
    Class::Forbidden.error(format!("Node {node} is protected and cannot be undeployed, rebuilt or deleted"))
}

/// The node is associated with an instance.
#[must_use]
pub fn associated(node: &str, instance: &str) -> Error {
    Class::Conflict.error(format!("Node {node} is associated with instance {instance}."))
}

/// The node's state is changing.
#[must_use]
pub fn in_transition(node: &str) -> Error {
    Class::Conflict.error(format!("Node {node} can not be updated while a state transition is in progress."))
}

/// The node is being inspected; from 39 on.
#[must_use]
pub fn being_inspected(node: &str, state: &str) -> Error {
    Class::Conflict.error(format!("Cannot update node \"{node}\" while it is in state \"{state}\"."))
}

/// The power state could not be reached, or `disable_power_off` forbids it.
#[must_use]
pub fn power_failed(target: &str) -> Error {
    Class::Conflict.error(format!("Failed to set node power state to {target}."))
}

/// All workers are busy.
#[must_use]
pub fn busy(reason: &str) -> Error {
    Class::Unavailable.error(format!("Unable to process request at this time. {reason}"))
}

/// The body is not JSON. Ironic answers 500.
#[must_use]
pub fn malformed_json() -> Error {
    Class::Invalid.error("Invalid JSON in the request body")
}
