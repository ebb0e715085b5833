//! The fence clock, and what a mutating datagram asks for before it leaves.
//!
//! CLOCK_BOOTTIME runs on while a process is stopped, so a thread that wakes late knows that it is late. A paused
//! virtual machine's does not; then the wall clock has moved against it, and that fences too.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use domain::ring::fence::Times;

use crate::safety_params::{Clock, Reading, SafetyParams};

/// A wall clock that moved further than this against BOOTTIME since the last keep-alive fences.
const WALL_DRIFT: i64 = 1000;

/// When the last keep-alive that succeeded was sent. Shared by everybody who must stop when it is long ago.
#[derive(Debug)]
pub struct Fence {
    times: Times,
    clock: Clock,
    /// Nanoseconds of BOOTTIME; 0: never, or given up.
    alive: AtomicU64,
    /// Milliseconds that wall time was ahead of BOOTTIME then.
    wall: AtomicI64,
}

impl Fence {
    pub(crate) fn new(safety: &SafetyParams) -> Arc<Self> {
        let (times, clock) = (safety.times, safety.clock.clone());
        Arc::new(Self { times, clock, alive: AtomicU64::new(0), wall: AtomicI64::new(0) })
    }

    pub(crate) fn keep(&self, sent: Duration) {
        self.wall.store(wall_ahead(self.clock.read()), Ordering::Relaxed);
        self.alive.store(u64::try_from(sent.as_nanos()).unwrap_or(0), Ordering::Release);
    }

    pub(crate) fn give_up(&self) {
        self.alive.store(0, Ordering::Release);
    }

    /// Whether this process must not act.
    #[must_use]
    pub fn is_up(&self) -> bool {
        let (alive, now) = (self.alive.load(Ordering::Acquire), self.clock.read());
        alive == 0 || self.times.is_fenced(Duration::from_nanos(alive), now.boot) || self.wall_moved(now)
    }

    fn wall_moved(&self, now: Reading) -> bool {
        wall_ahead(now).abs_diff(self.wall.load(Ordering::Relaxed)) > WALL_DRIFT.unsigned_abs()
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

/// The right to send one journalled command, and its retransmissions, through one BMC session for A. It can not be
/// cloned, and whoever sends asks it before each datagram.
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

    /// Whether a datagram of this session may leave now.
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
        assert!(!permit.allows(7), "nobody kept the lease alive yet");
        fence.keep(boottime());
        assert!(permit.allows(7) && !permit.allows(8));
        fence.keep(boottime().saturating_sub(Duration::from_secs(3)));
        assert!(!permit.allows(7) && fence.is_up());
        fence.keep(boottime());
        let late = Permit::new(boottime().saturating_sub(Duration::from_secs(1)), 7, fence);
        assert!(!late.allows(7), "armed too long ago");
    }
}
