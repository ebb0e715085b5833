//! Rules for patches that depend on a node's state, and consequences of changes.

use serde_json::{Map, Value};

use super::{Op, OpKind};
use crate::error::{Class, Error, text};
use crate::python;
use crate::version::Version;

/// Transient states in which a node can be changed.
const CHANGEABLE_STATES: &[&str] = &[
    "deploy failed",
    "clean failed",
    "inspect failed",
    "adopt failed",
    "rescue failed",
    "unrescue failed",
    "service failed",
    "error",
    "inspecting",
    "inspect wait",
    "verifying",
    "service hold",
];
/// States in which interfaces and an existing resource class can be changed, in the order in which the error lists them.
pub const INTERFACE_CHANGE_STATES: &[&str] = &["enroll", "inspecting", "inspect wait", "manageable", "available"];
/// First minor version in which a node that is being inspected cannot be changed.
const INSPECT_WAIT_SINCE: u16 = 39;
/// First minor version with `reset_interfaces`.
const RESET_INTERFACES_SINCE: u16 = 45;

/// Checks the query parameter `reset_interfaces` of a patch.
///
/// # Errors
/// 406 in an older version, 400 if the driver is not changed.
pub fn check_reset(version: Version, reset: Option<bool>, ops: &[Op]) -> Result<(), Error> {
    if reset.is_some() && !version.has(RESET_INTERFACES_SINCE) {
        return Err(text::not_acceptable());
    }
    let driver = ops.iter().any(|op| op.kind != OpKind::Remove && op.field() == "driver");
    if reset == Some(true) && !driver {
        return Err(
            Class::Invalid.error("The reset_interfaces parameter can only be used when changing the node's driver.")
        );
    }
    Ok(())
}

/// Checks that a node can be changed in its state. `ident` is its identifier in the request.
///
/// # Errors
/// 409.
pub fn check_before(version: Version, ident: &str, node: &Map<String, Value>, ops: &[Op]) -> Result<(), Error> {
    let state = text_of(node, "provision_state");
    if is_set(node, "maintenance") && only_removes_instance(ops) {
        return Ok(());
    }
    if !text_of(node, "target_provision_state").is_empty() && !CHANGEABLE_STATES.contains(&state) {
        return Err(text::in_transition(ident));
    }
    if state == "inspecting" && version.has(INSPECT_WAIT_SINCE) {
        return Err(text::being_inspected(text_of(node, "uuid"), state));
    }
    Ok(())
}

/// Returns whether a patch only removes `instance_uuid`, by which a client releases a node that another client abandoned.
fn only_removes_instance(ops: &[Op]) -> bool {
    match ops {
        [op] => op.kind == OpKind::Remove && op.field() == "instance_uuid" && op.inside().is_empty(),
        _ => false,
    }
}

/// Checks the changes of a patch to a node, and applies their consequences: a cleared flag clears its reason.
///
/// # Errors
/// 409 for a change that the state forbids, 400 for a reason without its flag.
pub fn check_after(
    ident: &str,
    before: &Map<String, Value>,
    mut after: Map<String, Value>,
) -> Result<Map<String, Value>, Error> {
    if changed(before, &after, "driver") && is_set(before, "console_enabled") {
        return Err(Class::Conflict.error(format!(
            "Node {ident} can not update the driver while the console is enabled. Please stop the console first."
        )));
    }
    if changed(before, &after, "maintenance") && !is_set(&after, "maintenance") {
        after.insert("maintenance_reason".to_owned(), Value::Null);
        after.insert("fault".to_owned(), Value::Null);
    }
    if changed(before, &after, "conductor_group") {
        let group = text_of(&after, "conductor_group").to_lowercase();
        after.insert("conductor_group".to_owned(), Value::from(group));
    }
    if changed(before, &after, "instance_info") {
        set_instance_name(&mut after);
    }
    check_flag(before, &mut after, "protected", &["active", "rescue"])?;
    check_flag(before, &mut after, "retired", &[])?;
    check_interfaces(before, &after)?;
    check_instance(before, &after)?;
    Ok(after)
}

/// Sets a missing instance name from `instance_info/display_name`, where older clients put it. A new node keeps no name, as
/// in Ironic.
fn set_instance_name(node: &mut Map<String, Value>) {
    let display_name = node.get("instance_info").and_then(|info| info.get("display_name")).and_then(Value::as_str);
    let display_name = display_name.filter(|name| !name.is_empty()).map(Value::from);
    if let Some(name) = display_name.filter(|_| text_of(node, "instance_name").is_empty()) {
        node.insert("instance_name".to_owned(), name);
    }
}

/// States in which a node can be deleted. In maintenance it can be deleted in any state.
const DELETABLE_STATES: &[&str] = &["manageable", "enroll", "adopt failed", "available"];

/// Checks that a node can be deleted, as Ironic does. The services ask `domain` instead; the recorded tests compare this
/// with Ironic's responses.
///
/// # Errors
/// 409, or 403 for a protected node.
#[cfg(test)]
pub(crate) fn check_delete(node: &Map<String, Value>) -> Result<(), Error> {
    let (uuid, state) = (text_of(node, "uuid"), text_of(node, "provision_state"));
    let instance = text_of(node, "instance_uuid");
    if is_set(node, "maintenance") && !is_set(node, "protected") {
        return Ok(());
    }
    if !instance.is_empty() && !is_set(node, "maintenance") {
        return Err(text::associated(uuid, instance));
    }
    if is_set(node, "protected") {
        return Err(text::protected(uuid));
    }
    if DELETABLE_STATES.contains(&state) {
        return Ok(());
    }
    Err(not_deletable(uuid, state))
}

/// Error for a deletion that the state forbids.
#[must_use]
pub fn not_deletable(uuid: &str, state: &str) -> Error {
    let states = python::listed(DELETABLE_STATES);
    Class::Conflict.error(format!(
        "Can not delete node \"{uuid}\" while it is in provision state \"{state}\". Valid provision states to perform \
         deletion are: \"({states})\", or set the node into maintenance mode"
    ))
}

/// Checks a flag with a reason. `only` has the states in which it can be set; if it is empty, the flag can be set in all
/// states but available.
fn check_flag(
    before: &Map<String, Value>,
    after: &mut Map<String, Value>,
    name: &str,
    only: &[&str],
) -> Result<(), Error> {
    let (uuid, state) = (text_of(before, "uuid"), text_of(before, "provision_state"));
    let reason = format!("{name}_reason");
    if changed(before, after, name) {
        if !is_set(after, name) {
            after.insert(reason.clone(), Value::Null);
        } else if !only.is_empty() && !only.contains(&state) {
            return Err(Class::Conflict.error(format!(
                "Node {uuid} can only be made protected in provision states 'active' or 'rescue', the current state is \
                 '{state}'"
            )));
        } else if only.is_empty() && state == "available" {
            return Err(Class::Conflict.error(format!(
                "Node {uuid} can not have 'retired' set in provision state 'available', the current state is '{state}'"
            )));
        }
    }
    if changed(before, after, &reason) && !text_of(after, &reason).is_empty() && !is_set(after, name) {
        return Err(Class::Invalid.error(format!("The {reason} field can only be set when {name} is True")));
    }
    Ok(())
}

fn check_interfaces(before: &Map<String, Value>, after: &Map<String, Value>) -> Result<(), Error> {
    let (uuid, state) = (text_of(before, "uuid"), text_of(before, "provision_state"));
    if INTERFACE_CHANGE_STATES.contains(&state) {
        return Ok(());
    }
    let states = INTERFACE_CHANGE_STATES.join(", ");
    let interface = after.keys().find(|name| name.ends_with("_interface") && changed(before, after, name));
    if let Some(interface) = interface.filter(|_| !is_set(after, "maintenance")) {
        return Err(Class::Conflict.error(format!(
            "Node {uuid} can not have {interface} updated unless it is in one of allowed ({states}) states or in \
             maintenance mode. Current state is '{state}'."
        )));
    }
    if changed(before, after, "resource_class") && !text_of(before, "resource_class").is_empty() {
        return Err(Class::Conflict.error(format!(
            "Node {uuid} can not have resource_class updated unless it is in one of allowed ({states}) states. \
             Current state is '{state}'."
        )));
    }
    Ok(())
}

fn check_instance(before: &Map<String, Value>, after: &Map<String, Value>) -> Result<(), Error> {
    let (uuid, state) = (text_of(before, "uuid"), text_of(before, "provision_state"));
    let instance = text_of(before, "instance_uuid");
    if instance.is_empty() || !changed(before, after, "instance_uuid") {
        return Ok(());
    }
    if !text_of(after, "instance_uuid").is_empty() {
        return Err(text::associated(uuid, instance));
    }
    let allocated = !text_of(before, "allocation_uuid").is_empty();
    if allocated && !is_set(before, "maintenance") && !INTERFACE_CHANGE_STATES.contains(&state) {
        let states = INTERFACE_CHANGE_STATES.join(", ");
        return Err(Class::Conflict.error(format!(
            "Node {uuid} with an allocation can not have instance_uuid removed unless it is in one of allowed \
             ({states}) states or in maintenance mode. Current state is '{state}'."
        )));
    }
    Ok(())
}

fn changed(before: &Map<String, Value>, after: &Map<String, Value>, name: &str) -> bool {
    let value = |node: &Map<String, Value>| node.get(name).cloned().unwrap_or(Value::Null);
    value(before) != value(after)
}

fn text_of<'a>(node: &'a Map<String, Value>, name: &str) -> &'a str {
    node.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn is_set(node: &Map<String, Value>, name: &str) -> bool {
    node.get(name).and_then(Value::as_bool).unwrap_or_default()
}
