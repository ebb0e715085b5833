//! Writes an audit record of each change ([`api_auth::audit`]).

use axum::http::request::Parts;
use keyspace::{
    seal,
    value::{
        AllocationSpec, ChassisSpec, DeployTemplateSpec, InspectionRuleSpec, PortgroupSpec, RunbookSpec,
        VolumeConnectorSpec, VolumeTargetSpec, WebhookSpec,
    },
};
use serde_json::{Map, Value};
use service_kit::listener::Peer;
use wire_ironic::{error::Error, fields};

use super::{
    ApiRequest, RestApi, collections::IronicCollection, node_document::render, ports, records::to_fields,
    response::ApiResponse,
};
use api_auth::{
    Authenticator,
    audit::{self, Origin, Record},
};
use scheduler_core::node_view::NodeView;

/// Path and fields of a resource, secrets sealed.
type AuditedResource = (String, Map<String, Value>);

/// Determines the origin of a request.
pub(super) fn origin(auth: &Authenticator, parts: &Parts) -> Origin {
    let peer = parts.extensions.get::<Peer>().map(|peer| peer.address().ip().to_canonical());
    let client = peer.map(|peer| auth.client(peer, &parts.headers));
    let proxy = peer.filter(|peer| Some(*peer) != client);
    Origin { client, proxy, request: format!("req-{}", uuid::Uuid::new_v4()) }
}

impl RestApi {
    /// Answers a request. Writes an audit record if the request can change something. The recorded difference may contain
    /// concurrent changes.
    pub(super) async fn answer_and_record(
        &self,
        request: &mut ApiRequest,
        origin: &Origin,
    ) -> Result<ApiResponse, Error> {
        if !audit::is_change(&request.method) || is_agent_call(&request.path) || !audit::is_on() {
            return self.answer(request).await;
        }
        let before = self.audited_resource(request, &request.path);
        let answer = self.answer(request).await;
        let made =
            answer.as_ref().ok().and_then(|answer| answer.created_location()?.split_once("/v1/").map(|(_, path)| path));
        let place = before.as_ref().map(|(place, _)| place.as_str()).or(made);
        let after = place.filter(|_| answer.is_ok()).and_then(|place| self.audited_resource(request, place));
        let changes = match &answer {
            Ok(_) => {
                audit::changes(before.as_ref().map(|(_, whole)| whole), after.as_ref().map(|(_, whole)| whole), mask)
            }
            // The text of a 400 may quote the request, and with it a secret.
            Err(error) if error.status == 400 => Value::Null,
            Err(error) => Value::from(error.text.as_str()),
        };
        let status = answer.as_ref().map_or_else(|error| error.status, ApiResponse::status);
        let resource = place.unwrap_or(&request.path);
        let (caller, method, path) = (Some(request.caller.as_ref()), request.method.as_str(), request.path.as_str());
        Record { origin, caller, method, path, resource, status, changes: &changes }.write();
        answer
    }

    /// Resource that a path begins with. `None` if it does not exist.
    fn audited_resource(&self, request: &ApiRequest, path: &str) -> Option<AuditedResource> {
        let steps: Vec<&str> = path.split('/').collect();
        let view = self.app.registry.view();
        match steps.as_slice() {
            ["nodes", ident, ..] => {
                let node = self.find(ident)?;
                Some((format!("nodes/{}", node.node), render(&NodeView::read(view, node.rack, node.node)?)))
            }
            ["ports", ident, ..] => {
                let port = self.port(request, ident).ok()?;
                Some((format!("ports/{}", port.port.value.id), ports::port_document(&port)))
            }
            ["chassis", ident, ..] => self.audited::<ChassisSpec>(ident),
            ["portgroups", ident, ..] => self.audited::<PortgroupSpec>(ident),
            ["deploy_templates", ident, ..] => self.audited::<DeployTemplateSpec>(ident),
            ["runbooks", ident, ..] => self.audited::<RunbookSpec>(ident),
            ["inspection_rules", ident, ..] => self.audited::<InspectionRuleSpec>(ident),
            ["allocations", ident, ..] => self.audited::<AllocationSpec>(ident),
            ["webhooks", ident, ..] => self.audited::<WebhookSpec>(ident),
            ["volume", "connectors", ident, ..] => self.audited::<VolumeConnectorSpec>(ident),
            ["volume", "targets", ident, ..] => self.audited::<VolumeTargetSpec>(ident),
            _ => None,
        }
    }

    fn audited<T: IronicCollection>(&self, ident: &str) -> Option<AuditedResource> {
        let found = self.resource::<T>(ident).ok()?;
        Some((format!("{}/{}", T::RESOURCE.path, found.id), to_fields(found.spec())))
    }
}

/// Hides every secret in a resource's fields, sealed or not.
fn mask(fields: &mut Map<String, Value>) {
    seal::mask(fields, fields::MASK);
    if let Value::Object(masked) = fields::masked(Value::Object(std::mem::take(fields))) {
        *fields = masked;
    }
}

/// Writes the record of a change whose sender was not authenticated.
pub(super) fn record_refused(parts: &Parts, origin: &Origin, status: u16) {
    let (method, path) = (parts.method.as_str(), parts.uri.path());
    if audit::is_change(method) {
        let changes = Value::Null;
        Record { origin, caller: None, method, path, resource: path, status, changes: &changes }.write();
    }
}

/// Returns whether an agent makes this call. Agents send heartbeats every few seconds; their effect is in the node's history.
fn is_agent_call(path: &str) -> bool {
    matches!(path.split('/').next(), Some("lookup" | "heartbeat" | "continue_inspection"))
}
