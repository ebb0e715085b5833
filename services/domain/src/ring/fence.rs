//! the constants of OWNERSHIP.md and the arithmetic of arming and fencing, for any clock that all of a process reads.

use std::{ops::Add, time::Duration};

/// The times that the mesh's safety rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Between two keep-alives.
    pub keep_alive: Duration,
    /// A: how long one journal entry arms its command.
    pub arm: Duration,
    /// F: an owner without a successful keep-alive for this long stops.
    pub fence: Duration,
    /// D: what a datagram and a BMC's queue may take.
    pub settle: Duration,
    /// W: how long a member's key is seen missing before it counts as gone.
    pub wait: Duration,
    /// T: the lease.
    pub lease: Duration,
    /// The slowest path from our socket into a BMC's act.
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

/// A set of times under which two owners could act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unsound times: {0}")]
pub struct Unsound(pub &'static str);

impl Times {
    /// # Errors
    /// Names the first relation that does not hold.
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

    /// Whether a datagram may still leave: before `armed + A` and before `alive + F`.
    ///
    /// `armed` is read before the journal's request was sent, `alive` is when the last successful keep-alive was
    /// *sent*: what was sent is certainly before what the store knows.
    pub fn may_send<T: Copy + Add<Duration, Output = T> + PartialOrd>(&self, armed: T, alive: T, now: T) -> bool {
        now < armed + self.arm && now < alive + self.fence
    }

    /// Whether an owner must stop.
    pub fn is_fenced<T: Copy + Add<Duration, Output = T> + PartialOrd>(&self, alive: T, now: T) -> bool {
        now >= alive + self.fence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_in_force_are_sound_and_each_relation_is_checked() {
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
    fn arm_and_fence_each_stop_a_datagram_alone() {
        let times = Times::default();
        let second = Duration::from_secs(1);
        assert!(times.may_send(second * 10, second * 8, second * 10));
        assert!(!times.may_send(second * 10, second * 10, second * 11));
        assert!(!times.may_send(second * 10, second * 7, second * 10));
    }
}
