//! Who is alive: heartbeats, for whoever watches. They are hot and never enter the store.

use domain::{id::NodeId, time::Timestamp};
use futures::{Stream, StreamExt as _};
use service_kit::clock;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

/// Heartbeats that a slow watcher may lag behind.
const LAG: usize = 4096;

/// The heartbeats of this replica's agents. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Census {
    sender: broadcast::Sender<(NodeId, Timestamp)>,
}

impl Default for Census {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(LAG) }
    }
}

impl Census {
    /// The agent was heard.
    pub(crate) fn heard(&self, node: NodeId) {
        // Nobody watches: the next one tells as much.
        let _ = self.sender.send((node, clock::now()));
    }

    /// What is heard from here on.
    pub(crate) fn watch(&self) -> impl Stream<Item = (NodeId, Timestamp)> + Send + 'static {
        BroadcastStream::new(self.sender.subscribe()).filter_map(async |heard| heard.ok())
    }
}
