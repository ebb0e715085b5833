//! The loop: a change or a deadline puts a node on the queue; one task per busy node makes one pass.

pub mod pass;
mod queue;
pub mod seen;

use std::{collections::HashSet, sync::Arc, time::Duration};

use domain::id::NodeId;
use keyspace::{key, view::News};
use tokio::{sync::mpsc, time::Instant};

use crate::{app_state::AppState, metrics};
use queue::Queue;

/// How often everything is looked at, in case the watch missed something.
const SLOW: Duration = Duration::from_secs(15);
/// How soon a node is looked at again whose act is under way.
pub const SOON: Duration = Duration::from_secs(1);

/// When a node is to be looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// When something about it changes.
    Changed,
    /// After this long at the latest.
    Within(Duration),
}

/// Makes passes until the host stops.
pub async fn run(shared: Arc<AppState>) {
    let mut news = shared.registry.view().subscribe();
    let mut touched = shared.live_state.touched();
    let mut queue = Queue::default();
    let (sender, mut ended) = mpsc::unbounded_channel::<(NodeId, Next)>();
    let mut slow = tokio::time::interval(SLOW);
    let mut running = HashSet::new();
    loop {
        let now = Instant::now();
        while let Some(node) = queue.due(now, &running) {
            running.insert(node);
            spawn(&shared, node, sender.clone());
        }
        tokio::select! {
            () = shared.host.stopping() => return,
            () = tokio::time::sleep_until(queue.deadline(now + SLOW, &running)) => {}
            Some((node, next)) = ended.recv() => {
                running.remove(&node);
                if let Next::Within(pause) = next {
                    queue.put(node, Instant::now() + pause);
                }
            }
            Some(told) = news.next() => {
                // What a transaction changed of a node is told in parts, and one pass sees all of it.
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
