//! Heartbeats of agents, streamed to watchers and never stored.

use domain::{id::NodeId, time::Timestamp};
use futures::{Stream, StreamExt as _};
use service_kit::clock;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

/// Number of heartbeats that a slow watcher may lag behind.
const MAX_LAG: usize = 4096;

/// The heartbeats of this replica's agents. Clones share the same state.
#[derive(Debug, Clone)]
pub(crate) struct Heartbeats {
    sender: broadcast::Sender<(NodeId, Timestamp)>,
}

impl Default for Heartbeats {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(MAX_LAG) }
    }
}

impl Heartbeats {
    /// Records a heartbeat of the agent.
    pub(crate) fn record(&self, node: NodeId) {
        // Without watchers sending fails; the next heartbeat carries the same information.
        let _ = self.sender.send((node, clock::now()));
    }

    /// Streams the heartbeats from now on.
    pub(crate) fn watch(&self) -> impl Stream<Item = (NodeId, Timestamp)> + Send + 'static {
        BroadcastStream::new(self.sender.subscribe()).filter_map(async |heard| heard.ok())
    }
}
