//! Ports: the NICs of nodes.

use domain::{driver::Driver, id::PortId, net::MacAddr, provision::State};
use keyspace::{
    key,
    store::Versioned,
    value::{Port, PortSpec, PortgroupSpec, Stamped},
};
use serde_json::{Map, Value, json};
use service_kit::clock;
use wire_ironic::{
    error::{Class, Error, text},
    fields::{self, Columns, PORT},
    links, patch,
    query::{self, List, Shape},
};

use super::{
    ApiRequest, RestApi,
    authz::Visibility,
    fault::fault,
    list,
    node_document::NodeDocument,
    nodes::is_rearrangeable,
    records::{from_fields, time, to_fields},
    resources::is,
    response::ApiResponse,
};
use scheduler_core::node_view::NodeView;
use scheduler_core::registry::{PortChange, StoredPort};

/// Fields of a port that are no part of its specification.
const ELSEWHERE: &[&str] = &["uuid", "address", "node_uuid", "node_ident", "created_at", "updated_at"];
/// Fields that cannot be changed while the node is in use.
const WIRING: &[&str] = &["pxe_enabled", "local_link_connection", "physical_network", "portgroup_uuid"];

impl RestApi {
    pub(super) fn show_port(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        request.only(&["fields"])?;
        let columns = request.columns(&PORT)?;
        let port = port_document(&self.port(request, ident)?);
        Ok(ApiResponse::ok(Value::Object(links::shown(&PORT, request.version, &request.base, &columns, &port))))
    }

    pub(super) async fn delete_port(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        request.only(&[])?;
        if !fields::is_uuid(ident) {
            return Err(text::bad_port("UUID", "port_uuid", ident));
        }
        let port = self.port(request, ident)?;
        let deleted = self.app.registry.delete_port(&request.context(), &port).await;
        deleted.map_err(|error| fault(ident, &error)).map(|()| ApiResponse::no_content())
    }

    /// Finds a port by id, or from API version 1.88 by name.
    pub(super) fn port(&self, request: &ApiRequest, ident: &str) -> Result<StoredPort, Error> {
        if !fields::identifies(wire_ironic::version::Version::MAX, ident) {
            return Err(text::bad_port("UUID or name", "port_ident", ident));
        }
        let all = self.app.registry.ports();
        let by_name = |port: &StoredPort| request.version.has(88) && port_name(port) == Some(ident);
        let is_it = |port: &StoredPort| port.port.value.id.to_string() == ident.to_lowercase() || by_name(port);
        all.into_iter().find(is_it).ok_or_else(|| text::not_found("Port", ident))
    }

    /// All fields of all ports, in the order of their creation.
    pub(super) fn all_ports(&self) -> Vec<Map<String, Value>> {
        self.app.registry.ports().iter().map(port_document).collect()
    }

    pub(super) fn list_ports_of(
        &self,
        request: &ApiRequest,
        shape: Shape,
        filter: &str,
        ident: &str,
    ) -> Result<ApiResponse, Error> {
        let mut pairs = request.pairs.clone();
        pairs.push((filter.to_owned(), ident.to_owned()));
        self.list_ports(request, shape, &pairs)
    }

    pub(super) fn list_ports(
        &self,
        request: &ApiRequest,
        shape: Shape,
        pairs: &[(String, String)],
    ) -> Result<ApiResponse, Error> {
        let list = query::list(&PORT, request.version, shape, pairs)?;
        let node = self.node_of(request, &list, false)?;
        let all = self.all_ports();
        let matching = all.iter().filter(|port| self.matches(port, &list, node.as_deref()));
        list::page(&PORT, request, &list, matching.collect(), Visibility::of(self, request, "ports"))
            .map(ApiResponse::ok)
    }

    fn matches(&self, port: &Map<String, Value>, list: &List, node: Option<&str>) -> bool {
        let of_node = |field: &str, operand: &query::Operand| {
            let node = port.get("node_uuid").and_then(Value::as_str).and_then(|node| self.find(node));
            node.is_some_and(|node| list::matches(&NodeDocument::unrestricted(&node), field, operand))
        };
        list.filters.iter().all(|(filter, operand)| match filter.name {
            "node" | "node_uuid" => node.is_some_and(|node| is(port, "node_uuid", node)),
            "portgroup" => {
                let group = self.resource::<PortgroupSpec>(&operand.to_text());
                group.is_ok_and(|group| is(port, "portgroup_uuid", &group.id.to_string()))
            }
            "description_contains" => list::contains(port, "description", operand),
            "shard" => of_node("shard", operand),
            "conductor_groups" => of_node("conductor_group", operand),
            name => list::matches(port, name, operand),
        })
    }

    pub(super) async fn create_port(&self, request: &ApiRequest) -> Result<ApiResponse, Error> {
        request.only(&[])?;
        let attributes = fields::check_post(&PORT, request.version, &request.body)?;
        let node = self.node_of_port(request, &attributes)?;
        let mac = address(&attributes)?;
        self.check_port(&attributes, &node, None)?;
        let id = match attributes.get("uuid").and_then(Value::as_str) {
            Some(uuid) => uuid.parse().map_err(|_| Class::Invalid.error(format!("Expected UUID for uuid: {uuid}")))?,
            None => PortId::new(uuid::Uuid::new_v4()),
        };
        let registry = &self.app.registry;
        if registry.ports().iter().any(|port| port.port.value.id == id) {
            return Err(text::already_exists(&format!("A port with UUID {id}")));
        }
        if registry.view().get(&key::mac(mac)).is_some() {
            return Err(text::already_exists(&format!("A port with MAC address {mac}")));
        }
        let spec = Stamped::created(port_spec(attributes)?, clock::now());
        let new =
            PortChange { id, mac, node: node.node, rack: node.rack, boots: is_boot_port(&spec.spec, &node), spec };
        registry.create_port(&request.context(), &new).await.map_err(|error| fault(&mac.to_string(), &error))?;
        let body = self.shown_port(request, &id.to_string())?;
        Ok(ApiResponse::created(body, links::location(&request.base, &format!("ports/{id}"))))
    }

    fn shown_port(&self, request: &ApiRequest, id: &str) -> Result<Value, Error> {
        let port = port_document(&self.port(request, id)?);
        Ok(Value::Object(links::shown(&PORT, request.version, &request.base, &Columns::All, &port)))
    }

    /// Finds the node of a new port, from `node_uuid` or `node_ident`.
    fn node_of_port(
        &self,
        request: &ApiRequest,
        attributes: &Map<String, Value>,
    ) -> Result<std::sync::Arc<NodeView>, Error> {
        let uuid = attributes.get("node_uuid").and_then(Value::as_str);
        if let Some(uuid) = uuid.filter(|uuid| !fields::is_uuid(uuid)) {
            return Err(Class::Invalid.error(format!("Expected UUID for node_uuid: {uuid}")));
        }
        let ident = uuid.or_else(|| attributes.get("node_ident").and_then(Value::as_str)).unwrap_or_default();
        self.find_visible(request, ident)
            .ok_or_else(|| Class::Invalid.error(format!("Node {ident} could not be found.")))
    }

    /// Checks that the port group exists and belongs to the node, and that the name is free.
    fn check_port(&self, attributes: &Map<String, Value>, node: &NodeView, own: Option<PortId>) -> Result<(), Error> {
        if let Some(group) = attributes.get("portgroup_uuid").and_then(Value::as_str) {
            let found = self.resource::<PortgroupSpec>(group);
            let found = found.map_err(|_| Class::Invalid.error(format!("Portgroup {group} could not be found.")))?;
            if found.spec().node_uuid != Some(node.node) {
                return Err(Class::Invalid.error(format!("Portgroup {group} belongs to another node than the port.")));
            }
            self.check_network(attributes, group, own)?;
        }
        let name = attributes.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
        let Some(name) = name else { return Ok(()) };
        let holder = self.app.registry.ports().into_iter().find(|port| port_name(port) == Some(name));
        match holder.filter(|port| Some(port.port.value.id) != own) {
            Some(_) => Err(text::already_exists(&format!("A port with name {name}"))),
            None => Ok(()),
        }
    }

    /// Checks that all ports of a group have the same physical network.
    fn check_network(&self, attributes: &Map<String, Value>, group: &str, own: Option<PortId>) -> Result<(), Error> {
        let network = attributes.get("physical_network").and_then(Value::as_str);
        let own = own.map(|own| own.to_string());
        let others = self.all_ports();
        let mut others = others.iter().filter(|port| is(port, "portgroup_uuid", group));
        let other = others.find(|port| own.as_deref() != port.get("uuid").and_then(Value::as_str));
        let Some(other) = other else { return Ok(()) };
        let theirs = other.get("physical_network").and_then(Value::as_str);
        if theirs == network {
            return Ok(());
        }
        let (network, theirs) = (network.unwrap_or("None"), theirs.unwrap_or("None"));
        Err(Class::Conflict.error(format!(
            "Port with physical network {network} cannot become a member of port group {group} which has ports in \
             physical network {theirs}."
        )))
    }

    pub(super) async fn patch_port(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        request.only(&[])?;
        let ops = patch::parse(&PORT, request.version, &request.body)?;
        let before = self.port(request, ident)?;
        let id = before.port.value.id;
        let old = port_document(&before);
        let after = patch::apply(&PORT, &old, &ops)?;
        let node = self.node_of_port(request, &after)?;
        let mac = address(&after)?;
        let network = |of: &Map<String, Value>| of.get("physical_network").cloned().unwrap_or_default();
        let stays = old.get("portgroup_uuid").is_some_and(|group| group.is_string());
        if stays && old.get("portgroup_uuid") == after.get("portgroup_uuid") && network(&old) != network(&after) {
            let refusal = "physical_network cannot be changed while the port belongs to a portgroup.";
            return Err(Class::Invalid.error(refusal));
        }
        self.check_port(&after, &node, Some(id))?;
        self.check_wiring(&old, &after, &before)?;
        let taken = self.app.registry.view().get(&key::mac(mac)).is_some();
        if mac != before.mac && taken {
            return Err(text::already_exists(&format!("A port with MAC address {mac}")));
        }
        let stored = before.port.value.spec.clone().unwrap_or_default();
        let spec = stored.updated(port_spec(after)?, clock::now());
        let new =
            PortChange { id, mac, node: node.node, rack: node.rack, boots: is_boot_port(&spec.spec, &node), spec };
        let changed = self.app.registry.change_port(&request.context(), &before, &new).await;
        changed.map_err(|error| fault(ident, &error))?;
        Ok(ApiResponse::ok(self.shown_port(request, &id.to_string())?))
    }

    /// Rejects a change of the port's wiring while the node is in use.
    fn check_wiring(
        &self,
        old: &Map<String, Value>,
        new: &Map<String, Value>,
        before: &StoredPort,
    ) -> Result<(), Error> {
        let Some(node) = self.node_cache.get(before.port.value.node) else { return Ok(()) };
        let value = |of: &Map<String, Value>, field: &str| of.get(field).cloned().unwrap_or_default();
        let changed = |field: &str| value(old, field) != value(new, field);
        let state = node.life.state.ironic_name();
        if node.spec().maintenance || is_rearrangeable(state) {
            return Ok(());
        }
        let (id, uuid) = (before.port.value.id, node.node);
        if let Some(field) = WIRING.iter().find(|field| changed(field)) {
            return Err(Class::Conflict.error(format!(
                "{field} of port {id} cannot be changed while its node {uuid} is in state \"{state}\": make the node \
                 manageable, or set its maintenance"
            )));
        }
        let in_use = node.life.state == State::Active || node.spec().instance().is_some();
        if in_use && changed("address") {
            return Err(
                Class::Conflict.error(format!("Cannot update the address of port {id}: its node {uuid} is in use"))
            );
        }
        Ok(())
    }
}

/// The name of a port.
fn port_name(port: &StoredPort) -> Option<&str> {
    port.port.value.spec.as_ref()?.spec.name.as_deref()
}

/// A port whole.
pub(super) fn port_document(stored: &StoredPort) -> Map<String, Value> {
    let Versioned { value: Port { id, node, spec, .. }, .. } = &stored.port;
    let mut whole = spec.as_ref().map(|record| to_fields(&record.spec)).unwrap_or_default();
    whole.insert("uuid".to_owned(), json!(id.to_string()));
    whole.insert("address".to_owned(), json!(stored.mac.to_string()));
    whole.insert("node_uuid".to_owned(), json!(node.to_string()));
    whole.insert("created_at".to_owned(), time(spec.as_ref().map(|record| record.created_at)));
    whole.insert("updated_at".to_owned(), time(spec.as_ref().and_then(|record| record.updated_at)));
    whole
}

fn port_spec(mut attributes: Map<String, Value>) -> Result<PortSpec, Error> {
    attributes.retain(|field, _| !ELSEWHERE.contains(&field.as_str()));
    from_fields(attributes)
}

fn address(attributes: &Map<String, Value>) -> Result<MacAddr, Error> {
    let text = attributes.get("address").and_then(Value::as_str).unwrap_or_default();
    let mac = query::mac("address", text)?;
    mac.parse().map_err(|_| Class::Invalid.error(format!("Expected valid MAC address for address: {text}")))
}

/// Returns whether the node can boot from a port, so that it needs an address on the rack's network.
fn is_boot_port(spec: &PortSpec, node: &NodeView) -> bool {
    spec.pxe_enabled && node.intent.driver != Driver::FakeHardware
}
