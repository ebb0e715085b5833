//! What was seen of boots and must be remembered: one write for a boot's first exchange, one for a first sign of life,
//! one for a MAC that nobody knows.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::{generation::Generation, id::NodeId, net::MacAddr, timeline::Mark};
use keyspace::{
    Change, Expect, key,
    value::{PxeSeen, UnknownMac},
};
use service_kit::{Host, clock, timeline::Timeline};
use tokio::sync::oneshot;

use crate::rack::Rack;

/// Unknown MACs that are kept; the oldest make room.
const UNKNOWN: usize = 64;

/// How long a system that phones home waits for its call to be noted.
const NOTED: Duration = Duration::from_secs(3);
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

    /// The deployed system whose key hashes to this says that it lives. Which boot that is, and whether the key is still
    /// the node's, is read from the store: this replica may have been stopped, and its view be one of before. True: it
    /// is noted; otherwise it is tried on, for as long as this replica lives.
    pub(crate) async fn calls(&self, node: NodeId, key_hash: String) -> bool {
        let (noted, was_noted) = oneshot::channel();
        let (watcher, host) = (self.clone(), self.host.clone());
        self.host.spawn(async move {
            let generation = tokio::select! {
                () = host.stopping() => return,
                generation = note_call(&watcher.rack, node, &key_hash) => generation,
            };
            if let Some(generation) = generation {
                watcher.timeline.note(node, generation, Mark::FirstLife, "phoned home");
            }
            // Whoever called has given up waiting.
            let _gone = noted.send(());
        });
        tokio::time::timeout(NOTED, was_noted).await.is_ok_and(|noted| noted.is_ok())
    }

    /// A deployed system was seen alive. True: it is news.
    pub(crate) fn lives(&self, node: NodeId, generation: Generation, how: &str) -> bool {
        let known = self.rack.seen(node);
        let is_noted = known.is_some_and(|seen| seen.value.generation == generation && seen.value.life_at.is_some());
        if held(&self.lived).insert(node, generation) == Some(generation) || is_noted {
            return false;
        }
        self.timeline.note(node, generation, Mark::FirstLife, how);
        self.write(node, move |seen| lived(seen, generation));
        true
    }

    /// Writes in the background, as soon as etcd is there.
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

/// Writes what was seen, as soon as that is possible.
async fn write(rack: &Rack, node: NodeId, change: impl Fn(&mut PxeSeen)) {
    for tries in 1..=TRIES {
        match attempt(rack, node, &change).await {
            Err(error) if may_pass(node, &error, tries) => tokio::time::sleep(AGAIN).await,
            Ok(_) | Err(_) => return,
        }
    }
}

/// Notes that a deployed system called, as soon as that is possible.
async fn note_call(rack: &Rack, node: NodeId, key_hash: &str) -> Option<Generation> {
    for tries in 1..=TRIES {
        match try_note_call(rack, node, key_hash).await {
            Ok(noted) => return noted,
            Err(error) if may_pass(node, &error, tries) => tokio::time::sleep(AGAIN).await,
            Err(_) => return None,
        }
    }
    None
}

/// Whether it is tried again: etcd is away, or another replica has seen the other half meanwhile. Else it is told.
fn may_pass(node: NodeId, error: &keyspace::Error, tries: u32) -> bool {
    let may_pass = tries < TRIES && (error.is_away() || matches!(error, keyspace::Error::Conflict));
    if !may_pass {
        tracing::warn!(%node, error = %service_kit::status::chain(error), "cannot write what was seen");
    }
    may_pass
}

/// Notes that a deployed system called; the boot that it belongs to, where the key is the node's and that is news.
async fn try_note_call(rack: &Rack, node: NodeId, key_hash: &str) -> Result<Option<Generation>, keyspace::Error> {
    let life = rack.mesh.store().get(&key::life(rack.id, node)).await?;
    let Some(life) = life.map(|read| read.value).filter(|life| life.life_key_hash == key_hash) else { return Ok(None) };
    let generation = life.generation;
    let is_news = attempt(rack, node, |seen| lived(seen, generation)).await?;
    Ok(is_news.then_some(generation))
}

/// The system of this boot lives, since now where that was not known.
fn lived(seen: &mut PxeSeen, generation: Generation) {
    let is_same = seen.generation == generation;
    let exchange_at = seen.exchange_at.filter(|_| is_same);
    let life_at = seen.life_at.filter(|_| is_same).or_else(|| Some(clock::now()));
    *seen = PxeSeen { generation, exchange_at, life_at, ..seen.clone() };
}

/// Writes once; true: it was news.
async fn attempt(rack: &Rack, node: NodeId, change: impl Fn(&mut PxeSeen)) -> Result<bool, keyspace::Error> {
    // Nobody, until etcd is there.
    let instance = rack.mesh.instance().ok_or(keyspace::Error::Conflict)?;
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
    // It is known, or about an earlier boot than what was seen meanwhile.
    if before.is_some_and(|before| seen == before || seen.generation < before.generation) {
        return Ok(false);
    }
    (seen.seen_at, seen.seen_by) = (clock::now(), instance);
    let change = Change::new().put(&key, &seen, Expect::same(read.as_ref()))?;
    rack.mesh.store().commit(change).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sign_of_life_of_a_boot_stays_and_nothing_of_another_boot_does() {
        let at = |millis| Some(domain::time::Timestamp::from_millis(millis));
        let (two, three) = (Generation::from_number(2), Generation::from_number(3));
        let seen_by = "00000000-0000-0000-0000-000000000001".parse().unwrap();
        let mut seen = PxeSeen { generation: two, exchange_at: at(5), life_at: None, seen_at: clock::now(), seen_by };
        lived(&mut seen, three);
        assert_eq!((seen.generation, seen.exchange_at), (three, None));
        seen.life_at = at(7);
        lived(&mut seen, three);
        assert_eq!(seen.life_at, at(7));
    }
}
