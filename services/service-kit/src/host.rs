//! The only way to spawn work, and the only way to learn that the process is to stop.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::FutureExt as _;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Work that did not end in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{tasks} pieces of work had not ended after {} s", .grace.as_secs())]
pub struct Unfinished {
    /// How many.
    pub tasks: usize,
    /// How long was waited.
    pub grace: Duration,
}

/// Owns everything that a process does in the background. Clones are the same host.
#[derive(Debug, Clone, Default)]
pub struct Host {
    stop: CancellationToken,
    tasks: TaskTracker,
    broken: Arc<AtomicBool>,
}

impl Host {
    /// Does something in the background. A panic ends that piece of work alone, and is counted.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        #[expect(clippy::disallowed_methods, reason = "this is the Host")]
        drop(tokio::spawn(self.tasks.track_future(async move {
            if std::panic::AssertUnwindSafe(work).catch_unwind().await.is_err() {
                metrics::counter!("ironmesh_panics_total").increment(1);
                tracing::error!("a piece of work panicked and was ended");
            }
        })));
    }

    /// Does something that the process can not live without. When it panics or ends before the host stops, the process
    /// stops in order and is started again by whoever looks after it.
    pub fn spawn_vital(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let host = self.clone();
        #[expect(clippy::disallowed_methods, reason = "this is the Host")]
        drop(tokio::spawn(self.tasks.track_future(async move {
            let ended = std::panic::AssertUnwindSafe(work).catch_unwind().await;
            if !host.stop.is_cancelled() {
                tracing::error!(name, panicked = ended.is_err(), "a vital piece of work ended: stopping");
                host.broken.store(true, Ordering::Relaxed);
                host.stop();
            }
        })));
    }

    /// Asks everything to stop.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Resolves when everything is asked to stop. Safe to drop at any await and call again.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Whether everything is asked to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Whether it stops because something vital ended.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Stops taking work, then waits for what is in flight.
    ///
    /// # Errors
    /// [`Unfinished`] when the grace is over; what is left is dropped with the runtime.
    pub async fn drain(&self, grace: Duration) -> Result<(), Unfinished> {
        self.stop();
        self.tasks.close();
        tokio::time::timeout(grace, self.tasks.wait()).await.map_err(|_| Unfinished { tasks: self.tasks.len(), grace })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn draining_waits_for_work_in_flight_and_says_when_it_does_not_end() {
        let host = Host::default();
        let inner = host.clone();
        host.spawn(async move { inner.stopping().await });
        assert_eq!(host.drain(Duration::from_secs(5)).await, Ok(()));

        let host = Host::default();
        host.spawn(std::future::pending());
        let grace = Duration::from_secs(5);
        assert_eq!(host.drain(grace).await, Err(Unfinished { tasks: 1, grace }));
    }

    #[tokio::test]
    async fn a_vital_task_that_panics_stops_the_process_in_order() {
        let host = Host::default();
        host.spawn_vital("test", async { panic!("seen") });
        host.stopping().await;
        assert!(host.is_broken());
    }

    #[tokio::test]
    async fn a_panic_in_one_piece_of_work_ends_that_one_alone() {
        let host = Host::default();
        host.spawn(async { panic!("seen") });
        assert_eq!(host.drain(Duration::from_secs(5)).await, Ok(()));
        assert!(!host.is_broken());
    }
}
