//! Past boots: written when an operation ends, so that they outlive this process's memory.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::{
    generation::Generation,
    id::NodeId,
    timeline::{Entry, Mark},
};
use keyspace::{
    Expect, key,
    value::{History, PastBoot},
};

use tokio::sync::Notify;

use crate::{Error, app_state::AppState, hot::Hot, registry::Registry};

/// Entries of one node that are kept (services/keyspace/README.md).
const ENTRIES: usize = 300;

/// How long more may be heard of boots before they are kept; those of all nodes that are named meanwhile are kept together.
const PAUSE: Duration = Duration::from_secs(1);
/// Before it is tried again where it failed.
const AGAIN: Duration = Duration::from_secs(10);
/// Nodes whose boots are read and written at once.
const TOGETHER: usize = 32;

/// Boots that are to be kept, by node. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Unkept {
    nodes: Arc<Mutex<BTreeMap<NodeId, Vec<PastBoot>>>>,
    added: Arc<Notify>,
}

impl Unkept {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Vec<PastBoot>>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the boots of a node that are in memory now kept within a moment: by then they may have made room for others.
    pub fn add(&self, node: NodeId, hot: &Hot) {
        self.put(node, hot.of(node).boots);
    }

    fn put(&self, node: NodeId, boots: impl IntoIterator<Item = (Generation, Vec<Entry>)>) {
        merge(self.lock().entry(node).or_default(), boots);
        self.added.notify_one();
    }
}

/// Keeps boots until the host stops, and then those that are left.
pub async fn keep(shared: Arc<AppState>) {
    let mut pause = PAUSE;
    while !shared.host.is_stopping() {
        let named = async {
            shared.unkept.added.notified().await;
            tokio::time::sleep(pause).await;
        };
        tokio::select! {
            () = shared.host.stopping() => {}
            () = named => {}
        }
        pause = PAUSE;
        let nodes: Vec<_> = std::mem::take(&mut *shared.unkept.lock()).into_iter().collect();
        for together in nodes.chunks(TOGETHER) {
            let outcome = match add_to_stored(&shared, together).await {
                Err(error) if error.is_conflict() && together.len() > 1 => one_by_one(&shared, together).await,
                outcome => outcome,
            };
            if let Err(error) = outcome {
                let error = service_kit::status::chain(&error);
                tracing::warn!(nodes = together.len(), error, "cannot keep timelines yet");
                together.iter().for_each(|(node, boots)| shared.unkept.put(*node, parts(boots)));
                pause = AGAIN;
            }
        }
    }
}

/// Another replica kept boots of one of these nodes, or one is no more: that is no reason to keep none of the others.
async fn one_by_one(shared: &AppState, nodes: &[(NodeId, Vec<PastBoot>)]) -> Result<(), Error> {
    for one in nodes {
        match add_to_stored(shared, std::slice::from_ref(one)).await {
            Err(error) if error.is_conflict() => shared.unkept.put(one.0, parts(&one.1)),
            outcome => outcome?,
        }
    }
    Ok(())
}

fn parts(boots: &[PastBoot]) -> impl Iterator<Item = (Generation, Vec<Entry>)> {
    boots.iter().map(|boot| (boot.generation, boot.entries.clone()))
}

/// Adds these, and what is in memory of their nodes, to what is stored, all of it or nothing.
async fn add_to_stored(shared: &AppState, nodes: &[(NodeId, Vec<PastBoot>)]) -> Result<(), Error> {
    let registry = &shared.registry;
    // Of a node that is no more nothing is kept.
    let known = nodes.iter().filter_map(|(node, boots)| {
        let life = key::life(registry.rack_of(*node)?, *node);
        let born = registry.view().get(&life)?.created;
        Some((key::history(*node), *node, boots, life, born))
    });
    let known: Vec<_> = known.collect();
    if known.is_empty() {
        return Ok(());
    }
    let stored = registry.mesh.store().get_all_packed(known.iter().map(|(key, ..)| key)).await?;
    let mut change = registry.mesh.as_member()?;
    for ((key, node, more, life, born), read) in known.iter().zip(stored) {
        let mut boots = read.as_ref().map(|read| read.value.boots.clone()).unwrap_or_default();
        merge(&mut boots, parts(more));
        merge(&mut boots, shared.hot.of(*node).boots);
        let history = History { boots: bound(boots) };
        change = change.expect_created(life, *born).put_packed(key, &history, Expect::same(read.as_ref()))?;
    }
    registry.mesh.commit(change).await?;
    Ok(())
}

/// Adds boots; of one that is known, what is not known of it: another replica may have heard another part.
fn merge(boots: &mut Vec<PastBoot>, more: impl IntoIterator<Item = (Generation, Vec<Entry>)>) {
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

/// The latest boots whose entries fit.
fn bound(boots: Vec<PastBoot>) -> Vec<PastBoot> {
    let mut left = ENTRIES;
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

/// The boots of a node: those in memory, and before them those that are stored.
pub async fn boots(registry: &Registry, hot: &Hot, node: NodeId) -> Result<Vec<PastBoot>, Error> {
    let read = registry.mesh.store().get_packed(&key::history(node)).await;
    let mut boots = match read {
        Ok(read) => read.map(|read| read.value.boots).unwrap_or_default(),
        // On an island what is in memory is all there is.
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
