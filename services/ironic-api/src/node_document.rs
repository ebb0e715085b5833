//! A node as the newest version of the protocol shows it. Its fields are rendered when they are asked for.

use std::borrow::Cow;

use domain::{
    driver::{Driver, Interface},
    power::{Power, PowerTarget},
};
use keyspace::{
    seal,
    value::{ExtraFields, Intent},
};
use serde_json::{Map, Value, json};
use wire_ironic::fields::{FieldSource, FieldValue, MASK, NODE};

use super::{authz::NodeVisibility, records::time};
use scheduler_core::node_view::{NodeView, StepKind};

/// A node as a caller sees it: secrets are masked, and what the caller cannot see is replaced.
#[derive(Debug, Clone, Copy)]
pub(super) struct NodeDocument<'a> {
    node: &'a NodeView,
    visibility: NodeVisibility<'a>,
}

impl<'a> NodeDocument<'a> {
    /// The node as a caller with this visibility sees it.
    pub(super) const fn new(node: &'a NodeView, visibility: NodeVisibility<'a>) -> Self {
        Self { node, visibility }
    }

    /// The node with all of its fields visible.
    pub(super) const fn unrestricted(node: &'a NodeView) -> Self {
        Self::new(node, NodeVisibility::Unrestricted)
    }
}

impl FieldSource for NodeDocument<'_> {
    fn field(&self, name: &str) -> Option<FieldValue<'_>> {
        if let Some(replacement) = self.visibility.replacement(self.node, name) {
            return Some(replacement.into());
        }
        let value = field(self.node, name)?;
        if !NODE.field(name).is_some_and(|row| row.masked) {
            return Some(value);
        }
        if value.as_object().is_some_and(|fields| !fields.values().any(seal::has_sealed)) {
            return Some(value);
        }
        let mut value = value.into_json();
        if let Value::Object(fields) = &mut value {
            seal::mask(fields, MASK);
        }
        Some(value.into())
    }
}

/// The node with all of its fields. Sealed secrets are in it as they are stored.
pub(super) fn render(node: &NodeView) -> Map<String, Value> {
    let fields = NODE.fields.iter().filter_map(|row| Some((row.name.to_owned(), field(node, row.name)?.into_json())));
    fields.collect()
}

/// The value of a field of the node. `None` for its initial value. Sealed secrets are in it as they are stored.
pub(super) fn field<'a>(node: &'a NodeView, name: &str) -> Option<FieldValue<'a>> {
    let (spec, intent, life) = (node.spec(), &node.intent, &node.life);
    let inspection = life.inspection.as_ref();
    Some(match name {
        "allocation_uuid" => spec.allocation_uuid?.to_string().into(),
        "automated_clean" => spec.automated_clean?.into(),
        "boot_mode" => match &node.firmware {
            Some(firmware) => firmware.boot_mode.map(|mode| mode.to_string()).into(),
            None => spec.boot_mode.as_deref()?.into(),
        },
        "chassis_uuid" => spec.chassis_uuid?.to_string().into(),
        "clean_step" => step(node, StepKind::Clean)?,
        "conductor" => node.conductor.as_deref().into(),
        "conductor_group" => node.rack_name.as_str().into(),
        "console_enabled" => set_flag(spec.console_enabled)?,
        "created_at" => time(Some(intent.enrolled_at)).into(),
        "deploy_step" => step(node, StepKind::Deploy)?,
        "description" => spec.description.as_deref()?.into(),
        "disable_power_off" => set_flag(spec.disable_power_off)?,
        "driver" => intent.driver.to_string().into(),
        "driver_info" => match &spec.driver_info {
            Some(info) => FieldValue::Object(info.as_map()),
            None => Value::Object(synthesized_driver_info(intent)).into(),
        },
        "extra" => dictionary(&spec.extra)?,
        "fault" => spec.fault.as_deref()?.into(),
        "inspection_finished_at" => time(inspection.and_then(|inspection| inspection.finished_at)).into(),
        "inspection_started_at" => time(inspection.map(|inspection| inspection.started_at)).into(),
        "instance_info" => FieldValue::Object(spec.instance_info.as_ref()?.as_map()),
        "instance_name" => spec.instance_name.as_deref()?.into(),
        "instance_uuid" => spec.instance_uuid.as_deref()?.into(),
        "last_error" => last_error(node).into(),
        "lessee" => spec.lessee.as_deref()?.into(),
        "maintenance" => set_flag(spec.maintenance)?,
        "maintenance_reason" => spec.maintenance_reason.as_deref()?.into(),
        "name" => Some(intent.name.as_str()).filter(|name| !name.is_empty()).into(),
        "network_data" => dictionary(&spec.network_data)?,
        "owner" => spec.owner.as_deref()?.into(),
        "parent_node" => spec.parent_node.as_deref()?.into(),
        "power_state" => node.power.as_ref().map(|power| power_name(power.power)).into(),
        "properties" => dictionary(&spec.properties)?,
        "protected" => set_flag(spec.protected)?,
        "protected_reason" => spec.protected_reason.as_deref()?.into(),
        "provision_state" => life.state.ironic_name().into(),
        "provision_updated_at" => time(Some(life.since).filter(|since| *since != intent.enrolled_at)).into(),
        "raid_config" => dictionary(&spec.raid_config)?,
        "reservation" => node.conductor.as_deref().filter(|_| node.is_locked()).into(),
        "resource_class" => spec.resource_class.as_deref()?.into(),
        "retired" => set_flag(spec.retired)?,
        "retired_reason" => spec.retired_reason.as_deref()?.into(),
        "secure_boot" => match &node.firmware {
            Some(firmware) => firmware.secure_boot.into(),
            None => spec.secure_boot?.into(),
        },
        "service_step" => step(node, StepKind::Service)?,
        "shard" => spec.shard.as_deref()?.into(),
        "target_power_state" => node.pending_power().and_then(power_target_name).map(|(state, _)| state).into(),
        "target_provision_state" => life.state.target().into(),
        "target_raid_config" => dictionary(&spec.target_raid_config)?,
        "traits" if spec.traits.is_empty() => return None,
        "traits" => json!(spec.traits).into(),
        "updated_at" => time(node.record.updated_at).into(),
        "uuid" => node.node.to_string().into(),
        name => {
            let interface = name.strip_suffix("_interface")?;
            node.interface(*Interface::ALL.iter().find(|one| one.name() == interface)?).into()
        }
    })
}

/// `true`. `None` for `false`, which is the initial value of all flags of a node.
fn set_flag(flag: bool) -> Option<FieldValue<'static>> {
    flag.then(|| true.into())
}

/// A dictionary. `None` if it is empty.
fn dictionary(fields: &ExtraFields) -> Option<FieldValue<'_>> {
    (!fields.is_empty()).then(|| FieldValue::Object(fields.as_map()))
}

/// The step that the node runs now, if it is of this kind.
fn step(node: &NodeView, kind: StepKind) -> Option<FieldValue<'_>> {
    let (_, step) = node.current_step().filter(|(running, _)| *running == kind)?;
    Some(json!(step).into())
}

/// How the node's BMC is reached, in Ironic's words. Sealed secrets are in it as they are stored.
pub(super) fn driver_info(node: &NodeView) -> Cow<'_, Map<String, Value>> {
    match &node.spec().driver_info {
        Some(info) => Cow::Borrowed(info.as_map()),
        None => Cow::Owned(synthesized_driver_info(&node.intent)),
    }
}

/// `driver_info` of a node that was not enrolled by a client of Ironic's API.
fn synthesized_driver_info(intent: &Intent) -> Map<String, Value> {
    let Some(bmc) = intent.bmc.as_ref().filter(|_| intent.driver == Driver::Ipmi) else { return Map::new() };
    Map::from_iter([
        ("ipmi_address".to_owned(), json!(bmc.address.host)),
        ("ipmi_port".to_owned(), json!(bmc.address.port)),
        ("ipmi_username".to_owned(), json!(bmc.user)),
        ("ipmi_password".to_owned(), json!({"sealed": bmc.password})),
    ])
}

/// The last failure of an operation or of a requested power state that was not corrected since. Unlike
/// [`NodeView::failure`], which the gRPC API shows, it leaves out that the BMC does not respond at present: in Ironic, a
/// failed poll of the power state is logged and does not set `last_error`.
fn last_error(node: &NodeView) -> Option<String> {
    let of_power = || {
        let text = node.power_failure()?.text.clone();
        let target = node.intent.power;
        if let Some((state, verb)) = target.and_then(power_target_name) {
            return Some(format!("Failed to change power state to '{state}' by '{verb}': {text}"));
        }
        let of_method = |method| format!("Async execution of {method} failed with error: IPMI call failed: {text}.");
        Some(target.and_then(vendor_method_name).map_or_else(|| text.clone(), of_method))
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
        PowerTarget::BootOrder { .. }
        | PowerTarget::Interrupted { .. }
        | PowerTarget::BmcReset { .. }
        | PowerTarget::RawCommand { .. } => None,
    }
}

/// Name of the vendor method that requests a target. `None` if none does.
const fn vendor_method_name(target: PowerTarget) -> Option<&'static str> {
    match target {
        PowerTarget::BmcReset { .. } => Some("bmc_reset"),
        PowerTarget::RawCommand { .. } => Some("send_raw"),
        PowerTarget::On
        | PowerTarget::Off
        | PowerTarget::SoftOff { .. }
        | PowerTarget::Booted { .. }
        | PowerTarget::SoftBooted { .. }
        | PowerTarget::BootOrder { .. }
        | PowerTarget::Interrupted { .. } => None,
    }
}

/// Name of a power state.
pub(super) const fn power_name(power: Power) -> &'static str {
    match power {
        Power::On => "power on",
        Power::Off => "power off",
    }
}

#[cfg(test)]
mod tests;
