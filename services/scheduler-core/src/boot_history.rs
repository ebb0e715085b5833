//! Past boots, stored when an operation ends.

use std::{collections::BTreeMap, sync::Arc};

use domain::{
    generation::Generation,
    id::NodeId,
    timeline::{Entry, Mark},
};
use keyspace::{key, value::PastBoot};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::{Error, live_state::LiveState, registry::Registry};

/// Maximum number of stored entries of a node (services/keyspace/README.md).
const MAX_STORED_ENTRIES: usize = 300;

/// Boots that are not stored yet, by node. Clones share the state.
#[derive(Debug, Clone, Default)]
pub struct PendingHistory {
    pub(crate) nodes: Arc<Mutex<BTreeMap<NodeId, Vec<PastBoot>>>>,
    pub(crate) added: Arc<Notify>,
}

impl PendingHistory {
    pub(crate) fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Vec<PastBoot>>> {
        self.nodes.lock()
    }

    /// Schedules the boots of a node that are in memory to be stored soon, before others replace them.
    pub fn add(&self, node: NodeId, hot: &LiveState) {
        self.put(node, hot.of(node).boots);
    }

    pub(crate) fn put(&self, node: NodeId, boots: impl IntoIterator<Item = (Generation, Vec<Entry>)>) {
        merge(self.lock().entry(node).or_default(), boots);
        self.added.notify_one();
    }
}

/// Adds boots, and missing entries of known boots: another replica may have received other entries.
pub(crate) fn merge(boots: &mut Vec<PastBoot>, more: impl IntoIterator<Item = (Generation, Vec<Entry>)>) {
    for (generation, entries) in more {
        let Some(known) = boots.iter_mut().find(|boot| boot.generation == generation) else {
            boots.push(PastBoot { generation, entries });
            continue;
        };
        for entry in entries {
            if entry.mark == Mark::ImageProgress {
                known.entries.retain(|known| known.mark != Mark::ImageProgress || known.by != entry.by);
            }
            if !known.entries.contains(&entry) {
                known.entries.push(entry);
            }
        }
        known.entries.sort_by_key(|entry| entry.at);
    }
    boots.sort_by_key(|boot| boot.generation);
}

/// Returns the latest boots whose entries fit.
pub(crate) fn bound(boots: Vec<PastBoot>) -> Vec<PastBoot> {
    let mut left = MAX_STORED_ENTRIES;
    let mut kept: Vec<_> = boots
        .into_iter()
        .rev()
        .take_while(|boot| {
            let fits = boot.entries.len() <= left;
            left = left.saturating_sub(boot.entries.len());
            fits
        })
        .collect();
    kept.reverse();
    kept
}

/// Returns the boots of a node: the stored ones, then those in memory.
pub async fn boots(registry: &Registry, hot: &LiveState, node: NodeId) -> Result<Vec<PastBoot>, Error> {
    let read = registry.mesh.store().get_packed(&key::history(node)).await;
    let mut boots = match read {
        Ok(read) => read.map(|read| read.value.boots).unwrap_or_default(),
        // On an island only the boots in memory are readable.
        Err(error) if error.is_away() => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    merge(&mut boots, hot.of(node).boots);
    Ok(boots)
}

#[cfg(test)]
mod tests {
    use domain::time::Timestamp;

    use super::*;

    fn entry(at: i64, mark: Mark) -> Entry {
        Entry { at: Timestamp::from_millis(at), mark, by: "pxe".to_owned(), subject: String::new(), amount: None }
    }

    #[test]
    fn two_replicas_that_heard_parts_of_a_boot_keep_all_of_it() {
        let first = Generation::from_number(2);
        let mut boots =
            vec![PastBoot { generation: first, entries: vec![entry(1, Mark::DhcpOffer), entry(3, Mark::Wiped)] }];
        let heard = vec![entry(2, Mark::AgentHello), entry(3, Mark::Wiped)];
        merge(&mut boots, [(first.next(), vec![]), (first, heard)]);
        let marks: Vec<_> = boots[0].entries.iter().map(|entry| entry.mark).collect();
        assert_eq!(marks, [Mark::DhcpOffer, Mark::AgentHello, Mark::Wiped]);
        assert_eq!(boots.len(), 2);
    }
}
