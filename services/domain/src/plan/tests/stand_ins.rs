//! Work of a stand-in for an agent on a node without a machine.

use super::*;
use crate::driver::{Driver, Interface};

#[test]
fn the_work_of_a_node_without_a_machine_is_that_of_its_interfaces_and_of_an_agent_on_every_machine() {
    let (deploy, inspect) = (Interface::Deploy, Interface::Inspect);
    for (driver, phase, interface, name, right) in [
        (Driver::FakeHardware, Phase::Inspect, inspect, "agent", Executor::StandIn),
        (Driver::FakeHardware, Phase::Inspect, inspect, "fake", Executor::Fake),
        (Driver::FakeHardware, Phase::Inspect, deploy, "direct", Executor::Fake),
        (Driver::FakeHardware, Phase::Deploy, deploy, "direct", Executor::StandIn),
        (Driver::FakeHardware, Phase::Deploy, deploy, "autodetect", Executor::StandIn),
        (Driver::FakeHardware, Phase::Deploy, deploy, "fake", Executor::Fake),
        (Driver::FakeHardware, Phase::Deploy, inspect, "agent", Executor::Fake),
        (Driver::FakeHardware, Phase::Clean, deploy, "direct", Executor::StandIn),
        (Driver::FakeHardware, Phase::ManualClean, deploy, "direct", Executor::StandIn),
        (Driver::FakeHardware, Phase::Delete, deploy, "direct", Executor::StandIn),
        (Driver::FakeHardware, Phase::Service, deploy, "direct", Executor::StandIn),
        (Driver::FakeHardware, Phase::Rescue, deploy, "direct", Executor::Fake),
        (Driver::FakeHardware, Phase::Verify, deploy, "direct", Executor::Fake),
        (Driver::FakeHardware, Phase::Adopt, deploy, "direct", Executor::Fake),
        (Driver::Ipmi, Phase::Deploy, deploy, "direct", Executor::Agent),
        (Driver::Ipmi, Phase::Deploy, deploy, "fake", Executor::Agent),
        (Driver::Redfish, Phase::Inspect, inspect, "agent", Executor::Agent),
        (Driver::ManualManagement, Phase::Clean, deploy, "fake", Executor::Agent),
    ] {
        let found = Executor::of(driver, phase, |asked| (asked == interface).then_some(name));
        assert_eq!(found, right, "{driver} {phase:?} {interface} {name}");
    }
}

#[test]
fn a_stand_in_is_awaited_with_the_power_on_and_without_files_of_a_boot() {
    let on = booted(BootDevice::Pxe, Persistence::Once);
    let prepare = [Act::MintBootDecision, Act::EnsureImages, on];
    let off = Act::EnsurePower(PowerTarget::Off);
    let cleans = |steps| {
        let (state, acts) = cleans(steps, Executor::StandIn, true);
        assert_eq!(state, State::Manageable, "{steps:?} {acts:?}");
        acts
    };
    assert_eq!(cleans(&["erase_devices"]), [&prepare[..], &[off]].concat());
    assert_eq!(cleans(&["erase_devices", "hold", "erase_devices"]), [&prepare[..], &[Act::SendSteps, off]].concat());
    let desired = |stage| Desired { executor: Executor::StandIn, ..desired(deploying(stage)) };
    let told = |stage, observed: &Observed, seconds| {
        plan(&desired(stage), observed, &Limits { boots: 1, ..Limits::default() }, at(seconds))
    };
    let switched_on = Observed { minted: true, power_target: Progress::Done(at(1)), ..Observed::default() };
    assert!(matches!(told(Stage::Boot, &switched_on, 2), Plan::Wait(waiting) if waiting.thing == Thing::Agent));
    assert!(matches!(told(Stage::Boot, &switched_on, 999), Plan::Step(Event::GaveUp, Some(_))));
    let bound = Observed { agent_bound: Some(at(2)), ..switched_on };
    assert_eq!(told(Stage::Boot, &bound, 3), Plan::Step(Event::Called, None));
    let early = Observed { power_target: Progress::Unknown, ..bound.clone() };
    assert!(matches!(told(Stage::Boot, &early, 3), Plan::Act(act, _) if act == on));
    assert!(matches!(told(Stage::Work, &bound, 3), Plan::Wait(waiting) if waiting.thing == Thing::Work));
}

#[test]
fn a_step_that_is_simulated_beside_an_agents_steps_waits_for_the_agent_and_no_longer() {
    let of = |stage, next, bound: bool| {
        let step_plan = StepPlan { next, ramdisk: true, agent_continues: true };
        let desired =
            Desired { executor: Executor::StandIn, step_plan, ..desired(State::Cleaning { stage, manual: true }) };
        let observed = Observed { minted: true, agent_bound: bound.then(|| at(1)), ..Observed::default() };
        plan(&desired, &observed, &Limits::default(), at(2))
    };
    assert!(matches!(of(Stage::Prepare, NextStep::Simulated(1), false), Plan::Act(Act::EnsureImages, _)));
    assert_eq!(of(Stage::Prepare, NextStep::Simulated(1), true), Plan::Step(Event::Called, None));
    assert_eq!(of(Stage::Work, NextStep::Simulated(2), true), Plan::Step(Event::Made, None));
}
