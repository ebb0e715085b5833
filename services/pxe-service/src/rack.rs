//! What this replica knows of its rack, read from the view.

use std::net::SocketAddr;

use domain::{
    generation::Generation,
    id::{NodeId, RackId},
    net::MacAddr,
    service::Service,
};
use keyspace::{
    View, key,
    key::Scope,
    seal::Sealer,
    store::Versioned,
    value::{self, BootDecision, Network, PxeSeen},
};
use mesh::{Joined, Mesh};
use service_kit::timeline::Timeline;

use crate::{Error, config, files::Files, seen::Watcher};

/// The rack as the view has it. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Rack {
    pub(crate) id: RackId,
    pub(crate) mesh: Mesh,
}

/// What is known of a node that asks.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) node: NodeId,
    pub(crate) mac: MacAddr,
    pub(crate) address: std::net::Ipv4Addr,
    pub(crate) name: String,
    pub(crate) decision: Option<BootDecision>,
    /// The generation of its life: what a sign of life belongs to.
    pub(crate) generation: Generation,
    /// Power was brought to what this generation asked for: whatever boots now was told to by us.
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

    /// The node of a MAC, where it has one and an address is reserved.
    pub(crate) fn known(&self, mac: MacAddr) -> Option<Known> {
        let port = self.view().get(&key::port(self.id, mac))?.value;
        let intent = self.view().get(&key::intent(self.id, port.node))?.value;
        let decision = self.decision(port.node);
        let life = self.view().get(&key::life(self.id, port.node))?.value;
        let wanted = decision.as_ref().map_or(life.generation, |decision| decision.generation);
        let power = self.view().get(&key::power(self.id, port.node));
        let is_powered = power
            .and_then(|power| power.value.settled)
            .is_some_and(|settled| settled.generation >= wanted && settled.failure.is_none());
        Some(Known {
            node: port.node,
            mac,
            address: port.address?,
            name: intent.name,
            decision,
            generation: life.generation,
            is_powered,
        })
    }

    /// Whether a node has this MAC, be it without an address.
    pub(crate) fn has_port(&self, mac: MacAddr) -> bool {
        self.view().get(&key::port(self.id, mac)).is_some()
    }

    pub(crate) fn decision(&self, node: NodeId) -> Option<BootDecision> {
        self.view().get(&key::boot(self.id, node)).map(|read| read.value)
    }

    /// The decision whose path this is.
    pub(crate) fn decision_at(&self, path: &str) -> Option<BootDecision> {
        let (rack, node) = path.ends_with("/boot").then(|| key::node_of(path))??;
        if rack == self.id { self.decision(node) } else { None }
    }

    pub(crate) fn seen(&self, node: NodeId) -> Option<Versioned<PxeSeen>> {
        self.view().get(&key::pxe(self.id, node))
    }

    /// Where the replicas of a service answer machines, this rack's.
    pub(crate) fn data_endpoints(&self, service: Service) -> Vec<String> {
        let members = self.view().list(&key::members(Scope::Rack(self.id), service));
        members.into_iter().map(|(_, member): (_, Versioned<value::Member>)| member.value.data_endpoint).collect()
    }

    /// Where this rack's agents that speak Ironic's protocol are answered.
    pub(crate) fn ironic_endpoints(&self) -> Vec<String> {
        let members = self.view().list(&key::members(Scope::Rack(self.id), Service::Inventory));
        let doors = members.into_iter().map(|(_, member): (_, Versioned<value::Member>)| member.value.ironic_endpoint);
        doors.filter(|door| !door.is_empty()).collect()
    }
}

/// What all three doors share.
#[derive(Debug)]
pub(crate) struct Doors {
    pub(crate) rack: Rack,
    pub(crate) files: Files,
    pub(crate) timeline: Timeline,
    pub(crate) seen: Watcher,
    pub(crate) sealer: Sealer,
    /// The CA (PEM), which the agent verifies its rack's services by.
    pub(crate) ca: Vec<u8>,
    pub(crate) rack_name: String,
    pub(crate) http: SocketAddr,
    pub(crate) pxe: config::Pxe,
}
