//! What goes wrong with a machine, and what its node then says.

use std::time::Duration;

use domain::{
    failure::Cause,
    image::{Encoding, Image},
    plan::Limits,
    power::{BootDevice, Power},
    provision::{State, Verb},
    service::Service,
    timeline::Mark,
};
use keyspace::{key, value::Work};
use scheduler_core::work::seen::waiting;
use scheduler_testing::IMAGE;
use serde_json::json;
use service_kit::status::{self, Failure as _, Kind};

use crate::{
    lab::{Lab, SHORT_TIMEOUT, limits, until},
    leaves::{Agent, Bmc, BootFiles, Images},
};

#[tokio::test(start_paused = true)]
async fn a_bmc_that_refuses_the_password_leaves_the_node_enrolled_and_says_so() {
    let lab = Lab::up().await;
    lab.leaves.set(|script| script.bmc = Bmc::Refuses(Cause::BmcPassword));
    let node = lab.machine(1, State::Enroll).await;
    lab.ask(node, Verb::Manage).await.unwrap();
    until("the failure", || lab.state(node), || lab.failure(node).0 == "BMC_PASSWORD").await;
    assert_eq!(lab.state(node), "enroll");
    assert_eq!(lab.shows(node, "last_error"), json!("the BMC at 10.0.0.1:623 refused"));
    // The operator is told what to do, and may try again.
    assert!(lab.events("FAILURE").iter().any(|text| text.contains("--bmc-password-file")));
    lab.leaves.set(|script| script.bmc = Bmc::Obeys);
    lab.ask(node, Verb::Manage).await.unwrap();
    lab.comes_to(node, "manageable").await;
    assert_eq!(lab.shows(node, "last_error"), json!(null));
}

#[tokio::test(start_paused = true)]
async fn a_silent_bmc_is_asked_until_the_deadline() {
    let lab = Lab::up_with(Limits { verify: SHORT_TIMEOUT, ..limits() }).await;
    lab.leaves.set(|script| script.bmc = Bmc::Silent);
    let node = lab.machine(1, State::Enroll).await;
    lab.ask(node, Verb::Manage).await.unwrap();
    until("the failure", || lab.state(node), || lab.failure(node).0 == "BMC_SILENT").await;
    assert_eq!(lab.state(node), "enroll");
}

#[tokio::test(start_paused = true)]
async fn a_rack_without_a_power_service_lets_the_node_wait_until_it_is_back() {
    let lab = Lab::up().await;
    lab.leaves.leave(Service::Power);
    let node = lab.machine(1, State::Enroll).await;
    lab.ask(node, Verb::Manage).await.unwrap();
    lab.comes_to(node, "verifying").await;
    let waits = waiting(lab.app(), &lab.record(node)).unwrap();
    assert_eq!(waits.thing.words(), "an answer from its BMC");
    lab.leaves.rejoin(Service::Power, &lab.endpoint);
    lab.comes_to(node, "manageable").await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_does_not_take_power_fails_the_deploy() {
    let lab = Lab::up().await;
    lab.leaves.set(|script| script.bmc = Bmc::Stuck);
    let node = lab.machine(1, State::Available).await;
    lab.ask(node, Verb::Deploy).await.unwrap();
    lab.comes_to(node, "deploy failed").await;
    assert_eq!(lab.failure(node), ("POWER_STUCK", "power stayed off".to_owned()));
    let operation = lab.record(node).operation.unwrap().value;
    assert_eq!(operation.failure.map(|failure| failure.cause), Some(Cause::PowerStuck));
    assert_eq!(lab.leaves.boot_decision(node), None);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_does_not_switch_off_fails_the_undeploy_and_stays_deployed() {
    let lab = Lab::up().await;
    lab.leaves.set(|script| script.bmc = Bmc::Stuck);
    let node = lab.machine_with(1, State::Active, json!({"instance_uuid": "i"})).await;
    lab.ask(node, Verb::Undeploy).await.unwrap();
    lab.comes_to(node, "error").await;
    assert_eq!(lab.failure(node).0, "POWER_STUCK");
    assert_eq!(lab.shows(node, "instance_uuid"), json!("i"));
}

#[tokio::test(start_paused = true)]
async fn an_image_that_cannot_be_downloaded_fails_the_deploy_with_the_storage_services_words() {
    let lab = Lab::up().await;
    lab.leaves.set(|script| script.images = Images::Fail(Cause::ImageUnreachable));
    let node = lab.machine(1, State::Available).await;
    lab.ask(node, Verb::Deploy).await.unwrap();
    lab.comes_to(node, "deploy failed").await;
    assert_eq!(lab.failure(node), ("IMAGE_UNREACHABLE", "http://images/disk answered 404".to_owned()));
    assert_eq!(lab.leaves.power_targets(node), []);
}

#[tokio::test(start_paused = true)]
async fn a_qcow2_image_is_written_as_the_raw_content_that_the_storage_service_made_of_it() {
    let lab = Lab::up().await;
    lab.leaves.set(|script| script.agent = Agent::Mute);
    let node = lab.machine(1, State::Available).await;
    let read = lab.app().registry.image(IMAGE).unwrap();
    let qcow2 = Image { encoding: Encoding::Qcow2, ..read.value };
    let revision = lab.world.write(&key::image(IMAGE), &qcow2).unwrap();
    lab.world.sees(revision).await.unwrap();
    // Until it is converted, no agent is told to write anything.
    lab.leaves.set(|script| script.images = Images::Underway);
    lab.ask(node, Verb::Deploy).await.unwrap();
    until("the question", || lab.state(node), || lab.leaves.images_asked().contains(&"disk".to_owned())).await;
    assert_eq!((lab.state(node).as_str(), lab.leaves.boot_decision(node)), ("deploying", None));
    lab.leaves.set(|script| script.images = Images::Cached);
    lab.comes_to(node, "wait call-back").await;
    let Work::Write { digest, encoding, unpacked_size, .. } = lab.leaves.boot_decision(node).unwrap().work else {
        panic!()
    };
    assert_eq!((digest.hex(), encoding, unpacked_size), ("6".repeat(64).as_str(), Encoding::Plain, Some(4096)));
}

#[tokio::test(start_paused = true)]
async fn an_image_of_another_format_fails_the_deploy_before_anything_is_switched_on() {
    let lab = Lab::up().await;
    lab.leaves.set(|script| script.images = Images::Fail(Cause::ImageFormat));
    let node = lab.machine(1, State::Available).await;
    lab.ask(node, Verb::Deploy).await.unwrap();
    lab.comes_to(node, "deploy failed").await;
    assert_eq!(lab.failure(node).0, "IMAGE_FORMAT");
    assert_eq!(lab.leaves.power_targets(node), []);
}

#[tokio::test(start_paused = true)]
async fn a_download_that_does_not_end_fails_the_deploy_at_its_deadline() {
    let lab = Lab::up_with(Limits { prepare: Duration::from_millis(600), ..limits() }).await;
    lab.leaves.set(|script| script.images = Images::Underway);
    let node = lab.machine(1, State::Available).await;
    lab.ask(node, Verb::Deploy).await.unwrap();
    lab.comes_to(node, "deploy failed").await;
    assert_eq!(lab.failure(node).0, "IMAGE_UNREACHABLE");
}

#[tokio::test(start_paused = true)]
async fn a_deploy_without_a_storage_service_waits_for_one() {
    let lab = Lab::up().await;
    lab.leaves.leave(Service::Storage);
    let node = lab.machine(1, State::Available).await;
    lab.ask(node, Verb::Deploy).await.unwrap();
    until("the boot decision", || lab.state(node), || lab.leaves.boot_decision(node).is_some()).await;
    assert_eq!(lab.state(node), "deploying");
    lab.leaves.rejoin(Service::Storage, &lab.endpoint);
    lab.comes_to(node, "active").await;
    assert!(lab.leaves.images_asked().contains(&"disk".to_owned()), "it did not go on without the image");
}

#[tokio::test(start_paused = true)]
async fn a_rack_without_a_ramdisk_says_what_is_missing() {
    let lab = Lab::up().await;
    lab.set_rack(|rack| rack.ramdisk = None).await;
    let node = lab.machine(1, State::Available).await;
    lab.ask(node, Verb::Deploy).await.unwrap();
    lab.comes_to(node, "deploy failed").await;
    assert_eq!(lab.failure(node), ("RAMDISK_MISSING", "the rack's ramdisk is not set".to_owned()));
    assert!(lab.events("FAILURE").iter().any(|text| text.contains("ironmesh rack set")));
}

#[tokio::test(start_paused = true)]
async fn a_boot_file_that_a_node_names_and_that_is_not_registered_is_named_in_the_failure() {
    let lab = Lab::up().await;
    let node = lab.machine(1, State::Available).await;
    lab.use_ironic_ramdisk(node, "kernel", "no-such-ramdisk").await;
    lab.ask(node, Verb::Deploy).await.unwrap();
    lab.comes_to(node, "deploy failed").await;
    let (cause, text) = lab.failure(node);
    assert!(cause == "RAMDISK_MISSING" && text.contains("no-such-ramdisk"), "{cause}: {text}");
}

#[tokio::test(start_paused = true)]
async fn a_boot_file_whose_digest_cannot_be_learned_fails_the_deploy() {
    let lab = Lab::up().await;
    lab.leaves.set(|script| script.images = Images::Fail(Cause::ImageUnreachable));
    let node = lab.machine(1, State::Available).await;
    lab.use_ironic_ramdisk(node, "http://files/kernel", "http://files/ramdisk").await;
    lab.ask(node, Verb::Deploy).await.unwrap();
    lab.comes_to(node, "deploy failed").await;
    assert_eq!(lab.failure(node).0, "IMAGE_UNREACHABLE");
}

#[tokio::test(start_paused = true)]
async fn a_boot_file_that_is_on_its_way_is_waited_for() {
    let lab = Lab::up().await;
    lab.leaves.set(|script| script.images = Images::Underway);
    let node = lab.machine(1, State::Available).await;
    lab.use_ironic_ramdisk(node, "http://files/kernel", "http://files/ramdisk").await;
    lab.ask(node, Verb::Deploy).await.unwrap();
    until("the question", || lab.state(node), || !lab.leaves.images_asked().is_empty()).await;
    assert_eq!((lab.state(node).as_str(), lab.leaves.boot_decision(node)), ("deploying", None));
    lab.leaves.set(|script| script.images = Images::Cached);
    lab.comes_to(node, "active").await;
}

#[tokio::test(start_paused = true)]
async fn a_pxe_service_that_lacks_the_kernel_fails_the_deploy() {
    let lab = Lab::up().await;
    lab.leaves.set(|script| script.boot_files = BootFiles::Missing);
    let node = lab.machine(1, State::Available).await;
    lab.ask(node, Verb::Deploy).await.unwrap();
    lab.comes_to(node, "deploy failed").await;
    assert_eq!(lab.failure(node), ("RAMDISK_MISSING", "the kernel is in no cache of the rack".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_pxe_service_that_is_not_ready_or_not_there_is_waited_for() {
    let lab = Lab::up().await;
    lab.leaves.set(|script| script.boot_files = BootFiles::NotYet);
    let node = lab.machine(1, State::Available).await;
    lab.ask(node, Verb::Deploy).await.unwrap();
    until("the question", || lab.state(node), || lab.leaves.asked(node).len() == 1).await;
    lab.leaves.leave(Service::Pxe);
    assert_eq!(lab.state(node), "deploying");
    lab.leaves.set(|script| script.boot_files = BootFiles::Ready);
    lab.leaves.rejoin(Service::Pxe, &lab.endpoint);
    lab.comes_to(node, "active").await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_whose_agent_never_calls_is_booted_again_and_then_given_up() {
    let lab = Lab::up_with(Limits { boot: SHORT_TIMEOUT, boots: 2, ..limits() }).await;
    lab.leaves.set(|script| script.agent = Agent::Mute);
    let node = lab.machine(1, State::Available).await;
    lab.ask(node, Verb::Deploy).await.unwrap();
    lab.comes_to(node, "deploy failed").await;
    let (cause, text) = lab.failure(node);
    assert_eq!(cause, "DEADLINE");
    assert!(text.contains("its agent never called") && text.ends_with("(after 2 boots)"), "{text}");
    let boots = lab.leaves.power_targets(node);
    let pxe = |target: &&domain::power::PowerTarget| target.boot().is_some_and(|boot| boot.device == BootDevice::Pxe);
    assert_eq!(boots.iter().filter(pxe).count(), 2, "{boots:?}");
    assert_eq!(lab.record(node).life.value.boots_lost, 1);
}

#[tokio::test(start_paused = true)]
async fn a_boot_that_stopped_after_dhcp_is_diagnosed_by_its_timeline() {
    let lab = Lab::up_with(Limits { boot: Duration::from_millis(300), boots: 1, ..limits() }).await;
    lab.leaves.set(|script| script.agent = Agent::Mute);
    let node = lab.machine(1, State::Available).await;
    lab.ask(node, Verb::Deploy).await.unwrap();
    lab.comes_to(node, "wait call-back").await;
    let generation = lab.record(node).life.value.generation;
    for mark in [Mark::DhcpDiscover, Mark::DhcpOffer, Mark::DhcpAck, Mark::LoaderAsked] {
        lab.leaves.tells(node, generation, mark);
    }
    lab.comes_to(node, "deploy failed").await;
    let (cause, text) = lab.failure(node);
    assert!(cause == "TFTP_BLOCKED", "{cause}: {text}");
    assert!(lab.events("TIMELINE").iter().any(|text| text.contains("asked for the loader")));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_not_heard_again_is_given_up() {
    let lab = Lab::up_with(Limits { agent: SHORT_TIMEOUT, ..limits() }).await;
    lab.leaves.set(|script| script.agent = Agent::CallsOnce);
    let node = lab.machine(1, State::Available).await;
    lab.ask(node, Verb::Deploy).await.unwrap();
    lab.comes_to(node, "deploy failed").await;
    let (cause, text) = lab.failure(node);
    assert!(cause == "AGENT_LOST" && text.contains("last heard"), "{cause}: {text}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_heard_may_work_longer_than_the_deadline() {
    let limit = Duration::from_millis(300);
    let lab = Lab::up_with(Limits { agent: limit, ..limits() }).await;
    lab.leaves.set(|script| script.agent = Agent::CallsOnce);
    let node = lab.machine(1, State::Available).await;
    lab.ask(node, Verb::Deploy).await.unwrap();
    until("the agent", || lab.state(node), || lab.record(node).agent.is_some()).await;
    let begun = service_kit::clock::now();
    until(
        "twice the deadline to pass",
        || lab.state(node),
        || {
            lab.leaves.beats(node);
            service_kit::clock::now().since(begun) > limit * 2
        },
    )
    .await;
    assert_eq!(lab.state(node), "deploying");
    lab.leaves.finishes(node);
    lab.comes_to(node, "active").await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_finds_no_disk_fails_the_deploy_with_its_own_words() {
    let lab = Lab::up().await;
    lab.leaves.set(|script| script.agent = Agent::Fails(Cause::NoDisk));
    let node = lab.machine(1, State::Available).await;
    lab.ask(node, Verb::Deploy).await.unwrap();
    lab.comes_to(node, "deploy failed").await;
    assert_eq!(lab.failure(node), ("NO_DISK", "as the agent says".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn an_inspection_whose_agent_sends_no_report_fails() {
    let lab = Lab::up().await;
    lab.leaves.set(|script| script.agent = Agent::DoesNotReport);
    let node = lab.machine(1, State::Manageable).await;
    lab.ask(node, Verb::Inspect).await.unwrap();
    lab.comes_to(node, "inspect failed").await;
    assert_eq!(lab.failure(node).0, "NO_REPORT");
    assert_eq!(lab.shows(node, "inspection_finished_at"), json!(null));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_loses_its_power_under_the_agent_fails_with_that_cause() {
    let lab = Lab::up_with(Limits { agent: Duration::from_millis(400), ..limits() }).await;
    lab.leaves.set(|script| script.agent = Agent::CallsOnce);
    let node = lab.machine(1, State::Available).await;
    lab.ask(node, Verb::Deploy).await.unwrap();
    until("the agent", || lab.state(node), || lab.record(node).agent.is_some()).await;
    lab.leaves.power(node, Power::Off, None);
    lab.comes_to(node, "deploy failed").await;
    assert_eq!(lab.failure(node).0, "POWER_LOST");
}

#[tokio::test(start_paused = true)]
async fn a_deployed_system_that_shows_no_life_fails_the_deploy() {
    let lab = Lab::up().await;
    let node = lab.machine(1, State::Available).await;
    lab.change_intent(node, |intent| intent.wait_for_life_seconds = Some(0)).await;
    lab.ask(node, Verb::Deploy).await.unwrap();
    lab.comes_to(node, "deploy failed").await;
    assert_eq!(lab.failure(node).0, "NO_LIFE");
}

#[tokio::test(start_paused = true)]
async fn a_step_that_the_driver_lacks_fails_the_operation_before_the_machine_is_touched() {
    let lab = Lab::up().await;
    let node = lab.machine(1, State::Manageable).await;
    let steps = [crate::lab::step("raid", "create_configuration")];
    let refused = lab.ask_with(node, Verb::Clean, "", &steps).await.unwrap_err();
    assert!(status::chain(&refused).contains("no step raid.create_configuration"));
    // A bulk or an older replica may have stored it all the same.
    lab.accept_with_steps(node, Verb::Clean, &steps).await;
    lab.comes_to(node, "clean failed").await;
    assert_eq!(lab.failure(node).0, "UNKNOWN_STEP");
    assert_eq!(lab.leaves.asked(node), []);
}

/// The sources of the hints: the options of ironic-python-agent's `root_device`, of which our own agent evaluates some.
#[tokio::test(start_paused = true)]
async fn disks_that_the_agent_cannot_evaluate_are_refused_before_a_deploy_begins() {
    let lab = Lab::at_rest().await;
    for (number, (state, verb, properties, key)) in (1..).zip([
        (State::Available, Verb::Deploy, json!({"root_device": {"wwn": "0x5000"}}), "root_device"),
        (State::Available, Verb::Deploy, json!({"root_device": {"hctl": "1:0:0:0"}}), "root_device"),
        (State::Available, Verb::Deploy, json!({"root_device": {"by_path": "/dev/disk/by-path/p"}}), "root_device"),
        (State::Active, Verb::Rebuild, json!({"root_device": {"vendor": "ATA"}}), "root_device"),
        (State::Available, Verb::Deploy, json!({"skip_block_devices": [{"vendor": "ATA"}]}), "skip_block_devices"),
        (State::Active, Verb::Rebuild, json!({"skip_block_devices": [{"wwn": "0x50"}]}), "skip_block_devices"),
    ]) {
        let node = lab.machine_with(number, state, json!({"properties": properties})).await;
        let error = lab.ask_with(node, verb, "disk", &[]).await.unwrap_err();
        let text = status::chain(&error);
        assert!(text.contains(key) && text.contains("ironic-python-agent"), "{properties}: {text}");
        assert_eq!((error.kind(), lab.record(node).operation), (Kind::Invalid, None), "{properties}");
        lab.use_ironic_ramdisk(node, "http://h/k", "http://h/r").await;
        lab.ask_with(node, verb, "disk", &[]).await.unwrap();
    }
}
