//! Which rules are in force: all of them, or all but one.

use std::time::Duration;

use domain::ring::fence::Times;

/// A rule left out or bent, to see the checker catch it. Nothing of it is in shipped code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// Who is missing is gone at once: no W.
    GoneAtOnce,
    /// W is counted from the last look at which the instance was there.
    EarlierSight,
    /// The owner under the ring before is asked to let go, instead of the holder that the claim names.
    LastOwnerAsked,
    /// A claim is written whatever the claim is by then.
    BlindClaim,
    /// A fenced write expects the ring's epoch, not the claim.
    FencedByEpoch,
    /// A ring is acknowledged before the work on lost nodes has ended.
    EarlyAck,
    /// A process keeps its instance id when its membership is lost, and over a restart.
    SameIdentity,
    /// The journal entry is written after the command was sent.
    JournalAfterSend,
    /// A retransmission asks for no permit.
    FreeRepeats,
    /// A new leader does not know who is still leaving.
    LeavingForgotten,
    /// A close that is not confirmed is not waited for: no D.
    NoSettle,
    /// The sessions of those before are not closed.
    NothingClosed,
    /// With A off: F is counted from the keep-alive's answer.
    FenceFromAnswer,
    /// With F off: A is counted from the journal's answer.
    ArmFromAnswer,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::GoneAtOnce,
        Self::EarlierSight,
        Self::LastOwnerAsked,
        Self::BlindClaim,
        Self::FencedByEpoch,
        Self::EarlyAck,
        Self::SameIdentity,
        Self::JournalAfterSend,
        Self::FreeRepeats,
        Self::LeavingForgotten,
        Self::NoSettle,
        Self::NothingClosed,
        Self::FenceFromAnswer,
        Self::ArmFromAnswer,
    ];
}

/// Which of the two fences are up. Each must do alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fences {
    /// A and F.
    Both,
    /// A: F never comes.
    ArmOnly,
    /// F: an entry arms for ever.
    FenceOnly,
}

/// The rules of one world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// What is left out.
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

    /// All rules, one fence.
    #[must_use]
    pub const fn with(fences: Fences) -> Self {
        Self { mutant: None, fences }
    }

    /// All but one.
    #[must_use]
    pub const fn without(mutant: Mutant) -> Self {
        let fences = match mutant {
            // These bend what F rests on; A, which is up in every service, would hide most of it.
            Mutant::FenceFromAnswer
            | Mutant::EarlierSight
            | Mutant::LastOwnerAsked
            | Mutant::BlindClaim
            | Mutant::SameIdentity
            | Mutant::LeavingForgotten => Fences::FenceOnly,
            Mutant::ArmFromAnswer => Fences::ArmOnly,
            Mutant::GoneAtOnce
            | Mutant::FencedByEpoch
            | Mutant::EarlyAck
            | Mutant::JournalAfterSend
            | Mutant::FreeRepeats
            | Mutant::NoSettle
            | Mutant::NothingClosed => Fences::Both,
        };
        Self { mutant: Some(mutant), fences }
    }

    pub(crate) fn is(self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub(crate) fn times(self) -> Times {
        const NEVER: Duration = Duration::from_secs(3600);
        let sound = Times::default();
        Times {
            arm: if self.fences == Fences::FenceOnly { NEVER } else { sound.arm },
            fence: if self.fences == Fences::ArmOnly { NEVER } else { sound.fence },
            settle: if self.is(Mutant::NoSettle) { Duration::ZERO } else { sound.settle },
            wait: if self.is(Mutant::GoneAtOnce) { Duration::ZERO } else { sound.wait },
            ..sound
        }
    }
}
