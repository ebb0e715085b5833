//! The life of nodes, from enrolled to active and back: a whole mesh and simulated machines. Needs root and the
//! packages of `scripts/test`; `ironmesh` must be built.

use std::collections::{BTreeMap, BTreeSet};

use domain::generation::Generation;
use integration_tests::bmc::{Habit, Script};
use integration_tests::check::What;
use integration_tests::fault::tell;
use integration_tests::lab::{IMAGE, Lab, WAIT_TIMEOUT, holds_image, image};
use integration_tests::machine::{Spec, disk, is_blank};
use integration_tests::mesh::{Options, enrolment};
use integration_tests::rack::wait;
use integration_tests::record::{Recorder, Write};
use keyspace::value::{Journal, PowerSeen};
use proto::api::v1::{CreateNodeRequest, ServiceKind};
use tonic::Code;
use wire_ipmi::chassis::{Control, Power};
use wire_ipmi::responder::machine::Change;

#[test]
fn a_machine_goes_from_enrolled_to_active_and_back_to_available() {
    let lab = Lab::up("tlife1", &[Spec::default()], Options::default()).unwrap();
    lab.run(async |mut api, lab| {
        let machine = lab.machine("n1")?;
        api.enrol(machine).await?;
        api.bring("n1", "manage", "", "manageable", WAIT_TIMEOUT).await?;
        api.bring("n1", "provide", "", "available", WAIT_TIMEOUT).await?;
        assert_eq!(machine.power(), Power::Off);

        let node = api.bring("n1", "deploy", IMAGE, "active", WAIT_TIMEOUT).await?;
        assert_eq!(machine.power(), Power::On);
        assert!(holds_image(&machine.disk(), &image())?);
        assert!(disk::phone_home(&machine.disk())?.contains(&node.id));
        assert_eq!(node.observed.unwrap().diagnosis, "");
        let marks = api.marks("n1").await?;
        assert!(marks.iter().any(|(mark, _)| mark == "FIRST_LIFE"), "{marks:?}");

        api.bring("n1", "undeploy", "", "available", WAIT_TIMEOUT).await?;
        assert_eq!(machine.power(), Power::Off);
        assert!(is_blank(&machine.disk())?);
        Ok(())
    })
    .unwrap();
    lab.down().unwrap();
}

/// Maximum number of keys that a deployment may write, without retries (services/keyspace/README.md).
const DEPLOY_WRITES: usize = 40;
/// Removes writes of attempts at a BMC that were repeated within the same instruction (each has its own session),
/// and reports that a BMC was unusable for a while.
fn without_retries(writes: Vec<Write>) -> Vec<Write> {
    let mut tries: BTreeMap<Generation, Vec<Vec<usize>>> = BTreeMap::new();
    let (mut known, mut settled) = (BTreeSet::new(), None);
    let mut retried = BTreeSet::new();
    for (number, write) in writes.iter().enumerate() {
        if let Some(seen) = write.read::<PowerSeen>().filter(|_| write.path.ends_with("/power")) {
            if seen.settled.is_none() || seen.settled == settled {
                retried.insert(number);
            }
            settled = seen.settled;
        }
        let Some(journal) = write.read::<Journal>().filter(|_| write.path.contains("/power-service/journal/")) else {
            continue;
        };
        let of_order = tries.entry(journal.highest.generation).or_default();
        let opened = journal.sessions.iter().filter(|session| known.insert(session.id)).count() > 0;
        if opened || of_order.is_empty() {
            of_order.push(Vec::new());
        }
        of_order.last_mut().into_iter().for_each(|last| last.push(number));
    }
    retried.extend(tries.values().filter_map(|tries| tries.split_last()).flat_map(|(_, before)| before.concat()));
    let kept = writes.into_iter().enumerate().filter(|(number, _)| !retried.contains(number));
    kept.map(|(_, write)| write).collect()
}

/// Polls an idle node's power; each poll could write.
const LOOKS: usize = 4;

#[test]
fn a_deploy_writes_at_most_forty_keys_and_an_idle_node_none() {
    let options = Options { set: vec!["power.poll=200ms".to_owned()], ..Options::default() };
    let lab = Lab::up("twrites", &[Spec::default()], options).unwrap();
    lab.run(async |mut api, lab| {
        let recorder = Recorder::begin(&lab.data()).await?;
        let machine = lab.machine("n1")?;
        api.enrol(machine).await?;
        api.bring("n1", "manage", "", "manageable", WAIT_TIMEOUT).await?;
        let node = api.bring("n1", "provide", "", "available", WAIT_TIMEOUT).await?;
        let about = |from: usize| {
            let writes = recorder.since(from).into_iter().filter(|write| write.path.contains(&node.id));
            without_retries(writes.collect()).into_iter().map(|write| write.path).collect::<Vec<_>>()
        };
        let from = recorder.len();
        // The cost of a bad BMC is not the cost of a deployment.
        machine.spoil_bmc(Script::new([Habit::Reboots(2)]));
        api.bring("n1", "deploy", IMAGE, "active", WAIT_TIMEOUT).await?;
        let written = about(from);
        tell(format_args!("a deploy wrote {} keys", written.len()));
        assert!(written.len() <= DEPLOY_WRITES, "{}: {written:#?}", written.len());

        let reads = || machine.deeds().iter().filter(|deed| deed.what == What::Read).count();
        let (from, before) = (recorder.len(), reads());
        wait::until("looks at its power", WAIT_TIMEOUT, || Ok((reads() >= before + LOOKS).then_some(())))?;
        assert_eq!(about(from), [] as [String; 0]);
        Ok(())
    })
    .unwrap();
}

#[test]
fn four_machines_deploy_at_the_same_time_with_two_replicas_of_every_service() {
    let options = Options { replicas: 2, ..Options::default() };
    let lab = Lab::up("tfour", &[(); 4].map(|()| Spec::default()), options).unwrap();
    lab.run(async |api, lab| {
        let lives = lab.rack().machines().iter().map(|machine| {
            let mut api = api.clone();
            async move {
                api.enrol(machine).await?;
                api.bring(&machine.name, "manage", "", "manageable", WAIT_TIMEOUT).await?;
                api.bring(&machine.name, "provide", "", "available", WAIT_TIMEOUT).await?;
                api.bring(&machine.name, "deploy", IMAGE, "active", WAIT_TIMEOUT).await
            }
        });
        futures::future::try_join_all(lives).await?;
        for machine in lab.rack().machines() {
            assert!(holds_image(&machine.disk(), &image())?, "{}", machine.name);
            // To be written, and to boot from disk: no machine was switched on twice for one of them.
            let on = Change::Power(Control::On);
            let on = machine.mutations().into_iter().filter(|mutation| mutation.change == on).count();
            assert_eq!(on, 2, "{:#?}", machine.mutations());
        }
        let replicas = api.clone().rack().await?.replicas;
        for service in [ServiceKind::Power, ServiceKind::Pxe, ServiceKind::Storage, ServiceKind::Inventory] {
            let owned: Vec<u32> = replicas.iter().filter(|one| one.service() == service).map(|one| one.owns).collect();
            assert_eq!((owned.len(), owned.iter().sum()), (2, 4), "{service:?}: {owned:?}");
        }
        Ok(())
    })
    .unwrap();
    lab.down().unwrap();
}

#[test]
fn a_second_node_with_the_same_name_mac_or_bmc_is_refused_and_the_first_is_named() {
    let lab = Lab::up("ttwice", &[Spec::default()], Options::default()).unwrap();
    lab.run(async |mut api, lab| {
        let first = CreateNodeRequest { name: "holder".to_owned(), ..enrolment(lab.machine("n1")?) };
        api.nodes.create_node(first.clone()).await?;
        let stranger = CreateNodeRequest {
            name: "stranger".to_owned(),
            bmc_address: "10.77.2.99".to_owned(),
            macs: vec!["52:54:00:02:00:99".to_owned()],
            ..first.clone()
        };
        for (what, second) in [
            ("holder", CreateNodeRequest { name: first.name.clone(), ..stranger.clone() }),
            ("52:54:00:02:00:01", CreateNodeRequest { macs: first.macs.clone(), ..stranger.clone() }),
            ("10.77.2.11", CreateNodeRequest { bmc_address: first.bmc_address.clone(), ..stranger.clone() }),
        ] {
            let refused = api.nodes.create_node(second).await.unwrap_err();
            assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
            assert!(refused.message().contains(what) && refused.message().contains("holder"), "{refused}");
        }
        // A refused request has left nothing that would block a later one.
        api.nodes.create_node(stranger).await?;
        Ok(())
    })
    .unwrap();
}

#[test]
fn machines_enrolled_at_the_same_time_each_get_an_address_of_their_own() {
    const MACHINES: u8 = 12;
    let lab = Lab::up("tenrol", &[], Options::default()).unwrap();
    lab.run(async |api, _| {
        let all = (1..=MACHINES).map(|number| {
            let mut api = api.clone();
            async move {
                let node = CreateNodeRequest {
                    name: format!("node-{number}"),
                    bmc_address: format!("10.77.2.{number}"),
                    macs: vec![format!("52:54:00:03:00:{number:02x}")],
                    ..CreateNodeRequest::default()
                };
                let node = api.nodes.create_node(node).await?.into_inner().node.unwrap_or_default();
                anyhow::Ok(node.intent.unwrap_or_default().ports.into_iter().map(|port| port.address))
            }
        });
        let given = futures::future::try_join_all(all).await?;
        let given: BTreeSet<String> = given.into_iter().flatten().collect();
        assert_eq!(given.len(), usize::from(MACHINES), "{given:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn an_unknown_mac_is_noted_and_left_unanswered() {
    let lab = Lab::up("tunknown", &[Spec::default()], Options { replicas: 2, ..Options::default() }).unwrap();
    lab.run(async |mut api, lab| {
        let machine = lab.machine("n1")?;
        machine.press_power()?;
        machine.says("PXE-E51", WAIT_TIMEOUT).await?;
        let unknown = api.rack().await?.unknown_macs;
        let [noted] = unknown.as_slice() else { panic!("{unknown:?}") };
        assert_eq!((noted.mac.as_str(), noted.firmware.as_str()), ("52:54:00:02:00:01", "PXE firmware (BIOS)"));
        Ok(())
    })
    .unwrap();
}

#[test]
fn boot_files_are_sent_by_tftp_if_the_node_is_set_to_it() {
    let lab = Lab::up("ttftp", &[Spec::default()], Options::default()).unwrap();
    lab.run(async |mut api, lab| {
        let machine = lab.machine("n1")?;
        let node = CreateNodeRequest { boot_files_by_tftp: true, ..enrolment(machine) };
        api.nodes.create_node(node).await?;
        api.bring("n1", "manage", "", "manageable", WAIT_TIMEOUT).await?;
        api.bring("n1", "provide", "", "available", WAIT_TIMEOUT).await?;
        api.bring("n1", "deploy", IMAGE, "active", WAIT_TIMEOUT).await?;
        for file in ["vmlinuz", "token.cpio", "initrd.img"] {
            machine.says(&format!("{file} from tftp://10.77.1.1/boot/"), WAIT_TIMEOUT).await?;
        }
        Ok(())
    })
    .unwrap();
}
