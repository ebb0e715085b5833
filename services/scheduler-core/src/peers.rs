//! What the other schedulers have applied: a change is answered once it can be read through every replica (keyspace README).
//!
//! Each replica streams the revision that its reads have reached to each other one. A replica that hangs or is cut off
//! loses its lease, and is waited for no longer than that.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::{id::InstanceId, service::Service};
use keyspace::{key, key::Scope, value::Member};
use mesh::Mesh;
use proto::scheduler::v1::{WatchAppliedRequest, scheduler_service_client::SchedulerServiceClient};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tokio_stream::StreamExt as _;

use crate::{Error, app_state::AppState, metrics};

/// How long a change waits for the others; longer than a lease, so that only a replica that lives and can not be
/// reached from here is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// Before a stream that broke is opened again.
const AGAIN: Duration = Duration::from_millis(200);
/// How often the members are looked at when nothing is heard of them.
const LOOK: Duration = Duration::from_secs(1);

/// The revisions that the others have reached. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Peers {
    applied: Arc<watch::Sender<HashMap<InstanceId, i64>>>,
}

impl Peers {
    /// Waits until every other replica has applied a revision or is no member any more. Safe to drop at any await.
    pub async fn have(&self, mesh: &Mesh, revision: i64) -> Result<(), Error> {
        let mut applied = self.applied.subscribe();
        let mut news = mesh.view().subscribe();
        let begun = Instant::now();
        loop {
            let others = others(mesh);
            let Some(instance) = behind(&others, &applied.borrow_and_update(), revision) else {
                metrics::everywhere(begun);
                return Ok(());
            };
            tokio::select! {
                // The sender lives as long as this.
                _ = applied.changed() => {}
                _ = news.next() => {}
                () = sleep_until(begun + PATIENCE) => {
                    let endpoint = others.get(&instance).map(|member| member.endpoint.clone()).unwrap_or_default();
                    return Err(Error::NotEverywhere { instance, endpoint, waited: PATIENCE });
                }
            }
        }
    }
}

/// The first of the others that must still be waited for.
///
/// One that is stopping and whose stream has ended answers nobody any more.
fn behind(
    others: &BTreeMap<InstanceId, Member>,
    applied: &HashMap<InstanceId, i64>,
    revision: i64,
) -> Option<InstanceId> {
    let waited_for = |(instance, member): &(&InstanceId, &Member)| match applied.get(*instance) {
        Some(reached) => *reached < revision,
        None => !member.stopping,
    };
    others.iter().find(waited_for).map(|(instance, _)| *instance)
}

fn others(mesh: &Mesh) -> BTreeMap<InstanceId, Member> {
    let me = mesh.instance();
    let members = mesh.view().list(&key::members(Scope::Datacenter, Service::Scheduler)).into_iter();
    let members = members.filter_map(|(path, member)| Some((key::last(&path)?, member.value)));
    members.filter(|(instance, _)| Some(*instance) != me).collect()
}

/// Keeps a stream open to every other replica.
pub async fn listen(shared: Arc<AppState>) {
    let followed: Arc<Mutex<HashSet<InstanceId>>> = Arc::default();
    let mut news = shared.registry.view().subscribe();
    loop {
        // Before it has joined it does not know which of them it is itself.
        let is_member = shared.registry.mesh.instance().is_some();
        for (instance, member) in others(&shared.registry.mesh).into_iter().filter(|_| is_member) {
            if followed.lock().unwrap_or_else(PoisonError::into_inner).insert(instance) {
                let (inner, followed) = (Arc::clone(&shared), Arc::clone(&followed));
                shared.host.spawn(async move {
                    tokio::select! {
                        () = inner.host.stopping() => {}
                        () = follow(&inner, instance, &member.endpoint) => {}
                    }
                    followed.lock().unwrap_or_else(PoisonError::into_inner).remove(&instance);
                });
            }
        }
        tokio::select! {
            () = shared.host.stopping() => return,
            _ = news.next() => {}
            () = sleep(LOOK) => {}
        }
    }
}

/// Follows one replica until it is no member any more.
async fn follow(shared: &AppState, instance: InstanceId, endpoint: &str) {
    let applied = &shared.registry.peers.applied;
    while others(&shared.registry.mesh).contains_key(&instance) {
        if let Err(error) = hear(shared, instance, endpoint).await {
            tracing::debug!(%instance, endpoint, error = %service_kit::status::chain(&error), "a peer's stream ended");
        }
        applied.send_modify(|applied| {
            applied.remove(&instance);
        });
        sleep(AGAIN).await;
    }
}

async fn hear(shared: &AppState, instance: InstanceId, endpoint: &str) -> Result<(), Error> {
    let line = shared.lines.to_scheduler(endpoint)?;
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

#[cfg(test)]
mod tests {
    use domain::time::Timestamp;

    use super::*;

    fn instance(n: u128) -> InstanceId {
        InstanceId::new(uuid::Uuid::from_u128(n))
    }

    fn member(stopping: bool) -> Member {
        let endpoint = "127.0.0.1:1".to_owned();
        Member {
            endpoint,
            data_endpoint: String::new(),
            ironic_endpoint: String::new(),
            weight: 1,
            slot: None,
            stopping,
            since: Timestamp::default(),
        }
    }

    #[test]
    fn a_replica_is_waited_for_until_it_is_there_or_has_stopped_to_answer() {
        let others = BTreeMap::from([(instance(1), member(false)), (instance(2), member(true))]);
        let applied = |known: &[(u128, i64)]| known.iter().map(|(n, revision)| (instance(*n), *revision)).collect();
        assert_eq!(behind(&others, &applied(&[]), 5), Some(instance(1)), "not heard of yet");
        assert_eq!(behind(&others, &applied(&[(1, 4)]), 5), Some(instance(1)));
        assert_eq!(behind(&others, &applied(&[(1, 5)]), 5), None, "the other one has stopped");
        assert_eq!(behind(&others, &applied(&[(1, 5), (2, 4)]), 5), Some(instance(2)), "it still answers");
        assert_eq!(behind(&BTreeMap::new(), &applied(&[]), 5), None);
    }
}
