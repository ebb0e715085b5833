//! A node is found for a client that wants one.

use std::{collections::BTreeMap, time::Duration};

use domain::{
    id::NodeId,
    power::Power,
    provision::{State, Verb},
    time::Timestamp,
};
use keyspace::{
    key,
    value::{AllocationSpec, AntiAffinity, Placement, PlacementOrder, Stamped},
};
use scheduler_core::{Error, RequestContext, request_id::RequestId};
use serde_json::{Value, json};
use service_kit::{clock, status};
use uuid::Uuid;

use crate::lab::{Lab, internal, until};

const fn id(number: u128) -> Uuid {
    Uuid::from_u128(1000 + number)
}

fn wish(class: &str) -> AllocationSpec {
    AllocationSpec { resource_class: Some(class.to_owned()), ..AllocationSpec::default() }
}

/// Waits in the queue for an hour.
fn queued(wish: AllocationSpec) -> AllocationSpec {
    let queue_until = Some(clock::now().plus(Duration::from_secs(3600)));
    AllocationSpec { placement: Placement { queue_until, ..wish.placement.clone() }, ..wish }
}

impl Lab {
    /// A node that may be allocated.
    async fn free(&self, number: u128, fields: Value) -> NodeId {
        let mut all = json!({"resource_class": "big"});
        all.as_object_mut().unwrap().extend(fields.as_object().cloned().unwrap());
        let node = self.machine_with(number, State::Available, all).await;
        self.leaves.power(node, Power::Off, None);
        self.sees_everything().await;
        node
    }

    async fn allocates(&self, number: u128, wish: &AllocationSpec) -> Value {
        self.app().allocate(&internal(), id(number), wish.clone()).await.unwrap();
        self.allocation(number, "state")
    }

    /// A field of an allocation, as Ironic's API shows it.
    fn allocation(&self, number: u128, field: &str) -> Value {
        let read = self.app().resource::<AllocationSpec>(id(number));
        let spec = read.map(|read| serde_json::to_value(read.spec()).unwrap());
        spec.and_then(|spec| spec.get(field).cloned()).unwrap_or_default()
    }

    async fn becomes(&self, number: u128, state: &str) {
        let last = || self.allocation(number, "state").to_string();
        until(state, last, || self.allocation(number, "state") == json!(state)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_allocation_with_a_request_id_gets_its_node_at_once() {
    let lab = Lab::at_rest().await;
    let node = lab.free(1, json!({})).await;
    let context = RequestContext::with_id(RequestId::by_name(id(1), &id(2)));
    lab.app().allocate(&context, id(1), wish("big")).await.unwrap();
    assert_eq!(lab.allocation(1, "node_uuid"), json!(node.to_string()));
}

#[tokio::test(start_paused = true)]
async fn an_allocation_gets_a_node_of_its_class_with_its_traits_which_is_then_taken() {
    let lab = Lab::at_rest().await;
    lab.free(1, json!({"resource_class": "small"})).await;
    lab.free(2, json!({})).await;
    let fit = lab.free(3, json!({"traits": ["CUSTOM_GPU"]})).await;
    let wanted = AllocationSpec { traits: vec!["CUSTOM_GPU".to_owned()], ..wish("big") };
    assert_eq!(lab.allocates(1, &wanted).await, json!("active"));
    assert_eq!(lab.allocation(1, "node_uuid"), json!(fit.to_string()));
    assert_eq!(lab.shows(fit, "instance_uuid"), json!(id(1).to_string()));
    assert_eq!(lab.shows(fit, "instance_info"), json!({"traits": ["CUSTOM_GPU"]}));
    let none = lab.allocates(2, &wanted).await;
    assert_eq!(none, json!("error"));
    let why = lab.allocation(2, "last_error").as_str().unwrap().to_owned();
    assert!(why.contains("no suitable nodes have the requested traits CUSTOM_GPU"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_node_of_unknown_power_or_in_maintenance_is_not_allocated() {
    let lab = Lab::at_rest().await;
    lab.machine_with(1, State::Available, json!({"resource_class": "big"})).await;
    lab.free(2, json!({"maintenance": true})).await;
    assert_eq!(lab.allocates(1, &wish("big")).await, json!("error"));
    let wanted = wish("big");
    let surroundings = lab.app().surroundings(id(9), &wanted, &[]);
    let nodes = lab.app().node_cache.all();
    let whys: Vec<String> = surroundings
        .check_nodes(&wanted, &nodes)
        .map(|(_, why)| why.map(|why| why.to_string()).unwrap_or_default())
        .collect();
    assert_eq!(whys, ["its power is unknown: its BMC has not answered yet", "it is in maintenance"]);
}

#[tokio::test(start_paused = true)]
async fn nodes_of_a_group_are_kept_apart_by_their_power_domain() {
    let lab = Lab::at_rest().await;
    for (number, domain) in [(1, "p1"), (2, "p1"), (3, "p2")] {
        lab.free(number, json!({"properties": {"power_domain": domain}})).await;
    }
    let placement =
        Placement { group: "db".to_owned(), anti_affinity: AntiAffinity::PowerDomain, ..Placement::default() };
    let wanted = AllocationSpec { placement, ..wish("big") };
    assert_eq!(lab.allocates(1, &wanted).await, json!("active"));
    assert_eq!(lab.allocates(2, &wanted).await, json!("active"));
    let domain = |number| {
        let node = lab.allocation(number, "node_uuid").as_str().unwrap().parse().unwrap();
        lab.shows(node, "properties")["power_domain"].clone()
    };
    assert_ne!(domain(1), domain(2));
    assert_eq!(lab.allocates(3, &wanted).await, json!("error"));
    assert!(lab.allocation(3, "last_error").as_str().unwrap().contains("apart from those of the group db"));
}

#[tokio::test(start_paused = true)]
async fn allocations_are_found_by_capabilities_owner_candidates_and_name() {
    let lab = Lab::at_rest().await;
    let uefi = lab.free(1, json!({"properties": {"capabilities": "boot_mode:uefi"}})).await;
    let owned = lab.free(2, json!({"owner": "me"})).await;
    let named = lab.free(3, json!({})).await;
    let capabilities = BTreeMap::from([("boot_mode".to_owned(), "uefi".to_owned())]);
    let by_capability = AllocationSpec { placement: Placement { capabilities, ..Placement::default() }, ..wish("big") };
    let by_owner = AllocationSpec { owner: Some("me".to_owned()), ..wish("big") };
    let by_candidate = AllocationSpec { candidate_nodes: vec![named], ..wish("big") };
    for (number, (wanted, node)) in
        [(by_capability, uefi), (by_owner, owned), (by_candidate, named)].into_iter().enumerate()
    {
        let number = u128::try_from(number).unwrap();
        assert_eq!(lab.allocates(number, &wanted).await, json!("active"));
        assert_eq!(lab.allocation(number, "node_uuid"), json!(node.to_string()));
    }
}

#[tokio::test(start_paused = true)]
async fn an_allocation_in_the_queue_is_given_a_node_that_becomes_free_the_oldest_first() {
    let lab = Lab::up().await;
    assert_eq!(lab.allocates(1, &queued(wish("big"))).await, json!("allocating"));
    assert_eq!(lab.allocates(2, &queued(wish("big"))).await, json!("allocating"));
    let waiting: Vec<_> = lab.app().waiting_allocations().into_iter().map(|(id, _)| id).collect();
    assert_eq!(waiting, [id(1), id(2)]);
    let first = lab.free(1, json!({})).await;
    lab.becomes(1, "active").await;
    assert_eq!(lab.allocation(1, "node_uuid"), json!(first.to_string()));
    assert_eq!(lab.allocation(2, "state"), json!("allocating"));
    lab.free(2, json!({})).await;
    lab.becomes(2, "active").await;
}

#[tokio::test(start_paused = true)]
async fn an_allocation_that_its_scheduler_left_over_is_taken_up_by_the_leader() {
    let lab = Lab::up().await;
    let node = lab.free(1, json!({})).await;
    let record = Stamped::created(wish("big"), Timestamp::from_millis(1));
    lab.world.write(&key::allocation(id(1)), &record).unwrap();
    lab.becomes(1, "active").await;
    assert_eq!(lab.shows(node, "allocation_uuid"), json!(id(1).to_string()));
}

#[tokio::test(start_paused = true)]
async fn a_group_is_packed_into_one_rack_or_spread_and_its_last_one_frees_its_name() {
    let lab = Lab::at_rest().await;
    for number in 1..=2 {
        lab.free(number, json!({})).await;
    }
    for (number, order) in [(1, PlacementOrder::Pack), (2, PlacementOrder::Spread)] {
        let placement = Placement { group: "web".to_owned(), order, ..Placement::default() };
        assert_eq!(lab.allocates(number, &AllocationSpec { placement, ..wish("big") }).await, json!("active"));
    }
    let group = key::name("allocation-group", "web");
    for number in 1..=2 {
        assert!(lab.app().registry.view().has(&group));
        let stored = lab.app().resource::<AllocationSpec>(id(number)).unwrap();
        lab.app().release(&internal(), &stored).await.unwrap();
    }
    assert!(!lab.app().registry.view().has(&group));
    assert_eq!(lab.app().resources::<AllocationSpec>().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_name_is_one_allocations() {
    let lab = Lab::at_rest().await;
    lab.free(1, json!({})).await;
    let named = AllocationSpec { name: Some("mine".to_owned()), ..wish("big") };
    lab.app().allocate(&internal(), id(1), named.clone()).await.unwrap();
    let taken = status::chain(&lab.app().allocate(&internal(), id(2), named.clone()).await.unwrap_err());
    assert!(taken.contains("the name mine is taken by another allocation"), "{taken}");
}

#[tokio::test(start_paused = true)]
async fn an_allocation_is_given_up_with_its_name_and_its_node_is_free_again() {
    let lab = Lab::at_rest().await;
    let node = lab.free(1, json!({})).await;
    let named = AllocationSpec { name: Some("mine".to_owned()), traits: Vec::new(), ..wish("big") };
    lab.app().allocate(&internal(), id(1), named.clone()).await.unwrap();
    let stored = lab.app().resource::<AllocationSpec>(id(1)).unwrap();
    lab.app().release(&internal(), &stored).await.unwrap();
    assert_eq!(lab.shows(node, "instance_uuid"), json!(null));
    assert_eq!(lab.allocates(2, &named).await, json!("active"));
}

#[tokio::test(start_paused = true)]
async fn an_allocation_of_an_active_node_is_kept_and_ends_with_the_undeploy() {
    let lab = Lab::up().await;
    let node = lab.free(1, json!({"automated_clean": false})).await;
    assert_eq!(lab.allocates(1, &wish("big")).await, json!("active"));
    lab.ask(node, Verb::Deploy).await.unwrap();
    lab.comes_to(node, "active").await;
    let stored = lab.app().resource::<AllocationSpec>(id(1)).unwrap();
    let kept = lab.app().release(&internal(), &stored).await.unwrap_err();
    assert!(matches!(kept, Error::InUse(_)) && kept.to_string().contains("is active"), "{kept}");
    lab.ask(node, Verb::Undeploy).await.unwrap();
    lab.comes_to(node, "available").await;
    assert_eq!(lab.app().resources::<AllocationSpec>().len(), 0);
    assert_eq!(lab.shows(node, "instance_uuid"), json!(null));
}

#[tokio::test(start_paused = true)]
async fn two_allocations_at_once_get_two_nodes() {
    let lab = Lab::at_rest().await;
    lab.free(1, json!({})).await;
    lab.free(2, json!({})).await;
    let wanted = wish("big");
    let (first, second) = tokio::join!(lab.allocates(1, &wanted), lab.allocates(2, &wanted));
    assert_eq!((first, second), (json!("active"), json!("active")));
    assert_ne!(lab.allocation(1, "node_uuid"), lab.allocation(2, "node_uuid"));
}
