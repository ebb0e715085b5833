//! Work on large request bodies, off the threads that serve connections.

use tokio::sync::Semaphore;

/// Size above which a body is parsed off the threads that serve, in bytes. Parsing 64 KiB takes less than a millisecond.
pub(super) const OFFLOAD_BYTES: usize = 64 << 10;
/// How many bodies are parsed at the same time.
const MAX_OFFLOADED: usize = 2;

static SLOTS: Semaphore = Semaphore::const_new(MAX_OFFLOADED);

/// Runs work that takes long, on a thread for blocking work. At most two run at the same time. If the caller is dropped,
/// the work is still done.
///
/// Returns `None` if the work panicked or the process stops.
pub(super) async fn offload<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let slot = SLOTS.acquire().await.ok()?;
    tokio::task::spawn_blocking(move || {
        let _slot = slot;
        work()
    })
    .await
    .ok()
}
