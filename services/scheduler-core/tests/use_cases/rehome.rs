//! A node goes to another rack, with everything that is kept of it.

use std::net::Ipv4Addr;

use domain::{
    id::{NodeId, RackId},
    power::{Power, PowerTarget},
    provision::{Stage, State, Verb},
    service::Service,
};
use keyspace::{
    key::{self, Scope},
    store::Versioned,
    value::{Claim, Holder, Journal, Network, Rack},
};
use scheduler_core::Error;
use scheduler_testing::RACK;
use serde_json::json;
use service_kit::{clock, status};
use uuid::Uuid;

use crate::{
    lab::{Lab, internal},
    leaves::LEAF,
};

const OTHER: RackId = RackId::new(Uuid::from_u128(50));

impl Lab {
    /// A second rack, whose network has this many addresses.
    async fn other_rack(&self, addresses: u8) -> Versioned<Rack> {
        let network = Network {
            subnet: "10.2.0.0/24".parse().unwrap(),
            first: Ipv4Addr::new(10, 2, 0, 10),
            last: Ipv4Addr::new(10, 2, 0, 9 + addresses),
            router: None,
            name_servers: Vec::new(),
            server_identifier: Ipv4Addr::new(10, 2, 0, 1),
        };
        let rack = Rack { id: OTHER, name: "b".to_owned(), network: Some(network), ..self.rack() };
        let holder = Holder { kind: "rack".to_owned(), id: OTHER.uuid(), name: "b".to_owned() };
        self.world.write(&key::rack_name("b"), &holder).unwrap();
        self.world.write(&key::rack(OTHER), &rack).unwrap();
        self.sees_everything().await;
        self.app().registry.rack_named("b").unwrap()
    }

    fn rack(&self) -> Rack {
        self.app().registry.rack(RACK).unwrap().value
    }

    async fn moves(&self, node: NodeId, to: &Versioned<Rack>) -> Result<(), Error> {
        let held = self.app().registry.held(node).unwrap();
        let spec = held.spec.as_ref().map(|read| read.value.clone());
        self.app().registry.move_with(&internal(), &held, to, &held.intent.value, spec.as_ref()).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_goes_to_another_rack_with_its_fields_and_gets_an_address_of_that_rack() {
    let lab = Lab::at_rest().await;
    let to = lab.other_rack(3).await;
    let node = lab.machine_with(9, State::Available, json!({"resource_class": "big"})).await;
    lab.leaves.power(node, Power::Off, None);
    lab.leaves.reports(node, lab.record(node).life.value.generation, Default::default());
    lab.sees_everything().await;
    let before = lab.record(node);
    lab.moves(node, &to).await.unwrap();
    assert_eq!(lab.app().registry.rack_of(node), Some(OTHER));
    assert_eq!((lab.shows(node, "conductor_group"), lab.shows(node, "resource_class")), (json!("b"), json!("big")));
    assert_eq!(lab.shows(node, "power_state"), json!("power off"));
    let after = lab.record(node);
    assert_eq!(after.rack, OTHER);
    assert!(after.inventory.is_some());
    let addresses: Vec<_> = after.ports.iter().filter_map(|(_, port)| port.value.address).collect();
    assert_eq!(addresses, [Ipv4Addr::new(10, 2, 0, 10)]);
    // What leaves of the old rack still write is of an older generation, and none of it is left there.
    assert_eq!(after.life.value.generation, before.life.value.generation.next());
    let left = lab
        .world
        .etcd
        .pairs()
        .into_iter()
        .filter(|pair| pair.path.contains(&node.to_string()) && pair.path.contains(&RACK.to_string()));
    assert_eq!(left.map(|pair| pair.path).collect::<Vec<_>>(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn the_journals_of_a_bmc_go_along_and_the_claims_of_its_old_owners_do_not() {
    let lab = Lab::at_rest().await;
    let to = lab.other_rack(3).await;
    let node = lab.machine(1, State::Available).await;
    let claim = Claim { instance: LEAF, since: clock::now(), after: None, broken: None };
    lab.world.write(&key::claim(Scope::Rack(RACK), Service::Power, node), &claim).unwrap();
    lab.world.write(&key::journal(Scope::Rack(RACK), Service::Power, node), &Journal::default()).unwrap();
    lab.sees_everything().await;
    lab.moves(node, &to).await.unwrap();
    let view = lab.app().registry.view();
    assert!(!view.has(&key::claim(Scope::Rack(RACK), Service::Power, node)));
    assert!(!view.has(&key::journal(Scope::Rack(RACK), Service::Power, node)));
    assert!(view.has(&key::journal(Scope::Rack(OTHER), Service::Power, node)));
}

#[tokio::test(start_paused = true)]
async fn a_node_stays_where_it_is_while_something_is_done_to_it() {
    let lab = Lab::at_rest().await;
    let to = lab.other_rack(3).await;
    let busy = lab.machine(1, State::Deploying { stage: Stage::Work }).await;
    let refused = status::chain(&lab.moves(busy, &to).await.unwrap_err());
    assert!(refused.contains("n1") && refused.contains("deploying"), "{refused}");
    let ordered = lab.machine(2, State::Active).await;
    lab.app().registry.accept_power(&internal(), &lab.record(ordered), PowerTarget::Off).await.unwrap();
    assert!(matches!(lab.moves(ordered, &to).await, Err(Error::Busy { .. })));
    assert_eq!(lab.app().registry.rack_of(ordered), Some(RACK));
}

#[tokio::test(start_paused = true)]
async fn a_rack_without_a_free_address_takes_no_machine_that_boots_from_it() {
    let lab = Lab::at_rest().await;
    let to = lab.other_rack(1).await;
    let (first, second) = (lab.machine(1, State::Available).await, lab.machine(2, State::Available).await);
    lab.moves(first, &to).await.unwrap();
    let refused = status::chain(&lab.moves(second, &to).await.unwrap_err());
    assert!(refused.contains("no free address between 10.2.0.10 and 10.2.0.10"), "{refused}");
    assert_eq!(lab.app().registry.rack_of(second), Some(RACK));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_moved_can_be_used_in_its_new_rack() {
    let lab = Lab::at_rest().await;
    let to = lab.other_rack(3).await;
    let node = lab.fake(1, State::Available).await;
    lab.moves(node, &to).await.unwrap();
    lab.ask(node, Verb::Manage).await.unwrap();
    assert_eq!(lab.state(node), "manageable");
    assert_eq!(lab.app().registry.nodes(Some(RACK)), []);
    assert_eq!(lab.app().registry.nodes(Some(OTHER)), [(node, OTHER)]);
}
