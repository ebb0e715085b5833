//! Nodes without a machine (`fake-hardware`) whose interfaces need an agent: a stand-in does its work.

use domain::{
    driver::Driver,
    id::NodeId,
    power::BootDevice,
    provision::{Event, NodeFacts, Stage, State, Verb},
    service::Service,
    step::Step,
};
use keyspace::{
    key,
    value::{AgentSeen, AgentWork, NodeSpec, Protocol, Stamped, Work},
};
use scheduler_testing::{RACK, TestNode};
use serde_json::{Value, json};

use crate::{
    lab::{Lab, step, until},
    leaves::{Agent, Asked},
};

/// A node without a machine whose interfaces need an agent, in a state.
async fn node(lab: &Lab, number: u128, state: State) -> NodeId {
    let fields = json!({"deploy_interface": "direct", "inspect_interface": "agent", "automated_clean": true});
    lab.put(&TestNode { spec: serde_json::from_value(fields).unwrap(), ..TestNode::new(number, state) }).await
}

/// Chooses another deploy interface, past every rule.
async fn choose(lab: &Lab, node: NodeId, deploy_interface: &str) {
    let spec: NodeSpec = serde_json::from_value(json!({"deploy_interface": deploy_interface})).unwrap();
    let stored = Stamped { spec, ..lab.app().registry.held(node).and_then(|held| held.spec).unwrap().value };
    let revision = lab.world.write(&key::node_spec(RACK, node), &stored).unwrap();
    lab.world.sees(revision).await.unwrap();
}

fn by_stand_in(lab: &Lab, node: NodeId) -> bool {
    lab.record(node).operation.unwrap().value.by_stand_in
}

#[tokio::test(start_paused = true)]
async fn a_stand_in_goes_through_the_life_of_a_node_that_boots_nothing() {
    let lab = Lab::up().await;
    lab.leaves.leave(Service::Pxe);
    let node = node(&lab, 1, State::Manageable).await;
    for (verb, waits, works, state) in [
        (Verb::Inspect, "inspect wait", Work::Inspect, "manageable"),
        (Verb::Provide, "clean wait", Work::Wipe, "available"),
        (Verb::Deploy, "wait call-back", Work::Wipe, "active"),
        (Verb::Undeploy, "clean wait", Work::Wipe, "available"),
    ] {
        lab.leaves.set(|script| script.agent = Agent::Mute);
        lab.ask(node, verb).await.unwrap();
        lab.comes_to(node, waits).await;
        let decision = lab.leaves.boot_decision(node).unwrap();
        assert_eq!((decision.protocol, decision.boot_files().count()), (Protocol::StandIn, 0), "{verb}");
        match decision.work {
            Work::Write { name, .. } => assert_eq!((verb, name.as_str()), (Verb::Deploy, "disk")),
            work @ (Work::Wipe | Work::Inspect | Work::Service) => assert_eq!(work, works, "{verb}"),
        }
        assert!(by_stand_in(&lab, node), "{verb}");
        if verb == Verb::Inspect {
            lab.leaves.reports(node, decision.generation, domain::hardware::Hardware::default());
        }
        lab.leaves.finishes(node);
        lab.comes_to(node, state).await;
    }
    let asked = lab.leaves.asked(node);
    assert!(!asked.contains(&Asked::Boot), "{asked:?}");
    assert!(asked.iter().any(|asked| matches!(asked, Asked::Power(target) if target.boot().is_some())), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stand_in_that_needs_no_image_needs_no_storage_service() {
    let lab = Lab::up().await;
    lab.leaves.leave(Service::Storage);
    lab.leaves.set(|script| script.agent = Agent::Mute);
    let node = node(&lab, 1, State::Manageable).await;
    for (verb, waits, state) in
        [(Verb::Inspect, "inspect wait", "manageable"), (Verb::Provide, "clean wait", "available")]
    {
        lab.ask(node, verb).await.unwrap();
        lab.comes_to(node, waits).await;
        let generation = lab.leaves.boot_decision(node).unwrap().generation;
        if verb == Verb::Inspect {
            lab.leaves.reports(node, generation, domain::hardware::Hardware::default());
        }
        lab.leaves.finishes(node);
        lab.comes_to(node, state).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_rebooting_step_after_simulated_ones_is_not_executed_again() {
    let lab = Lab::up().await;
    lab.leaves.set(|script| script.agent = Agent::Mute);
    let node = node(&lab, 1, State::Manageable).await;
    let steps = [
        step("deploy", "erase_devices"),
        step("raid", "delete_configuration"),
        step("deploy", "erase_devices_metadata"),
    ];
    lab.ask_with(node, Verb::Clean, "", &steps).await.unwrap();
    lab.comes_to(node, "clean wait").await;
    let mut record = lab.record(node);
    let generation = record.life.value.generation;
    lab.leaves.agent(node, generation, AgentWork::Underway);
    // The agent's second step is the third one of the operation.
    let seen = |reaches| AgentSeen { reaches, reboots: true, ..lab.record(node).agent.unwrap() };
    until("the agent", || "none".to_owned(), || lab.record(node).agent.is_some()).await;
    record = lab.record(node);
    record.life.value.state = State::Cleaning { stage: Stage::Work, manual: true };
    for (reaches, made) in [(1, 1), (2, 3)] {
        record.agent = Some(seen(reaches));
        let moved = lab.app().registry.moved(&record, (Event::Made, NodeFacts::default()), None).unwrap();
        assert_eq!(moved.operation.unwrap().made, made, "{reaches}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_stand_in_of_an_inspection_leaves_the_other_work_simulated() {
    let lab = Lab::up().await;
    lab.leaves.set(|script| script.agent = Agent::Mute);
    let spec = serde_json::from_value(json!({"inspect_interface": "agent"})).unwrap();
    let node = lab.put(&TestNode { spec, ..TestNode::new(1, State::Available) }).await;
    lab.ask(node, Verb::Deploy).await.unwrap();
    lab.comes_to(node, "active").await;
    assert!(!by_stand_in(&lab, node));
    assert_eq!(lab.leaves.boot_decision(node), None);
}

#[tokio::test(start_paused = true)]
async fn an_interface_that_is_changed_meanwhile_does_not_change_who_does_the_work() {
    let lab = Lab::up().await;
    lab.leaves.set(|script| script.agent = Agent::Mute);
    let begun = node(&lab, 1, State::Available).await;
    lab.ask(begun, Verb::Deploy).await.unwrap();
    lab.comes_to(begun, "wait call-back").await;
    choose(&lab, begun, "fake").await;
    let generation = lab.leaves.boot_decision(begun).unwrap().generation;
    lab.leaves.agent(begun, generation, AgentWork::Underway);
    lab.comes_to(begun, "deploying").await;
    assert!(by_stand_in(&lab, begun));
    lab.leaves.finishes(begun);
    lab.comes_to(begun, "active").await;
    // The other way round.
    let simulated = lab.fake(2, State::Manageable).await;
    let steps = ["erase_devices", "hold", "erase_devices_metadata"].map(|name| step("deploy", name));
    lab.ask_with(simulated, Verb::Clean, "", &steps).await.unwrap();
    lab.comes_to(simulated, "clean hold").await;
    choose(&lab, simulated, "direct").await;
    lab.ask(simulated, Verb::Unhold).await.unwrap();
    lab.comes_to(simulated, "manageable").await;
    assert_eq!(lab.leaves.boot_decision(simulated), None);
}

#[tokio::test(start_paused = true)]
async fn steps_of_other_interfaces_are_simulated_beside_those_of_the_stand_in() {
    let lab = Lab::up().await;
    lab.leaves.set(|script| script.agent = Agent::Mute);
    let node = node(&lab, 1, State::Manageable).await;
    let settings = json!([{"name": "virtualization", "value": "off"}]);
    let args = |value: Value| serde_json::from_value(json!({ "settings": value })).unwrap();
    let steps = [
        Step { args: args(settings), ..step("bios", "apply_configuration") },
        step("deploy", "erase_devices"),
        step("raid", "delete_configuration"),
        step("deploy", "erase_devices_metadata"),
    ];
    lab.ask_with(node, Verb::Clean, "", &steps).await.unwrap();
    lab.comes_to(node, "clean wait").await;
    let generation = lab.leaves.boot_decision(node).unwrap().generation;
    lab.leaves.agent(node, generation, AgentWork::Underway);
    for sent in [&["erase_devices"][..], &["erase_devices", "erase_devices_metadata"]] {
        let names = || -> Vec<String> {
            let decision = lab.leaves.boot_decision(node).unwrap();
            decision.steps.into_iter().map(|step| step.step).collect()
        };
        until("the steps to be sent", || format!("{:?}", names()), || names() == sent).await;
        lab.leaves.finishes(node);
    }
    lab.comes_to(node, "manageable").await;
    assert_eq!(lab.record(node).operation.unwrap().value.made, 4);
    let read = lab.app().registry.mesh.store().get_packed(&key::bios(RACK, node)).await.unwrap();
    let bios = read.unwrap().value;
    assert!(format!("{bios:?}").contains("virtualization"), "{bios:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_with_a_machine_has_no_stand_in_whatever_its_interfaces_and_records_say() {
    let lab = Lab::up().await;
    lab.leaves.set(|script| script.agent = Agent::Mute);
    for (number, interface) in [(1, "direct"), (2, "autodetect")] {
        let node = lab.machine_with(number, State::Available, json!({"deploy_interface": interface})).await;
        lab.ask(node, Verb::Deploy).await.unwrap();
        lab.comes_to(node, "wait call-back").await;
        let decision = lab.leaves.boot_decision(node).unwrap();
        assert_eq!((decision.protocol, decision.boot_files().count()), (Protocol::Ironmesh, 2), "{interface}");
        assert!(!by_stand_in(&lab, node) && lab.leaves.asked(node).contains(&Asked::Boot), "{interface}");
        assert_eq!(
            lab.leaves.power_targets(node).last().and_then(|target| Some(target.boot()?.device)),
            Some(BootDevice::Pxe)
        );
        // What the operation of a node without a machine says counts for nothing at one that has one.
        let mut record = lab.record(node);
        record.operation.as_mut().unwrap().value.by_stand_in = true;
        assert_eq!(record.protocol(), Protocol::Ironmesh, "{interface}");
        record.intent.value.driver = Driver::FakeHardware;
        assert_eq!(record.protocol(), Protocol::StandIn, "{interface}");
    }
}
