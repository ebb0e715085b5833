//! What was seen of boots and must be remembered: one write for a boot's first exchange, one for a first sign of life,
//! one for a MAC that nobody knows.

use domain::{generation::Generation, id::NodeId, net::MacAddr, timeline::Mark};
use keyspace::{
    Change, Expect, key,
    value::{PxeSeen, UnknownMac},
};
use service_kit::{Host, clock, timeline::Timeline};

use crate::rack::Rack;

/// Unknown MACs that are kept; the oldest make room.
const UNKNOWN: usize = 64;

/// Writes what was seen. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Watcher {
    rack: Rack,
    timeline: Timeline,
    host: Host,
}

impl Watcher {
    pub(crate) const fn new(rack: Rack, timeline: Timeline, host: Host) -> Self {
        Self { rack, timeline, host }
    }

    /// A machine whose boot was decided talked to us: from here on its token may be served. Written once per boot, by
    /// whichever replica answered.
    pub(crate) fn exchanged(&self, node: NodeId, generation: Generation) {
        if self
            .rack
            .seen(node)
            .is_some_and(|seen| seen.value.generation == generation && seen.value.exchange_at.is_some())
        {
            return;
        }
        self.write(node, move |seen| {
            *seen = PxeSeen { generation, exchange_at: Some(clock::now()), life_at: None, ..seen.clone() };
        });
    }

    /// A deployed system was seen alive. True: it is news.
    pub(crate) fn lives(&self, node: NodeId, generation: Generation, how: &str) -> bool {
        let known = self.rack.seen(node);
        if known.is_some_and(|seen| seen.value.generation == generation && seen.value.life_at.is_some()) {
            return false;
        }
        self.timeline.note(node, generation, Mark::FirstLife, how);
        self.write(node, move |seen| {
            let exchange_at = seen.exchange_at.filter(|_| seen.generation == generation);
            *seen = PxeSeen { generation, exchange_at, life_at: Some(clock::now()), ..seen.clone() };
        });
        true
    }

    /// Writes in the background; a conflict is looked at once more, since another replica may have seen the other half.
    fn write(&self, node: NodeId, change: impl Fn(&mut PxeSeen) + Send + Sync + 'static) {
        let rack = self.rack.clone();
        self.host.spawn(async move {
            let Some(instance) = rack.mesh.instance() else { return };
            for _ in 0..3 {
                let key = key::pxe(rack.id, node);
                let read = match rack.mesh.store().get(&key).await {
                    Ok(read) => read,
                    Err(error) => return tracing::warn!(%node, error = %service_kit::status::chain(&error), "cannot read what was seen"),
                };
                let mut seen = read.as_ref().map_or_else(
                    || PxeSeen {
                        generation: Generation::default(),
                        exchange_at: None,
                        life_at: None,
                        seen_at: clock::now(),
                        seen_by: instance,
                    },
                    |read| read.value.clone(),
                );
                change(&mut seen);
                (seen.seen_at, seen.seen_by) = (clock::now(), instance);
                let written = match Change::new().put(&key, &seen, Expect::same(read.as_ref())) {
                    Ok(change) => rack.mesh.store().commit(change).await,
                    Err(error) => Err(error),
                };
                match written {
                    Ok(_) => return,
                    Err(keyspace::Error::Conflict) => {}
                    Err(error) => return tracing::warn!(%node, error = %service_kit::status::chain(&error), "cannot write what was seen"),
                }
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
