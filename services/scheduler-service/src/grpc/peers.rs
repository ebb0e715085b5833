//! What this replica tells the other schedulers.

use futures::{StreamExt as _, stream::BoxStream};
use proto::scheduler::v1::{WatchAppliedRequest, WatchAppliedResponse, scheduler_service_server::SchedulerService};
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};

use super::Shared;

#[tonic::async_trait]
impl SchedulerService for Shared {
    type WatchAppliedStream = BoxStream<'static, Result<WatchAppliedResponse, Status>>;

    async fn watch_applied(
        &self,
        _: Request<WatchAppliedRequest>,
    ) -> Result<Response<Self::WatchAppliedStream>, Status> {
        let freshness = WatchStream::new(self.registry.view().follow_freshness());
        let revisions = freshness.map(|freshness| Ok(WatchAppliedResponse { revision: freshness.revision }));
        Ok(Response::new(revisions.boxed()))
    }
}
