//! Space of one's own etcd: compaction frees it inside the database, and only defragmenting gives it back.

use std::time::Duration;

use keyspace::Store;
use service_kit::{Host, status};

use super::say;
use crate::store::is_worth_defragmenting;

/// How often it is looked whether it is worth it; also, how long it rests after it was done. etcd answers nobody
/// meanwhile, at some seconds for each GiB in use: longer than the fence, and the rack is an island for that long.
const LOOK: Duration = Duration::from_secs(3600);

/// Defragments this one member now and then, until the host stops.
pub(super) async fn keep(store: Store, host: Host) {
    loop {
        tokio::select! {
            () = host.stopping() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        if let Err(error) = once(&store).await {
            tracing::warn!(error = %status::chain(&error), "etcd can not be defragmented");
        }
    }
}

async fn once(store: &Store) -> Result<(), keyspace::Error> {
    let before = store.member_state().await?;
    if !is_worth_defragmenting(before.size, before.in_use) {
        return Ok(());
    }
    store.defragment().await?;
    let after = store.member_state().await?;
    say(&format!(
        "etcd was defragmented: {} octets of {} were in use, it takes {} now",
        before.in_use, before.size, after.size
    ));
    Ok(())
}
