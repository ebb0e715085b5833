//! Whether a transfer is too slow.

use std::time::Duration;

/// Counts the bytes of a transfer. Only the time in which we wait for the server counts, so that a slow disk of ours is not
/// taken for a slow server.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    window: Duration,
    min_bytes: u64,
    waited: Duration,
    received: u64,
}

impl Progress {
    /// Requires `min_bytes` in each window.
    pub(super) const fn new(window: Duration, min_bytes: u64) -> Self {
        Self { window, min_bytes, waited: Duration::ZERO, received: 0 }
    }

    /// Returns how long the window lasts yet.
    pub(super) const fn left(&self) -> Duration {
        self.window.saturating_sub(self.waited)
    }

    /// Counts bytes that came after a wait. Returns false if the transfer is too slow.
    pub(super) fn add(&mut self, waited: Duration, bytes: u64) -> bool {
        self.waited += waited;
        self.received += bytes;
        if self.waited < self.window {
            return true;
        }
        let is_enough = self.received >= self.min_bytes;
        (self.waited, self.received) = (Duration::ZERO, 0);
        is_enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_without_enough_bytes_ends_the_transfer() {
        const SECOND: Duration = Duration::from_secs(1);
        for (pieces, is_ok) in [
            // A piece each second; ten seconds must have 100 bytes.
            (vec![10; 30], true),
            (vec![1; 30], false),
            (vec![0; 10], false),
            (vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 100], true),
            (vec![1000, 0, 0, 0, 0, 0, 0, 0, 0, 0], true),
            // What came in one window does not count in the next.
            ([vec![1000; 10], vec![0; 10]].concat(), false),
            // A window that has not ended yet.
            (vec![0; 9], true),
        ] {
            let mut progress = Progress::new(10 * SECOND, 100);
            assert_eq!(pieces.iter().all(|bytes| progress.add(SECOND, *bytes)), is_ok, "{pieces:?}");
        }
    }
}
