//! Collects the MAC addresses that ask to boot and belong to no node, and stores them in batches.
//!
//! A request costs a stranger nothing, so it must cost us little: each replica remembers a bounded number of addresses and
//! writes to etcd at most once per [`STORE_INTERVAL`]. When the record is full, an address must be seen again before it
//! takes the place of another one: machines repeat their requests (RFC 2131 §4.1), and forged addresses usually do not.

use std::{cmp::Reverse, collections::HashMap, sync::Arc, time::Duration};

use domain::net::MacAddr;
use keyspace::{Change, Expect, key, store::Versioned, value::UnknownMac};
use parking_lot::Mutex;
use service_kit::{Host, clock, status::chain};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{metrics, rack::Rack};

/// Interval at which new addresses are stored.
const STORE_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of addresses that are stored in one interval.
const MAX_BATCH: usize = 16;
/// Maximum number of unknown MAC addresses of a rack in the store; the oldest are deleted.
const MAX_STORED: usize = 64;
/// Maximum number of addresses that a replica remembers.
const MAX_WAITING: usize = 1024;
/// How long an address is remembered after its last request.
const MEMORY: Duration = Duration::from_secs(120);
/// Copies of a request within this time, such as those of two relays, count once.
const COPY_INTERVAL: Duration = Duration::from_millis(500);
/// Maximum length of the description of the firmware, in characters.
const MAX_FIRMWARE_CHARS: usize = 64;

/// What is remembered of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sighting {
    firmware: String,
    last: Instant,
    requests: u32,
}

/// The addresses that wait to be stored. Pure.
#[derive(Debug, Default)]
struct Waiting {
    sightings: HashMap<MacAddr, Sighting>,
}

impl Waiting {
    /// Notes a request. Returns whether the address is new; the request is dropped if too many addresses wait.
    fn note(&mut self, mac: MacAddr, firmware: &str, now: Instant) -> bool {
        if let Some(known) = self.sightings.get_mut(&mac) {
            if now.duration_since(known.last) >= COPY_INTERVAL {
                known.requests += 1;
                known.last = now;
            }
            return false;
        }
        if self.sightings.len() >= MAX_WAITING {
            self.sightings.retain(|_, sighting| now.duration_since(sighting.last) < MEMORY);
        }
        if self.sightings.len() >= MAX_WAITING && !self.forget_one() {
            return false;
        }
        let firmware = firmware.chars().take(MAX_FIRMWARE_CHARS).collect();
        self.sightings.insert(mac, Sighting { firmware, last: now, requests: 1 });
        true
    }

    /// Forgets the oldest address that asked once. Returns whether there is one.
    fn forget_one(&mut self) -> bool {
        let once = self.sightings.iter().filter(|(_, sighting)| sighting.requests == 1);
        let oldest = once.min_by_key(|(_, sighting)| sighting.last).map(|(mac, _)| *mac);
        oldest.is_some_and(|mac| self.sightings.remove(&mac).is_some())
    }

    /// Returns the next addresses to store, those with most requests first. `stored` is the number in the store.
    fn batch(&mut self, is_stored: impl Fn(MacAddr) -> bool, stored: usize, now: Instant) -> Vec<(MacAddr, String)> {
        self.sightings.retain(|mac, sighting| now.duration_since(sighting.last) < MEMORY && !is_stored(*mac));
        let mut due: Vec<_> = self.sightings.iter().collect();
        due.sort_by_key(|(mac, sighting)| (Reverse(sighting.requests), sighting.last, **mac));
        let room = MAX_STORED.saturating_sub(stored);
        let takes = |at: usize, sighting: &Sighting| at < room || sighting.requests > 1;
        let due = due.into_iter().take(MAX_BATCH).enumerate().filter(|(at, (_, sighting))| takes(*at, sighting));
        due.map(|(_, (mac, sighting))| (*mac, sighting.firmware.clone())).collect()
    }
}

/// The unknown MAC addresses of this replica. Clones share the same state.
#[derive(Debug, Clone, Default)]
pub(crate) struct UnknownMacs(Arc<Mutex<Waiting>>);

impl UnknownMacs {
    /// Notes a request of a MAC address that belongs to no node.
    pub(crate) fn record(&self, mac: MacAddr, firmware: &str) {
        if self.0.lock().note(mac, firmware, Instant::now()) {
            metrics::unknown_mac();
            tracing::debug!(%mac, firmware, "ignored an unknown machine");
        }
    }

    /// Stores addresses until the host stops.
    pub(crate) async fn store(self, rack: Rack, host: Host) {
        let mut ticks = interval(STORE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = host.stopping() => return,
                _ = ticks.tick() => {}
            }
            let known: Vec<(String, Versioned<UnknownMac>)> = rack.view().list(&key::unknowns(rack.id));
            let is_stored = |mac| rack.view().get(&key::unknown(rack.id, mac)).is_some();
            let batch = self.0.lock().batch(is_stored, known.len(), Instant::now());
            if batch.is_empty() {
                continue;
            }
            match write(&rack, batch, known).await {
                Ok(()) | Err(keyspace::Error::Conflict) => {}
                Err(error) => tracing::debug!(error = %chain(&error), "cannot store unknown MAC addresses"),
            }
        }
    }
}

/// Stores addresses and deletes the oldest beyond the maximum, in one transaction.
async fn write(
    rack: &Rack,
    batch: Vec<(MacAddr, String)>,
    mut known: Vec<(String, Versioned<UnknownMac>)>,
) -> Result<(), keyspace::Error> {
    let mut change = Change::new();
    let kept = MAX_STORED.saturating_sub(batch.len());
    for (mac, firmware) in batch {
        tracing::info!(%mac, firmware, "a machine that belongs to no node asks to boot");
        let unknown = UnknownMac { seen_at: clock::now(), firmware };
        change = change.put(&key::unknown(rack.id, mac), &unknown, Expect::Absent)?;
    }
    known.sort_by_key(|(_, unknown)| Reverse(unknown.value.seen_at));
    for (path, oldest) in known.iter().skip(kept) {
        if let Some(mac) = key::last(path) {
            change = change.delete(&key::unknown(rack.id, mac), Expect::Revision(oldest.revision));
        }
    }
    rack.mesh.store().commit(change).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(number: u32) -> MacAddr {
        let [a, b, c, d] = number.to_be_bytes();
        MacAddr::new([0x52, 0x54, a, b, c, d])
    }

    #[test]
    fn a_flood_of_new_addresses_is_bounded_and_does_not_hide_a_real_machine() {
        let (mut waiting, mut stored) = (Waiting::default(), Vec::new());
        let (mut writes, mut now) = (0, Instant::now());
        let store = |waiting: &mut Waiting, stored: &mut Vec<MacAddr>, now: Instant| {
            let known = stored.clone();
            let batch = waiting.batch(|mac| known.contains(&mac), stored.len(), now);
            assert!(batch.len() <= MAX_BATCH);
            stored.extend(batch.iter().map(|(mac, _)| *mac));
            let surplus = stored.len().saturating_sub(MAX_STORED);
            stored.drain(..surplus);
            usize::from(!batch.is_empty())
        };
        // 4,000 forged requests in 20 s, each from another address.
        for second in 0..20 {
            for number in 0..200 {
                waiting.note(mac(second * 200 + number), "PXE", now);
            }
            writes += store(&mut waiting, &mut stored, now);
            assert!(waiting.sightings.len() <= MAX_WAITING);
            now += STORE_INTERVAL;
        }
        assert_eq!((writes, stored.len()), (MAX_STORED.div_ceil(MAX_BATCH), MAX_STORED));
        // A machine repeats its request after 4 s, while the flood goes on.
        let machine = mac(u32::MAX);
        for second in 0..5 {
            if second % 4 == 0 {
                waiting.note(machine, "UEFI", now);
            }
            for number in 0..200 {
                waiting.note(mac(10_000 + second * 200 + number), "PXE", now);
            }
            store(&mut waiting, &mut stored, now);
            now += STORE_INTERVAL;
        }
        assert!(stored.contains(&machine));
    }

    #[test]
    fn the_first_addresses_are_stored_at_once_and_copies_of_a_request_count_once() {
        let (mut waiting, mut now) = (Waiting::default(), Instant::now());
        assert!(waiting.note(mac(1), &"x".repeat(500), now));
        assert!(!waiting.note(mac(1), "x", now));
        assert_eq!(waiting.sightings[&mac(1)].requests, 1);
        let batch = waiting.batch(|_| false, 0, now);
        assert_eq!(batch, [(mac(1), "x".repeat(MAX_FIRMWARE_CHARS))]);
        assert_eq!(waiting.batch(|_| false, MAX_STORED, now), []);
        now += COPY_INTERVAL;
        waiting.note(mac(1), "x", now);
        assert_eq!(waiting.batch(|_| false, MAX_STORED, now).len(), 1);
        assert_eq!(waiting.batch(|_| true, 0, now), []);
        waiting.note(mac(2), "x", now);
        now += MEMORY;
        assert_eq!(waiting.batch(|_| false, 0, now), []);
        assert!(waiting.sightings.is_empty());
    }
}
