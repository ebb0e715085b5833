//! Ironic's clients and our REST API: recorded requests of a real Ironic, the stock command line, and the SDK's own
//! tests.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use integration_tests::{
    authority::Authority,
    baremetal::{Baremetal, client},
    bmc::USER,
    fault::tell,
    fleet::Fleet,
    ironic::{self, Player, Rest, Rules, recorded},
    lab::{Lab, holds_image, image},
    machine::{Machine, Spec, disk},
    mesh::Options,
    rack::{namespace::Namespace, wait},
    record::{Recorder, Write, store},
};
use rustix::process::Signal;
use serde_json::json;

#[test]
fn what_a_real_ironic_was_asked_is_answered_alike_but_for_a_written_list() {
    let fleet = Fleet::up("iron", 0, &ironic::options()).unwrap();
    fleet
        .run(async |_, fleet| {
            let recorded = recorded()?;
            let store = store(&fleet.data(), "scheduler-service-1").await?;
            let answers = Player::new(fleet.mesh().rest(1)?, store)?.play(&recorded).await?;
            let rules = Rules::written()?;
            let alike = rules.hold(&recorded, &answers)?;
            tell(format_args!("{alike} of {} alike, {} on purpose not", recorded.len(), rules.count()));
            Ok(())
        })
        .unwrap();
}

#[test]
fn the_stock_command_line_takes_a_machine_and_one_that_is_not_there_through_their_lives() {
    let options = Options { set: vec!["scheduler.boot=20s".to_owned()], ..Options::default() };
    let lab = Lab::up("bmcli", &[Spec::default()], options).unwrap();
    life_by_command_line(&lab).unwrap();
}

fn life_by_command_line(lab: &Lab) -> Result<()> {
    let bm = Baremetal::new(Namespace::named(&lab.rack().services.namespace), lab.mesh().rest(1)?)?;
    let machine = lab.machine("n1")?;
    let (url, digest) = lab.file("cli", &image())?;
    let checksum = digest.strip_prefix("sha256:").context("no SHA-256")?;
    let (bmc, mac, password) = (machine.bmc_address, machine.mac, machine.password());
    ensure!(bm.run("driver list -f value -c name")? == "fake-hardware\nipmi\nmanual-management\nredfish");
    bm.run(&format!(
        "node create --driver ipmi --name n1 --driver-info ipmi_address={bmc} --driver-info ipmi_username={USER} \
         --driver-info ipmi_password={password} --property capabilities=boot_mode:bios"
    ))?;
    ensure!(!bm.run("node show n1")?.contains(&password), "the password is shown");
    lab.run(async |_, lab| is_nowhere_in_the_store(lab, &password).await)?;
    let uuid = bm.field("n1", "uuid")?;
    bm.run(&format!("port create {mac} --node {uuid}"))?;
    ensure!(bm.run("port list -f value -c address")? == mac.to_string());
    let early = bm.refused("node deploy n1")?;
    ensure!(early.contains("can not be performed on node"), "{early}");
    bm.run("node manage n1 --wait 30")?;
    bm.run("node inspect n1")?;
    bm.until("n1", "provision_state", "manageable")?;
    ensure!(bm.run("node inventory save n1")?.contains(&mac.to_string()), "the inventory has not its NIC");
    bm.run("node provide n1")?;
    bm.until("n1", "provision_state", "available")?;
    let nothing = bm.refused("node deploy n1")?;
    ensure!(nothing.contains("image_source"), "{nothing}");
    bm.run(&format!(
        "node set n1 --instance-info image_source={url} --instance-info image_checksum={checksum} --resource-class big"
    ))?;
    bm.run("node deploy n1 --config-drive {\"meta_data\":{\"hostname\":\"first\"}}")?;
    bm.until("n1", "provision_state", "active")?;
    ensure!(holds_image(&machine.disk(), &image())?, "the disk is not the image");
    let history = bm.run("node history list n1 --long -f value -c Event")?;
    ensure!(history.contains("agent called") && history.contains("image written"), "{history}");
    rebuild_with_a_packed_drive(&bm, machine)?;
    bm.run("node power off n1")?;
    bm.until("n1", "power_state", "power off")?;
    bm.run("node undeploy n1")?;
    bm.until("n1", "provision_state", "available")?;
    ensure!(bm.field("n1", "instance_info")? == "{}", "what was deployed is still known");
    bm.run("node maintenance set n1 --reason drill")?;
    ensure!(bm.field("n1", "maintenance_reason")? == "drill");
    bm.run("node maintenance unset n1")?;
    without_a_machine(&bm)?;
    bm.run("node delete n1")?;
    ensure!(bm.run("node list -f value -c Name")?.is_empty());
    tell(format_args!("{} calls of the stock command line", bm.calls()));
    Ok(())
}

/// The client makes an ISO of a folder with genisoimage(1) and packs it, and it is written to the disk unchanged.
fn rebuild_with_a_packed_drive(bm: &Baremetal, machine: &Machine) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let latest = folder.path().join("openstack/latest");
    fs::create_dir_all(&latest)?;
    fs::write(latest.join("meta_data.json"), r#"{"hostname": "packed-by-the-client"}"#)?;
    bm.run(&format!("node rebuild n1 --config-drive {}", folder.path().display()))?;
    bm.until("n1", "provision_state", "active")?;
    let drive = disk::config_drive(&machine.disk())?;
    let has = |words: &[u8]| drive.windows(words.len()).any(|octets| octets == words);
    ensure!(has(b"CD001") && has(b"packed-by-the-client"), "the config drive is not the one that the client made");
    Ok(())
}

/// No value in the store contains these words.
async fn is_nowhere_in_the_store(lab: &Lab, words: &str) -> Result<()> {
    let recorder = Recorder::begin(&lab.data()).await?;
    recorder.catches_up().await?;
    let all = recorder.since(0);
    ensure!(all.iter().any(|write| write.path.contains("/node-spec/")), "the node is not there");
    let has =
        |write: &&Write| write.value.as_deref().is_some_and(|value| String::from_utf8_lossy(value).contains(words));
    match all.iter().find(has) {
        Some(write) => bail!("it stands in {}", write.path),
        None => Ok(()),
    }
}

/// The life of a node of `fake-hardware`, with verbs that the machine's node does not have.
fn without_a_machine(bm: &Baremetal) -> Result<()> {
    bm.run("node create --driver fake-hardware --name f1 --resource-class small")?;
    bm.run("node manage f1")?;
    bm.until("f1", "provision_state", "manageable")?;
    bm.run("node clean f1 --clean-steps [{\"interface\":\"deploy\",\"step\":\"erase_devices\"}]")?;
    bm.until("f1", "provision_state", "manageable")?;
    bm.run("node clean f1 --clean-steps [{\"interface\":\"raid\",\"step\":\"unknown_step\"}]")?;
    bm.until("f1", "provision_state", "clean failed")?;
    ensure!(bm.field("f1", "last_error")?.contains("raid.unknown_step"));
    bm.run("node manage f1")?;
    bm.run("node provide f1")?;
    bm.until("f1", "provision_state", "available")?;
    bm.run("node add trait f1 CUSTOM_GPU")?;
    ensure!(
        bm.run("allocation create --resource-class small --trait CUSTOM_GPU --name a1 --wait -f value -c state")?
            == "active"
    );
    let none = bm.run("allocation create --resource-class small --trait CUSTOM_GPU --name a2 -f value -c uuid")?;
    ensure!(bm.run(&format!("allocation show {none} -f value -c last_error"))?.contains("no available nodes"));
    bm.run("node deploy f1")?;
    bm.until("f1", "provision_state", "active")?;
    bm.run("node rescue f1 --rescue-password secret")?;
    bm.until("f1", "provision_state", "rescue")?;
    bm.run("node unrescue f1")?;
    bm.until("f1", "provision_state", "active")?;
    bm.run("node undeploy f1")?;
    bm.until("f1", "provision_state", "available")?;
    bm.run("node delete f1")?;
    bm.run(&format!("allocation delete {none}")).map(drop)
}

#[test]
fn only_users_in_the_file_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users");
    // The hash is libxcrypt's, as htpasswd writes it.
    let hash = r#"import crypt; print("ann:" + crypt.crypt("right", crypt.mksalt(crypt.METHOD_BLOWFISH)))"#;
    let made = std::process::Command::new("/usr/bin/python3").args(["-W", "ignore", "-c", hash]).output().unwrap();
    fs::write(&file, made.stdout).unwrap();
    let options = Options { set: vec![format!("scheduler.rest_users={}", file.display())], ..Options::default() };
    let fleet = Fleet::up("users", 0, &options).unwrap();
    let as_who = |who| {
        let endpoint = fleet.mesh().rest(1)?;
        anyhow::Ok(Baremetal::new(fleet.place().clone(), endpoint)?.as_who(who))
    };
    assert!(as_who(Some(("ann", "right"))).unwrap().run("driver list -f value -c name").unwrap().contains("ipmi"));
    for who in [None, Some(("ann", "wrong")), Some(("bob", "right"))] {
        let refused = as_who(who).unwrap().refused("node list").unwrap();
        assert!(refused.contains("401"), "{who:?}: {refused}");
    }
}

#[test]
fn the_stock_client_speaks_https_and_a_certificate_is_replaced_while_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let (first, second) = (Authority::new().unwrap(), Authority::new().unwrap());
    let shown = |ca: &Authority, name: &str| {
        let files = ca.issue_for_loopback(&file(name))?;
        fs::copy(files.certificate, file("shown.pem"))?;
        fs::copy(files.key, file("shown.key"))?;
        anyhow::Ok(files.ca)
    };
    let old = shown(&first, "first").unwrap();
    let set = [("certificate", "shown.pem"), ("key", "shown.key")];
    let set = set.map(|(key, name)| format!("scheduler.rest_tls.{key}={}", file(name).display())).to_vec();
    let fleet = Fleet::up("https", 0, &Options { set, ..Options::default() }).unwrap();
    let endpoint = fleet.mesh().rest(1).unwrap().replace("http://", "https://");
    let believing = |ca: &PathBuf| {
        let place = fleet.place().clone();
        anyhow::Ok(Baremetal::new(place, endpoint.clone())?.believing(ca))
    };
    let bm = believing(&old).unwrap();
    bm.run("node create --driver fake-hardware --name n1").unwrap();
    assert!(bm.run("node list -f value -c Name").unwrap().contains("n1"));
    // Links lead back to the address that the client used.
    let mut curl = fleet.place().command("curl");
    curl.args(["--silent", "--show-error", "--fail", "--cacert"]).arg(&old).arg(format!("{endpoint}/v1/nodes/n1"));
    curl.args(["--header", "X-OpenStack-Ironic-API-Version: 1.109"]);
    let ended = curl.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(said.contains(&format!("{endpoint}/v1/nodes/")), "{ended:?}");
    let new = shown(&second, "second").unwrap();
    let taken = || Ok(believing(&new)?.run("node list").ok());
    wait::until("the new certificate to be shown", Duration::from_secs(60), taken).unwrap();
    assert!(bm.refused("node list").unwrap().to_lowercase().contains("certificate"));
}

#[test]
fn the_sdks_own_functional_tests_pass() {
    let fleet = Fleet::up("sdk", 0, &Options::default()).unwrap();
    sdk(&fleet).unwrap();
}

fn sdk(fleet: &Fleet) -> Result<()> {
    let endpoint = fleet.mesh().rest(1)?;
    let clouds = fleet.data().join("clouds.yaml");
    let mut text = "clouds:\n".to_owned();
    for name in ["devstack", "devstack-admin", "devstack-system-admin", "devstack-alt"] {
        text.push_str(&format!(
            "  {name}:\n    auth_type: none\n    auth: {{endpoint: \"{endpoint}\"}}\n    baremetal_endpoint_override: \
             {endpoint}\n    region_name: one\n    has_compute: false\n    has_image: false\n    has_network: false\n"
        ));
    }
    fs::write(&clouds, text)?;
    let python = client("python")?;
    let site = "import openstack.tests.functional.baremetal as b; print(b.__path__[0])";
    let output = std::process::Command::new(&python).args(["-c", site]).output()?;
    let tests = String::from_utf8(output.stdout)?.trim().to_owned();
    let top = tests.strip_suffix("/openstack/tests/functional/baremetal").context("no tests of the SDK")?;
    let mut command = fleet.place().command(&python);
    command.args(["-m", "testtools.run", "discover", "-s", &tests, "-t", top]);
    command.env("OS_CLIENT_CONFIG_FILE", &clouds).env("OS_TEST_TIMEOUT", "60");
    let output = command.output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let ran = said.lines().find(|line| line.starts_with("Ran ")).unwrap_or("nothing").to_owned();
    ensure!(output.status.success(), "{said}");
    ensure!(ran.starts_with("Ran 96 tests"), "{ran}");
    tell(ran);
    Ok(())
}

/// Kills the only scheduler after the n-th write about a node since a request, for each of these n, and checks that the
/// node reaches its target state.
fn through_every_write(tag: &str, every: usize) -> Result<()> {
    let fleet = Fleet::up(tag, 0, &Options::default())?;
    fleet.run(async |_, fleet| {
        let rest = Rest::new(fleet.mesh())?;
        let recorder = Recorder::begin(&fleet.data()).await?;
        let body = json!({"driver": "fake-hardware", "name": "f1"});
        let node = rest.ask("POST", "nodes", Some(body)).await?;
        let uuid = node["uuid"].as_str().context("no uuid")?.to_owned();
        for (target, state) in [("manage", "manageable"), ("provide", "available")] {
            rest.provision("f1", target).await?;
            rest.reach("f1", state).await?;
        }
        let mut killed = 0;
        for (target, from, state) in [("active", "available", "active"), ("deleted", "active", "available")] {
            let mut number = 0;
            loop {
                rest.reach("f1", from).await?;
                recorder.catches_up().await?;
                let begun = recorder.len();
                let about = |write: &Write| write.path.contains(&uuid);
                let asking = rest.move_once("f1", target);
                let killing = async {
                    let mut from = begun;
                    for round in 0..=number {
                        let timeout = Duration::from_secs(3);
                        if recorder.hears(&format!("write {round}"), from, timeout, about).await.is_err() {
                            return Ok(false);
                        }
                        let at = recorder.since(from).iter().position(about).unwrap_or_default();
                        from += at + 1;
                    }
                    fleet.mesh().service("scheduler-service-1")?.signal(Signal::KILL)?;
                    anyhow::Ok(true)
                };
                let (_, hit) = tokio::join!(asking, killing);
                // An accepted request continues; one that was not accepted is repeated.
                let now = rest.ask("GET", "nodes/f1", None).await?;
                if now["provision_state"] == from {
                    rest.provision("f1", target).await?;
                }
                rest.reach("f1", state).await.with_context(|| format!("{target}, killed after write {number}"))?;
                if !hit? {
                    break;
                }
                killed += 1;
                number += every;
                // And back to the initial state.
                let back = if target == "active" { "deleted" } else { "active" };
                rest.provision("f1", back).await?;
            }
        }
        ensure!(killed > 2, "the scheduler was killed {killed} times");
        tell(format_args!("the scheduler was killed after {killed} writes"));
        Ok(())
    })
}

#[test]
fn a_deploy_and_an_undeploy_survive_a_scheduler_crash_after_some_of_their_writes() {
    through_every_write("nth", 5).unwrap();
}

#[test]
#[ignore = "takes minutes: scripts/test --all"]
fn a_deploy_and_an_undeploy_survive_a_scheduler_crash_after_each_of_their_writes() {
    through_every_write("every", 1).unwrap();
}
