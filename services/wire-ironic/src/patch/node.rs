//! Rules for patches that depend on a node's state, and consequences of changes.

use serde_json::{Map, Value};

use super::{Op, Verb};
use crate::error::{Class, Error, text};
use crate::python;
use crate::version::Version;

/// Transient states in which a node can be changed.
pub const CHANGEABLE: &[&str] = &[
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
pub const REARRANGEABLE: &[&str] = &["enroll", "inspecting", "inspect wait", "manageable", "available"];
/// First minor version in which a node that is being inspected cannot be changed.
const INSPECT_WAIT: u16 = 39;
/// First minor version with `reset_interfaces`.
const RESET: u16 = 45;

/// Checks the query parameter `reset_interfaces` of a patch.
///
/// # Errors
/// 406 in an older version, 400 if the driver is not changed.
pub fn check_reset(version: Version, reset: Option<bool>, ops: &[Op]) -> Result<(), Error> {
    if reset.is_some() && !version.has(RESET) {
        return Err(text::not_acceptable());
    }
    let driver = ops.iter().any(|op| op.verb != Verb::Remove && op.field() == "driver");
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
    let state = word(node, "provision_state");
    if is(node, "maintenance") && gives_up_instance(ops) {
        return Ok(());
    }
    if !word(node, "target_provision_state").is_empty() && !CHANGEABLE.contains(&state) {
        return Err(text::in_transition(ident));
    }
    if state == "inspecting" && version.has(INSPECT_WAIT) {
        return Err(text::being_inspected(word(node, "uuid"), state));
    }
    Ok(())
}

/// A lone removal of `instance_uuid`, by which a client releases a node that another client abandoned.
fn gives_up_instance(ops: &[Op]) -> bool {
    match ops {
        [op] => op.verb == Verb::Remove && op.field() == "instance_uuid" && op.inside().is_empty(),
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
    if changed(before, &after, "driver") && is(before, "console_enabled") {
        return Err(Class::Conflict.error(format!(
            "Node {ident} can not update the driver while the console is enabled. Please stop the console first."
        )));
    }
    if changed(before, &after, "maintenance") && !is(&after, "maintenance") {
        after.insert("maintenance_reason".to_owned(), Value::Null);
        after.insert("fault".to_owned(), Value::Null);
    }
    if changed(before, &after, "conductor_group") {
        let group = word(&after, "conductor_group").to_lowercase();
        after.insert("conductor_group".to_owned(), Value::from(group));
    }
    if changed(before, &after, "instance_info") {
        name_instance(&mut after);
    }
    flag(before, &mut after, "protected", &["active", "rescue"])?;
    flag(before, &mut after, "retired", &[])?;
    check_interfaces(before, &after)?;
    check_instance(before, &after)?;
    Ok(after)
}

/// An instance without a name gets the one that its information shows, where clients of old put it. A new node does not:
/// so it was answered.
fn name_instance(node: &mut Map<String, Value>) {
    let shown = node.get("instance_info").and_then(|info| info.get("display_name")).and_then(Value::as_str);
    let shown = shown.filter(|name| !name.is_empty()).map(Value::from);
    if let Some(name) = shown.filter(|_| word(node, "instance_name").is_empty()) {
        node.insert("instance_name".to_owned(), name);
    }
}

/// States in which a node can be deleted. In maintenance it can be deleted in any state.
pub const DELETABLE: &[&str] = &["manageable", "enroll", "adopt failed", "available"];

/// Checks that a node can be deleted.
///
/// # Errors
/// 409, or 403 for a protected node.
pub fn check_delete(node: &Map<String, Value>) -> Result<(), Error> {
    let (uuid, state) = (word(node, "uuid"), word(node, "provision_state"));
    let instance = word(node, "instance_uuid");
    if is(node, "maintenance") && !is(node, "protected") {
        return Ok(());
    }
    if !instance.is_empty() && !is(node, "maintenance") {
        return Err(text::associated(uuid, instance));
    }
    if is(node, "protected") {
        return Err(text::protected(uuid));
    }
    if DELETABLE.contains(&state) {
        return Ok(());
    }
    Err(not_deletable(uuid, state))
}

/// Error for a deletion that the state forbids.
#[must_use]
pub fn not_deletable(uuid: &str, state: &str) -> Error {
    let states = python::listed(DELETABLE);
    Class::Conflict.error(format!(
        "Can not delete node \"{uuid}\" while it is in provision state \"{state}\". Valid provision states to perform \
         deletion are: \"({states})\", or set the node into maintenance mode"
    ))
}

/// Checks a flag with a reason. `only` has the states in which it can be set; `None` for all except available.
fn flag(before: &Map<String, Value>, after: &mut Map<String, Value>, name: &str, only: &[&str]) -> Result<(), Error> {
    let (uuid, state) = (word(before, "uuid"), word(before, "provision_state"));
    let reason = format!("{name}_reason");
    if changed(before, after, name) {
        if !is(after, name) {
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
    if changed(before, after, &reason) && !word(after, &reason).is_empty() && !is(after, name) {
        return Err(Class::Invalid.error(format!("The {reason} field can only be set when {name} is True")));
    }
    Ok(())
}

fn check_interfaces(before: &Map<String, Value>, after: &Map<String, Value>) -> Result<(), Error> {
    let (uuid, state) = (word(before, "uuid"), word(before, "provision_state"));
    if REARRANGEABLE.contains(&state) {
        return Ok(());
    }
    let states = REARRANGEABLE.join(", ");
    let interface = after.keys().find(|name| name.ends_with("_interface") && changed(before, after, name));
    if let Some(interface) = interface.filter(|_| !is(after, "maintenance")) {
        return Err(Class::Conflict.error(format!(
            "Node {uuid} can not have {interface} updated unless it is in one of allowed ({states}) states or in \
             maintenance mode. Current state is '{state}'."
        )));
    }
    if changed(before, after, "resource_class") && !word(before, "resource_class").is_empty() {
        return Err(Class::Conflict.error(format!(
            "Node {uuid} can not have resource_class updated unless it is in one of allowed ({states}) states. \
             Current state is '{state}'."
        )));
    }
    Ok(())
}

fn check_instance(before: &Map<String, Value>, after: &Map<String, Value>) -> Result<(), Error> {
    let (uuid, state) = (word(before, "uuid"), word(before, "provision_state"));
    let instance = word(before, "instance_uuid");
    if instance.is_empty() || !changed(before, after, "instance_uuid") {
        return Ok(());
    }
    if !word(after, "instance_uuid").is_empty() {
        return Err(text::associated(uuid, instance));
    }
    let allocated = !word(before, "allocation_uuid").is_empty();
    if allocated && !is(before, "maintenance") && !REARRANGEABLE.contains(&state) {
        let states = REARRANGEABLE.join(", ");
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

fn word<'a>(node: &'a Map<String, Value>, name: &str) -> &'a str {
    node.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn is(node: &Map<String, Value>, name: &str) -> bool {
    node.get(name).and_then(Value::as_bool).unwrap_or_default()
}
