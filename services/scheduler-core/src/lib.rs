//! The application layer of the scheduler, and the reconcile loop. It imports no API front end.
//!
//! Any replica accepts a request: it runs `domain::provision::step` and stores state, intent and operation together.
//! The node's owner carries it out: [`work`] makes passes (`domain::plan`), and [`effect`] turns one act into one call of a
//! leaf.
//!
//! | module | content |
//! |---|---|
//! | [`app_state`] | what use cases, loop and front ends share |
//! | [`provision`], [`allocation`], [`bulk`] | use cases |
//! | [`registry`], [`resource_store`], [`kinds`], [`secret`] | records, and the transactions that change them |
//! | [`work`], [`effect`] | the reconcile loop, and its calls of the leaves |
//! | [`node_cache`], [`document`], [`board`], [`hot`], [`record`] | projections of the view and of what leaves stream |
//! | [`once`] | idempotent requests |
//! | [`select`] | selectors of nodes |
//! | [`lines`], [`peers`] | connections to leaves and to the other schedulers |
//! | [`witness`] | events of the mesh |

#![expect(
    missing_docs,
    reason = "shared by the scheduler's crates alone; its items are documented where they are not plain"
)]

pub mod allocation;
pub mod app_state;
pub mod board;
pub mod bulk;
pub mod document;
pub mod effect;
mod error;
pub mod fault;
pub mod hot;
pub mod kinds;
pub mod lines;
pub mod metrics;
pub mod node_cache;
pub mod once;
pub mod peers;
pub mod provision;
pub mod record;
pub mod registry;
pub mod resource_store;
pub mod secret;
pub mod select;
#[cfg(feature = "testing")]
pub mod testing;
pub mod witness;
pub mod work;

pub use app_state::AppState;
pub use error::Error;

use std::sync::Arc;

/// Spawns everything that runs beside requests: the reconcile loop, the streams from leaves and schedulers, and the sweeps
/// of the replica that leads. They end when the host stops.
pub fn spawn_loops(app: &Arc<AppState>) {
    let host = &app.host;
    host.spawn_essential("listening to leaves", hot::listen(Arc::clone(app)));
    host.spawn_essential("listening to the other schedulers", peers::listen(Arc::clone(app)));
    host.spawn_essential("events of the mesh", witness::tell(Arc::clone(app)));
    host.spawn_essential("reconcile loop", work::run(Arc::clone(app)));
    host.spawn_essential("keeping timelines", record::keep(Arc::clone(app)));
    host.spawn_essential("changes of nodes", Arc::clone(&app.board).keep(host.clone()));
    host.spawn_essential("allocations", allocation::sweep(Arc::clone(app)));
    host.spawn_essential("bulks", bulk::carry(Arc::clone(app)));
    host.spawn_essential("forgetting requests", once::sweep(Arc::clone(app)));
}
