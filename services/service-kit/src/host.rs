//! Background tasks and shutdown. All tasks are spawned through [`Host`].

use std::{
    future::Future,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
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
            if AssertUnwindSafe(work).catch_unwind().await.is_err() {
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
            let ended = AssertUnwindSafe(work).catch_unwind().await;
            host.essential_ended(name, ended.is_err());
        })));
    }

    /// Runs work that the process cannot run without on a thread and a runtime of its own, both until the work ends:
    /// whatever keeps the threads of the caller's runtime busy does not delay it. What the work spawns runs there, too. A
    /// panic or an early end stops the process, as with [`Self::spawn_essential`].
    ///
    /// # Errors
    /// The kernel refuses the thread or what its runtime needs.
    pub fn spawn_essential_thread<F: Future<Output = ()>>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> io::Result<()> {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        // The name is that of the threads for blocking work.
        let runtime = runtime.enable_all().thread_name(format!("{name}-io")).build()?;
        let (host, running) = (self.clone(), self.tasks.token());
        let run = move || {
            let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(async { work().await })));
            host.essential_ended(name, ended.is_err());
            // What the work has not waited for, such as a name that is being looked up, does not hold up the end.
            runtime.shutdown_background();
            drop(running);
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
    }

    /// Stops the process if it was not asked to stop before its essential work ended.
    fn essential_ended(&self, name: &'static str, panicked: bool) {
        if !self.stop.is_cancelled() {
            tracing::error!(name, panicked, "an essential task ended, stopping the process");
            self.broken.store(true, Ordering::Relaxed);
            self.stop();
        }
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

    #[tokio::test]
    async fn a_thread_that_panics_or_ends_early_stops_the_process_and_one_that_ends_when_asked_does_not() {
        type Work = fn(Host) -> futures::future::BoxFuture<'static, ()>;
        let table: [(&str, Work, bool); 6] = [
            ("ends at once", |_| Box::pin(async {}), true),
            ("ends later", |_| Box::pin(tokio::time::sleep(Duration::from_millis(1))), true),
            ("panics before it waits", |_| Box::pin(async { panic!("event") }), true),
            ("panics before it is a future", |_| panic!("event"), true),
            (
                "panics later",
                |_| {
                    Box::pin(async {
                        tokio::task::yield_now().await;
                        panic!("event");
                    })
                },
                true,
            ),
            (
                "ends when asked",
                |host| {
                    Box::pin(async move {
                        host.stop();
                        host.stopping().await;
                    })
                },
                false,
            ),
        ];
        for (what, work, is_broken) in table {
            let host = Host::default();
            let own = host.clone();
            host.spawn_essential_thread("test", move || work(own)).unwrap();
            host.stopping().await;
            assert_eq!(host.drain(Duration::from_secs(5)).await, Ok(()), "{what}");
            assert_eq!(host.is_broken(), is_broken, "{what}");
        }
    }

    #[tokio::test]
    async fn a_thread_of_its_own_runs_while_the_callers_runtime_cannot() {
        let (host, (told, hears)) = (Host::default(), std::sync::mpsc::channel());
        let own = host.clone();
        let work = move || async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let name = std::thread::current().name().map(str::to_owned);
            let (inner, told) = (own.clone(), told.clone());
            // What it spawns runs there, too.
            own.spawn(async move { drop(told.send(name)) });
            inner.stopping().await;
        };
        host.spawn_essential_thread("test", work).unwrap();
        // Blocks the only thread of this runtime.
        let name = hears.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(name.as_deref(), Some("test"));
        assert_eq!(host.drain(Duration::from_secs(5)).await, Ok(()));
        assert!(!host.is_broken());
    }
}
