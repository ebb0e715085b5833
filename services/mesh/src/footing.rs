//! What the safety of a process stands on: its times, its clock, and its closing the sessions of those before.
//!
//! A service stands on [`Footing::default`]. A test that must see the safety fail, and see that it is seen, hands in a
//! worse one by the libraries: no configuration and no command line of a service leads here.

use std::{fmt, sync::Arc, time::Duration};

use domain::{ring::fence::Times, time::Timestamp};
use service_kit::clock;

/// What a process stands on.
#[derive(Debug, Clone, Default)]
pub struct Footing {
    /// The constants of DESIGN §5.
    pub times: Times,
    /// What the fence reads.
    pub clock: Clock,
    /// What becomes of the BMC sessions that the journal names of those before.
    pub predecessors: Predecessors,
}

/// What an owner does with the BMC sessions of those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Predecessors {
    /// It closes each.
    #[default]
    Closed,
    /// It leaves them open, and may be overtaken by a command of theirs.
    LeftOpen,
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
