//! What was seen of boots and must be remembered: one write for a boot's first exchange, one for a first sign of life,
//! one for a MAC that nobody knows.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::{
    generation::Generation,
    id::{InstanceId, NodeId},
    net::MacAddr,
    timeline::Mark,
};
use keyspace::{
    Change, Expect, key,
    value::{PxeSeen, UnknownMac},
};
use service_kit::{Host, clock, timeline::Timeline};

use crate::rack::Rack;

/// Unknown MACs that are kept; the oldest make room.
const UNKNOWN: usize = 64;

/// Before a write is tried again.
const AGAIN: Duration = Duration::from_millis(500);
/// Tries of a write; with the pauses, some hours, which is longer than any boot waits.
const TRIES: u32 = 20_000;

/// Writes what was seen. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Watcher {
    rack: Rack,
    timeline: Timeline,
    host: Host,
    /// The boots of which this replica answered an exchange, by their latest generation.
    exchanged: Latest,
    /// Those whose system it saw alive.
    lived: Latest,
}

/// A generation for each node: as many as the rack has nodes.
type Latest = Arc<Mutex<HashMap<NodeId, Generation>>>;

fn held(latest: &Latest) -> MutexGuard<'_, HashMap<NodeId, Generation>> {
    latest.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watcher {
    pub(crate) fn new(rack: Rack, timeline: Timeline, host: Host) -> Self {
        Self { rack, timeline, host, exchanged: Arc::default(), lived: Arc::default() }
    }

    /// A machine whose boot was decided talked to us: from here on its token may be served. Written once per boot, by
    /// whichever replica answered; on an island this one remembers it alone, and writes it when etcd is back.
    pub(crate) fn exchanged(&self, node: NodeId, generation: Generation) {
        let before = held(&self.exchanged).insert(node, generation);
        if before == Some(generation) || self.is_noted(node, generation) {
            return;
        }
        self.write(node, move |seen| {
            *seen = PxeSeen { generation, exchange_at: Some(clock::now()), life_at: None, ..seen.clone() };
        });
    }

    /// Whether this boot's machine has talked to a replica.
    pub(crate) fn has_exchanged(&self, node: NodeId, generation: Generation) -> bool {
        held(&self.exchanged).get(&node) == Some(&generation) || self.is_noted(node, generation)
    }

    fn is_noted(&self, node: NodeId, generation: Generation) -> bool {
        let seen = self.rack.seen(node);
        seen.is_some_and(|seen| seen.value.generation == generation && seen.value.exchange_at.is_some())
    }

    /// A deployed system was seen alive. True: it is news.
    pub(crate) fn lives(&self, node: NodeId, generation: Generation, how: &str) -> bool {
        let known = self.rack.seen(node);
        let is_noted = known.is_some_and(|seen| seen.value.generation == generation && seen.value.life_at.is_some());
        if held(&self.lived).insert(node, generation) == Some(generation) || is_noted {
            return false;
        }
        self.timeline.note(node, generation, Mark::FirstLife, how);
        self.write(node, move |seen| {
            let exchange_at = seen.exchange_at.filter(|_| seen.generation == generation);
            *seen = PxeSeen { generation, exchange_at, life_at: Some(clock::now()), ..seen.clone() };
        });
        true
    }

    /// Writes in the background, as soon as etcd is there; a conflict is looked at again, since another replica may have
    /// seen the other half.
    fn write(&self, node: NodeId, change: impl Fn(&mut PxeSeen) + Send + Sync + 'static) {
        let (rack, host) = (self.rack.clone(), self.host.clone());
        self.host.spawn(async move {
            let writing = write(&rack, node, change);
            tokio::select! {
                () = host.stopping() => {}
                () = writing => {}
            }
        });
    }

    /// Notes a MAC that belongs to no node.
    pub(crate) fn unknown(&self, mac: MacAddr, firmware: String) {
        let key = key::unknown(self.rack.id, mac);
        if self.rack.view().get(&key).is_some() {
            return;
        }
        tracing::info!(%mac, firmware, "an unknown machine asks; it is left unanswered");
        let rack = self.rack.clone();
        self.host.spawn(async move {
            let mut known = rack.view().list(&key::unknowns(rack.id));
            let unknown = UnknownMac { seen_at: clock::now(), firmware };
            let Ok(mut change) = Change::new().put(&key, &unknown, Expect::Absent) else { return };
            known.sort_by_key(|(_, unknown)| std::cmp::Reverse(unknown.value.seen_at));
            for (path, oldest) in known.iter().skip(UNKNOWN - 1) {
                if let Some(mac) = key::last(path) {
                    change = change.delete(&key::unknown(rack.id, mac), Expect::Revision(oldest.revision));
                }
            }
            match rack.mesh.store().commit(change).await {
                Ok(_) | Err(keyspace::Error::Conflict) => {}
                Err(error) => {
                    tracing::debug!(error = %service_kit::status::chain(&error), "cannot note an unknown MAC")
                }
            }
        });
    }
}

async fn write(rack: &Rack, node: NodeId, change: impl Fn(&mut PxeSeen)) {
    for tries in 1..=TRIES {
        let outcome = match rack.mesh.instance() {
            Some(instance) => attempt(rack, node, instance, &change).await,
            // Nobody, until etcd is there.
            None => Err(keyspace::Error::Conflict),
        };
        match outcome {
            Ok(()) => return,
            Err(error) if tries == TRIES || !(error.is_away() || matches!(error, keyspace::Error::Conflict)) => {
                let error = service_kit::status::chain(&error);
                return tracing::warn!(%node, error, "cannot write what was seen");
            }
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

async fn attempt(
    rack: &Rack,
    node: NodeId,
    instance: InstanceId,
    change: impl Fn(&mut PxeSeen),
) -> Result<(), keyspace::Error> {
    let key = key::pxe(rack.id, node);
    let read = rack.mesh.store().get(&key).await?;
    let nothing = || PxeSeen {
        generation: Generation::default(),
        exchange_at: None,
        life_at: None,
        seen_at: clock::now(),
        seen_by: instance,
    };
    let before = read.as_ref().map(|read| read.value.clone());
    let mut seen = before.clone().unwrap_or_else(nothing);
    change(&mut seen);
    if before.as_ref().is_some_and(|before| seen.generation < before.generation) {
        // It is about an earlier boot than what was seen meanwhile.
        return Ok(());
    }
    (seen.seen_at, seen.seen_by) = (clock::now(), instance);
    let change = Change::new().put(&key, &seen, Expect::same(read.as_ref()))?;
    rack.mesh.store().commit(change).await.map(drop)
}
