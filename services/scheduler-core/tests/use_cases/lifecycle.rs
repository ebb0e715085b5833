//! The life of a node as its operator sees it, from enroll to active and back.

use domain::{
    driver::Driver,
    generation::Generation,
    hardware::{Hardware, Nic},
    net::MacAddr,
    power::{BootDevice, BootMode, PowerTarget},
    provision::{Stage, State, Verb},
    service::Service,
};
use keyspace::value::{Protocol, Work};
use scheduler_testing::{IMAGE, TestNode};
use serde_json::json;

use crate::{
    lab::{Lab, step, until},
    leaves::{Agent, Asked},
};

fn nic(number: u8) -> Nic {
    let mac = MacAddr::new([0x52, 0x54, 0, 1, 0, number]);
    Nic { name: format!("eth{number}"), mac, carrier: true, booted_from: false }
}

fn boots(lab: &Lab, node: domain::id::NodeId) -> Vec<BootDevice> {
    lab.leaves.power_targets(node).iter().filter_map(|target| Some(target.boot()?.device)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_machine_is_managed_inspected_provided_deployed_and_taken_down() {
    let lab = Lab::up().await;
    let node = lab.machine(1, State::Enroll).await;
    lab.ask(node, Verb::Manage).await.unwrap();
    lab.comes_to(node, "manageable").await;
    lab.ask(node, Verb::Inspect).await.unwrap();
    lab.comes_to(node, "manageable").await;
    lab.ask(node, Verb::Provide).await.unwrap();
    lab.comes_to(node, "available").await;
    lab.ask(node, Verb::Deploy).await.unwrap();
    lab.comes_to(node, "active").await;
    assert_eq!(lab.shows(node, "power_state"), json!("power on"));
    lab.ask(node, Verb::Undeploy).await.unwrap();
    lab.comes_to(node, "available").await;
    assert_eq!(lab.shows(node, "power_state"), json!("power off"));
    // Inspection and deployment boot the agent, the deployed system boots from disk, and cleaning boots the agent again.
    assert_eq!(boots(&lab, node), [BootDevice::Pxe, BootDevice::Pxe, BootDevice::Disk, BootDevice::Pxe]);
    assert_eq!(lab.shows(node, "last_error"), json!(null));
}

#[tokio::test(start_paused = true)]
async fn an_inspection_makes_ports_of_free_nics_and_remarks_on_the_others() {
    let lab = Lab::up().await;
    let other = lab.machine(2, State::Manageable).await;
    let taken = nic(7);
    lab.add_port(other, taken.mac).await;
    lab.leaves.set(|script| {
        script.hardware = Hardware {
            boot_mode: BootMode::default(),
            nics: vec![nic(6), taken],
            disks: vec![],
            ..Hardware::default()
        };
    });
    let node = lab.machine(1, State::Manageable).await;
    lab.ask(node, Verb::Inspect).await.unwrap();
    lab.comes_to(node, "manageable").await;
    assert!(lab.macs(node).contains(&nic(6).mac), "{:?}", lab.macs(node));
    assert!(!lab.macs(node).contains(&nic(7).mac), "it is the other node's");
    assert_ne!(lab.shows(node, "inspection_finished_at"), json!(null));
    let remarks = lab.record(node).life.value.inspection.unwrap().remarks;
    assert!(remarks.iter().any(|remark| remark.contains("eth7") && remark.contains("node n2")), "{remarks:?}");
    assert!(remarks.iter().any(|remark| remark.contains("no disk")), "{remarks:?}");
    assert!(lab.events("REMARK").iter().any(|text| text.contains("no disk")));
    assert!(lab.events("PORT").iter().any(|text| text.contains("52:54:00:01:00:06")));
}

#[tokio::test(start_paused = true)]
async fn a_deploy_hands_the_agent_the_image_and_its_rack_the_boot_files() {
    let lab = Lab::up().await;
    lab.leaves.set(|script| script.agent = Agent::Mute);
    let node = lab.machine(1, State::Available).await;
    lab.ask(node, Verb::Deploy).await.unwrap();
    lab.comes_to(node, "wait call-back").await;
    let decision = lab.leaves.boot_decision(node).unwrap();
    let files: Vec<_> = decision.boot_files().map(|file| file.name.as_str()).collect();
    assert_eq!(files, ["kernel", "ramdisk"]);
    assert_eq!((decision.protocol, decision.arguments.as_str()), (Protocol::Ironmesh, "console=ttyS0"));
    let Work::Write { name, .. } = &decision.work else { panic!("{:?}", decision.work) };
    assert_eq!(name, "disk");
    let asked = lab.leaves.images_asked();
    assert!(["kernel", "ramdisk", "disk"].iter().all(|name| asked.iter().any(|asked| asked == name)), "{asked:?}");
    assert!(lab.leaves.asked(node).contains(&Asked::Boot));
    assert_eq!(lab.record(node).intent.value.deployment.map(|deployment| deployment.image), Some(IMAGE));
    // The boot token is sealed where it is stored.
    let stored = lab.world.etcd.pair(keyspace::key::boot(scheduler_testing::RACK, node).path()).unwrap();
    assert!(String::from_utf8_lossy(stored.value.as_slice()).contains("sealed"));
}

#[tokio::test(start_paused = true)]
async fn a_deployed_system_that_must_show_life_is_active_once_it_does() {
    let lab = Lab::up().await;
    let node = lab.machine(1, State::Available).await;
    lab.change_intent(node, |intent| intent.wait_for_life_seconds = Some(3600)).await;
    lab.ask(node, Verb::Deploy).await.unwrap();
    until("the boot from disk", || lab.state(node), || boots(&lab, node).contains(&BootDevice::Disk)).await;
    assert_eq!(lab.state(node), "deploying");
    lab.leaves.phones_home(node, lab.record(node).life.value.generation);
    lab.comes_to(node, "active").await;
}

#[tokio::test(start_paused = true)]
async fn an_adoption_asks_the_bmc_and_changes_nothing_of_the_machine() {
    let lab = Lab::up().await;
    let node = lab.machine(1, State::Manageable).await;
    lab.ask_with(node, Verb::Adopt, "disk", &[]).await.unwrap();
    lab.comes_to(node, "active").await;
    assert_eq!(lab.leaves.asked(node), []);
    assert_eq!(lab.record(node).intent.value.deployment.map(|deployment| deployment.image), Some(IMAGE));
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_writes_the_image_of_before_again() {
    let lab = Lab::up().await;
    let node = lab.machine(1, State::Available).await;
    lab.ask(node, Verb::Deploy).await.unwrap();
    lab.comes_to(node, "active").await;
    let before = lab.record(node).life.value.generation;
    lab.ask(node, Verb::Rebuild).await.unwrap();
    lab.comes_to(node, "active").await;
    assert!(lab.record(node).life.value.generation > before);
    assert_eq!(lab.record(node).intent.value.deployment.map(|deployment| deployment.image), Some(IMAGE));
    assert_eq!(boots(&lab, node).iter().filter(|device| **device == BootDevice::Pxe).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_not_to_be_cleaned_is_available_as_soon_as_it_is_off() {
    let lab = Lab::up().await;
    let fields = json!({"automated_clean": false, "instance_uuid": "i", "instance_info": {"a": 1}});
    let node = lab.machine_with(1, State::Active, fields).await;
    lab.ask(node, Verb::Undeploy).await.unwrap();
    lab.comes_to(node, "available").await;
    assert_eq!(lab.leaves.power_targets(node), [PowerTarget::Off]);
    assert_eq!((lab.shows(node, "instance_uuid"), lab.shows(node, "instance_info")), (json!(null), json!(null)));
}

#[tokio::test(start_paused = true)]
async fn a_retired_node_is_cleaned_and_stays_out_of_use() {
    let lab = Lab::up().await;
    let node = lab.machine_with(1, State::Active, json!({"retired": true})).await;
    lab.ask(node, Verb::Undeploy).await.unwrap();
    lab.comes_to(node, "manageable").await;
    assert!(lab.refusal(node, Verb::Provide).await.contains("retired"));
}

#[tokio::test(start_paused = true)]
async fn a_new_node_is_cleaned_before_use_only_where_its_operator_says_so() {
    let lab = Lab::up().await;
    let node = lab.machine_with(1, State::Manageable, json!({"automated_clean": true})).await;
    lab.ask(node, Verb::Provide).await.unwrap();
    lab.comes_to(node, "available").await;
    assert_eq!(boots(&lab, node), [BootDevice::Pxe]);
    let other = lab.machine(2, State::Manageable).await;
    lab.ask(other, Verb::Provide).await.unwrap();
    lab.comes_to(other, "available").await;
    assert_eq!(boots(&lab, other), []);
}

#[tokio::test(start_paused = true)]
async fn named_clean_steps_wipe_the_disks_only_where_one_of_them_erases() {
    let lab = Lab::up().await;
    let node = lab.machine(1, State::Manageable).await;
    lab.ask_with(node, Verb::Clean, "", &[step("deploy", "erase_devices_metadata")]).await.unwrap();
    lab.comes_to(node, "manageable").await;
    assert_eq!(boots(&lab, node), [BootDevice::Pxe]);
    let idle = lab.machine(2, State::Manageable).await;
    lab.ask_with(idle, Verb::Clean, "", &[step("power", "reboot")]).await.unwrap();
    lab.comes_to(idle, "manageable").await;
    assert_eq!(lab.leaves.power_targets(idle), [PowerTarget::Booted { boot: None }]);
    assert_eq!(lab.leaves.boot_decision(idle), None);
}

#[tokio::test(start_paused = true)]
async fn a_hold_step_stops_the_cleaning_until_its_operator_lets_it_go_on() {
    let lab = Lab::up().await;
    let node = lab.fake(1, State::Manageable).await;
    let steps = [step("deploy", "erase_devices"), step("power", "hold"), step("raid", "delete_configuration")];
    lab.ask_with(node, Verb::Clean, "", &steps).await.unwrap();
    lab.comes_to(node, "clean hold").await;
    assert_eq!(lab.shows(node, "clean_step"), json!("hold"));
    lab.ask(node, Verb::Unhold).await.unwrap();
    lab.comes_to(node, "manageable").await;
    let operation = lab.record(node).operation.unwrap().value;
    assert_eq!((operation.made, operation.failure), (3, None));
}

#[tokio::test(start_paused = true)]
async fn a_held_cleaning_can_be_aborted() {
    let lab = Lab::up().await;
    let node = lab.fake(1, State::Manageable).await;
    lab.ask_with(node, Verb::Clean, "", &[step("power", "hold")]).await.unwrap();
    lab.comes_to(node, "clean hold").await;
    lab.ask(node, Verb::Abort).await.unwrap();
    lab.comes_to(node, "clean failed").await;
    assert_eq!(lab.failure(node).0, "ABORTED");
    lab.ask(node, Verb::Manage).await.unwrap();
    assert_eq!(lab.state(node), "manageable");
}

#[tokio::test(start_paused = true)]
async fn fake_hardware_goes_through_its_life_and_boots_nothing() {
    let lab = Lab::up().await;
    lab.leaves.leave(Service::Pxe);
    lab.leaves.leave(Service::Storage);
    let node = lab.fake(1, State::Manageable).await;
    for (verb, state) in [
        (Verb::Inspect, "manageable"),
        (Verb::Provide, "available"),
        (Verb::Deploy, "active"),
        (Verb::Service, "active"),
        (Verb::Rescue, "rescue"),
        (Verb::Unrescue, "active"),
        (Verb::Undeploy, "available"),
    ] {
        lab.ask(node, verb).await.unwrap();
        lab.comes_to(node, state).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_deploy_that_waits_for_its_machine_can_be_aborted() {
    let lab = Lab::up().await;
    lab.leaves.set(|script| script.agent = Agent::Mute);
    let node = lab.machine(1, State::Available).await;
    lab.ask(node, Verb::Deploy).await.unwrap();
    lab.comes_to(node, "wait call-back").await;
    let before: Generation = lab.record(node).life.value.generation;
    lab.ask(node, Verb::Abort).await.unwrap();
    assert_eq!(lab.state(node), "deploy failed");
    let (cause, text) = lab.failure(node);
    assert_eq!(cause, "ABORTED");
    assert!(text.contains("wait call-back"), "{text}");
    // What the machine was to boot is revoked, and what comes late is of an older generation.
    assert_eq!(lab.leaves.boot_decision(node), None);
    assert!(lab.record(node).life.value.generation > before);
    lab.leaves.set(|script| script.agent = Agent::Works);
    lab.ask(node, Verb::Deploy).await.unwrap();
    lab.comes_to(node, "active").await;
    assert_eq!(lab.shows(node, "last_error"), json!(null));
}

#[tokio::test(start_paused = true)]
async fn an_agent_of_the_stock_ramdisk_makes_the_clean_steps_that_it_lists() {
    let lab = Lab::up().await;
    lab.leaves.set(|script| script.agent = Agent::Lists(vec![step("deploy", "erase_devices"), step("raid", "wipe")]));
    let node = lab.machine(1, State::Active).await;
    lab.use_ironic_ramdisk(node, "http://files/kernel", "http://files/ramdisk").await;
    lab.ask(node, Verb::Undeploy).await.unwrap();
    until("the listed steps", || lab.state(node), || lab.record(node).operation.unwrap().value.steps.len() == 2).await;
    until(
        "the agent to be handed both steps",
        || lab.state(node),
        || lab.leaves.boot_decision(node).is_some_and(|decision| decision.steps.len() == 2),
    )
    .await;
    let decision = lab.leaves.boot_decision(node).unwrap();
    assert_eq!((decision.protocol, decision.arguments.as_str()), (Protocol::Ironic, "quiet console=ttyS0"));
    assert_eq!(decision.kernel.unwrap().name, "kernel");
    lab.leaves.finishes(node);
    lab.comes_to(node, "available").await;
    assert_eq!(lab.record(node).operation.unwrap().value.made, 2);
}

#[tokio::test(start_paused = true)]
async fn a_step_of_the_stock_ramdisk_that_wants_a_reboot_gets_one() {
    let lab = Lab::up().await;
    lab.leaves.set(|script| script.agent = Agent::Mute);
    let node = lab.machine(1, State::Manageable).await;
    lab.use_ironic_ramdisk(node, "kernel", "ramdisk").await;
    let steps = [step("deploy", "erase_devices"), step("deploy", "erase_devices_metadata")];
    lab.ask_with(node, Verb::Clean, "", &steps).await.unwrap();
    lab.comes_to(node, "clean wait").await;
    lab.leaves.set(|script| script.agent = Agent::Works);
    lab.leaves.reboots_after(node, 1);
    lab.comes_to(node, "manageable").await;
    assert_eq!(boots(&lab, node), [BootDevice::Pxe, BootDevice::Pxe]);
    assert_eq!(lab.record(node).operation.unwrap().value.made, 2);
}

#[tokio::test(start_paused = true)]
async fn a_servicing_boots_the_stock_ramdisk_and_then_the_disk() {
    let lab = Lab::up().await;
    let node = lab.machine(1, State::Active).await;
    lab.use_ironic_ramdisk(node, "kernel", "ramdisk").await;
    lab.ask_with(node, Verb::Service, "", &[step("deploy", "erase_devices_metadata")]).await.unwrap();
    lab.comes_to(node, "active").await;
    assert_eq!(boots(&lab, node), [BootDevice::Pxe, BootDevice::Disk]);
}

#[tokio::test(start_paused = true)]
async fn a_node_says_what_it_cannot_be_asked_for_now_and_what_it_can() {
    let lab = Lab::at_rest().await;
    let node = lab.machine(1, State::Enroll).await;
    let refused = lab.refusal(node, Verb::Deploy).await;
    assert!(refused.contains("state enroll cannot deploy") && refused.contains("manage"), "{refused}");
    let busy = lab.machine(2, State::Deploying { stage: Stage::Work }).await;
    let refused = lab.refusal(busy, Verb::Inspect).await;
    assert!(refused.contains("cannot inspect") && refused.contains("abort"), "{refused}");
    let protected = lab.machine_with(3, State::Active, json!({"protected": true})).await;
    assert!(lab.refusal(protected, Verb::Undeploy).await.contains("protected"));
    let maintained = lab.machine_with(4, State::Available, json!({"maintenance": true})).await;
    assert!(lab.refusal(maintained, Verb::Deploy).await.contains("in maintenance"));
    let portless = lab.put(&TestNode { driver: Driver::Ipmi, ..TestNode::new(5, State::Available) }).await;
    assert!(lab.refusal(portless, Verb::Deploy).await.contains("--add-mac"));
    let rescued = lab.machine(6, State::Active).await;
    assert!(lab.refusal(rescued, Verb::Rescue).await.contains("does not support rescue"));
}
