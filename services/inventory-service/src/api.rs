//! The inner gRPC face: decode, one call, encode.

use domain::id::NodeId;
use futures::{StreamExt as _, stream, stream::BoxStream};
use keyspace::key;
use proto::{
    common::v1::NodeTimelineEntry,
    convert::text,
    inventory::v1::{
        GetInventoryRequest, GetInventoryResponse, Heartbeat, WatchAgentsRequest, WatchAgentsResponse,
        inventory_service_server::InventoryService, watch_agents_response::Sign,
    },
};
use service_kit::timeline::Timeline;
use tonic::{Request, Response, Status};

use crate::{Error, agent::Agents, census::Census};

pub(crate) struct Api {
    pub(crate) agents: Agents,
    pub(crate) timeline: Timeline,
    pub(crate) census: Census,
}

#[tonic::async_trait]
impl InventoryService for Api {
    async fn get_inventory(
        &self,
        request: Request<GetInventoryRequest>,
    ) -> Result<Response<GetInventoryResponse>, Status> {
        let node: NodeId = text("node", &request.into_inner().node).map_err(Error::from)?;
        let read = self.agents.mesh.view().get(&key::inventory(self.agents.rack, node));
        let inventory = read.ok_or(Error::NoReport(node))?.value;
        let seen_at_ms = inventory.seen_at.millis();
        Ok(Response::new(GetInventoryResponse { hardware: Some(inventory.hardware.into()), seen_at_ms }))
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
            .census
            .watch()
            .map(|(node, at)| Sign::Heartbeat(Heartbeat { node: node.to_string(), at_ms: at.millis() }));
        let signs = stream::select(entries.boxed(), beats.boxed());
        Ok(Response::new(signs.map(|sign| Ok(WatchAgentsResponse { sign: Some(sign) })).boxed()))
    }
}
