//! Past boots: written when an operation ends, so that they outlive this process's memory.

use domain::{
    generation::Generation,
    id::NodeId,
    timeline::{Entry, Mark},
};
use keyspace::{
    Expect, key,
    value::{History, PastBoot},
};

use crate::{Error, hot::Hot, registry::Registry};

/// Entries of one node that are kept (DESIGN §4).
const ENTRIES: usize = 300;

/// Adds what is in memory to what is stored.
pub(crate) async fn keep(registry: &Registry, hot: &Hot, node: NodeId) -> Result<(), Error> {
    let key = key::history(node);
    let read = registry.mesh.store().get_packed(&key).await?;
    let mut boots = read.as_ref().map(|read| read.value.boots.clone()).unwrap_or_default();
    merge(&mut boots, hot.of(node).boots);
    let history = History { boots: bound(boots) };
    let change = registry.mesh.as_member()?.put_packed(&key, &history, Expect::same(read.as_ref()))?;
    registry.mesh.store().commit(change).await?;
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
pub(crate) async fn boots(registry: &Registry, hot: &Hot, node: NodeId) -> Result<Vec<PastBoot>, Error> {
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
