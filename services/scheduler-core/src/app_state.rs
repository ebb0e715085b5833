//! State that the use cases, the reconcile loop and the API front ends share.

use std::{sync::Arc, time::Duration};

use domain::plan::Limits;
use keyspace::seal::Sealer;
use mesh::{Joined, Mesh};
use service_kit::{Host, Kit, tls::Tls};

use crate::{
    boot_history::PendingHistory, change_feed::ChangeFeed, leaf_clients::LeafClients, live_state::LiveState,
    node_cache::NodeCache, registry::Registry,
};

/// State of a scheduler process. Each field is a handle; a use case borrows what it needs.
#[derive(Debug)]
pub struct AppState {
    /// Records of nodes, racks and images.
    pub registry: Registry,
    /// Observations that leaves stream.
    pub live_state: LiveState,
    /// Boots that are not stored yet.
    pub pending_history: PendingHistory,
    /// Feed of changed nodes.
    pub change_feed: Arc<ChangeFeed>,
    /// Cache of every node.
    pub node_cache: Arc<NodeCache>,
    /// Connections to the leaves.
    pub leaf_clients: LeafClients,
    /// Deadlines of the plan.
    pub limits: Limits,
    /// Spawns background tasks and signals shutdown.
    pub host: Host,
}

impl AppState {
    /// Creates the state of a process that joined the mesh.
    #[must_use]
    pub fn new(kit: &Kit, joined: &Joined, limits: Limits) -> Self {
        Self::assemble(joined.mesh.clone(), joined.sealer.clone(), kit.tls.clone(), limits, kit.host.clone())
    }

    /// Waits for an interval, and again until this scheduler leads. Returns false when the process stops.
    pub async fn leads_after(&self, interval: Duration) -> bool {
        loop {
            tokio::select! {
                () = self.host.stopping() => return false,
                () = tokio::time::sleep(interval) => {}
            }
            if self.registry.mesh.leads() {
                return true;
            }
        }
    }

    /// Creates the state from its parts. [`Self::new`] takes them from a process that joined the mesh.
    #[must_use]
    pub fn assemble(mesh: Mesh, sealer: Sealer, tls: Tls, limits: Limits, host: Host) -> Self {
        let view = mesh.view().clone();
        Self {
            registry: Registry::new(mesh, sealer),
            live_state: LiveState::default(),
            pending_history: PendingHistory::default(),
            change_feed: Arc::new(ChangeFeed::new(view.clone())),
            node_cache: Arc::new(NodeCache::new(view.clone())),
            leaf_clients: LeafClients::new(tls, view),
            limits,
            host,
        }
    }
}
