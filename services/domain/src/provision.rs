//! The life of a node: one enum, and one function that moves it.
//!
//! States carry Ironic's meaning; failure is one state that remembers what failed, so that a retry knows where to go
//! back to. What [`step`] returns as effects are changes to the node's own records, stored in the same transaction as
//! the new state. Work on the outside is never an effect of a step: [`crate::plan`] derives it again from what is
//! stored, so a crash loses nothing.

mod adopt;
mod clean;
mod deploy;
pub mod inspect;
mod rescue;
mod service;
mod state;
mod verb;

pub use state::{Phase, Stage, State};
pub use verb::{NotAVerb, Verb};

/// What else decides where a life goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Given {
    /// A machine is cleaned before it may be used.
    pub cleans_before_use: bool,
    /// A machine is cleaned after it was used.
    pub cleans_after_use: bool,
    /// It is to be used no more.
    pub retired: bool,
}

/// What moves a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A person asked.
    Asked(Verb),
    /// The BMC answered with the right credentials.
    Answered,
    /// Everything that a boot needs is in its place.
    Prepared,
    /// The agent proved itself.
    Called,
    /// The agent did what it was told.
    Worked,
    /// What was next of the steps that a person named is made.
    Made,
    /// A step holds all that comes after it.
    Held,
    /// The next step needs an agent, and there is none.
    Reboots,
    /// The last thing that was wanted has been seen.
    Finished,
    /// The boot made no progress and is tried again.
    Again,
    /// It failed for good.
    GaveUp,
}

impl Event {
    /// All that is seen, and not asked.
    pub const SEEN: &'static [Self] = &[
        Self::Answered,
        Self::Prepared,
        Self::Called,
        Self::Worked,
        Self::Made,
        Self::Held,
        Self::Reboots,
        Self::Finished,
        Self::Again,
        Self::GaveUp,
    ];

    /// Every event: what may be asked, and what may be seen.
    pub fn all() -> impl Iterator<Item = Self> {
        Verb::ALL.iter().copied().map(Self::Asked).chain(Self::SEEN.iter().copied())
    }
}

/// A change to the node's records that goes with a step, stored with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// An operation begins.
    Open(Phase),
    /// The running operation ends well.
    Close,
    /// The running operation ends with the failure that the event came with.
    Fail,
    /// Instructions from here on carry a new generation.
    NewGeneration,
    /// The boot decision, with its token, is void: the machine is no longer booted by us.
    RevokeBoot,
    /// What was next of the named steps counts as made.
    CountSteps,
    /// What was deployed is forgotten.
    ForgetDeployment,
    /// What the machine reported becomes what is known of the node.
    TakeFacts,
}

/// The life does not move that way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A person may ask for this elsewhere, not here.
    #[error("a node in state {state} can not {verb}; from here it can: {}", list(.state.verbs()))]
    NotHere {
        /// Where the node is.
        state: State,
        /// What was asked.
        verb: Verb,
    },
    /// It is to be used no more.
    #[error("the node is retired and can not be made available; clear that first (PATCH /retired to false)")]
    Retired,
    /// An observation that came too late or too early, and changes nothing.
    #[error("{event:?} means nothing in state {state}")]
    Meaningless {
        /// Where the node is.
        state: State,
        /// What was seen.
        event: Event,
    },
}

fn list(verbs: Vec<Verb>) -> String {
    if verbs.is_empty() {
        return "nothing, until the running operation has ended".to_owned();
    }
    verbs.iter().map(Verb::to_string).collect::<Vec<_>>().join(", ")
}

/// What a step gives: where the life is now, and what changes with it.
pub type Step = Result<(State, Vec<Effect>), Refused>;

/// The only way a node changes state.
///
/// # Errors
/// [`Refused`] says why nothing changed, and for a person's request what could be asked instead.
pub fn step(state: State, event: Event, given: Given) -> Step {
    use Effect as F;
    use Event as E;
    use State as S;
    match (state, event) {
        (S::Enroll, E::Asked(Verb::Manage)) => Ok((S::Verifying, vec![F::Open(Phase::Verify), F::NewGeneration])),
        (S::Verifying, E::Answered) => Ok((S::Manageable, vec![F::Close])),
        // As Ironic has it: a node whose BMC does not answer is enrolled again, and its last error says why.
        (S::Verifying, E::GaveUp) => Ok((S::Enroll, vec![F::Fail])),
        (S::Verifying, E::Asked(Verb::Abort)) => Ok((S::Enroll, vec![F::Fail])),
        (S::Manageable, E::Asked(Verb::Provide)) if given.retired => Err(Refused::Retired),
        (S::Available, E::Asked(Verb::Manage)) => Ok((S::Manageable, vec![])),
        (state, event) => {
            let rooms = [deploy::step, inspect::step, adopt::step, rescue::step, service::step];
            let room = rooms.iter().find_map(|room| room(state, event));
            room.or_else(|| clean::step(state, event, given)).unwrap_or(Err(match event {
                E::Asked(verb) => Refused::NotHere { state, verb },
                E::Answered
                | E::Prepared
                | E::Called
                | E::Worked
                | E::Made
                | E::Held
                | E::Reboots
                | E::Finished
                | E::Again
                | E::GaveUp => Refused::Meaningless { state, event },
            }))
        }
    }
}

#[cfg(test)]
mod tests;
