//! gRPC handlers: decode the request, make one call, encode the response.

use std::{sync::Arc, time::Duration};

use domain::{generation::InstructionVersion, id::NodeId};
use futures::{StreamExt as _, stream::BoxStream};
use keyspace::value::BootFile;
use mesh::JournalWriter;
use proto::{
    common::v1::NodeTimelineEntry,
    convert::{required, text},
    pxe::v1::{
        EnsureBootRequest, EnsureBootResponse, WatchTimelineRequest, WatchTimelineResponse,
        pxe_service_server::PxeService,
    },
};
use service_kit::timeline::Timeline;
use tonic::{Request, Response, Status};

use crate::{Error, context::PxeContext};

/// How long a call waits for a boot file that is being fetched.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) context: Arc<PxeContext>,
    pub(crate) timeline: Timeline,
}

impl Api {
    async fn ensure(&self, node: NodeId, version: InstructionVersion) -> Result<(), Error> {
        let rack = &self.context.rack;
        let guard = rack.mesh.begin_work(node)?;
        let decision = rack
            .decision(node)
            .filter(|decision| decision.generation == version.generation)
            .ok_or(Error::NotYetSeen(node))?;
        for file in decision.boot_files() {
            self.prefetch(file).await?;
        }
        let claim = rack.mesh.claim(&guard).await?;
        let mut journal = JournalWriter::read(&rack.mesh, claim).await?;
        let before = journal.record().highest;
        journal.obey(version)?;
        if before != version {
            journal.write().await?;
        }
        Ok(())
    }

    async fn prefetch(&self, file: &BootFile) -> Result<(), Error> {
        match tokio::time::timeout(FETCH_TIMEOUT, self.context.files.get(file)).await {
            Ok(outcome) => outcome.map(drop),
            Err(_) => Err(Error::Fetching(file.name.clone())),
        }
    }
}

#[tonic::async_trait]
impl PxeService for Api {
    async fn ensure_boot(&self, request: Request<EnsureBootRequest>) -> Result<Response<EnsureBootResponse>, Status> {
        let request = request.into_inner();
        let node = text("node", &request.node).map_err(Error::from)?;
        let version = required("version", request.version).map_err(Error::from)?;
        self.ensure(node, version.into()).await?;
        Ok(Response::new(EnsureBootResponse {}))
    }

    type WatchTimelineStream = BoxStream<'static, Result<WatchTimelineResponse, Status>>;

    async fn watch_timeline(
        &self,
        _: Request<WatchTimelineRequest>,
    ) -> Result<Response<Self::WatchTimelineStream>, Status> {
        let entries = self.timeline.watch().map(|seen| {
            let entry = NodeTimelineEntry {
                node: seen.node.to_string(),
                generation: seen.generation.number(),
                entry: Some(seen.entry.into()),
            };
            Ok(WatchTimelineResponse { entry: Some(entry) })
        });
        Ok(Response::new(entries.boxed()))
    }
}
