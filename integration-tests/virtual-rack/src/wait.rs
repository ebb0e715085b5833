//! Waiting for a state, never for a duration: every wait is bounded, and its error names the awaited state.
#![expect(
    clippy::disallowed_types,
    reason = "the rack is real processes, seen from code without tokio or a paused clock"
)]

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Interval between two checks.
const PAUSE: Duration = Duration::from_millis(25);

/// Calls `look` until it returns something.
///
/// # Errors
/// Errors of `look`, or the timeout; `thing` describes the awaited state.
pub fn until<T>(thing: &str, timeout: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if begun.elapsed() > timeout {
            bail!("waited {timeout:?} in vain for {thing}");
        }
        sleep(PAUSE);
    }
}

/// The result, and the time that it took.
///
/// # Errors
/// Errors of `work`.
pub fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let begun = Instant::now();
    let done = work()?;
    Ok((done, begun.elapsed()))
}
