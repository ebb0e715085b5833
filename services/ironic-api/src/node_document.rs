//! A node as the newest version of the protocol shows it.

use domain::{
    driver::{Driver, Interface},
    power::{Power, PowerTarget},
};
use keyspace::{
    seal::mask,
    value::{ExtraFields, Intent},
};
use serde_json::{Map, Value, json};
use wire_ironic::fields::MASK;

use super::records::{time, to_fields};
use scheduler_core::node_view::{NodeView, StepKind};

/// The node with all of its fields, secrets masked. Rendered once per revision.
pub(super) fn document(node: &NodeView) -> &Map<String, Value> {
    let rendered = node.document(|node| {
        let mut document = render(node);
        mask(&mut document, MASK);
        ExtraFields::from(document)
    });
    rendered.as_map()
}

/// The node with all of its fields. Sealed secrets are in it as they are stored.
pub(super) fn render(node: &NodeView) -> Map<String, Value> {
    let mut document = specified(node);
    let life = &node.life;
    let mut put = |name: &str, value: Value| document.insert(name.to_owned(), value);
    put("provision_state", json!(life.state.ironic_name()));
    put("target_provision_state", json!(life.state.target()));
    put("provision_updated_at", time(Some(life.since).filter(|since| *since != node.intent.enrolled_at)));
    put("power_state", node.power.as_ref().map_or(Value::Null, |power| json!(power_name(power.power))));
    put("target_power_state", json!(node.pending_power().and_then(power_target_name).map(|(state, _)| state)));
    put("last_error", json!(last_error(node)));
    put("conductor", json!(node.conductor));
    put("reservation", if node.is_locked() { json!(node.conductor) } else { Value::Null });
    let inspection = life.inspection.as_ref();
    put("inspection_started_at", time(inspection.map(|inspection| inspection.started_at)));
    put("inspection_finished_at", time(inspection.and_then(|inspection| inspection.finished_at)));
    if let Some((kind, step)) = node.current_step() {
        put(step_field(kind), json!(step));
    }
    if let Some(firmware) = &node.firmware {
        put("boot_mode", json!(firmware.boot_mode.map(|mode| mode.to_string())));
        put("secure_boot", json!(firmware.secure_boot));
    }
    document
}

/// What clients specified; the rest is the driver's default.
fn specified(node: &NodeView) -> Map<String, Value> {
    let intent = &node.intent;
    let mut document = to_fields(node.spec());
    let mut put = |name: String, value: Value| document.insert(name, value);
    put("uuid".to_owned(), json!(node.node.to_string()));
    put("name".to_owned(), if intent.name.is_empty() { Value::Null } else { json!(intent.name) });
    put("driver".to_owned(), json!(intent.driver.to_string()));
    put("conductor_group".to_owned(), json!(node.rack_name));
    put("created_at".to_owned(), time(Some(intent.enrolled_at)));
    put("updated_at".to_owned(), time(node.record.updated_at));
    if node.spec().driver_info.is_none() {
        put("driver_info".to_owned(), driver_info(intent));
    }
    for interface in Interface::ALL.iter().copied() {
        put(interface_field(interface), json!(node.interface(interface)));
    }
    document
}

/// `driver_info` of a node that was not enrolled by a client of Ironic's API.
fn driver_info(intent: &Intent) -> Value {
    let Some(bmc) = intent.bmc.as_ref().filter(|_| intent.driver == Driver::Ipmi) else { return json!({}) };
    json!({
        "ipmi_address": bmc.address.host, "ipmi_port": bmc.address.port,
        "ipmi_username": bmc.user, "ipmi_password": {"sealed": bmc.password},
    })
}

/// The last failure that was not corrected since.
fn last_error(node: &NodeView) -> Option<String> {
    let of_power = || {
        let text = node.power_failure()?.text.clone();
        Some(match node.intent.power.and_then(power_target_name) {
            Some((state, verb)) => format!("Failed to change power state to '{state}' by '{verb}': {text}"),
            None => text,
        })
    };
    node.life.failure.as_ref().map(|failure| failure.text.clone()).or_else(of_power)
}

/// Name of the power state that a target leads to, and of the verb that requests it. `None` if power stays as it is.
const fn power_target_name(target: PowerTarget) -> Option<(&'static str, &'static str)> {
    match target {
        PowerTarget::On => Some(("power on", "power on")),
        PowerTarget::Off => Some(("power off", "power off")),
        PowerTarget::SoftOff { .. } => Some(("power off", "soft power off")),
        PowerTarget::Booted { .. } => Some(("power on", "rebooting")),
        PowerTarget::SoftBooted { .. } => Some(("power on", "soft rebooting")),
        PowerTarget::BootOrder { .. } | PowerTarget::Interrupted => None,
    }
}

/// Name of a power state.
pub(super) const fn power_name(power: Power) -> &'static str {
    match power {
        Power::On => "power on",
        Power::Off => "power off",
    }
}

/// The field of a node that shows its current step.
const fn step_field(kind: StepKind) -> &'static str {
    match kind {
        StepKind::Clean => "clean_step",
        StepKind::Deploy => "deploy_step",
        StepKind::Service => "service_step",
    }
}

/// The field of a node that names the implementation of an interface.
pub(super) fn interface_field(interface: Interface) -> String {
    format!("{interface}_interface")
}
