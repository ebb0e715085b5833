//! Background tasks and shutdown. All tasks are spawned through [`Host`].

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

/// Tasks were still running when the grace period ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{tasks} tasks were still running after {} s", .grace.as_secs())]
pub struct Unfinished {
    /// Number of tasks that are still running.
    pub tasks: usize,
    /// The grace period.
    pub grace: Duration,
}

/// Owns all background tasks of a process. Clones share the same state.
#[derive(Debug, Clone, Default)]
pub struct Host {
    stop: CancellationToken,
    tasks: TaskTracker,
    broken: Arc<AtomicBool>,
}

impl Host {
    /// Spawns a task. A panic ends only that task and is counted.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        #[expect(clippy::disallowed_methods, reason = "the Host is the one place that spawns")]
        drop(tokio::spawn(self.tasks.track_future(async move {
            if std::panic::AssertUnwindSafe(work).catch_unwind().await.is_err() {
                metrics::counter!("ironmesh_panics_total").increment(1);
                tracing::error!("a task panicked");
            }
        })));
    }

    /// Spawns a task that the process cannot run without. If it panics or ends before the host stops, the process shuts
    /// down with an error code and is restarted by its supervisor.
    pub fn spawn_essential(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let host = self.clone();
        #[expect(clippy::disallowed_methods, reason = "the Host is the one place that spawns")]
        drop(tokio::spawn(self.tasks.track_future(async move {
            let ended = std::panic::AssertUnwindSafe(work).catch_unwind().await;
            if !host.stop.is_cancelled() {
                tracing::error!(name, panicked = ended.is_err(), "an essential task ended, stopping the process");
                host.broken.store(true, Ordering::Relaxed);
                host.stop();
            }
        })));
    }

    /// Requests shutdown.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Resolves when shutdown is requested. Cancel safe.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Returns whether shutdown was requested.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Returns whether the shutdown was caused by an essential task that ended.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Requests shutdown, then waits for all tasks to end.
    ///
    /// # Errors
    /// [`Unfinished`] if tasks are still running after `grace`; they are dropped with the runtime.
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
    async fn an_essential_task_that_panics_stops_the_process_in_order() {
        let host = Host::default();
        host.spawn_essential("test", async { panic!("event") });
        host.stopping().await;
        assert!(host.is_broken());
    }

    #[tokio::test]
    async fn a_panic_in_one_task_ends_that_task_alone() {
        let host = Host::default();
        host.spawn(async { panic!("event") });
        assert_eq!(host.drain(Duration::from_secs(5)).await, Ok(()));
        assert!(!host.is_broken());
    }
}
