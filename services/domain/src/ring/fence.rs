//! Timing constants of OWNERSHIP.md, and the arithmetic of arming and fencing, for any clock that a whole process shares.

use std::{ops::Add, time::Duration};

/// Timing constants on which the mesh's safety depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Time between two keep-alives.
    pub keep_alive: Duration,
    /// A: time for which a journal entry permits its command.
    pub arm: Duration,
    /// F: time without a successful keep-alive after which an owner stops.
    pub fence: Duration,
    /// D: maximum delay of a datagram in the network and the BMC's queue.
    pub settle: Duration,
    /// W: time for which a member's key must be missing before the member counts as gone.
    pub wait: Duration,
    /// T: duration of the lease.
    pub lease: Duration,
    /// Maximum time from sending a datagram to the BMC's action.
    pub bmc_delay: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            keep_alive: Duration::from_secs(1),
            arm: Duration::from_secs(1),
            fence: Duration::from_secs(3),
            settle: Duration::from_millis(500),
            wait: Duration::from_millis(3500),
            lease: Duration::from_secs(4),
            bmc_delay: Duration::from_millis(400),
        }
    }
}

/// Error for timing constants with which two owners could act at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unsound times: {0}")]
pub struct Unsound(pub &'static str);

impl Times {
    /// # Errors
    /// Fails with the first relation that does not hold.
    pub fn check(&self) -> Result<(), Unsound> {
        let relations = [
            (self.keep_alive < self.fence, "the keep-alive interval must be shorter than the fence"),
            (self.fence < self.lease, "the fence must be shorter than the lease"),
            (self.arm <= self.fence, "the arm must not be longer than the fence"),
            (self.fence + self.settle <= self.wait, "fence and settle together must not be longer than the wait"),
            (self.bmc_delay <= self.settle, "the settle must not be shorter than the BMC's delay"),
        ];
        relations.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, what)| Err(Unsound(what)))
    }

    /// Returns whether a datagram may still be sent: before `armed + A` and before `alive + F`.
    ///
    /// `armed` is read before the journal's request was sent, `alive` is when the last successful keep-alive was
    /// *sent*, which is certainly before the store renewed the lease.
    pub fn may_send<T: Copy + Add<Duration, Output = T> + PartialOrd>(&self, armed: T, alive: T, now: T) -> bool {
        now < armed + self.arm && now < alive + self.fence
    }

    /// Returns whether an owner must stop.
    pub fn is_fenced<T: Copy + Add<Duration, Output = T> + PartialOrd>(&self, alive: T, now: T) -> bool {
        now >= alive + self.fence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_times_are_safe_and_each_relation_is_checked() {
        let sound = Times::default();
        assert_eq!(sound.check(), Ok(()));
        let second = Duration::from_secs(1);
        for unsound in [
            Times { keep_alive: second * 3, ..sound },
            Times { lease: second * 3, ..sound },
            Times { arm: second * 4, ..sound },
            Times { wait: second * 3, ..sound },
            Times { bmc_delay: second, ..sound },
        ] {
            assert!(unsound.check().is_err(), "{unsound:?}");
        }
    }

    #[test]
    fn an_expired_permit_and_an_expired_fence_each_block_a_datagram() {
        let times = Times::default();
        let second = Duration::from_secs(1);
        assert!(times.may_send(second * 10, second * 8, second * 10));
        assert!(!times.may_send(second * 10, second * 10, second * 11));
        assert!(!times.may_send(second * 10, second * 7, second * 10));
    }
}
