//! Stores past boots when an operation ends.

use std::{sync::Arc, time::Duration};

use domain::{generation::Generation, id::NodeId, timeline::Entry};
use keyspace::{
    Expect, key,
    value::{History, PastBoot},
};

use crate::{
    Error,
    app_state::AppState,
    boot_history::{bound, merge},
};

/// Time to collect boots before they are stored together.
const COLLECT_INTERVAL: Duration = Duration::from_secs(1);
/// Delay after a failed write.
const RETRY_DELAY: Duration = Duration::from_secs(10);
/// Maximum number of nodes per transaction.
const NODES_PER_TRANSACTION: usize = 32;

/// Stores boots until the host stops, then the remaining ones.
pub async fn keep(shared: Arc<AppState>) {
    let mut pause = COLLECT_INTERVAL;
    while !shared.host.is_stopping() {
        let named = async {
            shared.pending_history.added.notified().await;
            tokio::time::sleep(pause).await;
        };
        tokio::select! {
            () = shared.host.stopping() => {}
            () = named => {}
        }
        pause = COLLECT_INTERVAL;
        let nodes: Vec<_> = std::mem::take(&mut *shared.pending_history.lock()).into_iter().collect();
        for together in nodes.chunks(NODES_PER_TRANSACTION) {
            let outcome = match add_to_stored(&shared, together).await {
                Err(error) if error.is_conflict() && together.len() > 1 => one_by_one(&shared, together).await,
                outcome => outcome,
            };
            if let Err(error) = outcome {
                let error = service_kit::status::chain(&error);
                tracing::warn!(nodes = together.len(), error, "cannot keep timelines yet");
                together.iter().for_each(|(node, boots)| shared.pending_history.put(*node, parts(boots)));
                pause = RETRY_DELAY;
            }
        }
    }
}

/// Another replica stored boots of one of these nodes, or one was deleted; the others are stored one by one.
async fn one_by_one(shared: &AppState, nodes: &[(NodeId, Vec<PastBoot>)]) -> Result<(), Error> {
    for one in nodes {
        match add_to_stored(shared, std::slice::from_ref(one)).await {
            Err(error) if error.is_conflict() => shared.pending_history.put(one.0, parts(&one.1)),
            outcome => outcome?,
        }
    }
    Ok(())
}

fn parts(boots: &[PastBoot]) -> impl Iterator<Item = (Generation, Vec<Entry>)> {
    boots.iter().map(|boot| (boot.generation, boot.entries.clone()))
}

/// Stores the boots of these nodes in one transaction.
async fn add_to_stored(shared: &AppState, nodes: &[(NodeId, Vec<PastBoot>)]) -> Result<(), Error> {
    let registry = &shared.registry;
    // The boots of a deleted node are dropped.
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
        merge(&mut boots, shared.live_state.of(*node).boots);
        let history = History { boots: bound(boots) };
        change = change.expect_created(life, *born).put_packed(key, &history, Expect::same(read.as_ref()))?;
    }
    registry.mesh.commit(change).await?;
    Ok(())
}
