//! The refusals whose texts clients know, each written once.
//!
//! A text that belongs to one rule alone stands with its rule; here are those that a face over the rules must say
//! itself, because only it knows the nodes.

use super::{Class, Error};

/// The request's version is too old for something it uses.
#[must_use]
pub fn not_acceptable() -> Error {
    Class::NotAcceptable.says("Request not acceptable.")
}

/// The same, where the protocol says which version would do.
#[must_use]
pub fn needs_version(minor: u16) -> Error {
    Class::NotAcceptable.says(format!("Request not acceptable. The minimal required API version should be 1.{minor}"))
}

/// What is looked for is not there; `kind` is the word that opens the sentence, such as `Node` or `Chassis`.
#[must_use]
pub fn not_found(kind: &str, ident: &str) -> Error {
    Class::NotFound.says(format!("{kind} {ident} could not be found."))
}

/// No allocation is on a node, or none that may be seen.
#[must_use]
pub fn no_allocation(node: &str) -> Error {
    Class::NotFound.says(format!("Allocation for node {node} was not found"))
}

/// Known, and not allowed; `rule` is the policy's name.
#[must_use]
pub fn denied(rule: &str) -> Error {
    Class::Forbidden.says(format!("Access was denied to the following resource: {rule}"))
}

/// Not found, without details. Lookups by an agent are refused with it.
#[must_use]
pub fn resource_not_found() -> Error {
    Class::NotFound.says("Resource could not be found.")
}

/// No path of ours.
#[must_use]
pub fn no_such_path() -> Error {
    Class::NotFound.routed("")
}

/// A path of ours that does not take this method.
#[must_use]
pub fn method_not_allowed() -> Error {
    Class::MethodNotAllowed.routed("")
}

/// What stands in the path is neither a UUID nor a name.
#[must_use]
pub fn bad_identifier(of: &str, ident: &str) -> Error {
    Class::Invalid.routed(format!("Expected UUID or name for {of}: {ident}"))
}

/// The same of a port, by a name for where it stood.
#[must_use]
pub fn bad_port(kind: &str, of: &str, ident: &str) -> Error {
    Class::Invalid.says(format!("Expected {kind} for {of}: {ident}"))
}

/// Another change is under way.
#[must_use]
pub fn locked(node: &str, holder: &str) -> Error {
    Class::Conflict
        .says(format!("Node {node} is locked by host {holder}, please retry after the current operation is completed."))
}

/// The state does not take this verb; also for an unknown verb.
#[must_use]
pub fn wrong_state(action: &str, node: &str, state: Option<&str>) -> Error {
    let state = state.unwrap_or("None");
    Class::Invalid.says(format!(
        "The requested action \"{action}\" can not be performed on node \"{node}\" while it is in state \"{state}\"."
    ))
}

/// Maintenance keeps this from being done; `operation` is such as `provisioning` or `cleaning`.
#[must_use]
pub fn in_maintenance(operation: &str, node: &str) -> Error {
    Class::Invalid
        .says(format!("The {operation} operation can't be performed on node {node} because it's in maintenance mode."))
}

/// Something else has this name, UUID or address; `what` is such as `A node with name x`.
#[must_use]
pub fn already_exists(what: &str) -> Error {
    Class::Conflict.says(format!("{what} already exists."))
}

/// No service takes nodes of this driver and conductor group.
#[must_use]
pub fn no_valid_host(driver: &str, group: &str) -> Error {
    Class::Invalid.says(format!(
        "No valid host was found. Reason: No conductor service registered which supports driver {driver} for conductor \
         group \"{group}\". Ensure the driver is valid and enabled."
    ))
}

/// The driver's interface does not do this: [`Class::Invalid`], and [`Class::NotFound`] for RAID.
#[must_use]
pub fn unsupported(driver: &str, what: &str, class: Class) -> Error {
    class.says(format!("Driver {driver} does not support {what} (disabled or not implemented)."))
}

/// A BMC that is asked over IPMI while the client waits does not do it, or does not answer.
#[must_use]
pub fn ipmi_failed(why: &str) -> Error {
    Class::Server.says(format!("IPMI call failed: {why}."))
}

/// A Redfish service that is asked while the client waits refuses.
#[must_use]
pub fn redfish_failed(why: &str) -> Error {
    Class::Server.says(format!("Redfish exception occurred. Error: {why}"))
}

/// A Redfish service that is asked while the client waits does not answer.
#[must_use]
pub fn redfish_silent(node: &str, why: &str) -> Error {
    Class::Server.says(format!("Redfish connection failed for node {node}: {why}"))
}

/// Deletion, rebuild or tear-down of a protected node.
#[must_use]
pub fn protected(node: &str) -> Error {
    Class::Forbidden.says(format!("Node {node} is protected and cannot be undeployed, rebuilt or deleted"))
}

/// The node is associated with an instance.
#[must_use]
pub fn associated(node: &str, instance: &str) -> Error {
    Class::Conflict.says(format!("Node {node} is associated with instance {instance}."))
}

/// A change while the state moves.
#[must_use]
pub fn in_transition(node: &str) -> Error {
    Class::Conflict.says(format!("Node {node} can not be updated while a state transition is in progress."))
}

/// A change while the node is inspected, from 39 on.
#[must_use]
pub fn being_inspected(node: &str, state: &str) -> Error {
    Class::Conflict.says(format!("Cannot update node \"{node}\" while it is in state \"{state}\"."))
}

/// The power could not be brought where it was wanted; also `disable_power_off` and any off.
#[must_use]
pub fn power_failed(target: &str) -> Error {
    Class::Conflict.says(format!("Failed to set node power state to {target}."))
}

/// All workers are busy.
#[must_use]
pub fn busy(reason: &str) -> Error {
    Class::Unavailable.says(format!("Unable to process request at this time. {reason}"))
}

/// What came is of no use as JSON. Ironic itself answers 500.
#[must_use]
pub fn malformed_json() -> Error {
    Class::Invalid.says("Invalid JSON in the request body")
}
