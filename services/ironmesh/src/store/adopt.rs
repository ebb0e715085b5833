//! Accepts changes to a restored backup.

use anyhow::{Context as _, Result};

use super::{StoreLocation, answer};

pub(super) async fn run(location: &StoreLocation) -> Result<()> {
    let store = location.store().await?;
    let highest = location.notes()?.iter().map(|known| known.incarnation.number).max().unwrap_or_default();
    let (before, after) = store.adopt(highest).await.context("cannot adopt the store")?;
    if let Some(how) = before.restored_backup {
        answer(&format!("revision {} had been seen, and the store was found at {}", how.known, how.found));
    }
    answer(&format!(
        "adopted: incarnation {} after {}; all services rejoin with the content of the store (ironmesh rack show)",
        after.number, before.number
    ));
    Ok(())
}
