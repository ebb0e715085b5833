//! Stores observations of boots: one write for the first DHCP exchange of a boot, one for the first sign of life.

use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::{generation::Generation, id::NodeId, timeline::Mark};
use keyspace::{Change, Expect, key, value::PxeSeen};
use parking_lot::Mutex;
use service_kit::{Host, clock, timeline::Timeline};
use tokio::sync::oneshot;

use crate::rack::Rack;

/// How long a phone-home request waits for its write.
const PHONE_HOME_TIMEOUT: Duration = Duration::from_secs(3);
/// Delay before a write is retried.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// Maximum number of attempts of a write; with the delays some hours, which is longer than any boot waits.
const MAX_ATTEMPTS: u32 = 20_000;

/// Records and stores observations. Clones share the same state.
#[derive(Debug, Clone)]
pub(crate) struct Observations {
    rack: Rack,
    timeline: Timeline,
    host: Host,
    /// Latest generation of each node for which this replica completed a DHCP exchange.
    exchanged: Latest,
    /// Latest generation of each node whose system this replica saw alive.
    alive: Latest,
}

/// A generation for each node of the rack.
type Latest = Arc<Mutex<HashMap<NodeId, Generation>>>;

impl Observations {
    pub(crate) fn new(rack: Rack, timeline: Timeline, host: Host) -> Self {
        Self { rack, timeline, host, exchanged: Arc::default(), alive: Arc::default() }
    }

    /// Records a completed DHCP exchange of a decided boot: from now on its boot token may be served. It is written
    /// once per boot, by the replica that answered. On an island only this replica knows it, and writes it when etcd is
    /// back.
    pub(crate) fn record_exchange(&self, node: NodeId, generation: Generation) {
        let before = self.exchanged.lock().insert(node, generation);
        if before == Some(generation) || self.is_stored(node, generation) {
            return;
        }
        self.write(node, move |seen| {
            *seen = PxeSeen { generation, exchange_at: Some(clock::now()), life_at: None, ..seen.clone() };
        });
    }

    /// Returns whether the machine of this boot has completed an exchange with any replica.
    pub(crate) fn has_exchanged(&self, node: NodeId, generation: Generation) -> bool {
        self.exchanged.lock().get(&node) == Some(&generation) || self.is_stored(node, generation)
    }

    fn is_stored(&self, node: NodeId, generation: Generation) -> bool {
        let seen = self.rack.seen(node);
        seen.is_some_and(|seen| seen.value.generation == generation && seen.value.exchange_at.is_some())
    }

    /// Records that the deployed system with this key hash phoned home. The current boot and key are read from the
    /// store, because this replica may have been suspended and its view may be outdated. Returns whether the write
    /// succeeded in time; otherwise it is retried as long as this replica runs.
    pub(crate) async fn record_phone_home(&self, node: NodeId, key_hash: String) -> bool {
        let (stored, was_stored) = oneshot::channel();
        let (observations, host) = (self.clone(), self.host.clone());
        self.host.spawn(async move {
            let generation = tokio::select! {
                () = host.stopping() => return,
                generation = write_phone_home(&observations.rack, node, &key_hash) => generation,
            };
            if let Some(generation) = generation {
                observations.timeline.note(node, generation, Mark::FirstLife, "phoned home");
            }
            // The receiver is gone if the caller stopped waiting.
            let _receiver_gone = stored.send(());
        });
        tokio::time::timeout(PHONE_HOME_TIMEOUT, was_stored).await.is_ok_and(|stored| stored.is_ok())
    }

    /// Records that a deployed system was seen alive. Returns whether it was not known yet.
    pub(crate) fn record_alive(&self, node: NodeId, generation: Generation, how: &str) -> bool {
        let known = self.rack.seen(node);
        let is_stored = known.is_some_and(|seen| seen.value.generation == generation && seen.value.life_at.is_some());
        if self.alive.lock().insert(node, generation) == Some(generation) || is_stored {
            return false;
        }
        self.timeline.note(node, generation, Mark::FirstLife, how);
        self.write(node, move |seen| mark_alive(seen, generation));
        true
    }

    /// Writes in the background, as soon as etcd is available.
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
}

/// Writes an observation, with retries.
async fn write(rack: &Rack, node: NodeId, change: impl Fn(&mut PxeSeen)) {
    for attempt_number in 1..=MAX_ATTEMPTS {
        match try_write(rack, node, &change).await {
            Err(error) if should_retry(node, &error, attempt_number) => tokio::time::sleep(RETRY_DELAY).await,
            Ok(_) | Err(_) => return,
        }
    }
}

/// Records that a deployed system phoned home, with retries. Returns the generation of its boot if it was not known
/// yet.
async fn write_phone_home(rack: &Rack, node: NodeId, key_hash: &str) -> Option<Generation> {
    for attempt_number in 1..=MAX_ATTEMPTS {
        match try_write_phone_home(rack, node, key_hash).await {
            Ok(stored) => return stored,
            Err(error) if should_retry(node, &error, attempt_number) => tokio::time::sleep(RETRY_DELAY).await,
            Err(_) => return None,
        }
    }
    None
}

/// Returns whether to retry: etcd is unavailable, or another replica wrote concurrently. Logs any other error.
fn should_retry(node: NodeId, error: &keyspace::Error, attempt_number: u32) -> bool {
    let should_retry = attempt_number < MAX_ATTEMPTS && (error.is_away() || matches!(error, keyspace::Error::Conflict));
    if !should_retry {
        tracing::warn!(%node, error = %service_kit::status::chain(error), "cannot store an observation");
    }
    should_retry
}

/// Records that a deployed system phoned home. Returns the generation of its boot if the key is valid and it was not
/// known yet.
async fn try_write_phone_home(
    rack: &Rack,
    node: NodeId,
    key_hash: &str,
) -> Result<Option<Generation>, keyspace::Error> {
    let life = rack.mesh.store().get(&key::life(rack.id, node)).await?;
    let Some(life) = life.map(|read| read.value).filter(|life| life.life_key_hash == key_hash) else { return Ok(None) };
    let generation = life.generation;
    let has_changed = try_write(rack, node, |seen| mark_alive(seen, generation)).await?;
    Ok(has_changed.then_some(generation))
}

/// Marks the system of this boot as alive, since now unless it is already.
fn mark_alive(seen: &mut PxeSeen, generation: Generation) {
    let is_same = seen.generation == generation;
    let exchange_at = seen.exchange_at.filter(|_| is_same);
    let life_at = seen.life_at.filter(|_| is_same).or_else(|| Some(clock::now()));
    *seen = PxeSeen { generation, exchange_at, life_at, ..seen.clone() };
}

/// Makes one attempt to write. Returns whether something changed.
async fn try_write(rack: &Rack, node: NodeId, change: impl Fn(&mut PxeSeen)) -> Result<bool, keyspace::Error> {
    // There is no instance until the service has joined the mesh.
    let instance = rack.mesh.instance().ok_or(keyspace::Error::Conflict)?;
    let key = key::pxe(rack.id, node);
    let read = rack.mesh.store().get(&key).await?;
    let empty = || PxeSeen {
        generation: Generation::default(),
        exchange_at: None,
        life_at: None,
        seen_at: clock::now(),
        seen_by: instance,
    };
    let before = read.as_ref().map(|read| read.value.clone());
    let mut seen = before.clone().unwrap_or_else(empty);
    change(&mut seen);
    // Already stored, or a later boot was observed meanwhile.
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
        mark_alive(&mut seen, three);
        assert_eq!((seen.generation, seen.exchange_at), (three, None));
        seen.life_at = at(7);
        mark_alive(&mut seen, three);
        assert_eq!(seen.life_at, at(7));
    }
}
