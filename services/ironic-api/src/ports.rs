//! Ports: the NICs of nodes.

use domain::{
    id::{NodeId, PortId},
    net::MacAddr,
};
use keyspace::{
    store::Versioned,
    value::{Port, PortSpec, PortgroupSpec},
};
use serde_json::{Map, Value, json};
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
    records::{from_fields, time, to_fields},
    resources::is,
    response::ApiResponse,
};
use scheduler_core::{
    ports::{self, PortFields},
    registry::StoredPort,
};

/// Fields of a port that are no part of its specification.
const ELSEWHERE: &[&str] = &["uuid", "address", "node_uuid", "node_ident", "created_at", "updated_at"];

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
        let deleted = ports::delete_port(&request.context(), &self.app, &port).await;
        deleted.map_err(|error| fault(ident, &error)).map(|()| ApiResponse::no_content())
    }

    /// Finds a port by id, or from API version 1.88 by name.
    pub(super) fn port(&self, request: &ApiRequest, ident: &str) -> Result<StoredPort, Error> {
        if !fields::identifies(wire_ironic::version::Version::MAX, ident) {
            return Err(text::bad_port("UUID or name", "port_ident", ident));
        }
        let all = self.app.registry.ports();
        let by_name = |port: &StoredPort| request.version.has(88) && port.name() == Some(ident);
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
        let id = match attributes.get("uuid").and_then(Value::as_str) {
            Some(uuid) => uuid.parse().map_err(|_| Class::Invalid.error(format!("Expected UUID for uuid: {uuid}")))?,
            None => PortId::new(uuid::Uuid::new_v4()),
        };
        let fields = PortFields { mac, node, spec: port_spec(attributes)? };
        let created = ports::create_port(&request.context(), &self.app, id, fields).await;
        created.map_err(|error| fault(&mac.to_string(), &error))?;
        let body = self.shown_port(request, &id.to_string())?;
        Ok(ApiResponse::created(body, links::location(&request.base, &format!("ports/{id}"))))
    }

    fn shown_port(&self, request: &ApiRequest, id: &str) -> Result<Value, Error> {
        let port = port_document(&self.port(request, id)?);
        Ok(Value::Object(links::shown(&PORT, request.version, &request.base, &Columns::All, &port)))
    }

    /// Finds the node of a new port, from `node_uuid` or `node_ident`.
    fn node_of_port(&self, request: &ApiRequest, attributes: &Map<String, Value>) -> Result<NodeId, Error> {
        let uuid = attributes.get("node_uuid").and_then(Value::as_str);
        if let Some(uuid) = uuid.filter(|uuid| !fields::is_uuid(uuid)) {
            return Err(Class::Invalid.error(format!("Expected UUID for node_uuid: {uuid}")));
        }
        let ident = uuid.or_else(|| attributes.get("node_ident").and_then(Value::as_str)).unwrap_or_default();
        self.find_visible(request, ident)
            .map(|node| node.node)
            .ok_or_else(|| Class::Invalid.error(format!("Node {ident} could not be found.")))
    }

    pub(super) async fn patch_port(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        request.only(&[])?;
        let ops = patch::parse(&PORT, request.version, &request.body)?;
        let before = self.port(request, ident)?;
        let id = before.port.value.id;
        let after = patch::apply(&PORT, &port_document(&before), &ops)?;
        let node = self.node_of_port(request, &after)?;
        let fields = PortFields { mac: address(&after)?, node, spec: port_spec(after)? };
        let updated = ports::update_port(&request.context(), &self.app, &before, fields).await;
        updated.map_err(|error| fault(ident, &error))?;
        Ok(ApiResponse::ok(self.shown_port(request, &id.to_string())?))
    }
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
