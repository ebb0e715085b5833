//! Reads the rack's nodes, network and members from the view.

use domain::{
    generation::Generation,
    id::{NodeId, RackId},
    net::MacAddr,
    service::Service,
};
use keyspace::{
    View,
    key::{self, Parsed, Scope},
    store::Versioned,
    value::{self, BootDecision, Network, PxeSeen},
};
use mesh::{Joined, Mesh};

use crate::Error;

/// The rack in the view. Clones share the same state.
#[derive(Debug, Clone)]
pub(crate) struct Rack {
    pub(crate) id: RackId,
    pub(crate) mesh: Mesh,
}

/// What is known of the node behind a MAC address.
#[derive(Debug, Clone)]
pub(crate) struct KnownNode {
    pub(crate) node: NodeId,
    pub(crate) mac: MacAddr,
    pub(crate) address: std::net::Ipv4Addr,
    pub(crate) name: String,
    pub(crate) decision: Option<BootDecision>,
    /// Generation of the node's lifecycle record, to which a sign of life belongs.
    pub(crate) generation: Generation,
    /// Whether power has reached what the current generation requires, so that the boot was started by us.
    pub(crate) is_powered: bool,
}

impl Rack {
    pub(crate) fn new(joined: &Joined) -> Result<Self, Error> {
        Ok(Self { id: joined.rack()?, mesh: joined.mesh.clone() })
    }

    pub(crate) fn view(&self) -> &View {
        self.mesh.view()
    }

    pub(crate) fn network(&self) -> Option<Network> {
        self.view().get(&key::rack(self.id))?.value.network
    }

    /// Returns the node with this MAC address, if there is one and it has a reserved IP address.
    pub(crate) fn known(&self, mac: MacAddr) -> Option<KnownNode> {
        let port = self.view().get(&key::port(self.id, mac))?.value;
        let intent = self.view().get(&key::intent(self.id, port.node))?.value;
        let decision = self.decision(port.node);
        let life = self.view().get(&key::life(self.id, port.node))?.value;
        let wanted = decision.as_ref().map_or(life.generation, |decision| decision.generation);
        let power = self.view().get(&key::power(self.id, port.node));
        let is_powered = power
            .and_then(|power| power.value.settled)
            .is_some_and(|settled| settled.generation >= wanted && settled.failure.is_none());
        Some(KnownNode {
            node: port.node,
            mac,
            address: port.address?,
            name: intent.name,
            decision,
            generation: life.generation,
            is_powered,
        })
    }

    /// Returns whether a node has this MAC address, even without an IP address.
    pub(crate) fn has_port(&self, mac: MacAddr) -> bool {
        self.view().get(&key::port(self.id, mac)).is_some()
    }

    pub(crate) fn decision(&self, node: NodeId) -> Option<BootDecision> {
        self.view().get(&key::boot(self.id, node)).map(|read| read.value)
    }

    /// Returns the decision stored at this path.
    pub(crate) fn decision_at(&self, path: &str) -> Option<BootDecision> {
        let Some(Parsed::Boot { rack, node }) = key::parse(path) else { return None };
        if rack == self.id { self.decision(node) } else { None }
    }

    pub(crate) fn seen(&self, node: NodeId) -> Option<Versioned<PxeSeen>> {
        self.view().get(&key::pxe(self.id, node))
    }

    /// Returns where the replicas of a service serve machines of this rack.
    pub(crate) fn data_endpoints(&self, service: Service) -> Vec<String> {
        let members = self.view().list(&key::members(Scope::Rack(self.id), service));
        members.into_iter().map(|(_, member): (_, Versioned<value::Member>)| member.value.data_endpoint).collect()
    }

    /// Returns where agents of this rack that use Ironic's protocol are served.
    pub(crate) fn ironic_endpoints(&self) -> Vec<String> {
        let members = self.view().list(&key::members(Scope::Rack(self.id), Service::Inventory));
        let endpoints =
            members.into_iter().map(|(_, member): (_, Versioned<value::Member>)| member.value.ironic_endpoint);
        endpoints.filter(|endpoint| !endpoint.is_empty()).collect()
    }
}
