//! Races: a decision is stored only if the records that it depends on are unchanged.

use std::time::Duration;

use domain::{
    id::NodeId,
    provision::{State, Verb},
};
use keyspace::{
    Expect, key,
    testing::{CallKind, Delivery, MemoryEtcd},
    value::{NodeSpec, Stamped, set_config_drive},
};
use scheduler_core::provision::{Provision, SpecChange};
use scheduler_testing::RACK;
use serde_json::json;

use crate::lab::{Lab, internal};

/// Another replica changes what is specified of a node.
fn rewrite(etcd: &MemoryEtcd, node: NodeId, change: impl FnOnce(&mut NodeSpec)) {
    let key = key::node_spec(RACK, node);
    let mut record: Stamped<NodeSpec> =
        etcd.pair(key.path()).map(|pair| pair.read().unwrap().value).unwrap_or_default();
    change(&mut record.spec);
    etcd.put(key.path(), &serde_json::to_vec(&record).unwrap()).unwrap();
}

impl Lab {
    /// Carries this out once, after the scheduler has decided about its next write and before the store has it.
    fn before_the_next_write(&self, act: impl FnOnce(&MemoryEtcd) + Send + 'static) {
        let (etcd, mut act) = (self.world.etcd.clone(), Some(act));
        self.world.client.set_plan(move |call| {
            if call.kind == CallKind::Write
                && call.path.contains("/node/")
                && let Some(act) = act.take()
            {
                act(&etcd);
            }
            Delivery::PROMPT
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_protected_while_an_undeploy_is_decided_is_not_undeployed() {
    let lab = Lab::at_rest().await;
    let node = lab.machine_with(1, State::Active, json!({"protected": false})).await;
    lab.before_the_next_write(move |etcd| rewrite(etcd, node, |spec| spec.protected = true));
    let refused = lab.ask(node, Verb::Undeploy).await.unwrap_err();
    assert!(refused.is_conflict(), "{refused:?}");
    lab.sees_everything().await;
    assert_eq!((lab.state(node), lab.shows(node, "protected")), ("active".to_owned(), json!(true)));
    // Asked again, it is refused for the reason.
    assert!(lab.refusal(node, Verb::Undeploy).await.contains("protected"));
}

#[tokio::test(start_paused = true)]
async fn a_node_without_fields_that_is_protected_while_an_undeploy_is_decided_is_not_undeployed() {
    let lab = Lab::at_rest().await;
    let node = lab.machine(1, State::Active).await;
    lab.world.etcd.delete(key::node_spec(RACK, node).path());
    lab.sees_everything().await;
    lab.before_the_next_write(move |etcd| rewrite(etcd, node, |spec| spec.protected = true));
    assert!(lab.ask(node, Verb::Undeploy).await.unwrap_err().is_conflict());
    lab.sees_everything().await;
    assert_eq!(lab.state(node), "active");
}

#[tokio::test(start_paused = true)]
async fn a_config_drive_does_not_overwrite_fields_that_changed_since_it_was_put_among_them() {
    let lab = Lab::at_rest().await;
    let node = lab.machine_with(1, State::Available, json!({"extra": {}})).await;
    let held = lab.app().registry.held(node).unwrap();
    let mut after = held.spec.as_ref().unwrap().value.clone();
    set_config_drive(after.spec.instance_info.get_or_insert_default(), json!("…"));
    // The client's change was made of fields that are older than the decision's.
    rewrite(&lab.world.etcd, node, |spec| spec.extra.set_text("owner", "me"));
    lab.sees_everything().await;
    let spec = Some(SpecChange { before: Expect::same(held.spec.as_ref()), after });
    let request = Provision { spec, ..Provision::default() };
    let refused = lab.app().registry.accept(&internal(), &lab.record(node), Verb::Deploy, request).await.unwrap_err();
    assert!(refused.is_conflict(), "{refused:?}");
    assert_eq!((lab.state(node), lab.shows(node, "extra")), ("available".to_owned(), json!({"owner": "me"})));
}

#[tokio::test(start_paused = true)]
async fn of_two_requests_that_are_decided_at_once_one_is_carried_out() {
    let lab = Lab::at_rest().await;
    let node = lab.machine(1, State::Available).await;
    let (deploy, manage) = tokio::join!(lab.ask(node, Verb::Deploy), lab.ask(node, Verb::Manage));
    let refused: Vec<_> = [deploy, manage].into_iter().filter_map(Result::err).collect();
    let [refused] = refused.as_slice() else { panic!("{refused:?}") };
    assert!(refused.is_conflict() || refused.to_string().contains("cannot"), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_power_order_is_refused_where_an_operation_began_meanwhile() {
    let lab = Lab::at_rest().await;
    let node = lab.machine(1, State::Available).await;
    let before = lab.record(node);
    lab.ask(node, Verb::Deploy).await.unwrap();
    let refused =
        lab.app().registry.accept_power(&internal(), &before, domain::power::PowerTarget::Off).await.unwrap_err();
    assert!(refused.is_conflict(), "{refused:?}");
    assert_eq!(lab.record(node).intent.value.power, None);
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_answer_is_lost_is_carried_out_and_seen() {
    let lab = Lab::at_rest().await;
    let node = lab.machine(1, State::Manageable).await;
    let mut is_lost = false;
    lab.world.client.set_plan(move |call| {
        let loses =
            call.kind == CallKind::Write && call.path.contains("/node/") && !std::mem::replace(&mut is_lost, true);
        if loses { Delivery::UNANSWERED } else { Delivery::PROMPT }
    });
    let asked = tokio::time::timeout(Duration::from_secs(60), lab.ask(node, Verb::Provide)).await;
    assert!(!matches!(asked, Ok(Ok(()))), "{asked:?}");
    lab.sees_everything().await;
    assert_eq!(lab.state(node), "available");
}
