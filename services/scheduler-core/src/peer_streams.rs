//! Streams from the other schedulers: the revision that the reads of each have reached ([`crate::peers`]).

use std::{collections::HashSet, sync::Arc, time::Duration};

use domain::id::InstanceId;
use parking_lot::Mutex;
use proto::scheduler::v1::{WatchAppliedRequest, scheduler_service_client::SchedulerServiceClient};
use tokio::time::sleep;
use tokio_stream::StreamExt as _;

use crate::{Error, app_state::AppState, peers::others};

/// Interval at which the members are read without a change.
const MEMBER_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Pause before a broken stream is opened again.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// Keeps a stream open to every other replica.
pub async fn listen(shared: Arc<AppState>) {
    let followed: Arc<Mutex<HashSet<InstanceId>>> = Arc::default();
    let mut news = shared.registry.view().subscribe();
    loop {
        // Before it joins, the process does not know its own instance id.
        let is_member = shared.registry.mesh.instance().is_some();
        for (instance, member) in others(&shared.registry.mesh).into_iter().filter(|_| is_member) {
            if followed.lock().insert(instance) {
                let (inner, followed) = (Arc::clone(&shared), Arc::clone(&followed));
                shared.host.spawn(async move {
                    tokio::select! {
                        () = inner.host.stopping() => {}
                        () = follow(&inner, instance, &member.endpoint) => {}
                    }
                    followed.lock().remove(&instance);
                });
            }
        }
        tokio::select! {
            () = shared.host.stopping() => return,
            _ = news.next() => {}
            () = sleep(MEMBER_CHECK_INTERVAL) => {}
        }
    }
}

/// Follows one replica until it is no longer a member.
async fn follow(shared: &AppState, instance: InstanceId, endpoint: &str) {
    let applied = &shared.registry.peers.applied;
    while others(&shared.registry.mesh).contains_key(&instance) {
        if let Err(error) = hear(shared, instance, endpoint).await {
            tracing::debug!(%instance, endpoint, error = %service_kit::status::chain(&error), "a peer's stream ended");
        }
        applied.send_modify(|applied| {
            applied.remove(&instance);
        });
        sleep(RETRY_DELAY).await;
    }
}

async fn hear(shared: &AppState, instance: InstanceId, endpoint: &str) -> Result<(), Error> {
    let line = shared.leaf_clients.to_scheduler(endpoint)?;
    let refused = |status: tonic::Status| Error::Leaf(format!("the scheduler at {endpoint}: {status}"));
    let request = WatchAppliedRequest {};
    let mut stream = SchedulerServiceClient::new(line).watch_applied(request).await.map_err(refused)?.into_inner();
    while let Some(reached) = stream.next().await {
        let revision = reached.map_err(refused)?.revision;
        shared.registry.peers.applied.send_modify(|applied| {
            let known = applied.entry(instance).or_default();
            *known = revision.max(*known);
        });
    }
    Ok(())
}
