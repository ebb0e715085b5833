//! What the safety of a process depends on: its times, its clock, and which rules it follows.
//!
//! Services use [`SafetyParams::default`]. Everything that makes a process less safe, or that lets a test supply what
//! safety rests on, is set by a function whose name begins with `dangerous_`: no configuration and no command line of a
//! service reaches one.

use std::{fmt, sync::Arc, time::Duration};

use domain::{id::InstanceId, ring::fence::Times, time::Timestamp};
use futures::future::BoxFuture;
use service_kit::clock;

use crate::dangerous::{Broken, DangerousRule, Step};

type InstanceIds = Arc<dyn Fn() -> InstanceId + Send + Sync>;
type StepHook = Arc<dyn Fn(Step) -> BoxFuture<'static, ()> + Send + Sync>;

/// The parameters that the safety of a process depends on. Clones share the clock and the hooks.
#[derive(Clone)]
pub struct SafetyParams {
    times: Times,
    clock: Clock,
    session_takeover: SessionTakeover,
    instance_ids: InstanceIds,
    steps: Option<StepHook>,
    pub(crate) broken: Broken,
}

/// What an owner does with the BMC sessions of earlier owners, which the journal names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum SessionTakeover {
    /// It closes each before it reads the state of the BMC.
    #[default]
    Close,
    /// It leaves them open: a late command of an earlier owner may arrive after its own.
    LeaveOpen,
}

impl Default for SafetyParams {
    fn default() -> Self {
        Self {
            times: Times::default(),
            clock: Clock::default(),
            session_takeover: SessionTakeover::Close,
            instance_ids: Arc::new(|| InstanceId::new(uuid::Uuid::new_v4())),
            steps: None,
            broken: Broken::default(),
        }
    }
}

impl fmt::Debug for SafetyParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SafetyParams")
            .field("times", &self.times)
            .field("session_takeover", &self.session_takeover)
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

impl SafetyParams {
    /// Uses other times than the default ones, without checking them: with unsound times two owners can act.
    #[must_use]
    pub fn dangerous_times(self, times: Times) -> Self {
        Self { times, ..self }
    }

    /// Reads another clock than the kernel's. A clock that stands still while the process does not fences nothing.
    #[must_use]
    pub fn dangerous_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Leaves the BMC sessions of earlier owners open.
    #[must_use]
    pub fn dangerous_leave_sessions_open(self) -> Self {
        Self { session_takeover: SessionTakeover::LeaveOpen, ..self }
    }

    /// Breaks one rule of the protocol.
    #[must_use]
    pub fn dangerous_break(self, rule: DangerousRule) -> Self {
        Self { broken: Broken::new(rule), ..self }
    }

    /// Takes instance ids from here instead of the random generator. Ids that repeat void the protocol.
    #[must_use]
    pub fn dangerous_instance_ids(self, ids: impl Fn() -> InstanceId + Send + Sync + 'static) -> Self {
        Self { instance_ids: Arc::new(ids), ..self }
    }

    /// Runs the hook's future at each step of the protocol: what it waits for delays the process there.
    #[must_use]
    pub fn dangerous_steps(self, hook: impl Fn(Step) -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Self {
        Self { steps: Some(Arc::new(hook)), ..self }
    }

    /// The times in force.
    #[must_use]
    pub const fn times(&self) -> Times {
        self.times
    }

    /// The clock that the fence reads.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) const fn session_takeover(&self) -> SessionTakeover {
        self.session_takeover
    }

    pub(crate) fn new_instance_id(&self) -> InstanceId {
        (self.instance_ids)()
    }

    /// Lets a test stop the process here.
    pub(crate) async fn reached(&self, step: Step) {
        if let Some(hook) = &self.steps {
            hook(step).await;
        }
    }
}

/// One reading of a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Time since the machine booted, suspend included (CLOCK_BOOTTIME).
    pub boot: Duration,
    /// The wall clock.
    pub wall: Timestamp,
}

/// The clock that the fence reads. Clones read the same clock.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Reading + Send + Sync>);

impl Clock {
    /// A clock that is read by calling `read`.
    #[must_use]
    pub fn new(read: impl Fn() -> Reading + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Reads the clock.
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
