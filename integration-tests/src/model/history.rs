//! Input of the checker, the tally and the trace, read from the store's history and the BMCs' logs.

use std::{collections::BTreeMap, time::Duration};

use domain::id::{InstanceId, NodeId};
use keyspace::{
    Key, key,
    store::Event,
    testing::{MemoryEtcd, Revision as Written},
    value::{Claim, Journal},
};
use serde::de::DeserializeOwned;

use super::{
    Tally,
    bmc::timestamp,
    process::{SCOPE, SERVICE, Shared},
};
use crate::check::{Deed, End, History, Revision};

/// Reads the present value of a key.
pub(crate) fn stored<V: DeserializeOwned>(etcd: &MemoryEtcd, key: &Key<V>) -> Option<(V, i64)> {
    let pair = etcd.pair(key.path())?;
    pair.read().ok().map(|read| (read.value, read.revision))
}

/// One node's history. `end` is the final state.
pub(crate) fn of_node(shared: &Shared, written: &[Written], node: NodeId, end: Option<End>) -> History {
    let claims: Vec<Revision<Claim>> = revisions(shared, written, &key::claim(SCOPE, SERVICE, node));
    let journal: Vec<Revision<Journal>> = revisions(shared, written, &key::journal(SCOPE, SERVICE, node));
    let bmc: Vec<Deed> = shared.bmcs.with(node, |bmc| bmc.log.clone()).unwrap_or_default();
    History { node, bmc, claims, journal, end }
}

/// All revisions of a key.
fn revisions<V: DeserializeOwned>(shared: &Shared, written: &[Written], key: &Key<V>) -> Vec<Revision<V>> {
    let mut revisions = Vec::new();
    for entry in written {
        for event in entry.events.iter().filter(|event| event.path() == key.path()) {
            let value = match event {
                Event::Put(pair) => pair.read().ok().map(|read| read.value),
                Event::Delete { .. } => None,
            };
            let at = Some(timestamp(shared.sim.time_of(entry.at)));
            revisions.push(Revision { revision: entry.revision, not_before: at, not_after: at, value });
        }
    }
    revisions
}

/// Counts events in the store's history.
pub(crate) fn count(written: &[Written], histories: &[History]) -> Tally {
    let ring = key::ring(SCOPE, SERVICE);
    let is_ring = |event: &&Event| event.path() == ring.path();
    let rings = written.iter().flat_map(|entry| &entry.events).filter(is_ring).count();
    let takeovers = histories.iter().map(|history| takeovers(&history.claims)).sum();
    Tally { rings, takeovers, ..Tally::default() }
}

fn takeovers(claims: &[Revision<Claim>]) -> usize {
    let holders = claims.iter().filter_map(|claim| claim.value.as_ref().map(|claim| claim.instance));
    let holders: Vec<InstanceId> = holders.collect();
    holders.windows(2).filter(|pair| pair.first() != pair.last()).count()
}

/// The trace with the store's revisions in it. Instances and nodes have short names.
pub(crate) fn trace(shared: &Shared, written: &[Written]) -> Vec<String> {
    let mut lines = shared.sim.take_trace();
    for entry in written {
        for event in &entry.events {
            let what = match event {
                Event::Put(pair) => format!("{} = {}", pair.path, String::from_utf8_lossy(&pair.value)),
                Event::Delete { path, .. } => format!("{path} deleted"),
            };
            lines.push((shared.sim.time_of(entry.at), format!("store   {} {what}", entry.revision)));
        }
    }
    lines.sort_by_key(|(at, _)| *at);
    let names = names(shared);
    lines.into_iter().map(|(at, text)| line(at, text, &names)).collect()
}

fn names(shared: &Shared) -> BTreeMap<String, String> {
    let instances = shared.instances.lock();
    let instances = instances.iter().enumerate().map(|(number, id)| (id.to_string(), format!("i{number}")));
    let nodes = shared.nodes.iter().enumerate().map(|(number, id)| (id.to_string(), format!("n{number}")));
    let prefix = key::ring(SCOPE, SERVICE).path().trim_end_matches("ring").to_owned();
    instances.chain(nodes).chain([(prefix, String::new())]).collect()
}

fn line(at: Duration, text: String, names: &BTreeMap<String, String>) -> String {
    let text = names.iter().fold(text, |text, (long, short)| text.replace(long, short));
    format!("{:8.3} {text}", at.as_secs_f64())
}
