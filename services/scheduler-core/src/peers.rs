//! What the other schedulers have applied: a change is answered once it can be read through every replica (keyspace README).
//!
//! Each replica streams the revision that its reads have reached to each other one. A replica that is paused or is cut off
//! loses its lease, and is waited for no longer than that.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use domain::{id::InstanceId, service::Service};
use keyspace::{key, key::Scope, value::Member};
use mesh::Mesh;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{Error, metrics};

/// Time that a change waits for the other replicas: longer than a lease, so that only an unreachable live one is given up.
const REPLICA_TIMEOUT: Duration = Duration::from_secs(10);

/// Revisions that the other replicas have applied. Clones share the state.
#[derive(Debug, Clone, Default)]
pub struct Peers {
    pub(crate) applied: Arc<watch::Sender<HashMap<InstanceId, i64>>>,
}

impl Peers {
    /// Waits until every other replica has applied a revision or is no longer a member. Cancel-safe.
    pub async fn have(&self, mesh: &Mesh, revision: i64, deadline: Option<Instant>) -> Result<(), Error> {
        let mut applied = self.applied.subscribe();
        let mut news = mesh.view().subscribe();
        let begun = Instant::now();
        let until = deadline.map_or(begun + REPLICA_TIMEOUT, |deadline| deadline.min(begun + REPLICA_TIMEOUT));
        loop {
            let others = others(mesh);
            let Some(instance) = behind(&others, &applied.borrow_and_update(), revision) else {
                metrics::everywhere(begun);
                return Ok(());
            };
            tokio::select! {
                // The sender lives as long as `self`.
                _ = applied.changed() => {}
                _ = news.next() => {}
                () = sleep_until(until) => {
                    let endpoint = others.get(&instance).map(|member| member.endpoint.clone()).unwrap_or_default();
                    return Err(Error::NotEverywhere { instance, endpoint, waited: begun.elapsed() });
                }
            }
        }
    }
}

/// Returns the first of the other replicas that must still be waited for.
///
/// A stopping replica whose stream has ended serves no more requests.
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

pub(crate) fn others(mesh: &Mesh) -> BTreeMap<InstanceId, Member> {
    let me = mesh.instance();
    let members = mesh.view().list(&key::members(Scope::Datacenter, Service::Scheduler)).into_iter();
    let members = members.filter_map(|(path, member)| Some((key::last(&path)?, member.value)));
    members.filter(|(instance, _)| Some(*instance) != me).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(n: u128) -> InstanceId {
        InstanceId::new(uuid::Uuid::from_u128(n))
    }

    fn member(stopping: bool) -> Member {
        Member { endpoint: "127.0.0.1:1".to_owned(), weight: 1, stopping, ..Member::default() }
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
