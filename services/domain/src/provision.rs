//! The life of a node: one enum, and one function that moves it.
//!
//! States carry Ironic's meaning; failure is one state that remembers what failed, so that a retry knows where to go
//! back to. What [`step`] returns as effects are changes to the node's own records, stored in the same transaction as
//! the new state. Work on the outside is never an effect of a step: [`crate::plan`] derives it again from what is
//! stored, so a crash loses nothing.

mod adopt;
mod clean;
mod deploy;
mod facts;
pub mod inspect;
mod rescue;
mod service;
mod state;
mod verb;

pub use facts::{NetworkBoot, NodeFacts, Support};
pub use state::{Phase, Stage, State};
pub use verb::{ParseVerbError, Verb};

use crate::power::PowerTarget;

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

/// Why a request or an observation changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The verb is not allowed in this state.
    #[error("a node in state {state} cannot {verb}; from here it can: {}", list(.state.verbs()))]
    NotHere {
        /// State of the node.
        state: State,
        /// Verb of the request.
        verb: Verb,
    },
    /// The node is retired.
    #[error("the node is retired and cannot be made available; clear that first (PATCH /retired to false)")]
    Retired,
    /// The node is protected.
    #[error(
        "the node is protected and cannot be undeployed, rebuilt or deleted; clear that first (PATCH /protected to false)"
    )]
    Protected,
    /// The node is in maintenance.
    #[error("the node is in maintenance and cannot {verb}; end it first: ironmesh node maintenance off NODE")]
    InMaintenance {
        /// Verb of the request.
        verb: Verb,
    },
    /// The node's driver or one of its interfaces cannot do it.
    #[error("the node's driver does not support {verb} (interface disabled or not implemented)")]
    Unsupported {
        /// Verb of the request.
        verb: Verb,
    },
    /// The machine cannot be booted from the network, which the verb needs.
    #[error(
        "the node cannot boot from the network, which {verb} needs: {}",
        match .lacks {
            NetworkBoot::NoPort => "it has no MAC",
            NetworkBoot::NoAddress | NetworkBoot::Ready => "it has no MAC with an address on its rack's network",
        }
    )]
    NoNetworkBoot {
        /// Verb of the request.
        verb: Verb,
        /// What is missing.
        lacks: NetworkBoot,
    },
    /// The node cannot be removed from the registry in this state.
    #[error(
        "a node in state {state} cannot be deleted; undeploy it or bring it to manageable first, or put it into maintenance"
    )]
    NotRemovable {
        /// State of the node.
        state: State,
    },
    /// An instance is associated with the node.
    #[error(
        "an instance is associated with the node; undeploy it, remove the instance, or put the node into maintenance first"
    )]
    HasInstance,
    /// An operation runs, which alone may change power.
    #[error("the node is {state}; wait until the operation has ended, or abort it: ironmesh node abort NODE")]
    Busy {
        /// State of the node.
        state: State,
    },
    /// Power must stay on.
    #[error("the node must stay on (disable_power_off): it cannot be switched off or shut down")]
    StaysOn,
    /// An observation that came too late or too early, and changes nothing.
    #[error("{event:?} means nothing in state {state}")]
    Meaningless {
        /// State of the node.
        state: State,
        /// What was observed.
        event: Event,
    },
}

impl Refused {
    /// Whether the state or the retirement of the node is the reason, rather than anything else that is known of it.
    ///
    /// Ironic checks these before the arguments of a request, and the others after them.
    #[must_use]
    pub const fn precedes_arguments(self) -> bool {
        match self {
            Self::NotHere { .. } | Self::Retired | Self::Meaningless { .. } => true,
            Self::InMaintenance { verb } => matches!(verb, Verb::Deploy | Verb::Rebuild),
            Self::Protected
            | Self::Unsupported { .. }
            | Self::NoNetworkBoot { .. }
            | Self::NotRemovable { .. }
            | Self::HasInstance
            | Self::Busy { .. }
            | Self::StaysOn => false,
        }
    }
}

fn list(verbs: Vec<Verb>) -> String {
    if verbs.is_empty() {
        return "nothing, until the running operation has ended".to_owned();
    }
    verbs.iter().map(Verb::to_string).collect::<Vec<_>>().join(", ")
}

/// Result of a step: the new state, and the changes to the node's records that go with it.
pub type Step = Result<(State, Vec<Effect>), Refused>;

/// Moves a node's life by one event. This is the only way in which a node changes state.
///
/// Everything that any API may ask of a node's life is decided here, by the order in which Ironic checks it: maintenance
/// (of a deploy and a rebuild), state, retirement, maintenance (of the rest), protection, support by the driver, boot from
/// the network.
///
/// # Errors
/// [`Refused`] says why nothing changed, and for a request what could be asked instead.
pub fn step(state: State, event: Event, facts: NodeFacts) -> Step {
    let Event::Asked(verb) = event else { return transition(state, event, facts) };
    let in_maintenance = facts.in_maintenance && stops_in_maintenance(verb);
    if in_maintenance && matches!(verb, Verb::Deploy | Verb::Rebuild) {
        return Err(Refused::InMaintenance { verb });
    }
    let moved = transition(state, event, facts)?;
    if in_maintenance {
        return Err(Refused::InMaintenance { verb });
    }
    if facts.protected && matches!(verb, Verb::Undeploy | Verb::Rebuild) {
        return Err(Refused::Protected);
    }
    if supports(verb, facts) == Support::No {
        return Err(Refused::Unsupported { verb });
    }
    if needs_network_boot(verb) && facts.network_boot != NetworkBoot::Ready {
        return Err(Refused::NoNetworkBoot { verb, lacks: facts.network_boot });
    }
    Ok(moved)
}

/// Whether a node may be removed from the registry.
///
/// # Errors
/// [`Refused::Protected`], [`Refused::HasInstance`], [`Refused::NotRemovable`]. Maintenance lifts the last two, as in Ironic.
pub const fn remove(state: State, facts: NodeFacts) -> Result<(), Refused> {
    if facts.has_instance && !facts.in_maintenance {
        return Err(Refused::HasInstance);
    }
    if facts.protected {
        return Err(Refused::Protected);
    }
    if facts.in_maintenance || state.may_be_removed() {
        return Ok(());
    }
    Err(Refused::NotRemovable { state })
}

/// Whether a client may change the power of a node.
///
/// # Errors
/// [`Refused::StaysOn`] for a target that leaves the machine off, or that shuts its system down, of a node that must stay
/// on; [`Refused::Busy`] while an operation runs.
pub const fn change_power(state: State, target: PowerTarget, facts: NodeFacts) -> Result<(), Refused> {
    let shuts_down = matches!(target, PowerTarget::Off | PowerTarget::SoftOff { .. } | PowerTarget::SoftBooted { .. });
    if facts.stays_on && shuts_down {
        return Err(Refused::StaysOn);
    }
    if state.is_busy() { Err(Refused::Busy { state }) } else { Ok(()) }
}

/// Whether maintenance keeps a verb from being carried out.
const fn stops_in_maintenance(verb: Verb) -> bool {
    match verb {
        Verb::Deploy | Verb::Rebuild | Verb::Clean | Verb::Rescue | Verb::Unrescue | Verb::Service => true,
        Verb::Manage | Verb::Provide | Verb::Undeploy | Verb::Inspect | Verb::Abort | Verb::Adopt | Verb::Unhold => {
            false
        }
    }
}

const fn supports(verb: Verb, facts: NodeFacts) -> Support {
    match verb {
        Verb::Inspect => facts.inspect,
        Verb::Rescue => facts.rescue,
        Verb::Service => facts.service,
        Verb::Manage
        | Verb::Provide
        | Verb::Deploy
        | Verb::Rebuild
        | Verb::Undeploy
        | Verb::Clean
        | Verb::Abort
        | Verb::Adopt
        | Verb::Unrescue
        | Verb::Unhold => Support::Yes,
    }
}

/// Whether a verb boots the machine from the network first of all, so that it would fail without.
const fn needs_network_boot(verb: Verb) -> bool {
    matches!(verb, Verb::Deploy | Verb::Rebuild | Verb::Inspect | Verb::Clean)
}

/// The state machine alone.
fn transition(state: State, event: Event, facts: NodeFacts) -> Step {
    use Effect as F;
    use Event as E;
    use State as S;
    match (state, event) {
        (S::Enroll, E::Asked(Verb::Manage)) => Ok((S::Verifying, vec![F::Open(Phase::Verify), F::NewGeneration])),
        (S::Verifying, E::Answered) => Ok((S::Manageable, vec![F::Close])),
        // As Ironic has it: a node whose BMC does not answer is enrolled again, and its last error says why.
        (S::Verifying, E::GaveUp) => Ok((S::Enroll, vec![F::Fail])),
        (S::Verifying, E::Asked(Verb::Abort)) => Ok((S::Enroll, vec![F::Fail])),
        (S::Manageable, E::Asked(Verb::Provide)) if facts.retired => Err(Refused::Retired),
        (S::Available, E::Asked(Verb::Manage)) => Ok((S::Manageable, vec![])),
        (state, event) => {
            let families = [deploy::step, inspect::step, adopt::step, rescue::step, service::step];
            let family = families.iter().find_map(|family| family(state, event));
            family.or_else(|| clean::step(state, event, facts)).unwrap_or(Err(match event {
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
