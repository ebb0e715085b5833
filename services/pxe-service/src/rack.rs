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
    value::{self, BootDecision, Network, Port, Protocol, PxeSeen},
};
use mesh::{Joined, Mesh};
use wire_dhcp::Hardware;

use crate::{Error, boot::Endpoint};

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

    /// Returns the MAC address of the port that this interface is, or would be: an InfiniBand interface is the port whose
    /// `extra` has its client identifier, otherwise it is identified by its GUID.
    pub(crate) fn port_of(&self, hardware: &Hardware, client_identifier: Option<&[u8]>) -> Option<MacAddr> {
        match (hardware, client_identifier) {
            (Hardware::Infiniband(_), Some(identifier)) => {
                let ports = self.view().list(&key::ports(self.id));
                let ports = ports.iter().map(|(path, port)| (path.as_str(), &port.value));
                port_with_identifier(ports, identifier)
            }
            (Hardware::Infiniband(_), None) | (Hardware::Ethernet(_), _) => None,
        }
        .or_else(|| hardware.mac().map(|mac| MacAddr::new(mac.0)))
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
        let decision = self.view().get(&key::boot(self.id, node)).map(|read| read.value);
        // Nothing boots a stand-in for an agent.
        decision.filter(|decision| decision.protocol != Protocol::StandIn)
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
    pub(crate) fn ironic_endpoints(&self) -> Vec<Endpoint> {
        let members = self.view().list(&key::members(Scope::Rack(self.id), Service::Inventory));
        let endpoints =
            members.into_iter().map(|(_, member): (_, Versioned<value::Member>)| member.value.ironic_endpoint);
        endpoints.filter_map(|endpoint| endpoint.parse().ok()).collect()
    }
}

/// Returns the MAC address of the port whose `extra` has this DHCP client identifier.
fn port_with_identifier<'a>(
    mut ports: impl Iterator<Item = (&'a str, &'a Port)>,
    identifier: &[u8],
) -> Option<MacAddr> {
    let has_it = |port: &Port| {
        let extra = port.spec.as_ref().map(|spec| &spec.spec.extra);
        extra.and_then(value::dhcp_client_identifier).is_some_and(|known| known == identifier)
    };
    let (path, _) = ports.find(|(_, port)| has_it(port))?;
    key::last(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_found_by_the_client_identifier_in_its_extra() {
        let port = |extra: serde_json::Value| -> Port {
            let id = "00000000-0000-0000-0000-000000000001";
            let spec = serde_json::json!({"spec": {"extra": extra}, "created_at": domain::time::Timestamp::default()});
            serde_json::from_value(serde_json::json!({"id": id, "node": id, "spec": spec})).unwrap()
        };
        let id = "ff:00:00:00:00:00:02:00:00:02:c9:00:7c:fe:90:03:00:29:24:4f";
        let octets = [255, 0, 0, 0, 0, 0, 2, 0, 0, 2, 0xc9, 0, 0x7c, 0xfe, 0x90, 3, 0, 0x29, 0x24, 0x4f];
        let ports = [
            ("ports/52:54:00:01:00:01", port(serde_json::json!({}))),
            ("ports/52:54:00:01:00:02", port(serde_json::json!({"client-id": "ff:00"}))),
            ("ports/7c:fe:90:29:24:4f", port(serde_json::json!({"client-id": id.to_uppercase()}))),
            ("ports/52:54:00:01:00:03", port(serde_json::json!({"client-id": 7, "client_id": "01:02"}))),
        ];
        for (source, identifier, expected) in [
            ("Ironic's `extra.client-id` (specs 6.2, add-infiniband-support)", &octets[..], Some("7c:fe:90:29:24:4f")),
            ("another port's", &[255, 0], Some("52:54:00:01:00:02")),
            ("the start of one", &octets[..19], None),
            ("the end of one", &octets[1..], None),
            ("none", &[], None),
            ("under another key", &[1, 2], None),
        ] {
            let found = port_with_identifier(ports.iter().map(|(path, port)| (*path, port)), identifier);
            assert_eq!(found.map(|mac| mac.to_string()).as_deref(), expected, "{source}");
        }
    }
}
