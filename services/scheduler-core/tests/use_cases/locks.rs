//! The claim under which a scheduler works on a node, and what an operator sees and does of it.

use domain::{
    id::NodeId,
    provision::{State, Verb},
    service::Service,
};
use keyspace::{key, key::Scope, store::Versioned, value::Claim};
use scheduler_core::{Error, work::seen::waiting};

use crate::{
    lab::{Lab, internal, until},
    leaves::Agent,
};

impl Lab {
    fn claim(&self, node: NodeId) -> Option<Versioned<Claim>> {
        self.app().registry.view().get(&key::claim(Scope::Datacenter, Service::Scheduler, node))
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_at_work_is_claimed_by_its_scheduler_and_says_what_it_waits_for() {
    let lab = Lab::up().await;
    lab.leaves.set(|script| script.agent = Agent::Mute);
    let node = lab.machine(1, State::Available).await;
    assert!(lab.claim(node).is_none(), "a node at rest has no claim");
    lab.ask(node, Verb::Deploy).await.unwrap();
    lab.comes_to(node, "wait call-back").await;
    until("the boot", || lab.state(node), || !lab.leaves.power_targets(node).is_empty()).await;
    assert_eq!(lab.claim(node).map(|claim| claim.value.instance), lab.app().registry.mesh.instance());
    let waits = waiting(lab.app(), &lab.record(node)).unwrap();
    assert_eq!(waits.thing.words(), "its agent to call");
    assert_eq!(waits.until, waits.since.plus(lab.app().limits.boot));
}

#[tokio::test(start_paused = true)]
async fn a_broken_lock_is_taken_again_with_a_newer_token_and_the_deploy_goes_on() {
    let lab = Lab::up().await;
    lab.leaves.set(|script| script.agent = Agent::Mute);
    let node = lab.machine(1, State::Available).await;
    lab.ask(node, Verb::Deploy).await.unwrap();
    lab.comes_to(node, "wait call-back").await;
    let before = lab.claim(node).unwrap();
    let token = u64::try_from(before.revision).unwrap();
    let wrong = lab.app().break_lock(&internal(), &lab.record(node), Service::Scheduler, token + 1).await;
    assert!(matches!(wrong, Err(Error::LockChanged { .. })), "{wrong:?}");
    lab.app().break_lock(&internal(), &lab.record(node), Service::Scheduler, token).await.unwrap();
    lab.leaves.finishes(node);
    lab.comes_to(node, "active").await;
    let after = lab.claim(node).unwrap();
    assert_eq!(after.value.broken, None);
    assert!(after.revision > before.revision, "{} after {}", after.revision, before.revision);
}

#[tokio::test(start_paused = true)]
async fn a_node_keeps_its_claim_from_one_operation_to_the_next() {
    let lab = Lab::up().await;
    let node = lab.machine(1, State::Available).await;
    lab.ask(node, Verb::Deploy).await.unwrap();
    lab.comes_to(node, "active").await;
    let before = lab.claim(node).unwrap();
    lab.ask(node, Verb::Undeploy).await.unwrap();
    lab.comes_to(node, "available").await;
    assert_eq!(lab.claim(node).map(|claim| claim.revision), Some(before.revision));
}
