//! The application layer of the scheduler, and the reconcile loop. It imports no API front end.
//!
//! Any replica accepts a request: it runs `domain::provision::step` and stores state, intent and operation together.
//! The node's owner carries it out: [`work`] makes passes (`domain::plan`), and [`effect`] makes one call of a leaf per act.
//!
//! | module | content |
//! |---|---|
//! | [`app_state`] | what use cases, loop and front ends share |
//! | [`provision`], [`nodes`], [`ports`], [`resources`], [`allocation`], [`bulk`], [`locks`] | use cases; those of racks and images, and most of nodes, are methods of [`registry`] |
//! | [`registry`], [`resource_store`] | records, and the transactions that change them |
//! | [`work`], [`effect`] | the reconcile loop, and its calls of the leaves |
//! | [`node_cache`], [`node_view`], [`change_feed`], [`live_state`], [`boot_history`] | projections of the view and of what leaves stream |
//! | [`context`] | what a use case knows of its request |
//! | [`request_id`], [`idempotency`] | requests that are carried out once |
//! | [`webhooks`] | use cases of webhooks, and the delivery of their events |
//! | [`leaf_streams`], [`peer_streams`], [`history_writer`] | what runs beside the loop |
//! | [`select`] | selectors of nodes |
//! | [`leaf_clients`], [`peers`] | connections to leaves and to the other schedulers |
//! | [`mesh_events`] | events of the mesh |

pub mod allocation;
pub mod app_state;
pub mod boot_history;
pub mod bulk;
pub mod change_feed;
pub mod context;
pub mod effect;
mod error;
pub mod etag;
pub mod history_writer;
pub mod idempotency;
pub mod leaf_clients;
pub mod leaf_streams;
pub mod live_state;
pub mod locks;
pub mod mesh_events;
pub mod metrics;
pub mod node_cache;
pub mod node_view;
pub mod nodes;
pub mod peer_streams;
pub mod peers;
pub mod ports;
pub mod provision;
pub mod registry;
pub mod request_id;
pub mod resource_store;
pub mod resources;
pub mod select;
pub mod webhooks;
pub mod work;

pub use app_state::AppState;
pub use context::RequestContext;
pub use error::Error;

use std::sync::Arc;

/// Spawns everything that runs beside requests: the reconcile loop, the streams from leaves and schedulers, and the sweeps
/// of the replica that leads. They end when the host stops.
pub fn spawn_loops(app: &Arc<AppState>) {
    let host = &app.host;
    host.spawn_essential("listening to leaves", leaf_streams::listen(Arc::clone(app)));
    host.spawn_essential("listening to the other schedulers", peer_streams::listen(Arc::clone(app)));
    host.spawn_essential("events of the mesh", mesh_events::tell(Arc::clone(app)));
    host.spawn_essential("reconcile loop", work::run(Arc::clone(app)));
    host.spawn_essential("keeping timelines", history_writer::keep(Arc::clone(app)));
    host.spawn_essential("changes of nodes", Arc::clone(&app.change_feed).keep(host.clone()));
    host.spawn_essential("allocations", allocation::sweep(Arc::clone(app)));
    host.spawn_essential("bulks", bulk::carry(Arc::clone(app)));
    host.spawn_essential("forgetting requests", idempotency::sweep(Arc::clone(app)));
}
