//! Nodes are enrolled, changed and removed.

use std::net::Ipv4Addr;

use domain::{
    driver::Driver,
    id::NodeId,
    net::MacAddr,
    power::BootMode,
    provision::{Stage, State},
    secret::Secret,
};
use keyspace::{
    seal::Place,
    value::{Intent, Life, NodeSpec, Stamped},
};
use scheduler_core::{
    Error,
    nodes::delete_node,
    registry::{NewNode, NodeChange},
};
use scheduler_testing::RACK;
use serde_json::json;
use service_kit::{clock, status};

use crate::lab::{Lab, internal};

pub(crate) fn mac(last: u8) -> MacAddr {
    MacAddr::new([0x52, 0x54, 0, 2, 0, last])
}

pub(crate) fn machine(name: &str, last: u8) -> NewNode {
    NewNode {
        name: name.to_owned(),
        bmc: format!("10.9.0.{last}:623").parse().unwrap(),
        user: "root".to_owned(),
        password: Secret::new(b"calvin".to_vec()),
        boot_mode: BootMode::Uefi,
        macs: vec![mac(last)],
        wait_for_life_seconds: None,
        boot_files_by_tftp: false,
    }
}

impl Lab {
    pub(crate) async fn enrolls(&self, new: NewNode) -> Result<NodeId, Error> {
        let rack = self.app().registry.rack(RACK).unwrap();
        self.app().registry.create(&internal(), &rack, new).await
    }

    pub(crate) async fn changes(&self, node: NodeId, change: NodeChange) -> Result<(), Error> {
        self.app().registry.update(&internal(), &self.record(node), change, || Ok(())).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_is_enrolled_with_an_address_and_a_sealed_password() {
    let lab = Lab::at_rest().await;
    let node = lab.enrolls(machine("n1", 1)).await.unwrap();
    assert_eq!((lab.state(node).as_str(), lab.shows(node, "name")), ("enroll", json!("n1")));
    assert_eq!(lab.app().registry.find("n1").unwrap(), (RACK, node));
    let record = lab.record(node);
    assert_eq!(record.ports[0].1.value.address, Some(Ipv4Addr::new(10, 1, 0, 10)));
    let bmc = record.intent.value.bmc.unwrap();
    let password = lab.app().registry.sealer.open(&Place::bmc_password(RACK, node), &bmc.password);
    assert_eq!(password.unwrap().expose(), b"calvin");
    let everything = lab.world.etcd.pairs();
    assert!(everything.iter().all(|pair| !String::from_utf8_lossy(&pair.value).contains("calvin")));
    assert!(!lab.shows(node, "driver_info").to_string().contains("calvin"));
}

#[tokio::test(start_paused = true)]
async fn a_name_a_bmc_and_a_mac_are_one_nodes_and_its_holder_is_named() {
    let lab = Lab::at_rest().await;
    lab.enrolls(machine("n1", 1)).await.unwrap();
    for (other, taken) in [
        (machine("n1", 2), "the name n1 is taken by node n1"),
        (NewNode { bmc: machine("n1", 1).bmc, ..machine("n2", 2) }, "the BMC 10.9.0.1:623 is taken by node n1"),
        (NewNode { macs: vec![mac(1)], ..machine("n2", 2) }, "the MAC 52:54:00:02:00:01 is taken by node n1"),
    ] {
        assert_eq!(lab.enrolls(other).await.unwrap_err().to_string(), taken);
    }
    assert_eq!(lab.app().registry.nodes(None).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn machines_that_are_enrolled_at_once_get_addresses_of_their_own_until_there_are_none() {
    let lab = Lab::at_rest().await;
    lab.set_rack(|rack| {
        if let Some(network) = &mut rack.network {
            network.last = Ipv4Addr::new(10, 1, 0, 11);
        }
    })
    .await;
    let (first, second, third) =
        tokio::join!(lab.enrolls(machine("a", 1)), lab.enrolls(machine("b", 2)), lab.enrolls(machine("c", 3)));
    let outcomes = [first, second, third];
    let mut addresses: Vec<_> = lab.app().registry.ports().iter().filter_map(|port| port.port.value.address).collect();
    addresses.sort_unstable();
    assert_eq!(addresses, [Ipv4Addr::new(10, 1, 0, 10), Ipv4Addr::new(10, 1, 0, 11)]);
    let refused: Vec<_> = outcomes.into_iter().filter_map(Result::err).map(|error| status::chain(&error)).collect();
    assert!(matches!(refused.as_slice(), [text] if text.contains("ironmesh rack set")), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_is_changed_and_gives_up_what_it_had() {
    let lab = Lab::at_rest().await;
    let node = lab.enrolls(machine("n1", 1)).await.unwrap();
    // The stored password is not sent to another address.
    let moved = NodeChange { bmc: Some("10.9.0.7:623".parse().unwrap()), ..NodeChange::default() };
    let refused = status::chain(&lab.changes(node, moved).await.unwrap_err());
    assert!(refused.contains("bmc_password") && refused.contains("given for 10.9.0.1:623"), "{refused}");
    let change = NodeChange {
        name: Some("renamed".to_owned()),
        bmc: Some("10.9.0.7:623".parse().unwrap()),
        user: Some("admin".to_owned()),
        password: Some(Secret::new(b"new".to_vec())),
        boot_mode: Some(BootMode::Bios),
        add_macs: vec![mac(5)],
        remove_macs: vec![mac(1)],
        wait_for_life_seconds: Some(60),
        boot_files_by_tftp: Some(true),
        maintenance: Some((true, "a fan is broken".to_owned())),
    };
    lab.changes(node, change).await.unwrap();
    assert_eq!(lab.shows(node, "name"), json!("renamed"));
    assert_eq!(
        (lab.shows(node, "maintenance"), lab.shows(node, "maintenance_reason")),
        (json!(true), json!("a fan is broken"))
    );
    assert_eq!(lab.macs(node), [mac(5)]);
    let intent = lab.record(node).intent.value;
    assert_eq!(
        (intent.boot_mode, intent.wait_for_life_seconds, intent.boot_files_by_tftp),
        (BootMode::Bios, Some(60), true)
    );
    // Another machine may have all that it gave up.
    lab.enrolls(machine("n1", 1)).await.unwrap();
    lab.changes(
        node,
        NodeChange {
            wait_for_life_seconds: Some(0),
            maintenance: Some((false, String::new())),
            ..NodeChange::default()
        },
    )
    .await
    .unwrap();
    assert_eq!(lab.record(node).intent.value.wait_for_life_seconds, None);
    assert_eq!(lab.shows(node, "maintenance_reason"), json!(null));
}

#[tokio::test(start_paused = true)]
async fn the_bmc_and_the_macs_of_a_busy_node_stay() {
    let lab = Lab::at_rest().await;
    let node = lab.machine(1, State::Deploying { stage: Stage::Work }).await;
    let bmc = Some("10.9.0.7:623".parse().unwrap());
    let refused = status::chain(&lab.changes(node, NodeChange { bmc, ..NodeChange::default() }).await.unwrap_err());
    assert!(refused.contains("n1") && refused.contains("deploying"), "{refused}");
    let rest = lab.machine(2, State::Active).await;
    let strange = NodeChange { remove_macs: vec![mac(99)], ..NodeChange::default() };
    let missing = status::chain(&lab.changes(rest, strange).await.unwrap_err());
    assert!(missing.contains("52:54:00:02:00:63 of node n2"), "{missing}");
}

#[tokio::test(start_paused = true)]
async fn a_change_of_a_node_that_was_changed_meanwhile_is_refused() {
    let lab = Lab::at_rest().await;
    let node = lab.enrolls(machine("n1", 1)).await.unwrap();
    let before = lab.record(node);
    lab.changes(node, NodeChange { name: Some("first".to_owned()), ..NodeChange::default() }).await.unwrap();
    let late = NodeChange { name: Some("second".to_owned()), ..NodeChange::default() };
    assert!(lab.app().registry.update(&internal(), &before, late, || Ok(())).await.unwrap_err().is_conflict());
    assert_eq!(lab.shows(node, "name"), json!("first"));
}

#[tokio::test(start_paused = true)]
async fn a_removed_node_leaves_nothing_behind() {
    let lab = Lab::at_rest().await;
    let before: Vec<_> = lab.world.etcd.pairs().into_iter().map(|pair| pair.path).collect();
    let node = lab.enrolls(machine("n1", 1)).await.unwrap();
    let maintenance = Some((true, "to be removed".to_owned()));
    lab.changes(node, NodeChange { maintenance, ..NodeChange::default() }).await.unwrap();
    delete_node(&internal(), lab.app(), &lab.record(node)).await.unwrap();
    let after: Vec<_> = lab.world.etcd.pairs().into_iter().map(|pair| pair.path).collect();
    assert_eq!(after, before);
    assert_eq!(lab.state(node), "gone");
    let missing = lab.app().registry.named("n1").unwrap_err();
    assert_eq!(missing.to_string(), "there is no node \"n1\"; see: ironmesh node list");
}

#[tokio::test(start_paused = true)]
async fn a_node_in_use_or_with_an_instance_is_not_removed() {
    let lab = Lab::at_rest().await;
    let active = lab.machine(1, State::Active).await;
    let refused = delete_node(&internal(), lab.app(), &lab.record(active)).await.unwrap_err();
    assert!(status::chain(&refused).contains("cannot be deleted"), "{refused:?}");
    let taken = lab.machine_with(2, State::Available, json!({"instance_uuid": "i"})).await;
    let refused = delete_node(&internal(), lab.app(), &lab.record(taken)).await.unwrap_err();
    assert!(status::chain(&refused).contains("an instance is associated"), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_of_ironics_clients_keeps_its_instance_for_itself() {
    let lab = Lab::at_rest().await;
    let (rack, registry) = (lab.app().registry.rack(RACK).unwrap(), &lab.app().registry);
    let template = lab.fake(9, State::Enroll).await;
    let intent = lab.record(template).intent.value;
    let spec = |instance: &str| {
        let instance_uuid = Some(instance.to_owned());
        Stamped::created(NodeSpec { instance_uuid, ..NodeSpec::default() }, clock::now())
    };
    let create = async |number: u128, name: &str, instance: &str| {
        let node = NodeId::new(uuid::Uuid::from_u128(number));
        let intent = Intent { name: name.to_owned(), ..intent.clone() };
        registry
            .create_with(&internal(), &rack, node, &intent, &Life::newborn(clock::now()), &spec(instance))
            .await
            .map(|()| node)
    };
    let node = create(21, "a", "i").await.unwrap();
    assert_eq!(registry.instance_holder("i").map(|holder| holder.name), Some("a".to_owned()));
    assert!(create(22, "b", "i").await.unwrap_err().is_conflict());
    let held = registry.held(node).unwrap();
    registry.change_with(&internal(), &held, &held.intent.value, &spec("j")).await.unwrap();
    assert_eq!(registry.instance_holder("i"), None);
    assert_eq!(lab.shows(node, "instance_uuid"), json!("j"));
    create(22, "b", "i").await.unwrap();
    // A client that read it before gets a conflict, and sees the change soon after.
    assert!(registry.change_with(&internal(), &held, &held.intent.value, &spec("k")).await.unwrap_err().is_conflict());
    registry.seen_anew(&held).await;
    assert_ne!(registry.held(node).unwrap().spec.unwrap().revision, held.spec.unwrap().revision);
    assert_eq!(lab.record(node).intent.value.driver, Driver::FakeHardware);
}

#[tokio::test(start_paused = true)]
async fn a_failure_outside_an_operation_is_the_nodes_last_error() {
    let lab = Lab::at_rest().await;
    let node = lab.machine(1, State::Active).await;
    let (cause, text, at) = (domain::failure::Cause::BmcRefused, "no such boot device".to_owned(), clock::now());
    let held = lab.app().registry.held(node).unwrap();
    lab.app().registry.note_failure(&internal(), &held, domain::failure::Failure { cause, text, at }).await.unwrap();
    assert_eq!(lab.shows(node, "last_error"), json!("no such boot device"));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_named_with_the_command_that_lists_what_is() {
    let lab = Lab::at_rest().await;
    let registry = &lab.app().registry;
    assert!(registry.rack_named("zz").unwrap_err().to_string().contains("ironmesh rack list"));
    assert!(registry.image_named("zz").unwrap_err().to_string().contains("ironmesh image list"));
    let taken = registry.image_named("disk").unwrap().value;
    assert_eq!(
        registry.create_image(&internal(), &taken).await.unwrap_err().to_string(),
        "the name disk is taken by image disk"
    );
    assert_eq!(registry.rack_named("").unwrap().value.id, RACK);
}
