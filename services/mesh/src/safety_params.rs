//! What the safety of a process depends on: its times, its clock, and whether it closes the sessions of earlier owners.
//!
//! A service uses [`SafetyParams::default`]. A test that checks that unsafe behavior is detected passes other parameters
//! through the library: no configuration and no command line of a service sets them.

use std::{fmt, sync::Arc, time::Duration};

use domain::{ring::fence::Times, time::Timestamp};
use service_kit::clock;

/// The parameters that the safety of a process depends on.
#[derive(Debug, Clone, Default)]
pub struct SafetyParams {
    /// The constants of DESIGN §5.
    pub times: Times,
    /// The clock that the fence reads.
    pub clock: Clock,
    /// What an owner does with the BMC sessions of earlier owners.
    pub session_takeover: SessionTakeover,
}

/// What an owner does with the BMC sessions of earlier owners, which the journal names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SessionTakeover {
    /// It closes each before it reads the state of the BMC.
    #[default]
    Close,
    /// It leaves them open: a late command of an earlier owner may arrive after its own. For tests of the checker only.
    DangerousLeaveOpen,
}

/// One reading of a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Time since the machine booted, suspend included (CLOCK_BOOTTIME).
    pub boot: Duration,
    /// The wall clock.
    pub wall: Timestamp,
}

/// The clock that fences. Clones are the same.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Reading + Send + Sync>);

impl Clock {
    /// A clock of one's own.
    #[must_use]
    pub fn new(read: impl Fn() -> Reading + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// What it says.
    #[must_use]
    pub fn read(&self) -> Reading {
        (self.0)()
    }

    /// Time since boot.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.read().boot
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(|| Reading { boot: boottime(), wall: clock::now() })
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.read()).finish()
    }
}

/// Time since the machine booted, suspend included.
#[must_use]
pub fn boottime() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}
