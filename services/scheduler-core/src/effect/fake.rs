//! Results of the simulated steps of `fake-hardware`.

use keyspace::{Change, Expect, key};
use service_kit::clock;

use crate::{
    Error,
    app_state::AppState,
    registry::{Moved, Record},
};

/// Adds the BIOS settings after the steps that a transition marks as done. For nodes with a BMC its power-service writes them.
pub async fn add_bios(shared: &AppState, record: &Record, moved: &Moved, change: Change) -> Result<Change, Error> {
    let Some((before, after)) = record.running().zip(moved.operation.as_ref()) else { return Ok(change) };
    let place = |made: u32| usize::try_from(made).unwrap_or(usize::MAX);
    let done = after.steps.get(place(before.made)..place(after.made)).unwrap_or_default();
    if done.iter().all(|step| step.interface != "bios") {
        return Ok(change);
    }
    let key = key::bios(record.rack, record.node);
    let read = shared.registry.mesh.store().get_packed(&key).await?;
    let bios = read.as_ref().map(|read| read.value.clone()).unwrap_or_default();
    let bios = done.iter().fold(bios, |bios, step| bios.after_fake_step(step, clock::now()).unwrap_or(bios));
    Ok(change.put_packed(&key, &bios, Expect::same(read.as_ref()))?)
}
