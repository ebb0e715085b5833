//! Faulty machines, BMCs and images: the node ends in the right state, with the cause and the next step. Needs root and the
//! packages of `scripts/test`; `ironmesh` must be built.

use std::time::Duration;

use anyhow::Result;
use integration_tests::check::words;
use integration_tests::lab::{IMAGE, Lab, WAIT_TIMEOUT};
use integration_tests::machine::fault::{Agent, Bmc, Boot};
use integration_tests::machine::{Faults, Spec, is_blank};
use integration_tests::mesh::{Api, Failed, Options, enrolment};
use proto::api::v1::{CreateNodeRequest, UpdateNodeRequest};
use proto::convert::time::wire_duration;

/// Limits of a scheduler that gives up soon.
fn hasty() -> Options {
    let limits =
        ["scheduler.verify=8s", "scheduler.boot=8s", "scheduler.boots=1", "scheduler.agent=6s", "power.poll=1s"];
    Options { set: limits.map(str::to_owned).into(), ..Options::default() }
}

fn broken(faults: Faults) -> Spec {
    Spec { faults, ..Spec::default() }
}

/// Checks that the node is in a state with a cause, and describes the next step.
#[track_caller]
fn assert_failed(failed: &Failed, state: &str, cause: &str) {
    assert_eq!((failed.state.as_str(), failed.cause.as_str()), (state, cause), "{failed:#?}");
    assert!(failed.text.len() > 10 && failed.next_step.len() > 20, "{failed:#?}");
}

/// All machines, available.
async fn provide_all(api: &Api, lab: &Lab) -> Result<()> {
    let lives = lab.rack().machines().iter().map(|machine| {
        let mut api = api.clone();
        async move {
            api.enrol(machine).await?;
            api.bring(&machine.name, "manage", "", "manageable", WAIT_TIMEOUT).await?;
            api.bring(&machine.name, "provide", "", "available", WAIT_TIMEOUT).await
        }
    });
    futures::future::try_join_all(lives).await.map(drop)
}

#[test]
fn each_place_where_a_boot_stops_is_named_and_a_healthy_one_beside_it_is_not_blamed() {
    let boot = |boot| broken(Faults { boot, ..Faults::default() });
    let places = [
        (boot(Boot::NoDhcp), "NO_DHCP"),
        (boot(Boot::IgnoresOffers), "DHCP_NOT_TAKEN"),
        (boot(Boot::TftpSilentAfter(5)), "TFTP_BLOCKED"),
        (boot(Boot::StopsAfterScript), "HTTP_BLOCKED"),
        (broken(Faults { agent: Agent::NeverStarts, ..Faults::default() }), "AGENT_MUTE"),
    ];
    let specs: Vec<Spec> = places.iter().map(|(spec, _)| spec.clone()).chain([Spec::default()]).collect();
    let lab = Lab::up("tplaces", &specs, hasty()).unwrap();
    lab.run(async |mut api, lab| {
        provide_all(&api, lab).await?;
        for machine in lab.rack().machines() {
            api.ask(&machine.name, "deploy", IMAGE).await?;
        }
        let healthy = api.reach("n6", "active", WAIT_TIMEOUT).await?.observed.unwrap();
        assert_eq!((healthy.diagnosis.as_str(), healthy.last_failure), ("", None));
        for (machine, (_, cause)) in lab.rack().machines().iter().zip(&places) {
            assert_failed(&api.fails(&machine.name, WAIT_TIMEOUT).await?, "deploy failed", cause);
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_silent_bmc_and_a_wrong_password_are_distinguished() {
    let deaf = broken(Faults { bmc: Bmc::Deaf, ..Faults::default() });
    let lab = Lab::up("tbmcs", &[deaf, Spec::default()], hasty()).unwrap();
    lab.run(async |mut api, lab| {
        let [deaf, other] = [lab.machine("n1")?, lab.machine("n2")?];
        api.enrol(deaf).await?;
        let wrong = CreateNodeRequest { bmc_password: "wrong".to_owned(), ..enrolment(other) };
        api.nodes.create_node(wrong).await?;
        for node in ["n1", "n2"] {
            api.ask(node, "manage", "").await?;
        }
        assert_failed(&api.fails("n2", WAIT_TIMEOUT).await?, "enroll", "BMC_PASSWORD");
        assert_failed(&api.fails("n1", WAIT_TIMEOUT).await?, "enroll", "BMC_SILENT");

        // The suggested command solves it.
        deaf.set_faults(Faults::default());
        let right = UpdateNodeRequest {
            node: "n2".to_owned(),
            bmc_password: Some(other.password()),
            ..UpdateNodeRequest::default()
        };
        api.nodes.update_node(right).await?;
        for node in ["n1", "n2"] {
            let node = api.bring(node, "manage", "", "manageable", WAIT_TIMEOUT).await?;
            assert_eq!(node.observed.unwrap().last_failure, None);
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_bmc_that_takes_seconds_for_a_command_is_waited_for_and_receives_it_once() {
    let slow = broken(Faults { bmc: Bmc::Slow, ..Faults::default() });
    let lab = Lab::up("tslow", &[slow], Options::default()).unwrap();
    lab.run(async |mut api, lab| {
        provide_all(&api, lab).await?;
        api.bring("n1", "deploy", IMAGE, "active", WAIT_TIMEOUT).await?;
        let told = lab.machine("n1")?.mutations();
        let told: Vec<String> = told.into_iter().map(|mutation| words(mutation.change)).collect();
        let once = ["boot Pxe Once bios", "power on", "power off", "boot Disk Persistent bios", "power on"];
        assert_eq!(told, once);
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_password_that_was_changed_at_the_bmc_fails_the_deployment_until_it_is_set() {
    let lab = Lab::up("tpass", &[Spec::default()], hasty()).unwrap();
    lab.run(async |mut api, lab| {
        provide_all(&api, lab).await?;
        lab.machine("n1")?.set_password("another");
        api.ask("n1", "deploy", IMAGE).await?;
        assert_failed(&api.fails("n1", WAIT_TIMEOUT).await?, "deploy failed", "BMC_PASSWORD");

        let bmc_password = Some("another".to_owned());
        let node = "n1".to_owned();
        api.nodes.update_node(UpdateNodeRequest { node, bmc_password, ..UpdateNodeRequest::default() }).await?;
        api.bring("n1", "deploy", IMAGE, "active", WAIT_TIMEOUT).await?;
        Ok(())
    })
    .unwrap();
}

#[test]
fn an_agent_that_dies_or_falls_silent_at_work_is_lost() {
    let lab = Lab::up("tlost", &[Spec::default(), Spec::default()], hasty()).unwrap();
    lab.run(async |mut api, lab| {
        provide_all(&api, lab).await?;
        for (node, agent) in [("n1", Agent::DiesAtWork), ("n2", Agent::MuteAtWork)] {
            lab.machine(node)?.set_faults(Faults { agent, ..Faults::default() });
            api.ask(node, "deploy", IMAGE).await?;
        }
        for node in ["n1", "n2"] {
            assert_failed(&api.fails(node, WAIT_TIMEOUT).await?, "deploy failed", "AGENT_LOST");
        }
        // A healthy agent succeeds the next time.
        for node in ["n1", "n2"] {
            lab.machine(node)?.set_faults(Faults::default());
            api.bring(node, "deploy", IMAGE, "active", WAIT_TIMEOUT).await?;
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_machine_without_a_disk_and_one_with_too_small_a_disk_say_so() {
    let disks = |disks: &[u64]| Spec { disks: disks.to_vec(), ..Spec::default() };
    let lab = Lab::up("tdisks", &[disks(&[]), disks(&[4 << 20])], hasty()).unwrap();
    lab.run(async |mut api, lab| {
        provide_all(&api, lab).await?;
        for node in ["n1", "n2"] {
            api.ask(node, "deploy", IMAGE).await?;
        }
        assert_failed(&api.fails("n1", WAIT_TIMEOUT).await?, "deploy failed", "NO_DISK");
        assert_failed(&api.fails("n2", WAIT_TIMEOUT).await?, "deploy failed", "IMAGE_TOO_LARGE");
        Ok(())
    })
    .unwrap();
}

#[test]
fn an_image_with_another_digest_or_without_a_source_is_not_written() {
    let lab = Lab::up("timages", &[Spec::default(), Spec::default()], hasty()).unwrap();
    lab.run(async |mut api, lab| {
        provide_all(&api, lab).await?;
        let (url, _) = lab.file("one", b"one")?;
        let (nowhere, digest) = lab.file("other", b"other")?;
        api.register("another", "disk", &url, &digest).await?;
        let unlike = format!("sha256:{}", "0".repeat(64));
        api.register("nowhere", "disk", &format!("{nowhere}-gone"), &unlike).await?;
        for (node, image) in [("n1", "another"), ("n2", "nowhere")] {
            api.ask(node, "deploy", image).await?;
        }
        assert_failed(&api.fails("n1", WAIT_TIMEOUT).await?, "deploy failed", "IMAGE_DIGEST");
        assert_failed(&api.fails("n2", WAIT_TIMEOUT).await?, "deploy failed", "IMAGE_UNREACHABLE");
        for machine in lab.rack().machines() {
            assert!(is_blank(&machine.disk())?);
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_rack_without_its_ramdisk_boots_no_node_and_says_what_is_missing() {
    let lab = Lab::up("tnoram", &[Spec::default()], hasty()).unwrap();
    lab.run(async |mut api, lab| {
        provide_all(&api, lab).await?;
        api.boots_from("kernel", "").await?;
        api.ask("n1", "deploy", IMAGE).await?;
        let failed = api.fails("n1", WAIT_TIMEOUT).await?;
        assert_failed(&failed, "deploy failed", "RAMDISK_MISSING");
        assert!(failed.text.contains("ramdisk"), "{failed:?}");
        assert_eq!(lab.machine("n1")?.mutations().len(), 0, "nothing was switched on for an impossible boot");
        // With the ramdisk back, the same request succeeds.
        api.boots_from("kernel", "ramdisk").await?;
        api.bring("n1", "deploy", IMAGE, "active", WAIT_TIMEOUT).await?;
        Ok(())
    })
    .unwrap();
}

#[test]
fn lost_power_is_distinguished_from_a_lost_agent_at_work_and_while_booting() {
    let mute = broken(Faults { agent: Agent::MuteAtWork, ..Faults::default() });
    let deaf = broken(Faults { boot: Boot::IgnoresOffers, ..Faults::default() });
    let lab = Lab::up("tplug", &[mute, deaf], hasty()).unwrap();
    lab.run(async |mut api, lab| {
        provide_all(&api, lab).await?;
        for (node, says) in [("n1", "the agent is at work"), ("n2", "power on")] {
            api.ask(node, "deploy", IMAGE).await?;
            lab.machine(node)?.says(says, WAIT_TIMEOUT).await?;
            lab.machine(node)?.cut_power()?;
        }
        for node in ["n1", "n2"] {
            assert_failed(&api.fails(node, WAIT_TIMEOUT).await?, "deploy failed", "POWER_LOST");
            let marks = api.marks(node).await?;
            assert!(marks.iter().any(|(mark, by)| mark == "POWER_OFF" && by.contains("outside Ironmesh")), "{marks:?}");
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_manual_power_change_and_a_silent_bmc_of_an_idle_node_are_detected() {
    let lab = Lab::up("thand", &[Spec::default(), Spec::default()], hasty()).unwrap();
    lab.run(async |mut api, lab| {
        provide_all(&api, lab).await?;
        let on = i32::from(proto::common::v1::Power::On);
        lab.machine("n1")?.press_power()?;
        api.sees("n1", "power on", WAIT_TIMEOUT, |observed| observed.power == on).await?;

        lab.machine("n2")?.set_faults(Faults { bmc: Bmc::Deaf, ..Faults::default() });
        let seen = api.sees("n2", "trouble", WAIT_TIMEOUT, |observed| observed.last_failure.is_some()).await?;
        assert_eq!((seen.state.as_str(), seen.last_failure.unwrap().cause.as_str()), ("available", "BMC_SILENT"));
        lab.machine("n2")?.set_faults(Faults::default());
        api.sees("n2", "no trouble", WAIT_TIMEOUT, |observed| observed.last_failure.is_none()).await?;
        // Polling changed nothing.
        assert_eq!((lab.machine("n1")?.mutations().len(), lab.machine("n2")?.mutations().len()), (0, 0));
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_system_without_a_sign_of_life_two_machines_and_a_lost_image_server_are_named() {
    let agent = |agent| broken(Faults { agent, ..Faults::default() });
    let dead = broken(Faults { boot: Boot::DeadSystem, ..Faults::default() });
    let lab = Lab::up("tlife", &[dead, agent(Agent::CalledByTwo), Spec::default()], hasty()).unwrap();
    lab.run(async |mut api, lab| {
        let patient = CreateNodeRequest {
            sign_of_life_timeout: Some(wire_duration(Duration::from_secs(4))),
            ..enrolment(lab.machine("n1")?)
        };
        api.nodes.create_node(patient).await?;
        for node in ["n2", "n3"] {
            api.enrol(lab.machine(node)?).await?;
        }
        lab.machine("n3")?.lose_tcp(8081)?;
        for node in ["n1", "n2", "n3"] {
            api.bring(node, "manage", "", "manageable", WAIT_TIMEOUT).await?;
            api.bring(node, "provide", "", "available", WAIT_TIMEOUT).await?;
            api.ask(node, "deploy", IMAGE).await?;
        }
        assert_failed(&api.fails("n1", WAIT_TIMEOUT).await?, "deploy failed", "NO_LIFE");
        assert_failed(&api.fails("n2", WAIT_TIMEOUT).await?, "deploy failed", "TWO_MACHINES");
        assert_failed(&api.fails("n3", WAIT_TIMEOUT * 2).await?, "deploy failed", "IMAGE_SERVER_GONE");
        assert!(is_blank(&lab.machine("n3")?.disk())?);
        Ok(())
    })
    .unwrap();
}
