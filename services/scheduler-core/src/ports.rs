//! Creates, changes and deletes ports, by the rules about names, MAC addresses, port groups and wiring.

use std::sync::Arc;

use domain::{
    driver::Driver,
    id::{NodeId, PortId},
    net::MacAddr,
};
use keyspace::{
    collection::Unique,
    value::{PortSpec, PortgroupSpec, Stamped},
};
use service_kit::clock;

pub use crate::error::{PortRefusal, WiringField};
use crate::{
    AppState, Error, RequestContext,
    node_view::NodeView,
    registry::{PortChange, StoredPort, is_rearrangeable, keeps_macs},
};

/// What a client specifies of a port.
#[derive(Debug, Clone)]
pub struct PortFields {
    /// MAC address.
    pub mac: MacAddr,
    /// Node that the port belongs to.
    pub node: NodeId,
    /// Everything else.
    pub spec: PortSpec,
}

/// Creates a port.
///
/// # Errors
/// [`Error::Port`] if its port group refuses it; [`Error::IdTaken`], [`Error::NotUnique`] and [`Error::MacTaken`] if another
/// port has its id, its name or its MAC; the store's.
pub async fn create_port(
    context: &RequestContext,
    app: &AppState,
    id: PortId,
    mut fields: PortFields,
) -> Result<(), Error> {
    app.registry.seal_secrets(&mut fields.spec, &id.to_string())?;
    let node = find_node(app, fields.node)?;
    check_portgroup(app, &fields, None)?;
    check_name(app, &fields.spec, None)?;
    if app.registry.ports().iter().any(|port| port.port.value.id == id) {
        return Err(Error::IdTaken { kind: "port", id: id.uuid() });
    }
    app.registry.check_macs_are_free(&[fields.mac])?;
    let spec = Stamped::created(fields.spec, clock::now());
    app.registry.create_port(context, &changed(id, fields.mac, &node, spec)).await
}

/// Changes a port.
///
/// # Errors
/// As for [`create_port`]; [`Error::Port`] also if the state of the node does not allow the change.
pub async fn update_port(
    context: &RequestContext,
    app: &AppState,
    before: &StoredPort,
    mut fields: PortFields,
) -> Result<(), Error> {
    app.registry.seal_secrets(&mut fields.spec, &before.port.value.id.to_string())?;
    let (id, node) = (before.port.value.id, find_node(app, fields.node)?);
    let stored = before.port.value.spec.clone().unwrap_or_default();
    check_member_network(&stored.spec, &fields.spec)?;
    check_portgroup(app, &fields, Some(id))?;
    check_name(app, &fields.spec, Some(id))?;
    check_wiring(app, before, &stored.spec, &fields)?;
    if fields.mac != before.mac {
        app.registry.check_macs_are_free(&[fields.mac])?;
    }
    let spec = stored.updated(fields.spec, clock::now());
    app.registry.change_port(context, before, &changed(id, fields.mac, &node, spec)).await
}

/// Deletes a port.
///
/// # Errors
/// A conflict if it changed since it was read; the store's.
pub async fn delete_port(context: &RequestContext, app: &AppState, port: &StoredPort) -> Result<(), Error> {
    app.registry.delete_port(context, port).await
}

fn find_node(app: &AppState, node: NodeId) -> Result<Arc<NodeView>, Error> {
    app.node_cache.get(node).ok_or_else(|| Error::Missing { kind: "node", name: node.to_string() })
}

const fn not_unique(value: Unique) -> Error {
    Error::NotUnique { kind: "port", value }
}

fn changed(id: PortId, mac: MacAddr, node: &NodeView, spec: Stamped<PortSpec>) -> PortChange {
    PortChange { id, mac, node: node.node, rack: node.rack, boots: is_boot_port(&spec.spec, node), spec }
}

/// Returns whether the node can boot from a port, so that it needs an address on the rack's network.
fn is_boot_port(spec: &PortSpec, node: &NodeView) -> bool {
    spec.pxe_enabled && node.intent.driver != Driver::FakeHardware
}

/// Checks that the port group exists, belongs to the port's node, and has its ports in the port's physical network.
fn check_portgroup(app: &AppState, fields: &PortFields, own: Option<PortId>) -> Result<(), PortRefusal> {
    let Some(portgroup) = fields.spec.portgroup_uuid else { return Ok(()) };
    let found = app.resource::<PortgroupSpec>(portgroup).ok_or(PortRefusal::NoPortgroup { portgroup })?;
    if found.spec().node_uuid != Some(fields.node) {
        return Err(PortRefusal::OtherNode { portgroup });
    }
    let ports = app.registry.ports().into_iter().filter(|port| Some(port.port.value.id) != own);
    let mut specs = ports.filter_map(|port| port.port.value.spec).map(|record| record.spec);
    let Some(member) = specs.find(|spec| spec.portgroup_uuid == Some(portgroup)) else { return Ok(()) };
    if member.physical_network == fields.spec.physical_network {
        return Ok(());
    }
    let network = fields.spec.physical_network.clone();
    Err(PortRefusal::OtherNetwork { portgroup, network, theirs: member.physical_network })
}

/// Checks that the physical network of a port that stays in its group stays too.
fn check_member_network(old: &PortSpec, new: &PortSpec) -> Result<(), PortRefusal> {
    let is_member = old.portgroup_uuid.is_some() && old.portgroup_uuid == new.portgroup_uuid;
    if is_member && old.physical_network != new.physical_network { Err(PortRefusal::MemberNetwork) } else { Ok(()) }
}

/// Checks that no other port has the name.
fn check_name(app: &AppState, spec: &PortSpec, own: Option<PortId>) -> Result<(), Error> {
    let Some(name) = spec.name.as_deref().filter(|name| !name.is_empty()) else { return Ok(()) };
    let is_holder = |port: &StoredPort| Some(port.port.value.id) != own && port.name() == Some(name);
    if app.registry.ports().iter().any(is_holder) {
        return Err(not_unique(Unique::Name(name.to_owned())));
    }
    Ok(())
}

/// Checks that the state of the port's node allows a change of its wiring.
fn check_wiring(app: &AppState, before: &StoredPort, old: &PortSpec, new: &PortFields) -> Result<(), PortRefusal> {
    let Some(node) = app.node_cache.get(before.port.value.node) else { return Ok(()) };
    let state = node.life.state;
    if node.spec().maintenance || is_rearrangeable(state) {
        return Ok(());
    }
    let port = before.port.value.id;
    if let Some(field) = changed_wiring(old, &new.spec) {
        return Err(PortRefusal::Wiring { field, port, node: node.node, state });
    }
    if before.mac != new.mac && keeps_macs(state, node.spec()) {
        return Err(PortRefusal::Address { port, node: node.node });
    }
    Ok(())
}

/// The first field of the wiring that differs.
fn changed_wiring(old: &PortSpec, new: &PortSpec) -> Option<WiringField> {
    let differs = [
        (WiringField::PxeEnabled, old.pxe_enabled != new.pxe_enabled),
        (WiringField::LocalLinkConnection, old.local_link_connection != new.local_link_connection),
        (WiringField::PhysicalNetwork, old.physical_network != new.physical_network),
        (WiringField::Portgroup, old.portgroup_uuid != new.portgroup_uuid),
    ];
    differs.into_iter().find(|(_, differs)| *differs).map(|(field, _)| field)
}
