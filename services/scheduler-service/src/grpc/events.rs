//! Events.

use futures::{StreamExt as _, stream, stream::BoxStream};
use keyspace::key;
use proto::{
    api::v1::{Event as WireEvent, WatchEventsRequest, WatchEventsResponse, event_service_server::EventService},
    convert::time::wire_time,
};
use tokio_stream::wrappers::BroadcastStream;
use tonic::{Request, Response, Status};

use super::Shared;
use scheduler_core::{live_state::Event, registry::Registry};

fn shown(registry: &Registry, event: Event) -> WireEvent {
    let name = event.node.and_then(|node| {
        let rack = registry.rack_of(node)?;
        Some(registry.view().get(&key::intent(rack, node))?.value.name)
    });
    WireEvent {
        occur_time: Some(wire_time(event.at)),
        node: event.node.map(|node| node.to_string()).unwrap_or_default(),
        node_name: name.unwrap_or_default(),
        kind: event.kind.to_owned(),
        text: event.text,
    }
}

#[tonic::async_trait]
impl EventService for Shared {
    type WatchEventsStream = BoxStream<'static, Result<WatchEventsResponse, Status>>;

    async fn watch_events(
        &self,
        request: Request<WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let most = usize::try_from(request.into_inner().remembered).unwrap_or(usize::MAX);
        let (remembered, live) = self.live_state.events(most);
        let registry = self.registry.clone();
        let live = BroadcastStream::new(live).filter_map(async |event| event.ok());
        let events = stream::iter(remembered).chain(live);
        let events = events.map(move |event| Ok(WatchEventsResponse { event: Some(shown(&registry, event)) }));
        Ok(Response::new(events.boxed()))
    }
}
