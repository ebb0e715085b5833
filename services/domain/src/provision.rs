//! Provisioning state machine of a node: one enum and one function that changes it.
//!
//! States have Ironic's meaning. Failure is a single state that records the failed phase, so that a retry knows what to
//! resume. The effects that [`step`] returns are changes to the node's own records, stored in the same transaction as the
//! new state. External work is never an effect of a step: [`crate::plan`] derives it from the stored records, so a crash
//! loses nothing.

mod adopt;
mod clean;
mod deploy;
mod facts;
pub mod inspect;
mod needs;
mod rescue;
mod service;
mod state;
mod verb;

pub use facts::{NetworkBoot, NodeFacts, Support};
pub use state::{Phase, Stage, State};
pub use verb::{ParseVerbError, Verb};

use crate::{driver::Interface, power::PowerTarget};

/// Input of the state machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A client requested a verb.
    Asked(Verb),
    /// The BMC accepted the credentials.
    Answered,
    /// Everything that a boot needs is prepared.
    Prepared,
    /// The agent authenticated.
    Called,
    /// The agent finished its work.
    Worked,
    /// The next of the requested steps is done.
    Made,
    /// A hold step was reached.
    Held,
    /// A step of a service waits for an agent.
    Awaits,
    /// The next step needs an agent, and none runs.
    Reboots,
    /// The intended final state was observed.
    Finished,
    /// The boot made no progress and is retried.
    Again,
    /// The operation failed, without further retries.
    GaveUp,
}

impl Event {
    /// Every event except requests.
    pub const SEEN: &'static [Self] = &[
        Self::Answered,
        Self::Prepared,
        Self::Called,
        Self::Worked,
        Self::Made,
        Self::Held,
        Self::Awaits,
        Self::Reboots,
        Self::Finished,
        Self::Again,
        Self::GaveUp,
    ];

    /// Every event: requests and observations.
    pub fn all() -> impl Iterator<Item = Self> {
        Verb::ALL.iter().copied().map(Self::Asked).chain(Self::SEEN.iter().copied())
    }
}

/// Change to the node's records, stored together with the new state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Starts an operation.
    Open(Phase),
    /// Ends the running operation with success.
    Close,
    /// Ends the running operation with the failure of the event.
    Fail,
    /// Increments the generation of later instructions.
    NewGeneration,
    /// Revokes the boot decision and its token.
    RevokeBoot,
    /// Marks the next of the requested steps as done.
    CountSteps,
    /// Removes the deployment.
    ForgetDeployment,
    /// Stores the reported hardware as the node's.
    TakeFacts,
}

/// Reason why a request or an observation changes nothing.
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
    /// The implementation that was chosen for an interface is known, but this service does not carry it out.
    #[error(
        "the node's {interface} interface implementation is not carried out by this service, so nothing was changed; \
         choose another one for {interface}_interface"
    )]
    NotCarriedOut {
        /// Interface.
        interface: Interface,
    },
    /// The node cannot be booted from the network, which the verb needs.
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
    /// An operation runs, and only it may change the power.
    #[error("the node is {state}; wait until the operation has ended, or abort it: ironmesh node abort NODE")]
    Busy {
        /// State of the node.
        state: State,
    },
    /// An earlier request to the BMC is being carried out, and must not be replaced.
    #[error("the power or the BMC of the node is being changed by an earlier request; try again when that has ended")]
    AwaitsPower,
    /// The node's vendor interface has no commands for the BMC.
    #[error(
        "the node's vendor interface has no commands for its BMC: driver ipmi with vendor_interface ipmitool has them"
    )]
    NoIpmiCommands,
    /// The node's power must stay on.
    #[error("the node must stay on (disable_power_off): it cannot be switched off or shut down")]
    StaysOn,
    /// The observation does not apply in this state.
    #[error("{event:?} means nothing in state {state}")]
    Meaningless {
        /// State of the node.
        state: State,
        /// What was observed.
        event: Event,
    },
}

impl Refused {
    /// Returns whether the reason is the state or the retirement of the node.
    ///
    /// Ironic checks these before the arguments of a request, and the others after them.
    #[must_use]
    pub const fn precedes_arguments(self) -> bool {
        match self {
            Self::NotHere { .. } | Self::Retired | Self::Meaningless { .. } => true,
            Self::InMaintenance { verb } => matches!(verb, Verb::Deploy | Verb::Rebuild),
            Self::Protected
            | Self::Unsupported { .. }
            | Self::NotCarriedOut { .. }
            | Self::NoNetworkBoot { .. }
            | Self::NotRemovable { .. }
            | Self::HasInstance
            | Self::Busy { .. }
            | Self::AwaitsPower
            | Self::NoIpmiCommands
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

/// Applies one event to a node's state. This is the only way in which a node changes state.
///
/// Checks requests of all APIs in Ironic's order: maintenance (for deploy and rebuild), state, retirement, maintenance (for
/// the other verbs), protection, support by the driver, interfaces that are not carried out, network boot.
///
/// # Errors
/// [`Refused`] with the reason, and for a request the verbs that the state allows.
pub fn step(state: State, event: Event, facts: NodeFacts) -> Step {
    let Event::Asked(verb) = event else { return transition(state, event, facts) };
    let in_maintenance = facts.in_maintenance && stops_in_maintenance(verb);
    if in_maintenance && matches!(verb, Verb::Deploy | Verb::Rebuild) {
        return Err(Refused::InMaintenance { verb });
    }
    let moved = transition(state, event, facts)?;
    if facts.awaits.is_some_and(PowerTarget::is_ipmi_command) {
        return Err(Refused::AwaitsPower);
    }
    if in_maintenance {
        return Err(Refused::InMaintenance { verb });
    }
    if facts.protected && matches!(verb, Verb::Undeploy | Verb::Rebuild) {
        return Err(Refused::Protected);
    }
    if supports(verb, facts) == Support::No {
        return Err(Refused::Unsupported { verb });
    }
    if let Some(interface) = facts.not_carried_out.common(needs::interfaces(state, verb, facts)).next() {
        return Err(Refused::NotCarriedOut { interface });
    }
    if needs_network_boot(verb) && facts.network_boot != NetworkBoot::Ready {
        return Err(Refused::NoNetworkBoot { verb, lacks: facts.network_boot });
    }
    Ok(moved)
}

/// Checks that a node may be removed from the registry.
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

/// Checks that a client may change the power of a node.
///
/// # Errors
/// [`Refused::StaysOn`] if the target includes a moment without power and the node must stay on;
/// [`Refused::NoIpmiCommands`] if the driver has no such command; [`Refused::NotCarriedOut`] for its power interface;
/// [`Refused::Busy`] while an operation runs; [`Refused::AwaitsPower`] if it would replace an earlier command to the BMC, or
/// is to be carried out for sure ([`PowerTarget::waits_for_earlier`]) and would replace an earlier request. A power state may
/// be replaced by a later one, a command may not.
pub fn change_power(state: State, target: PowerTarget, facts: NodeFacts) -> Result<(), Refused> {
    let shuts_down = matches!(target, PowerTarget::Off | PowerTarget::SoftOff { .. } | PowerTarget::SoftBooted { .. });
    if facts.stays_on && shuts_down {
        return Err(Refused::StaysOn);
    }
    if target.is_ipmi_command() && facts.ipmi_commands == Support::No {
        return Err(Refused::NoIpmiCommands);
    }
    if let Some(interface) = facts.not_carried_out.common([Interface::Power].into_iter().collect()).next() {
        return Err(Refused::NotCarriedOut { interface });
    }
    if state.is_busy() {
        return Err(Refused::Busy { state });
    }
    let replaces_command = facts.awaits.is_some_and(PowerTarget::is_ipmi_command);
    if replaces_command || (target.waits_for_earlier() && facts.awaits.is_some()) {
        return Err(Refused::AwaitsPower);
    }
    Ok(())
}

/// Returns whether maintenance blocks a verb.
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

/// Returns whether a verb starts with a network boot.
const fn needs_network_boot(verb: Verb) -> bool {
    matches!(verb, Verb::Deploy | Verb::Rebuild | Verb::Inspect | Verb::Clean)
}

/// State machine without the checks of [`step`].
fn transition(state: State, event: Event, facts: NodeFacts) -> Step {
    use Effect as F;
    use Event as E;
    use State as S;
    match (state, event) {
        (S::Enroll, E::Asked(Verb::Manage)) => Ok((S::Verifying, vec![F::Open(Phase::Verify), F::NewGeneration])),
        (S::Verifying, E::Answered) => Ok((S::Manageable, vec![F::Close])),
        // As in Ironic, a node whose BMC does not respond returns to enroll, with the reason in its last error.
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
                | E::Awaits
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
