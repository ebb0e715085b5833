//! gRPC handlers for services: decode the request, make one call, encode the response.

use domain::id::NodeId;
use futures::{StreamExt as _, stream, stream::BoxStream};
use keyspace::key;
use proto::{
    common::v1::NodeTimelineEntry,
    convert::{Invalid, text, time::wire_time},
    inventory::v1::{
        AnswerAgentRequest, AnswerAgentResponse, GetInventoryRequest, GetInventoryResponse, Heartbeat,
        WatchAgentsRequest, WatchAgentsResponse, inventory_service_server::InventoryService,
        watch_agents_response::Sign,
    },
};
use serde_json::Value;
use service_kit::{listener::Peer, outbound_http::policy, timeline::Timeline};
use tonic::{Request, Response, Status};
use wire_ironic::version::Version;

use crate::{
    Error,
    heartbeats::Heartbeats,
    ironic::{AgentCall, AgentResponse, CallError, Ironic, Origin, is_from_this_host},
};

pub(crate) struct Api {
    pub(crate) ironic: Ironic,
    pub(crate) timeline: Timeline,
    pub(crate) heartbeats: Heartbeats,
}

#[tonic::async_trait]
impl InventoryService for Api {
    async fn get_inventory(
        &self,
        request: Request<GetInventoryRequest>,
    ) -> Result<Response<GetInventoryResponse>, Status> {
        let node: NodeId = text("node", &request.into_inner().node).map_err(Error::from)?;
        let read = self.ironic.agents.mesh.view().get(&key::inventory(self.ironic.agents.rack, node));
        let inventory = read.ok_or(Error::NoReport(node))?.value;
        let report_time = Some(wire_time(inventory.seen_at));
        Ok(Response::new(GetInventoryResponse { hardware: Some(inventory.hardware.into()), report_time }))
    }

    async fn answer_agent(
        &self,
        request: Request<AnswerAgentRequest>,
    ) -> Result<Response<AnswerAgentResponse>, Status> {
        let scheduler = request.extensions().get::<Peer>().map(|peer| peer.address().ip());
        let AnswerAgentRequest { minor_version, path, pairs, body, base, local } = request.into_inner();
        let body = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&body) };
        let version = u16::try_from(minor_version).ok().and_then(Version::new);
        let local = is_from_this_host(local, scheduler, policy::is_own);
        let call = AgentCall {
            origin: Origin::Scheduler { local },
            version: version.ok_or_else(|| Error::from(Invalid::Missing("minor_version")))?,
            path,
            pairs: pairs.into_iter().map(|pair| (pair.name, pair.value)).collect(),
            body: body.map_err(|_| Error::from(Invalid::Missing("body")))?,
            base,
        };
        let AgentResponse { status, body } = match self.ironic.answer(&call).await {
            Ok(said) => said,
            Err(CallError::Refused(error)) => AgentResponse { status: error.status, body: Some(error.body()) },
            Err(CallError::Redirect(_)) => return Err(Status::unavailable("another replica owns the node")),
        };
        let body = body.map(|body| body.to_string().into_bytes());
        Ok(Response::new(AnswerAgentResponse { status: status.into(), body }))
    }

    type WatchAgentsStream = BoxStream<'static, Result<WatchAgentsResponse, Status>>;

    async fn watch_agents(&self, _: Request<WatchAgentsRequest>) -> Result<Response<Self::WatchAgentsStream>, Status> {
        let entries = self.timeline.watch().map(|seen| {
            Sign::Entry(NodeTimelineEntry {
                node: seen.node.to_string(),
                generation: seen.generation.number(),
                entry: Some(seen.entry.into()),
            })
        });
        let beats = self
            .heartbeats
            .watch()
            .map(|(node, at)| Sign::Heartbeat(Heartbeat { node: node.to_string(), receive_time: Some(wire_time(at)) }));
        let signs = stream::select(entries.boxed(), beats.boxed());
        Ok(Response::new(signs.map(|sign| Ok(WatchAgentsResponse { sign: Some(sign) })).boxed()))
    }
}
