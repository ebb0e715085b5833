//! The client's end of a stream of watches, and of a snapshot.

use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::world::{Next, OpenStream, Shared};
use crate::store::connection::{Failure, SnapshotPiece, SnapshotStream, WatchMessage, WatchStream};

pub(super) struct MemoryWatch {
    shared: Arc<Shared>,
    id: u64,
    wake: Arc<Notify>,
    closed: Arc<Mutex<Vec<u64>>>,
}

impl MemoryWatch {
    pub(super) fn new(shared: Arc<Shared>, opened: OpenStream) -> Self {
        Self { shared, id: opened.id, wake: opened.wake, closed: opened.closed }
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        // The world may be locked: it drops what it opened for a client that has given up.
        self.closed.lock().push(self.id);
    }
}

impl WatchStream for MemoryWatch {
    fn message(&mut self) -> BoxFuture<'_, Result<WatchMessage, Failure>> {
        Box::pin(async {
            loop {
                // Before the world is looked at: what changes it meanwhile is not missed.
                let earlier = self.shared.earlier.notified();
                let next = {
                    let (mut world, now) = (self.shared.world.lock(), Instant::now());
                    world.advance(now);
                    match world.next_message(self.id, now) {
                        Next::Message(message) => return Ok(message),
                        Next::Broken => return Err(Failure::Unavailable(None)),
                        Next::Wait(until) if self.shared.is_driven() => until,
                        Next::Wait(until) => [until, world.next_event()].into_iter().flatten().min(),
                    }
                };
                tokio::select! {
                    biased;
                    () = self.wake.notified() => {}
                    () = earlier, if !self.shared.is_driven() => {}
                    () = sleep_to(next) => {}
                }
            }
        })
    }

    fn request_progress(&mut self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async {
            let (mut world, now) = (self.shared.world.lock(), Instant::now());
            world.advance(now);
            world.progress(self.id, now)
        })
    }
}

/// Sleeps until a time, or for ever.
pub(super) async fn sleep_to(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// A snapshot in one piece.
pub(super) struct MemorySnapshot(pub(super) Option<Vec<u8>>);

impl SnapshotStream for MemorySnapshot {
    fn piece(&mut self) -> BoxFuture<'_, Result<Option<SnapshotPiece>, Failure>> {
        let piece = self.0.take().map(|bytes| SnapshotPiece { bytes, remaining: 0 });
        Box::pin(std::future::ready(Ok(piece)))
    }
}
