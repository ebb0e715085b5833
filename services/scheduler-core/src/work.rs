//! Reconcile loop: a change or a deadline queues a node; one task per busy node makes one pass.

pub mod pass;
mod queue;
pub mod seen;

use std::{collections::HashSet, sync::Arc, time::Duration};

use domain::id::NodeId;
use keyspace::{key, view::News};
use tokio::{sync::mpsc, time::Instant};

use crate::{app_state::AppState, metrics};
use queue::Queue;

/// Interval at which all nodes are queued, in case the watch missed a change.
const FULL_SCAN_INTERVAL: Duration = Duration::from_secs(15);
/// Delay of the next pass over a node whose act is in progress.
pub const ACT_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Time of the next pass over a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// When the node changes.
    Changed,
    /// After this time at the latest.
    Within(Duration),
}

/// Runs the loop until the host stops.
pub async fn run(shared: Arc<AppState>) {
    let mut news = shared.registry.view().subscribe();
    let mut touched = shared.live_state.touched();
    let mut queue = Queue::default();
    let (sender, mut ended) = mpsc::unbounded_channel::<(NodeId, Next)>();
    let mut slow = tokio::time::interval(FULL_SCAN_INTERVAL);
    let mut running = HashSet::new();
    loop {
        let now = Instant::now();
        while let Some(node) = queue.due(now, &running) {
            running.insert(node);
            spawn(&shared, node, sender.clone());
        }
        tokio::select! {
            () = shared.host.stopping() => return,
            () = tokio::time::sleep_until(queue.deadline(now + FULL_SCAN_INTERVAL, &running)) => {}
            Some((node, next)) = ended.recv() => {
                running.remove(&node);
                if let Next::Within(pause) = next {
                    queue.put(node, Instant::now() + pause);
                }
            }
            Some(told) = news.next() => {
                // The view reports a transaction's changes one by one; a short delay lets one pass see all of them.
                for told in std::iter::once(told).chain(std::iter::from_fn(|| news.take())) {
                    match told {
                        News::Path(path) => if let Some((_, node)) = key::node_of(&path) {
                            queue.put(node, now);
                        },
                        News::Everything => all(&shared, |node| queue.put(node, now)),
                    }
                }
            }
            Ok(node) = touched.recv() => if !pass::awaits_power(&shared, node) {
                queue.put(node, now);
            },
            _ = slow.tick() => all(&shared, |node| {
                if !queue.has(node) && !running.contains(&node) && pass::is_wanted(&shared, node) {
                    metrics::found_late();
                    queue.put(node, now);
                }
            }),
        }
    }
}

fn all(shared: &AppState, mut each: impl FnMut(NodeId)) {
    for (node, _) in shared.registry.nodes(None) {
        each(node);
    }
}

fn spawn(shared: &Arc<AppState>, node: NodeId, ended: mpsc::UnboundedSender<(NodeId, Next)>) {
    let inner = Arc::clone(shared);
    shared.host.spawn(async move {
        metrics::pass();
        let next = pass::pass(&inner, node).await;
        // The loop ends only with the process.
        let _ = ended.send((node, next));
    });
}
