//! Ports are created, changed and deleted, and refused by the rules about their names, groups and wiring.

use std::net::Ipv4Addr;

use domain::{
    id::{NodeId, PortId},
    net::MacAddr,
    provision::{Stage, State},
};
use keyspace::{
    collection::Unique,
    key,
    value::{ExtraFields, PortSpec, PortgroupSpec},
};
use scheduler_core::{
    Error,
    ports::{PortFields, PortRefusal, WiringField, create_port, delete_port, update_port},
    registry::{NodeChange, StoredPort},
};
use scheduler_testing::RACK;
use serde_json::json;
use uuid::Uuid;

use crate::{
    lab::{Lab, internal},
    nodes::{mac, machine},
};

const GROUP: Uuid = Uuid::from_u128(500);

const fn id(number: u128) -> PortId {
    PortId::new(Uuid::from_u128(7700 + number))
}

fn fields(node: NodeId, last: u8, spec: PortSpec) -> PortFields {
    PortFields { mac: mac(last), node, spec }
}

fn named(name: &str) -> PortSpec {
    PortSpec { name: Some(name.to_owned()), ..PortSpec::default() }
}

/// A port in the group.
fn member(network: &str) -> PortSpec {
    PortSpec {
        portgroup_uuid: Some(GROUP),
        physical_network: Some(network.to_owned()),
        // A member that does not boot has no address.
        pxe_enabled: false,
        ..PortSpec::default()
    }
}

impl Lab {
    fn port(&self, of: MacAddr) -> StoredPort {
        self.app().registry.ports().into_iter().find(|port| port.mac == of).unwrap()
    }

    async fn creates(&self, number: u128, fields: PortFields) -> Result<(), Error> {
        create_port(&internal(), self.app(), id(number), fields).await
    }

    async fn updates(&self, of: MacAddr, fields: PortFields) -> Result<(), Error> {
        update_port(&internal(), self.app(), &self.port(of), fields).await
    }

    /// The reason for which a change of a port is refused.
    async fn refuses(&self, of: MacAddr, fields: PortFields) -> PortRefusal {
        match self.updates(of, fields).await {
            Err(Error::Port(refusal)) => refusal,
            other => panic!("{other:?}"),
        }
    }

    /// Creates the port group of a node.
    async fn has_group(&self, node: NodeId) {
        let group = PortgroupSpec { node_uuid: Some(node), ..PortgroupSpec::default() };
        self.app().create_resource(&internal(), GROUP, group).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_port_is_added_changed_given_to_another_node_and_taken_away() {
    let lab = Lab::at_rest().await;
    let (first, second) = (lab.enrolls(machine("a", 1)).await.unwrap(), lab.enrolls(machine("b", 2)).await.unwrap());
    let registry = &lab.app().registry;
    lab.creates(1, fields(first, 9, PortSpec::default())).await.unwrap();
    assert_eq!(lab.macs(first), [mac(1), mac(9)]);
    let address = lab.port(mac(9)).port.value.address.unwrap();
    // It boots no more, and its address is free.
    let off = PortSpec { pxe_enabled: false, ..PortSpec::default() };
    lab.updates(mac(9), fields(first, 9, off.clone())).await.unwrap();
    assert_eq!(lab.port(mac(9)).port.value.address, None);
    assert!(!registry.view().has(&key::address(RACK, address)));
    // It gets another MAC, and goes to the other node.
    lab.updates(mac(9), fields(first, 8, off.clone())).await.unwrap();
    lab.updates(mac(8), fields(second, 8, off.clone())).await.unwrap();
    assert_eq!((lab.macs(first), lab.macs(second)), (vec![mac(1)], vec![mac(2), mac(8)]));
    assert_eq!(registry.view().get(&key::mac(mac(8))).map(|holder| holder.value.name), Some("b".to_owned()));
    delete_port(&internal(), lab.app(), &lab.port(mac(8))).await.unwrap();
    assert_eq!(lab.macs(second), [mac(2)]);
    let absent = fields(NodeId::new(Uuid::from_u128(404)), 9, off);
    assert!(matches!(lab.creates(2, absent).await, Err(Error::Missing { kind: "node", .. })));
}

#[tokio::test(start_paused = true)]
async fn a_port_in_a_rack_without_a_network_is_changed_and_gets_an_address_once_there_is_one() {
    let lab = Lab::at_rest().await;
    let network = lab.app().registry.rack(RACK).unwrap().value.network;
    lab.set_rack(|rack| rack.network = None).await;
    let node = lab.enrolls(machine("a", 1)).await.unwrap();
    let described =
        |text: &str| fields(node, 1, PortSpec { description: Some(text.to_owned()), ..PortSpec::default() });
    lab.updates(mac(1), described("left")).await.unwrap();
    assert_eq!(lab.port(mac(1)).port.value.address, None);
    lab.set_rack(|rack| rack.network = network).await;
    lab.updates(mac(1), described("right")).await.unwrap();
    let port = lab.port(mac(1)).port.value;
    assert_eq!(port.address, Some(Ipv4Addr::new(10, 1, 0, 10)));
    assert!(lab.app().registry.view().has(&key::address(RACK, Ipv4Addr::new(10, 1, 0, 10))));
    assert_eq!(port.spec.and_then(|record| record.spec.description), Some("right".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_mac_that_is_taken_is_refused_alike_to_a_port_and_to_a_change_of_a_node() {
    let lab = Lab::at_rest().await;
    let (first, second) = (lab.enrolls(machine("a", 1)).await.unwrap(), lab.enrolls(machine("b", 2)).await.unwrap());
    let created = lab.creates(1, fields(second, 1, PortSpec::default())).await.unwrap_err();
    let updated = lab.updates(mac(2), fields(second, 1, PortSpec::default())).await.unwrap_err();
    let change = NodeChange { add_macs: vec![mac(1)], ..NodeChange::default() };
    let added = lab.changes(second, change).await.unwrap_err();
    for refused in [created, updated, added] {
        assert!(matches!(refused, Error::MacTaken { .. }), "{refused:?}");
        assert_eq!(refused.to_string(), "the MAC 52:54:00:02:00:01 is taken by node a");
    }
    // Its own MAC is no obstacle.
    lab.updates(mac(1), fields(first, 1, named("nic"))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_id_and_the_name_of_a_port_are_its_own() {
    let lab = Lab::at_rest().await;
    let node = lab.enrolls(machine("a", 1)).await.unwrap();
    lab.creates(1, fields(node, 8, named("nic"))).await.unwrap();
    let same_id = lab.creates(1, fields(node, 9, PortSpec::default())).await;
    assert!(matches!(same_id, Err(Error::IdTaken { kind: "port", .. })), "{same_id:?}");
    let same_name = lab.creates(2, fields(node, 9, named("nic"))).await;
    assert!(matches!(same_name, Err(Error::NotUnique { kind: "port", value: Unique::Name(_) })), "{same_name:?}");
    // It keeps its name, and ports without a name do not conflict.
    lab.updates(mac(8), fields(node, 8, named("nic"))).await.unwrap();
    lab.creates(2, fields(node, 9, named(""))).await.unwrap();
    lab.creates(3, fields(node, 10, named(""))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_port_joins_only_a_group_of_its_node() {
    let lab = Lab::at_rest().await;
    let (first, second) = (lab.enrolls(machine("a", 1)).await.unwrap(), lab.enrolls(machine("b", 2)).await.unwrap());
    let joins = fields(second, 2, member("net"));
    assert_eq!(lab.refuses(mac(2), joins.clone()).await, PortRefusal::NoPortgroup { portgroup: GROUP });
    lab.has_group(first).await;
    assert_eq!(lab.refuses(mac(2), joins).await, PortRefusal::OtherNode { portgroup: GROUP });
    lab.updates(mac(1), fields(first, 1, member("net"))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_ports_of_a_group_are_in_one_physical_network() {
    let lab = Lab::at_rest().await;
    let node = lab.enrolls(machine("a", 1)).await.unwrap();
    lab.has_group(node).await;
    lab.creates(1, fields(node, 8, member("left"))).await.unwrap();
    let refused = lab.creates(2, fields(node, 9, member("right"))).await;
    let (network, theirs) = (Some("right".to_owned()), Some("left".to_owned()));
    let expected = PortRefusal::OtherNetwork { portgroup: GROUP, network, theirs };
    assert!(matches!(&refused, Err(Error::Port(refusal)) if *refusal == expected), "{refused:?}");
    lab.creates(2, fields(node, 9, member("left"))).await.unwrap();
    // A member keeps its network until it leaves the group.
    assert_eq!(lab.refuses(mac(9), fields(node, 9, member("right"))).await, PortRefusal::MemberNetwork);
    let leaves = PortSpec { portgroup_uuid: None, ..member("right") };
    lab.updates(mac(9), fields(node, 9, leaves)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_wiring_of_a_node_in_use_stays_until_the_node_is_in_maintenance() {
    let lab = Lab::at_rest().await;
    let node = lab.machine(1, State::Active).await;
    lab.has_group(node).await;
    let own = lab.macs(node)[0];
    let change = |spec: PortSpec| PortFields { mac: own, node, spec };
    let mut linked = ExtraFields::new();
    linked.set_text("port_id", "1");
    for (field, spec) in [
        (WiringField::PxeEnabled, PortSpec { pxe_enabled: false, ..PortSpec::default() }),
        (WiringField::LocalLinkConnection, PortSpec { local_link_connection: linked, ..PortSpec::default() }),
        (WiringField::PhysicalNetwork, PortSpec { physical_network: Some("n".to_owned()), ..PortSpec::default() }),
        (WiringField::Portgroup, PortSpec { portgroup_uuid: Some(GROUP), ..PortSpec::default() }),
    ] {
        let port = lab.port(own).port.value.id;
        let refused = lab.refuses(own, change(spec)).await;
        assert_eq!(refused, PortRefusal::Wiring { field, port, node, state: State::Active });
    }
    let elsewhere = PortFields { mac: mac(9), node, spec: PortSpec::default() };
    assert!(matches!(lab.refuses(own, elsewhere.clone()).await, PortRefusal::Address { .. }));
    // What is no wiring may change.
    lab.updates(own, change(named("nic"))).await.unwrap();
    let maintenance = Some((true, String::new()));
    lab.changes(node, NodeChange { maintenance, ..NodeChange::default() }).await.unwrap();
    lab.updates(own, elsewhere).await.unwrap();
    let off = PortSpec { pxe_enabled: false, ..PortSpec::default() };
    lab.updates(mac(9), PortFields { mac: mac(9), node, spec: off }).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_wiring_changes_only_while_a_node_is_enrolled_inspected_or_manageable() {
    for (state, may_change) in [
        (State::Enroll, true),
        (State::Manageable, true),
        (State::Inspecting { stage: Stage::Boot }, true),
        (State::Inspecting { stage: Stage::Work }, true),
        (State::Available, false),
        (State::Verifying, false),
        (State::Deploying { stage: Stage::Work }, false),
        (State::Rescue, false),
    ] {
        let lab = Lab::at_rest().await;
        let node = lab.machine(1, state).await;
        let own = lab.macs(node)[0];
        let off = PortSpec { pxe_enabled: false, ..PortSpec::default() };
        let outcome = lab.updates(own, PortFields { mac: own, node, spec: off }).await;
        assert_eq!(outcome.is_ok(), may_change, "{state:?}: {outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_mac_of_a_port_whose_node_has_an_instance_stays() {
    let lab = Lab::at_rest().await;
    let taken = lab.machine_with(2, State::Available, json!({"instance_uuid": "i"})).await;
    let own = lab.macs(taken)[0];
    let moved = |node| PortFields { mac: mac(9), node, spec: PortSpec::default() };
    assert!(matches!(lab.refuses(own, moved(taken)).await, PortRefusal::Address { .. }));
    // A change of the node exchanges it no more than a change of the port.
    let exchange = NodeChange { add_macs: vec![mac(9)], remove_macs: vec![own], ..NodeChange::default() };
    let refused = lab.changes(taken, exchange).await;
    assert!(matches!(refused, Err(Error::Port(PortRefusal::Address { .. }))), "{refused:?}");
    let free = lab.machine(3, State::Available).await;
    lab.updates(lab.macs(free)[0], moved(free)).await.unwrap();
}
