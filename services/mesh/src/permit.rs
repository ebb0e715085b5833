//! The fence, and the permit that every mutating datagram needs.
//!
//! CLOCK_BOOTTIME advances while a process is stopped, so a thread that wakes late sees that it is late. The clock of a
//! paused virtual machine does not advance; then the wall clock has moved against it, and that fences too.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use domain::ring::fence::Times;

use crate::safety_params::{Clock, Reading, SafetyParams};

/// How far the wall clock may move against BOOTTIME between two keep-alives, in milliseconds. A larger step fences.
const MAX_WALL_DRIFT_MS: i64 = 1000;

/// The send time of the last successful keep-alive. Shared by all work that must stop F after it.
#[derive(Debug)]
pub struct Fence {
    times: Times,
    clock: Clock,
    /// Send time of the last successful keep-alive, in nanoseconds of BOOTTIME; 0 if there was none, or after
    /// [`Self::give_up`].
    alive: AtomicU64,
    /// How far the wall clock was ahead of BOOTTIME at that keep-alive's answer, in milliseconds.
    wall: AtomicI64,
}

impl Fence {
    pub(crate) fn new(safety: &SafetyParams) -> Arc<Self> {
        let (times, clock) = (safety.times(), safety.clock().clone());
        Arc::new(Self { times, clock, alive: AtomicU64::new(0), wall: AtomicI64::new(0) })
    }

    /// Records that a keep-alive sent at `sent` succeeded.
    pub(crate) fn keep(&self, sent: Duration) {
        self.wall.store(wall_ahead(self.clock.read()), Ordering::Relaxed);
        self.alive.store(u64::try_from(sent.as_nanos()).unwrap_or(0), Ordering::Release);
    }

    /// Fences this process until the next successful keep-alive.
    pub(crate) fn give_up(&self) {
        self.alive.store(0, Ordering::Release);
    }

    /// Returns whether this process must not act.
    #[must_use]
    pub fn is_up(&self) -> bool {
        let (alive, now) = (self.alive.load(Ordering::Acquire), self.clock.read());
        alive == 0 || self.times.is_fenced(Duration::from_nanos(alive), now.boot) || self.wall_moved(now)
    }

    fn wall_moved(&self, now: Reading) -> bool {
        wall_ahead(now).abs_diff(self.wall.load(Ordering::Relaxed)) > MAX_WALL_DRIFT_MS.unsigned_abs()
    }

    fn may_send(&self, armed: Duration) -> bool {
        let (alive, now) = (self.alive.load(Ordering::Acquire), self.clock.read());
        alive != 0 && self.times.may_send(armed, Duration::from_nanos(alive), now.boot) && !self.wall_moved(now)
    }
}

fn wall_ahead(now: Reading) -> i64 {
    let up = i64::try_from(now.boot.as_millis()).unwrap_or(i64::MAX);
    now.wall.millis().saturating_sub(up)
}

/// The right to send one journaled command and its retransmissions, through one BMC session, until A after the journal
/// entry was requested. It cannot be cloned; the driver asks it before each datagram.
#[derive(Debug)]
pub struct Permit {
    armed: Duration,
    session: u32,
    fence: Arc<Fence>,
}

impl Permit {
    pub(crate) const fn new(armed: Duration, session: u32, fence: Arc<Fence>) -> Self {
        Self { armed, session, fence }
    }

    /// Returns whether a datagram of this session may be sent now.
    #[must_use]
    pub fn allows(&self, session: u32) -> bool {
        let allows = session == self.session && self.fence.may_send(self.armed);
        if !allows {
            metrics::counter!("mesh_permits_refused_total").increment(1);
        }
        allows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::safety_params::boottime;

    #[test]
    fn a_permit_holds_for_its_session_while_its_owner_is_alive() {
        let fence = Fence::new(&SafetyParams::default());
        let permit = Permit::new(boottime(), 7, Arc::clone(&fence));
        assert!(!permit.allows(7), "no keep-alive has succeeded yet");
        fence.keep(boottime());
        assert!(permit.allows(7) && !permit.allows(8));
        fence.keep(boottime().saturating_sub(Duration::from_secs(3)));
        assert!(!permit.allows(7) && fence.is_up());
        fence.keep(boottime());
        let late = Permit::new(boottime().saturating_sub(Duration::from_secs(1)), 7, fence);
        assert!(!late.allows(7), "armed too long ago");
    }
}
