//! Power orders outside an operation.

use domain::{
    failure::Cause,
    power::{BmcReset, BootDevice, Power, PowerTarget},
    provision::{Stage, State, Verb},
    raw_command::RawCommand,
    service::Service,
};
use keyspace::seal::open_raw_data;
use scheduler_core::{effect::power::boot_order, registry::wants_power};
use scheduler_testing::RACK;
use serde_json::json;
use service_kit::status;

use crate::{
    lab::{Lab, internal, until},
    leaves::Bmc,
};

impl Lab {
    async fn order(&self, node: domain::id::NodeId, target: PowerTarget) -> Result<(), String> {
        let accepted = self.app().registry.accept_power(&internal(), &self.record(node), target).await;
        accepted.map(drop).map_err(|error| status::chain(&error))
    }

    async fn has_settled(&self, node: domain::id::NodeId) {
        until("the power", || self.state(node), || wants_power(&self.record(node)).is_none()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_is_switched_on_and_off_as_its_operator_asks() {
    let lab = Lab::up().await;
    let node = lab.machine(1, State::Manageable).await;
    lab.order(node, PowerTarget::On).await.unwrap();
    lab.has_settled(node).await;
    assert_eq!(
        (lab.shows(node, "power_state"), lab.shows(node, "target_power_state")),
        (json!("power on"), json!(null))
    );
    lab.order(node, PowerTarget::Off).await.unwrap();
    lab.has_settled(node).await;
    assert_eq!(lab.shows(node, "power_state"), json!("power off"));
    assert_eq!(lab.leaves.power_targets(node), [PowerTarget::On, PowerTarget::Off]);
}

#[tokio::test(start_paused = true)]
async fn power_that_is_not_reached_yet_is_shown_as_its_target() {
    let lab = Lab::up().await;
    lab.leaves.leave(Service::Power);
    let node = lab.machine(1, State::Active).await;
    for (target, shown) in [
        (PowerTarget::SoftOff { by: None }, "power off"),
        (PowerTarget::Booted { boot: None }, "power on"),
        (PowerTarget::SoftBooted { by: service_kit::clock::now() }, "power on"),
        (PowerTarget::Off, "power off"),
    ] {
        lab.order(node, target).await.unwrap();
        assert_eq!(lab.shows(node, "target_power_state"), json!(shown), "{target:?}");
    }
    lab.leaves.rejoin(Service::Power, &lab.endpoint);
    lab.has_settled(node).await;
    assert_eq!(lab.leaves.power_targets(node), [PowerTarget::Off], "only the last order counts");
}

#[tokio::test(start_paused = true)]
async fn a_command_to_the_bmc_is_delivered_once_and_its_data_is_sealed_in_the_record() {
    let lab = Lab::up().await;
    lab.leaves.leave(Service::Power);
    let node = lab.machine(1, State::Active).await;
    let raw = RawCommand::parse("0x06 0x47 0x68 0x75 0x6e 0x74").unwrap();
    let registry = &lab.app().registry;
    registry.accept_power(&internal(), &lab.record(node), raw.clone()).await.unwrap();
    let (intent, generation) = (lab.record(node).intent.value, lab.record(node).life.value.generation);
    let accepted = intent.power.unwrap();
    assert!(accepted.send_by().is_some(), "{accepted:?}");
    let stored = serde_json::to_string(&intent).unwrap();
    assert!(!stored.contains("hunt") && !stored.contains("68756e74") && !stored.contains("104,117"), "{stored}");
    let opened = open_raw_data(&registry.sealer, (RACK, node), &intent, generation).unwrap();
    assert_eq!(opened.as_ref(), Some(raw.data()));
    // A later request would replace it.
    let cold = PowerTarget::BmcReset { reset: BmcReset::Cold, by: None };
    for target in [PowerTarget::Off, cold, raw.target()] {
        let refused = lab.order(node, target).await.unwrap_err();
        assert!(refused.contains("an earlier request"), "{target:?}: {refused}");
    }
    let refused = lab.refusal(node, Verb::Undeploy).await;
    assert!(refused.contains("an earlier request"), "{refused}");
    assert_eq!(lab.shows(node, "target_power_state"), json!(null), "the power does not change");
    lab.leaves.rejoin(Service::Power, &lab.endpoint);
    lab.has_settled(node).await;
    lab.order(node, cold).await.unwrap();
    lab.has_settled(node).await;
    let sent = lab.leaves.power_targets(node);
    let is_cold = |target: &PowerTarget| matches!(target, PowerTarget::BmcReset { reset: BmcReset::Cold, by: Some(_) });
    assert!(sent.len() == 2 && sent.first() == Some(&accepted) && sent.last().is_some_and(is_cold), "{sent:?}");
    assert_eq!(lab.record(node).intent.value.raw_data, None);
}

#[tokio::test(start_paused = true)]
async fn a_command_of_ipmi_is_refused_for_a_node_that_has_none() {
    let lab = Lab::up().await;
    let node = lab.machine(1, State::Active).await;
    lab.change_intent(node, |intent| intent.driver = domain::driver::Driver::Redfish).await;
    let refused = lab.order(node, PowerTarget::BmcReset { reset: BmcReset::Warm, by: None }).await.unwrap_err();
    assert!(refused.contains("driver ipmi"), "{refused}");
    assert!(lab.leaves.power_targets(node).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refused_power_order_is_shown_as_the_last_error() {
    let lab = Lab::up().await;
    lab.leaves.set(|script| script.bmc = Bmc::Stuck);
    let node = lab.machine(1, State::Active).await;
    lab.order(node, PowerTarget::On).await.unwrap();
    lab.has_settled(node).await;
    assert_eq!(lab.shows(node, "last_error"), json!("power stayed off"));
    assert_eq!(lab.shows(node, "power_state"), json!("power off"));
    assert_eq!(lab.state(node), "active");
}

#[tokio::test(start_paused = true)]
async fn a_busy_node_takes_no_power_order_and_one_that_must_stay_on_none_that_switches_it_off() {
    let lab = Lab::at_rest().await;
    let busy = lab.machine(1, State::Deploying { stage: Stage::Work }).await;
    let refused = lab.order(busy, PowerTarget::Off).await.unwrap_err();
    assert!(refused.contains("ironmesh node abort"), "{refused}");
    let on = lab.machine_with(2, State::Active, json!({"disable_power_off": true})).await;
    assert!(lab.order(on, PowerTarget::Off).await.unwrap_err().contains("must stay on"));
    assert!(lab.order(on, PowerTarget::Booted { boot: None }).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_operation_takes_over_what_was_asked_of_power() {
    let lab = Lab::at_rest().await;
    let node = lab.machine(1, State::Available).await;
    lab.order(node, PowerTarget::On).await.unwrap();
    assert_eq!(lab.record(node).intent.value.power, Some(PowerTarget::On));
    lab.ask(node, Verb::Deploy).await.unwrap();
    assert_eq!(lab.record(node).intent.value.power, None);
    assert_eq!(lab.shows(node, "target_power_state"), json!(null));
}

#[tokio::test(start_paused = true)]
async fn the_boot_order_is_what_the_bmc_says_or_why_it_does_not() {
    let lab = Lab::at_rest().await;
    let node = lab.machine(1, State::Active).await;
    let order = boot_order(lab.app(), RACK, node).await.unwrap().unwrap();
    assert_eq!((order.device, order.is_persistent), (Some(BootDevice::Disk), Some(true)));
    lab.leaves.set(|script| script.bmc = Bmc::Refuses(Cause::BmcPassword));
    let refused = boot_order(lab.app(), RACK, node).await.unwrap().unwrap_err();
    assert_eq!(refused.cause, Cause::BmcPassword);
    lab.leaves.leave(Service::Power);
    lab.sees_everything().await;
    let unreachable = boot_order(lab.app(), RACK, node).await.unwrap_err();
    assert!(unreachable.to_string().contains("ironmesh rack show"), "{unreachable}");
}

#[tokio::test(start_paused = true)]
async fn what_a_bmc_was_last_read_as_is_shown_until_it_is_read_again() {
    let lab = Lab::at_rest().await;
    let node = lab.machine(1, State::Active).await;
    assert_eq!(lab.shows(node, "power_state"), json!(null));
    lab.leaves.power(node, Power::On, None);
    lab.sees_everything().await;
    assert_eq!(lab.shows(node, "power_state"), json!("power on"));
    assert_eq!(lab.shows(node, "conductor"), json!(lab.endpoint));
}
