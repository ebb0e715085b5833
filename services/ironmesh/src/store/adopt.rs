//! A restored backup becomes the store that changes are made in.

use anyhow::{Context as _, Result};

use super::{Reach, answer};

pub(super) async fn run(reach: &Reach) -> Result<()> {
    let store = reach.store().await?;
    let highest = reach.notes()?.iter().map(|known| known.incarnation.number).max().unwrap_or_default();
    let (before, after) = store.adopt(highest).await.context("cannot adopt the store")?;
    if let Some(how) = before.restored_backup {
        answer(&format!("revision {} had been seen, and it was found at {}", how.known, how.found));
    }
    answer(&format!(
        "adopted: incarnation {} after {}; every service begins anew with what the store holds (ironmesh rack show)",
        after.number, before.number
    ));
    Ok(())
}
