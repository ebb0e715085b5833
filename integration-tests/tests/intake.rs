//! Enrolling: a machine is inspected, or a running one is adopted unchanged. Needs root and the packages of
//! `scripts/test`; `ironmesh` must be built.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use domain::service::Service;
use integration_tests::check::{self, words};
use integration_tests::fault::{history, owner};
use integration_tests::lab::{IMAGE, Lab, WAIT_TIMEOUT, holds_image, image};
use integration_tests::machine::fault::{Agent, Bmc, Boot};
use integration_tests::machine::{Faults, Machine, Spec, is_blank};
use integration_tests::mesh::{Api, Options, enrolment};
use integration_tests::record::Recorder;
use proto::api::v1::CreateNodeRequest;
use proto::convert::time::WireTime;
use rustix::process::Signal;
use tonic::Code;
use wire_ipmi::chassis::Power;

/// Limits of a scheduler that gives up soon.
fn hasty() -> Options {
    let limits = ["scheduler.verify=8s", "scheduler.boot=8s", "scheduler.boots=1", "scheduler.agent=6s"];
    Options { set: limits.map(str::to_owned).into(), ..Options::default() }
}

fn with(faults: Faults) -> Spec {
    Spec { faults, ..Spec::default() }
}

async fn manage(api: &mut Api, machine: &Machine) -> Result<()> {
    api.enrol(machine).await?;
    api.bring(&machine.name, "manage", "", "manageable", WAIT_TIMEOUT).await.map(drop)
}

/// Puts a system on a machine's disk that the mesh does not know; returns all octets of the disk.
fn occupy(machine: &Machine) -> Result<Vec<u8>> {
    let mut disk = fs::read(machine.disk())?;
    disk.iter_mut().zip(image()).for_each(|(octet, own)| *octet = own);
    fs::write(machine.disk(), &disk)?;
    Ok(disk)
}

/// All commands that changed a machine, in the BMC's words.
fn told(machine: &Machine) -> Vec<String> {
    machine.mutations().into_iter().map(|mutation| words(mutation.change)).collect()
}

#[test]
fn an_inspection_finds_what_a_machine_is_leaves_its_disk_alone_and_switches_it_off() {
    // MACs of other machines: one is a node's, one is unknown.
    let [taken, free] = ["52:54:00:02:00:02", "52:54:00:02:00:03"].map(|mac| mac.parse().unwrap());
    let first = Spec { more_nics: vec![taken, free], ..Spec::default() };
    let lab = Lab::up("tinspect", &[first, Spec::default(), Spec::default()], Options::default()).unwrap();
    lab.run(async |mut api, lab| {
        let machine = lab.machine("n1")?;
        for node in ["n1", "n2"] {
            manage(&mut api, lab.machine(node)?).await?;
        }
        let disk = occupy(machine)?;
        let node = api.bring("n1", "inspect", "", "manageable", WAIT_TIMEOUT).await?;
        assert_eq!(machine.power(), Power::Off);
        assert!(fs::read(machine.disk())? == disk, "its disk is another");
        assert_eq!(told(machine), ["boot Pxe Once bios", "power on", "power off"]);

        let observed = node.observed.unwrap();
        let found = observed.hardware.unwrap();
        assert_eq!(
            (found.serial.as_str(), found.cpu_arch.as_str(), found.cpu_count),
            ("n1", std::env::consts::ARCH, 2)
        );
        assert_eq!((found.memory_bytes, found.disks[0].size_bytes, found.nics.len()), (1 << 30, 64 << 20, 3));
        let ports = node.intent.unwrap().ports;
        let ports: Vec<(&str, bool)> = ports.iter().map(|port| (&*port.mac, port.address.is_empty())).collect();
        assert_eq!(ports, [("52:54:00:02:00:01", false), ("52:54:00:02:00:03", true)]);
        assert_eq!(observed.inspection_remarks, ["eth1 has the MAC 52:54:00:02:00:02 of node n2, where it stays"]);
        let order = |at: Option<WireTime>| at.map(|at| (at.seconds, at.nanos));
        assert!(order(observed.inspection_end_time) > order(observed.inspection_start_time));
        let marks = api.marks("n1").await?;
        let has = |wanted| marks.iter().any(|(mark, _)| mark == wanted);
        assert!(has("AGENT_REPORT") && has("INSPECTED") && !has("WIPED"), "{marks:?}");
        // A NIC of a port that was found is not answered, and not reported as unknown.
        lab.machine("n3")?.press_power()?;
        // The remarks block nothing: the node can be used, and another node's MAC stays with it.
        api.bring("n1", "provide", "", "available", WAIT_TIMEOUT).await?;
        api.bring("n1", "deploy", IMAGE, "active", WAIT_TIMEOUT).await?;
        let node = api.bring("n2", "inspect", "", "manageable", WAIT_TIMEOUT).await?;
        assert_eq!(node.observed.unwrap().inspection_remarks, [] as [&str; 0]);
        lab.machine("n3")?.says("PXE-E51", WAIT_TIMEOUT).await?;
        assert_eq!(api.rack().await?.unknown_macs, []);
        Ok(())
    })
    .unwrap();
    lab.down().unwrap();
}

#[test]
fn a_failed_inspection_names_where_it_stopped_and_can_be_repeated() {
    let cable = Faults { boot: Boot::NoDhcp, ..Faults::default() };
    let mute = Faults { agent: Agent::NeverStarts, ..Faults::default() };
    let lab = Lab::up("tinsfail", &[with(cable), with(mute)], hasty()).unwrap();
    lab.run(async |mut api, lab| {
        for machine in lab.rack().machines() {
            manage(&mut api, machine).await?;
            api.ask(&machine.name, "inspect", "").await?;
        }
        for (node, cause) in [("n1", "NO_DHCP"), ("n2", "AGENT_MUTE")] {
            let failed = api.fails(node, WAIT_TIMEOUT).await?;
            assert_eq!((&*failed.state, &*failed.cause), ("inspect failed", cause), "{failed:?}");
            assert!(failed.text.len() > 10 && failed.next_step.len() > 20, "{failed:#?}");
            lab.machine(node)?.set_faults(Faults::default());
        }
        let node = api.bring("n1", "inspect", "", "manageable", WAIT_TIMEOUT).await?;
        assert_eq!(node.observed.unwrap().last_failure, None);
        // `manage` gives up the inspection.
        api.ask("n2", "manage", "").await?;
        let observed = api.sees("n2", "manageable", WAIT_TIMEOUT, |observed| observed.state == "manageable").await?;
        assert!(observed.inspection_start_time.is_some() && observed.inspection_end_time.is_none(), "{observed:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn an_inspection_can_be_aborted_and_an_impossible_one_is_refused_at_once() {
    let waits = Faults { boot: Boot::IgnoresOffers, ..Faults::default() };
    let lab = Lab::up("tinsabrt", &[with(waits), Spec::default()], Options::default()).unwrap();
    lab.run(async |mut api, lab| {
        let machine = lab.machine("n1")?;
        manage(&mut api, machine).await?;
        api.bring("n1", "inspect", "", "inspect wait", WAIT_TIMEOUT).await?;
        machine.says("told to boot", WAIT_TIMEOUT).await?;
        api.ask("n1", "abort", "").await?;
        let failed = api.fails("n1", WAIT_TIMEOUT).await?;
        assert_eq!((&*failed.state, &*failed.cause), ("inspect failed", "ABORTED"));
        machine.set_faults(Faults::default());
        api.bring("n1", "inspect", "", "manageable", WAIT_TIMEOUT).await?;
        assert_eq!(machine.power(), Power::Off);

        let without = CreateNodeRequest { macs: vec![], ..enrolment(lab.machine("n2")?) };
        api.nodes.create_node(without).await?;
        let refused = api.ask("n2", "inspect", "").await.unwrap_err();
        assert!(refused.message().contains("from here it can: manage"), "{refused}");
        api.bring("n2", "manage", "", "manageable", WAIT_TIMEOUT).await?;
        let refused = api.ask("n2", "inspect", "").await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(refused.message().contains("has no MAC") && refused.message().contains("--add-mac"), "{refused}");
        assert_eq!(told(lab.machine("n2")?), [] as [&str; 0]);
        Ok(())
    })
    .unwrap();
}

#[test]
fn an_inspection_goes_on_although_the_scheduler_that_drives_it_is_killed() {
    let slow = Faults { boot: Boot::SlowSelfTest, ..Faults::default() };
    let lab = Lab::up("tinskill", &[with(slow)], Options { schedulers: 2, ..Options::default() }).unwrap();
    lab.run(async |mut api, lab| {
        let recorder = Recorder::begin(&lab.data()).await?;
        let machine = lab.machine("n1")?;
        manage(&mut api, machine).await?;
        api.ask("n1", "inspect", "").await?;
        machine.says("told to boot", WAIT_TIMEOUT).await?;
        let (victim, _) = owner(&mut api, lab, Service::Scheduler, "n1").await?;
        lab.mesh().service(&victim)?.signal(Signal::KILL)?;
        let node = api.reach("n1", "manageable", WAIT_TIMEOUT).await?;
        let observed = node.observed.as_ref().context("nothing was observed")?;
        ensure!(observed.inspection_end_time.is_some() && observed.hardware.is_some(), "{observed:#?}");
        let starts = machine.console().iter().filter(|line| line.contains("the agent starts")).count();
        assert_eq!((starts, machine.power()), (1, Power::Off));
        recorder.catches_up().await?;
        let off = domain::power::Power::Off;
        let history = history(&node, &recorder, machine.deeds(), (off, off))?;
        let violations: Vec<String> = check::check(&[history]).iter().map(ToString::to_string).collect();
        assert_eq!(violations, [] as [&str; 0]);
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_running_machine_is_adopted_as_it_is_and_an_undeploy_cleans_it() {
    let lab = Lab::up("tadopt", &[Spec::default()], Options::default()).unwrap();
    lab.run(async |mut api, lab| {
        let machine = lab.machine("n1")?;
        let disk = occupy(machine)?;
        manage(&mut api, machine).await?;
        machine.press_power()?;
        machine.says("booting from the disk", WAIT_TIMEOUT).await?;
        let node = api.bring("n1", "adopt", IMAGE, "active", WAIT_TIMEOUT).await?;
        assert_eq!(node.intent.unwrap().image, IMAGE);
        let observed = node.observed.unwrap();
        assert_eq!(observed.power, i32::from(proto::common::v1::Power::On));
        assert_eq!((machine.power(), observed.last_failure), (Power::On, None));
        assert!(fs::read(machine.disk())? == disk, "its disk is another");
        assert_eq!(told(machine), [] as [&str; 0], "its BMC was told something");

        let node = api.bring("n1", "undeploy", "", "available", WAIT_TIMEOUT).await?;
        assert_eq!((node.intent.unwrap().image.as_str(), machine.power()), ("", Power::Off));
        assert!(is_blank(&machine.disk())?);
        Ok(())
    })
    .unwrap();
    lab.down().unwrap();
}

#[test]
fn an_adoption_without_an_answer_of_the_bmc_fails_and_the_next_one_keeps_the_image() {
    let lab = Lab::up("tadopted", &[Spec::default(), Spec::default()], hasty()).unwrap();
    lab.run(async |mut api, lab| {
        for machine in lab.rack().machines() {
            manage(&mut api, machine).await?;
            let refused = api.ask(&machine.name, "adopt", "nowhere").await.unwrap_err();
            assert_eq!(refused.code(), Code::NotFound, "{refused}");
            machine.set_faults(Faults { bmc: Bmc::Deaf, ..Faults::default() });
            api.ask(&machine.name, "adopt", IMAGE).await?;
        }
        for machine in lab.rack().machines() {
            let failed = api.fails(&machine.name, WAIT_TIMEOUT).await?;
            assert_eq!((&*failed.state, &*failed.cause), ("adopt failed", "BMC_SILENT"), "{failed:?}");
            assert!(failed.next_step.contains("repeat the command"), "{failed:?}");
            machine.set_faults(Faults::default());
        }
        let node = api.bring("n1", "adopt", "", "active", WAIT_TIMEOUT).await?;
        assert_eq!(node.intent.unwrap().image, IMAGE);
        // With the image known, the node can be rebuilt.
        api.bring("n1", "rebuild", "", "active", WAIT_TIMEOUT).await?;
        assert!(holds_image(&lab.machine("n1")?.disk(), &image())?);
        // A node that returns to manageable has no image.
        api.ask("n2", "manage", "").await?;
        let node = api.node("n2").await?;
        assert_eq!((&*node.observed.unwrap().state, &*node.intent.unwrap().image), ("manageable", ""));
        Ok(())
    })
    .unwrap();
}
