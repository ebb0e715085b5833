//! Facts about a node that the state machine needs besides its state.

use crate::{driver::InterfaceSet, power::PowerTarget};

/// Facts about a node that [`super::step`], [`super::remove`] and [`super::change_power`] need besides its state.
///
/// One function fills it from the node's records for all APIs, so that they decide alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct NodeFacts {
    /// Disks are wiped before the node becomes available for the first time.
    pub cleans_before_use: bool,
    /// Disks are wiped after each undeploy.
    pub cleans_after_use: bool,
    /// The node must not become available again.
    pub retired: bool,
    /// The node must not be undeployed, rebuilt or removed.
    pub protected: bool,
    /// The node is in maintenance.
    pub in_maintenance: bool,
    /// An Ironic instance is associated with the node.
    pub has_instance: bool,
    /// The power must not be switched off, not even for a moment.
    pub stays_on: bool,
    /// Whether the machine can be booted from the network.
    pub network_boot: NetworkBoot,
    /// Whether the node's inspect interface is enabled.
    pub inspect: Support,
    /// Whether the node's rescue interface is enabled.
    pub rescue: Support,
    /// Whether the requested steps are possible on a node in use ([`super::Verb::Service`]).
    pub service: Support,
    /// Whether the node's vendor interface sends commands of IPMI to the BMC.
    pub ipmi_commands: Support,
    /// What was requested of the node's BMC outside an operation, if it has not ended yet. `None` also
    /// for a command whose time is over: it is not sent any more, and a later request replaces it.
    pub awaits: Option<PowerTarget>,
    /// Interfaces whose chosen implementations this service does not carry out.
    pub not_carried_out: InterfaceSet,
    /// Interfaces that the steps of the request belong to.
    pub step_interfaces: InterfaceSet,
}

/// Whether a machine can be booted from the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum NetworkBoot {
    /// A port of the node has an address on its rack's network, or the driver boots nothing.
    #[default]
    Ready,
    /// The node has no port.
    NoPort,
    /// The node has ports, and none of them has an address on its rack's network.
    NoAddress,
}

/// Whether a node's driver and interfaces can do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Support {
    /// They can.
    #[default]
    Yes,
    /// They cannot.
    No,
}

impl From<bool> for Support {
    fn from(supported: bool) -> Self {
        if supported { Self::Yes } else { Self::No }
    }
}
