//! Frees space of our own etcd: compaction frees it within the database, and only defragmentation returns it.

use std::time::Duration;

use keyspace::Store;
use service_kit::{Host, status};

use crate::{console::say, store::is_worth_defragmenting};

/// How often defragmentation is considered. etcd does not respond during a defragmentation, for some seconds per GiB in
/// use: longer than the fence, so that the rack is an island meanwhile.
const CHECK_INTERVAL: Duration = Duration::from_secs(3600);

/// Defragments the single member when it is worthwhile, until the host stops.
pub(super) async fn run(store: Store, host: Host) {
    loop {
        tokio::select! {
            () = host.stopping() => return,
            () = tokio::time::sleep(CHECK_INTERVAL) => {}
        }
        if let Err(error) = defragment_if_worthwhile(&store).await {
            tracing::warn!(error = %status::chain(&error), "cannot defragment etcd");
        }
    }
}

async fn defragment_if_worthwhile(store: &Store) -> Result<(), keyspace::Error> {
    let before = store.member_state().await?;
    if !is_worth_defragmenting(before.size, before.in_use) {
        return Ok(());
    }
    store.defragment().await?;
    let after = store.member_state().await?;
    say(&format!(
        "defragmented etcd: {} of {} bytes were in use, the database now has {}",
        before.in_use, before.size, after.size
    ));
    Ok(())
}
