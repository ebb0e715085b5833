//! Rules that a test can break, to see that its checker finds what follows. Only
//! [`SafetyParams::dangerous_break`](crate::SafetyParams::dangerous_break) breaks one.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use domain::ring::Ring;
use parking_lot::Mutex;

/// A rule of OWNERSHIP.md that a process does not follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DangerousRule {
    /// W is counted from the previous look at the members, at which the instance was still present.
    AbsenceFromPreviousLook,
    /// A claim waits for the owner under the previous ring, not for the holder that the claim names.
    AskPreviousOwner,
    /// A claim is written over whatever claim there is by then, by any instance.
    BlindClaim,
    /// A fenced write expects the ring's epoch instead of the claim.
    FencedByEpoch,
    /// A ring is acknowledged while work on lost nodes continues.
    EarlyAck,
    /// A process keeps its instance id, and its work, when its membership is lost.
    SameIdentity,
    /// A command is armed before its journal entry is written; the caller writes it afterwards.
    JournalAfterSend,
    /// A new leader drops the instances that are leaving.
    ForgetLeaving,
    /// F is counted from the time at which a keep-alive was answered.
    FenceFromAnswer,
    /// A is counted from the time at which the journal entry was answered.
    ArmFromAnswer,
}

/// A step of the protocol at which a test can delay a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A keep-alive is about to be sent.
    BeforeKeepAlive,
    /// A keep-alive was answered, and the fence does not know it yet.
    AfterKeepAlive,
    /// A ring is about to be acknowledged.
    BeforeAck,
    /// The leader is about to write a ring.
    BeforeRing,
    /// Absences are about to be judged.
    BeforeLook,
    /// A claim is about to be written.
    BeforeClaim,
    /// A claim was answered.
    AfterClaim,
    /// A journal entry is about to be written.
    BeforeJournal,
    /// A journal entry was answered, and the command is not armed yet.
    AfterJournal,
}

/// The rule that is broken, if one is, and what breaking it must remember. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Broken(Option<Arc<State>>);

struct State {
    rule: DangerousRule,
    previous_look: Mutex<Duration>,
    rings: Mutex<Rings>,
}

#[derive(Default)]
struct Rings {
    previous: Option<Ring>,
    current: Option<(i64, Ring)>,
    /// Epoch of the ring that this process wrote last.
    written: i64,
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Broken").field(&self.0.as_ref().map(|state| state.rule)).finish()
    }
}

impl Broken {
    pub(crate) fn new(rule: DangerousRule) -> Self {
        Self(Some(Arc::new(State { rule, previous_look: Mutex::default(), rings: Mutex::default() })))
    }

    /// Whether this rule is broken.
    pub(crate) fn is(&self, rule: DangerousRule) -> bool {
        self.0.as_ref().is_some_and(|state| state.rule == rule)
    }

    fn state(&self, rule: DangerousRule) -> Option<&State> {
        self.0.as_deref().filter(|state| state.rule == rule)
    }

    /// The time from which an absence counts that is seen at `now`.
    pub(crate) fn absent_since(&self, now: Duration) -> Duration {
        let state = self.state(DangerousRule::AbsenceFromPreviousLook);
        state.map_or(now, |state| std::mem::replace(&mut *state.previous_look.lock(), now))
    }

    /// Takes note of the ring that was seen.
    pub(crate) fn saw(&self, epoch: i64, ring: &Ring) {
        let Some(state) = self.state(DangerousRule::AskPreviousOwner) else { return };
        let mut rings = state.rings.lock();
        if rings.current.as_ref().is_none_or(|(current, _)| *current < epoch) {
            rings.previous = rings.current.replace((epoch, ring.clone())).map(|(_, previous)| previous);
        }
    }

    /// The ring before the present one.
    pub(crate) fn previous_ring(&self) -> Option<Ring> {
        self.state(DangerousRule::AskPreviousOwner)?.rings.lock().previous.clone()
    }

    /// Takes note of a ring that this process wrote.
    pub(crate) fn wrote(&self, epoch: i64) {
        if let Some(state) = self.state(DangerousRule::ForgetLeaving) {
            state.rings.lock().written = epoch;
        }
    }

    /// The ring as a leader knows it that forgets who is leaving; `None` if it does not forget.
    pub(crate) fn forgetful(&self, epoch: i64, ring: &Ring) -> Option<Ring> {
        let state = self.state(DangerousRule::ForgetLeaving)?;
        (state.rings.lock().written != epoch).then(|| Ring { leaving: BTreeSet::new(), ..ring.clone() })
    }
}
