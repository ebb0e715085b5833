//! gRPC handlers: decode the request, make one call, encode the response.

use domain::{
    id::NodeId,
    power::{Persistence, PowerTarget},
};
use futures::{StreamExt as _, stream::BoxStream};
use proto::{
    common::v1::{BootDevice, NodeTimelineEntry},
    convert::{required, text},
    power::v1::{
        EnsurePowerRequest, EnsurePowerResponse, GetBootOrderRequest, GetBootOrderResponse, GetPowerRequest,
        GetPowerResponse, WatchTimelineRequest, WatchTimelineResponse, power_service_server::PowerService,
    },
};
use service_kit::timeline::Timeline;
use tonic::{Request, Response, Status};

use crate::{Error, bmc::BootOrder, work::Work};

pub(crate) struct Api {
    pub(crate) work: Work,
    pub(crate) timeline: Timeline,
}

#[tonic::async_trait]
impl PowerService for Api {
    async fn ensure_power(
        &self,
        request: Request<EnsurePowerRequest>,
    ) -> Result<Response<EnsurePowerResponse>, Status> {
        let request = request.into_inner();
        let (node, version, target) = decode(request)?;
        self.work.ensure(node, version, target)?;
        Ok(Response::new(EnsurePowerResponse {}))
    }

    async fn get_power(&self, request: Request<GetPowerRequest>) -> Result<Response<GetPowerResponse>, Status> {
        let node: NodeId = text("node", &request.into_inner().node).map_err(Error::from)?;
        let (power, bmc) = self.work.query_power(node).await?;
        Ok(Response::new(GetPowerResponse { power: proto::common::v1::Power::from(power).into(), bmc }))
    }

    async fn get_boot_order(
        &self,
        request: Request<GetBootOrderRequest>,
    ) -> Result<Response<GetBootOrderResponse>, Status> {
        let node: NodeId = text("node", &request.into_inner().node).map_err(Error::from)?;
        let BootOrder { device, persistence } = self.work.boot_order(node).await?;
        Ok(Response::new(GetBootOrderResponse {
            device: device.map_or(BootDevice::Unspecified, Into::into).into(),
            persistent: persistence.map(|persistence| persistence == Persistence::Persistent),
        }))
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

fn decode(request: EnsurePowerRequest) -> Result<(NodeId, domain::generation::InstructionVersion, PowerTarget), Error> {
    let node = text("node", &request.node)?;
    let version = required("version", request.version)?.into();
    let target = required("target", request.target)?.try_into()?;
    Ok((node, version, target))
}
