//! Calls of agents that speak Ironic's protocol. Their endpoint is their rack's inventory-service; a call that arrives
//! here is parsed, checked and passed on to the replica that owns the node.

use domain::{id::NodeId, net::MacAddr, service::Service};
use proto::inventory::v1::{AnswerAgentRequest, Pair, inventory_service_client::InventoryServiceClient};
use serde_json::Value;
use wire_ironic::{
    agent::{Heartbeat, Lookup, Report},
    error::{Class, Error, text},
    query,
};

use super::{ApiRequest, RestApi, config::RestAgents, fault::fault, response::ApiResponse};

/// Response to agents where the API does not pass their calls on.
const NOT_PASSED_ON: &str = "Calls of agents are answered by the inventory-service of the node's rack (inventory.ironic), \
                             which tells agents its address when they boot; this API passes them on only where \
                             scheduler.rest_agents allows it";

impl RestApi {
    pub(super) async fn agents(&self, request: &ApiRequest, steps: &[&str]) -> Result<ApiResponse, Error> {
        if !self.agents.passes_on(request.is_forwarded) {
            // The address of the caller proves nothing here, so the boot token must not be given to it.
            return Err(Class::NotFound.error(NOT_PASSED_ON));
        }
        let found = match steps {
            ["lookup"] => {
                let lookup = Lookup::read(request.version, &request.pairs)?;
                self.identify_node(lookup.node_uuid.as_deref(), &lookup.addresses)
            }
            ["heartbeat", rest @ ..] => {
                let mut arguments = request.arguments()?;
                // The node may be named by an argument as well as by the path.
                let named = arguments.remove("node_ident").and_then(|ident| ident.as_str().map(str::to_owned));
                let named = rest.first().map(|ident| (*ident).to_owned()).or(named);
                let ident = named.ok_or_else(|| query::missing("node_ident"))?;
                Heartbeat::read(request.version, &arguments, None)?;
                let node = self.find(&ident).ok_or_else(|| text::not_found("Node", &ident))?.node;
                return self.forward(request, &format!("heartbeat/{node}"), Value::Object(arguments), node).await;
            }
            _ => {
                let body = request.body.as_object().cloned().unwrap_or_default();
                let report = Report::read(request.version, request.parameter("node_uuid"), body)?;
                self.identify_node(report.node_uuid.as_deref(), &report.addresses)
            }
        };
        let node = found.ok_or_else(text::resource_not_found)?;
        self.forward(request, &request.path, request.body.clone(), node).await
    }

    /// Finds the node with this id, or the node that has a NIC with one of these addresses.
    fn identify_node(&self, uuid: Option<&str>, addresses: &[String]) -> Option<NodeId> {
        if let Some(uuid) = uuid {
            return uuid.parse().ok();
        }
        let view = self.app.registry.view();
        let racks: Vec<_> = view.list(&keyspace::key::racks()).into_iter().map(|(_, rack)| rack.value.id).collect();
        let macs = addresses.iter().filter_map(|address| address.parse::<MacAddr>().ok());
        let mut ports =
            macs.flat_map(|mac| racks.iter().filter_map(move |rack| view.get(&keyspace::key::port(*rack, mac))));
        ports.next().map(|port| port.value.node)
    }

    async fn forward(&self, request: &ApiRequest, path: &str, body: Value, node: NodeId) -> Result<ApiResponse, Error> {
        let shared = &self.app;
        let rack = shared.registry.rack_of(node).ok_or_else(text::resource_not_found)?;
        let owner = shared.leaf_clients.to_owner(rack, Service::Inventory, node);
        let line = owner.map_err(|error| fault(&node.to_string(), &error))?;
        let request = AnswerAgentRequest {
            minor_version: request.version.minor().into(),
            path: path.to_owned(),
            pairs: request
                .pairs
                .iter()
                .map(|(name, value)| Pair { name: name.clone(), value: value.clone() })
                .collect(),
            body: if body.is_null() { Vec::new() } else { body.to_string().into_bytes() },
            base: request.base.clone(),
            local: self.agents == RestAgents::Loopback,
        };
        let mut client =
            InventoryServiceClient::new(line).max_encoding_message_size(wire_ironic::limits::MAX_INSPECTION_BODY_BYTES);
        let answer = client.answer_agent(request).await;
        let answer = answer.map_err(|status| text::busy(status.message()))?.into_inner();
        let body = answer.body.map(|body| serde_json::from_slice::<Value>(&body)).transpose();
        let body = body.map_err(|_| Class::Server.error("The inventory-service sent an invalid response"))?;
        Ok(ApiResponse::relayed(u16::try_from(answer.status).unwrap_or(500), body))
    }
}
