//! Past boots: written when an operation ends, so that they outlive this process's memory.

use domain::id::NodeId;
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
    for (generation, entries) in hot.of(node).boots {
        boots.retain(|boot| boot.generation != generation);
        boots.push(PastBoot { generation, entries });
    }
    boots.sort_by_key(|boot| boot.generation);
    let history = History { boots: bound(boots) };
    let change = registry.mesh.as_member()?.put_packed(&key, &history, Expect::same(read.as_ref()))?;
    registry.mesh.store().commit(change).await?;
    Ok(())
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
    for (generation, entries) in hot.of(node).boots {
        boots.retain(|boot| boot.generation != generation || boot.entries.len() > entries.len());
        if !boots.iter().any(|boot| boot.generation == generation) {
            boots.push(PastBoot { generation, entries });
        }
    }
    boots.sort_by_key(|boot| boot.generation);
    Ok(boots)
}
