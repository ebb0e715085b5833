//! Which rules of the protocol a schedule runs under: all of them, or all but one.

use std::time::Duration;

use domain::ring::fence::Times;
use mesh::{DangerousRule, SafetyParams};

/// Rule that is broken, so that the checker must find the consequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// An absent instance is gone at once: W is zero.
    GoneAtOnce,
    /// [`DangerousRule::AbsenceFromPreviousLook`]
    AbsenceFromPreviousLook,
    /// [`DangerousRule::AskPreviousOwner`]
    AskPreviousOwner,
    /// [`DangerousRule::BlindClaim`]
    BlindClaim,
    /// [`DangerousRule::FencedByEpoch`]
    FencedByEpoch,
    /// [`DangerousRule::EarlyAck`]
    EarlyAck,
    /// [`DangerousRule::SameIdentity`]
    SameIdentity,
    /// [`DangerousRule::JournalAfterSend`]
    JournalAfterSend,
    /// A retransmission is sent without asking the permit.
    FreeRepeats,
    /// [`DangerousRule::ForgetLeaving`]
    ForgetLeaving,
    /// A close that is not confirmed is not waited for: D is zero.
    NoSettle,
    /// [`SafetyParams::dangerous_leave_sessions_open`]
    SessionsLeftOpen,
    /// [`DangerousRule::FenceFromAnswer`], without A.
    FenceFromAnswer,
    /// [`DangerousRule::ArmFromAnswer`], without F.
    ArmFromAnswer,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::GoneAtOnce,
        Self::AbsenceFromPreviousLook,
        Self::AskPreviousOwner,
        Self::BlindClaim,
        Self::FencedByEpoch,
        Self::EarlyAck,
        Self::SameIdentity,
        Self::JournalAfterSend,
        Self::FreeRepeats,
        Self::ForgetLeaving,
        Self::NoSettle,
        Self::SessionsLeftOpen,
        Self::FenceFromAnswer,
        Self::ArmFromAnswer,
    ];

    /// The switch of `mesh`, if it has one for this.
    const fn rule(self) -> Option<DangerousRule> {
        match self {
            Self::AbsenceFromPreviousLook => Some(DangerousRule::AbsenceFromPreviousLook),
            Self::AskPreviousOwner => Some(DangerousRule::AskPreviousOwner),
            Self::BlindClaim => Some(DangerousRule::BlindClaim),
            Self::FencedByEpoch => Some(DangerousRule::FencedByEpoch),
            Self::EarlyAck => Some(DangerousRule::EarlyAck),
            Self::SameIdentity => Some(DangerousRule::SameIdentity),
            Self::JournalAfterSend => Some(DangerousRule::JournalAfterSend),
            Self::ForgetLeaving => Some(DangerousRule::ForgetLeaving),
            Self::FenceFromAnswer => Some(DangerousRule::FenceFromAnswer),
            Self::ArmFromAnswer => Some(DangerousRule::ArmFromAnswer),
            Self::GoneAtOnce | Self::FreeRepeats | Self::NoSettle | Self::SessionsLeftOpen => None,
        }
    }
}

/// Which of the two fences are up. Each suffices alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fences {
    /// A and F.
    Both,
    /// A: F never passes.
    ArmOnly,
    /// F: an entry arms its command forever.
    FenceOnly,
}

/// The rules of one schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The rule that is broken.
    pub mutant: Option<Mutant>,
    /// Which fences are up.
    pub fences: Fences,
}

impl Rules {
    /// All rules.
    #[must_use]
    pub const fn sound() -> Self {
        Self { mutant: None, fences: Fences::Both }
    }

    /// All rules, with these fences.
    #[must_use]
    pub const fn with(fences: Fences) -> Self {
        Self { mutant: None, fences }
    }

    /// All rules but one.
    #[must_use]
    pub const fn without(mutant: Mutant) -> Self {
        let fences = match mutant {
            // These weaken what F depends on. A, which is up in every service, would hide most of it.
            Mutant::FenceFromAnswer
            | Mutant::AbsenceFromPreviousLook
            | Mutant::AskPreviousOwner
            | Mutant::SameIdentity
            | Mutant::ForgetLeaving => Fences::FenceOnly,
            Mutant::ArmFromAnswer => Fences::ArmOnly,
            Mutant::GoneAtOnce
            | Mutant::BlindClaim
            | Mutant::FencedByEpoch
            | Mutant::EarlyAck
            | Mutant::JournalAfterSend
            | Mutant::FreeRepeats
            | Mutant::NoSettle
            | Mutant::SessionsLeftOpen => Fences::Both,
        };
        Self { mutant: Some(mutant), fences }
    }

    pub(crate) fn breaks(self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub(crate) fn times(self) -> Times {
        const NEVER: Duration = Duration::from_secs(3600);
        let sound = Times::default();
        Times {
            arm: if self.fences == Fences::FenceOnly { NEVER } else { sound.arm },
            fence: if self.fences == Fences::ArmOnly { NEVER } else { sound.fence },
            settle: if self.breaks(Mutant::NoSettle) { Duration::ZERO } else { sound.settle },
            wait: if self.breaks(Mutant::GoneAtOnce) { Duration::ZERO } else { sound.wait },
            ..sound
        }
    }

    /// Returns the parameters of a process in this schedule.
    pub(crate) fn safety(self) -> SafetyParams {
        let safety = SafetyParams::default().dangerous_times(self.times());
        match self.mutant {
            Some(Mutant::SessionsLeftOpen) => safety.dangerous_leave_sessions_open(),
            Some(mutant) => mutant.rule().into_iter().fold(safety, SafetyParams::dangerous_break),
            None => safety,
        }
    }
}
