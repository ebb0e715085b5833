//! Ironic's other resources, and events of the mesh.

use domain::{
    id::{InstanceId, NodeId},
    provision::State,
    service::Service,
};
use keyspace::{
    key::{self, Scope},
    testing::Space,
    value::{Election, Journal, JournalEntry, Member, PortgroupSpec, VolumeTargetSpec, WebhookSpec},
};
use scheduler_core::resources::{delete_resource, update_resource};
use scheduler_testing::RACK;
use serde_json::json;
use service_kit::{clock, status};
use uuid::Uuid;

use crate::{
    lab::{Lab, internal, until},
    leaves::LEAF,
};

const fn id(number: u128) -> Uuid {
    Uuid::from_u128(3000 + number)
}

fn portgroup(name: &str) -> PortgroupSpec {
    PortgroupSpec { name: Some(name.to_owned()), ..PortgroupSpec::default() }
}

/// A volume of a node.
fn target(boot_index: i64) -> VolumeTargetSpec {
    let node_uuid = Some(NodeId::new(id(99)));
    VolumeTargetSpec { boot_index, node_uuid, ..VolumeTargetSpec::default() }
}

fn webhook(url: &str) -> WebhookSpec {
    WebhookSpec { name: "w".to_owned(), url: url.to_owned(), ..WebhookSpec::default() }
}

#[tokio::test(start_paused = true)]
async fn a_resource_is_found_by_its_id_and_by_its_name_until_it_is_deleted() {
    let lab = Lab::at_rest().await;
    let app = lab.app();
    app.create_resource(&internal(), id(1), portgroup("bond0")).await.unwrap();
    let stored = app.find_resource::<PortgroupSpec>("bond0").unwrap();
    assert_eq!((stored.id, stored.spec()), (id(1), &portgroup("bond0")));
    assert!(app.find_resource::<PortgroupSpec>(&id(1).to_string()).is_ok());
    let address = Some("52:54:00:00:00:01".to_owned());
    update_resource(&internal(), app, &stored, PortgroupSpec { address, ..portgroup("bond1") }).await.unwrap();
    assert!(app.find_resource::<PortgroupSpec>("bond0").is_err());
    let stored = app.find_resource::<PortgroupSpec>("bond1").unwrap();
    delete_resource(&internal(), app, &stored).await.unwrap();
    let gone = app.find_resource::<PortgroupSpec>("bond1").unwrap_err();
    assert!(gone.to_string().contains("bond1"), "{gone}");
    // Another one may have all that it had.
    let address = Some("52:54:00:00:00:01".to_owned());
    app.create_resource(&internal(), id(2), PortgroupSpec { address, ..portgroup("bond1") }).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_only_one_resource_may_have_is_refused_to_a_second_one() {
    let lab = Lab::at_rest().await;
    let app = lab.app();
    app.create_resource(&internal(), id(1), target(0)).await.unwrap();
    app.create_resource(&internal(), id(2), target(1)).await.unwrap();
    let refused = app.create_resource(&internal(), id(3), target(0)).await.unwrap_err();
    assert!(refused.to_string().contains("the boot index 0"), "{refused}");
    let before = app.resource::<VolumeTargetSpec>(id(2)).unwrap();
    let refused = update_resource(&internal(), app, &before, target(0)).await.unwrap_err();
    assert!(refused.to_string().contains("the boot index 0"), "{refused}");
    assert_eq!(app.resources::<VolumeTargetSpec>().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_secret_of_a_resource_is_sealed_in_the_store() {
    let lab = Lab::at_rest().await;
    let mut with_secret = target(0);
    with_secret.properties.set_text("auth_password", "s3cret");
    lab.app().create_resource(&internal(), id(1), with_secret).await.unwrap();
    let everything = lab.world.etcd.pairs();
    assert!(everything.iter().all(|pair| !String::from_utf8_lossy(&pair.value).contains("s3cret")));
}

#[tokio::test(start_paused = true)]
async fn a_change_of_a_resource_that_was_changed_meanwhile_is_refused() {
    let lab = Lab::at_rest().await;
    let app = lab.app();
    app.create_resource(&internal(), id(1), webhook("http://w")).await.unwrap();
    let before = app.find_resource::<WebhookSpec>("w").unwrap();
    update_resource(&internal(), app, &before, webhook("http://v")).await.unwrap();
    assert!(update_resource(&internal(), app, &before, webhook("http://late")).await.unwrap_err().is_conflict());
    let now = app.find_resource::<WebhookSpec>("w").unwrap();
    assert_eq!(now.spec().url, "http://v");
    delete_resource(&internal(), app, &now).await.unwrap();
    assert!(delete_resource(&internal(), app, &now).await.unwrap_err().is_conflict());
}

#[tokio::test(start_paused = true)]
async fn a_store_without_space_refuses_changes_and_says_so() {
    let lab = Lab::at_rest().await;
    let node = lab.fake(1, State::Manageable).await;
    lab.world.etcd.set_space(Space::Exhausted);
    let refused = lab.ask(node, domain::provision::Verb::Provide).await.unwrap_err();
    let text = status::chain(&refused);
    assert!(text.to_lowercase().contains("space"), "{text}");
    assert_eq!(lab.state(node), "manageable");
}

#[tokio::test(start_paused = true)]
async fn a_leaf_that_joins_leads_stops_and_is_lost_is_told() {
    let lab = Lab::up().await;
    let instance = InstanceId::new(Uuid::from_u128(88));
    let path = key::member(Scope::Rack(RACK), Service::Pxe, instance);
    let member = Member { endpoint: "10.0.0.8:7000".to_owned(), weight: 1, since: clock::now(), ..Member::default() };
    let told = async |kind: &'static str, many: usize| {
        until(kind, String::new, || {
            lab.events(kind).iter().filter(|text| text.contains("10.0.0.8:7000")).count() >= many
        })
        .await;
    };
    lab.world.write(&path, &member).unwrap();
    told("JOINED", 1).await;
    lab.world.write(&key::election(Scope::Rack(RACK), Service::Pxe), &Election { instance }).unwrap();
    told("LEADER", 1).await;
    lab.world.write(&path, &Member { stopping: true, ..member.clone() }).unwrap();
    told("STOPPING", 1).await;
    lab.world.etcd.delete(path.path());
    told("LEFT", 1).await;
    lab.world.write(&path, &member).unwrap();
    told("JOINED", 2).await;
    lab.world.etcd.delete(path.path());
    told("LOST", 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_command_that_has_no_outcome_long_after_its_deadline_is_told_once() {
    let lab = Lab::up().await;
    let node = lab.machine(1, State::Active).await;
    let entry = JournalEntry {
        version: Default::default(),
        token: Default::default(),
        session: 1,
        command: "chassis power off".to_owned(),
        at: domain::time::Timestamp::from_millis(1),
        outcome: None,
    };
    let journal = Journal { entry: Some(entry), ..Journal::default() };
    lab.world.write(&key::journal(Scope::Rack(RACK), Service::Power, node), &journal).unwrap();
    until("the event", String::new, || !lab.events("LOCK_OVERDUE").is_empty()).await;
    let told = lab.events("LOCK_OVERDUE");
    assert!(told[0].contains("chassis power off") && told[0].contains("ironmesh lock break"), "{told:?}");
    assert_eq!(lab.shows(node, "conductor"), json!(lab.endpoint));
    assert!(lab.app().registry.view().has(&key::member(Scope::Rack(RACK), Service::Power, LEAF)));
}
