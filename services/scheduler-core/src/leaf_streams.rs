//! Streams from the leaves: what they observe while it happens, kept in memory by [`crate::live_state`].

use std::{collections::HashSet, sync::Arc, time::Duration};

use domain::{
    id::{InstanceId, RackId},
    service::Service,
};
use futures::StreamExt as _;
use keyspace::{
    key::{self, Parsed},
    value::Rack,
    view::{News, Subscription},
};
use parking_lot::Mutex;
use proto::{
    convert::time::time,
    inventory::v1::{
        WatchAgentsRequest, inventory_service_client::InventoryServiceClient, watch_agents_response::Sign,
    },
    power::v1::power_service_client::PowerServiceClient,
    pxe::v1::pxe_service_client::PxeServiceClient,
};

use crate::{Error, app_state::AppState, leaf_clients::Replica};

/// Interval at which the members are read without a change.
const MEMBER_CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Pause before a broken stream is opened again.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// Keeps a stream open to every replica of every leaf that has a stream.
pub async fn listen(shared: Arc<AppState>) {
    let mut known: HashSet<(InstanceId, Service)> = HashSet::new();
    let gone = Arc::new(Mutex::new(Vec::<(InstanceId, Service)>::new()));
    let mut news = shared.registry.view().subscribe();
    loop {
        for ended in gone.lock().drain(..) {
            known.remove(&ended);
        }
        for (_, rack) in shared.registry.view().list(&key::racks()) {
            let rack: Rack = rack.value;
            for service in [Service::Power, Service::Pxe, Service::Inventory] {
                for replica in shared.leaf_clients.replicas(rack.id, service) {
                    if known.insert((replica.instance, service)) {
                        spawn(&shared, rack.id, service, replica, Arc::clone(&gone));
                    }
                }
            }
        }
        tokio::select! {
            () = shared.host.stopping() => return,
            () = of_members(&mut news) => {}
            () = tokio::time::sleep(MEMBER_CHECK_INTERVAL) => {}
        }
    }
}

/// Waits for a change of the members.
async fn of_members(news: &mut Subscription) {
    while let Some(News::Path(path)) = news.next().await {
        if matches!(key::parse(&path), Some(Parsed::Member { .. })) {
            return;
        }
    }
}

fn spawn(
    shared: &Arc<AppState>,
    rack: RackId,
    service: Service,
    replica: Replica,
    gone: Arc<Mutex<Vec<(InstanceId, Service)>>>,
) {
    let inner = Arc::clone(shared);
    shared.host.spawn(async move {
        loop {
            let stream = follow(&inner, rack, service, &replica);
            tokio::select! {
                () = inner.host.stopping() => return,
                outcome = stream => if let Err(error) = outcome {
                    tracing::debug!(%service, endpoint = replica.member.endpoint, error = %service_kit::status::chain(&error), "stream from a leaf ended, will retry");
                },
            }
            let still = inner.leaf_clients.replicas(rack, service).iter().any(|member| member.instance == replica.instance);
            if !still {
                gone.lock().push((replica.instance, service));
                return;
            }
            tokio::time::sleep(RETRY_DELAY).await;
        }
    });
}

async fn follow(shared: &AppState, rack: RackId, service: Service, replica: &Replica) -> Result<(), Error> {
    let line = shared.leaf_clients.to(rack, service, &replica.member.endpoint, None)?;
    let endpoint = &replica.member.endpoint;
    let refused = |status: tonic::Status| Error::Leaf(format!("the {service} at {endpoint}: {status}"));
    match service {
        Service::Power => {
            let request = proto::power::v1::WatchTimelineRequest {};
            let mut stream = PowerServiceClient::new(line).watch_timeline(request).await.map_err(refused)?.into_inner();
            while let Some(entry) = stream.next().await {
                entry.map_err(refused)?.entry.into_iter().for_each(|entry| shared.live_state.entry(entry));
            }
        }
        Service::Pxe => {
            let request = proto::pxe::v1::WatchTimelineRequest {};
            let mut stream = PxeServiceClient::new(line).watch_timeline(request).await.map_err(refused)?.into_inner();
            while let Some(entry) = stream.next().await {
                entry.map_err(refused)?.entry.into_iter().for_each(|entry| shared.live_state.entry(entry));
            }
        }
        Service::Inventory => {
            let mut client = InventoryServiceClient::new(line);
            let mut stream = client.watch_agents(WatchAgentsRequest {}).await.map_err(refused)?.into_inner();
            while let Some(sign) = stream.next().await {
                match sign.map_err(refused)?.sign {
                    Some(Sign::Entry(entry)) => shared.live_state.entry(entry),
                    Some(Sign::Heartbeat(beat)) => {
                        let at = beat.receive_time.and_then(|at| time("receive_time", at).ok());
                        if let (Ok(node), Some(at)) = (beat.node.parse(), at) {
                            shared.live_state.heard(node, at);
                        }
                    }
                    None => {}
                }
            }
        }
        Service::Storage | Service::Scheduler => {}
    }
    Ok(())
}
