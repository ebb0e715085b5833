//! A node as the store describes it, read once for all that show it or choose among nodes.

use domain::{
    driver::Interface,
    failure::Failure,
    id::{NodeId, RackId},
    plan::Progress,
    power::PowerTarget,
    provision::{Stage, State},
    service::Service,
    step::Step,
};
use keyspace::{
    View,
    key::{self, Scope},
    value::{FirmwareSeen, Intent, Life, NodeSpec, Operation, PowerSeen, Stamped},
};

use service_kit::clock;

use crate::registry::{last_failure, power_failure, settled};

/// What the store has about a node.
#[derive(Debug)]
pub struct NodeView {
    /// Its rack.
    pub rack: RackId,
    /// Its id.
    pub node: NodeId,
    /// Name of its rack.
    pub rack_name: String,
    /// What users asked of it.
    pub intent: Intent,
    /// Its state.
    pub life: Life,
    /// Its power as it was observed. `None` if its BMC has not answered yet.
    pub power: Option<PowerSeen>,
    /// What clients of Ironic's API specified of it; the default if none did.
    pub record: Stamped<NodeSpec>,
    /// How its firmware boots, as it was observed.
    pub firmware: Option<FirmwareSeen>,
    /// Its operation, if its state has steps to show.
    pub operation: Option<Operation>,
    /// Endpoint of its owner among the power-services.
    pub conductor: Option<String>,
    /// The store's revision of the last change of any of this.
    pub revision: i64,
}

/// A kind of steps that an operation runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// Steps of a cleaning.
    Clean,
    /// Steps of a deployment.
    Deploy,
    /// Steps of a service operation.
    Service,
}

impl NodeView {
    /// A node of which nothing else is known than what users asked of it and its state.
    #[must_use]
    pub fn new(rack: RackId, node: NodeId, intent: Intent, life: Life, revision: i64) -> Self {
        Self {
            rack,
            node,
            rack_name: String::new(),
            intent,
            life,
            power: None,
            record: Stamped::default(),
            firmware: None,
            operation: None,
            conductor: None,
            revision,
        }
    }

    /// Reads a node. `None` if it does not exist in the rack.
    #[must_use]
    pub fn read(view: &View, rack: RackId, node: NodeId) -> Option<Self> {
        let scope = Scope::Rack(rack);
        let ring = view.ring(scope, Service::Power);
        let owner = ring.as_ref().and_then(|ring| ring.value.ring.owner(node));
        let member = owner.and_then(|owner| view.get(&key::member(scope, Service::Power, owner)));
        let (own, intent) = (view.get(&key::rack(rack)), view.get(&key::intent(rack, node))?);
        let (life, power) = (view.get(&key::life(rack, node))?, view.get(&key::power(rack, node)));
        let (record, firmware) = (view.get(&key::node_spec(rack, node)), view.get(&key::firmware(rack, node)));
        let operation = step_kind(life.value.state).and_then(|_| view.get(&key::operation(rack, node)));
        let others = [
            own.as_ref().map(|read| read.revision),
            ring.as_ref().map(|read| read.revision),
            member.as_ref().map(|read| read.revision),
            power.as_ref().map(|read| read.revision),
            record.as_ref().map(|read| read.revision),
            firmware.as_ref().map(|read| read.revision),
            operation.as_ref().map(|read| read.revision),
        ];
        let revision = others.into_iter().flatten().fold(intent.revision.max(life.revision), i64::max);
        Some(Self {
            rack_name: own.map(|read| read.value.name).unwrap_or_default(),
            power: power.map(|read| read.value),
            record: record.map(|read| read.value).unwrap_or_default(),
            firmware: firmware.map(|read| read.value),
            operation: operation.map(|read| read.value),
            conductor: member.map(|member| member.value.endpoint),
            ..Self::new(rack, node, intent.value, life.value, revision)
        })
    }

    /// What clients of Ironic's API specified of it.
    #[must_use]
    pub const fn spec(&self) -> &NodeSpec {
        &self.record.spec
    }

    /// The implementation of an interface: the one that a client chose, or the driver's default.
    #[must_use]
    pub fn interface(&self, interface: Interface) -> Option<&str> {
        self.spec().implementation(interface, self.intent.driver)
    }

    /// The failure of a requested power state, if it was not corrected since.
    #[must_use]
    pub fn power_failure(&self) -> Option<&Failure> {
        power_failure(&self.life, self.power.as_ref())
    }

    /// The last failure that was not corrected since.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        last_failure(&self.life, self.power.as_ref())
    }

    /// The requested power state, while the node is not in it. `None` for what an operation does of its own.
    #[must_use]
    pub fn pending_power(&self) -> Option<PowerTarget> {
        let target =
            self.intent.power.filter(|target| !self.life.state.is_busy() && !target.is_too_late(clock::now()))?;
        let is_underway = matches!(settled(self.power.as_ref(), self.life.generation), Progress::Unknown);
        is_underway.then_some(target)
    }

    /// Whether an operation holds the node. One that only waits for the machine does not.
    #[must_use]
    pub const fn is_locked(&self) -> bool {
        let state = self.life.state;
        let waits = matches!(
            state,
            State::Deploying { stage: Stage::Boot, .. }
                | State::Cleaning { stage: Stage::Boot, .. }
                | State::Inspecting { stage: Stage::Boot, .. }
                | State::Rescuing { stage: Stage::Boot, .. }
                | State::Servicing { stage: Stage::Boot, .. }
        );
        state.is_busy() && !waits
    }

    /// The step that is run now, or that holds the others.
    #[must_use]
    pub fn current_step(&self) -> Option<(StepKind, &Step)> {
        let operation = self.operation.as_ref()?;
        let done = usize::try_from(operation.made).unwrap_or(usize::MAX);
        let (kind, is_done) = step_kind(self.life.state)?;
        let at = if is_done { done.saturating_sub(1) } else { done };
        operation.steps.get(at).map(|step| (kind, step))
    }
}

/// The kind of the step that is run in a state or that holds the node in it, and whether it already counts as done.
const fn step_kind(state: State) -> Option<(StepKind, bool)> {
    match state {
        State::Cleaning { stage: Stage::Work, .. } => Some((StepKind::Clean, false)),
        State::Deploying { stage: Stage::Work } => Some((StepKind::Deploy, false)),
        State::Servicing { stage: Stage::Work } => Some((StepKind::Service, false)),
        State::CleanHold => Some((StepKind::Clean, true)),
        State::DeployHold => Some((StepKind::Deploy, true)),
        State::ServiceHold => Some((StepKind::Service, true)),
        State::Enroll
        | State::Verifying
        | State::Manageable
        | State::Inspecting { .. }
        | State::Available
        | State::Deploying { .. }
        | State::Active
        | State::Deleting
        | State::Cleaning { .. }
        | State::Adopting
        | State::Rescuing { .. }
        | State::Rescue
        | State::Unrescuing { .. }
        | State::Servicing { .. }
        | State::Failed { .. } => None,
    }
}
