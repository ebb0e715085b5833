//! Nodes with driver `redfish`: with a foreign service, `sushy-emulator` of OpenStack's sushy-tools, over HTTPS and
//! with users, without a machine; and with ours, which has sessions.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use integration_tests::{
    fault::tell,
    fleet::Fleet,
    ironic::Rest,
    lab::Lab,
    mesh::{ALLOW_LOOPBACK, Options},
    rack::namespace::Namespace,
    record::Recorder,
    redfish::{
        self, Service,
        emulator::{BIOS_PASSWORD, Emulator, PASSWORD, PORT, SYSTEMS, USER},
    },
};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// The emulator changes power after up to 11 s.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Waits until a condition holds.
async fn until(what: &str, mut look: impl AsyncFnMut() -> Result<Option<String>>) -> Result<()> {
    let until = Instant::now() + WAIT_TIMEOUT;
    loop {
        match look().await? {
            None => return Ok(()),
            Some(is) if Instant::now() > until => bail!("waited in vain for {what}; it is {is}"),
            Some(_) => sleep(POLL_INTERVAL).await,
        }
    }
}

/// Waits until a field of the node has this value.
async fn node_is(rest: &Rest<'_>, field: &str, wanted: &str) -> Result<()> {
    until(&format!("{field} {wanted}"), async || {
        let node = rest.ask("GET", "nodes/n1", None).await?;
        let is = node[field].as_str().unwrap_or_default();
        Ok((is != wanted).then(|| format!("{is:?}, and the node's error {}", node["last_error"])))
    })
    .await
}

#[test]
fn a_node_lives_at_a_redfish_service_over_https() {
    let set = vec!["scheduler.boot=20s".to_owned(), ALLOW_LOOPBACK.to_owned()];
    let options = Options { set, ..Options::default() };
    let lab = Lab::up("redf", &[], options).unwrap();
    let place = Namespace::named(&lab.rack().services.namespace);
    let emulator = Emulator::start(&place, &lab.data().join("sushy")).unwrap();
    lab.run(async |_, lab| life(lab, &emulator).await).unwrap();
    drop(emulator);
    lab.down().unwrap();
}

async fn life(lab: &Lab, emulator: &Emulator) -> Result<()> {
    let rest = Rest::new(lab.mesh())?;
    let [_, system] = SYSTEMS.map(|uuid| format!("/redfish/v1/Systems/{uuid}"));
    emulator.answers().await?;
    let node = rest.ask("POST", "nodes", Some(json!({"driver": "redfish", "name": "n1"}))).await?;
    ensure!(node["power_interface"] == "redfish" && node["management_interface"] == "redfish", "{node}");
    let uuid = node["uuid"].as_str().context("no uuid")?.to_owned();
    let valid = rest.ask("GET", "nodes/n1/validate", None).await?;
    let lacks = format!("Missing the following Redfish properties in node {uuid} driver_info: ['redfish_address']");
    ensure!(valid["power"]["reason"] == lacks.as_str(), "{valid}");
    wrong_is_said(&rest, emulator).await?;
    set(&rest, "redfish_password", json!(PASSWORD)).await?;
    fails(&rest, &format!("redfish_system_id to one of {}", SYSTEMS.join(", "))).await?;
    set(&rest, "redfish_system_id", json!(SYSTEMS[1])).await?;
    rest.provision("n1", "manage").await?;
    node_is(&rest, "provision_state", "manageable").await?;
    node_is(&rest, "power_state", "power off").await?;
    let shown = rest.ask("GET", "nodes/n1", None).await?;
    ensure!(shown["driver_info"]["redfish_password"] == "******", "{shown}");
    firmware(&rest).await?;
    power(&rest, emulator, &system).await?;
    boot_device(&rest, emulator, &system).await?;
    change_firmware(emulator, &system).await?;
    boots(lab, &rest, emulator, &system).await?;
    firmware_anew(&rest).await?;
    is_nowhere_in_the_store(lab).await
}

/// An error of the BMC is the node's error, and nothing was sent to the system.
async fn wrong_is_said(rest: &Rest<'_>, emulator: &Emulator) -> Result<()> {
    let info = json!({
        "redfish_address": format!("https://127.0.0.1:{PORT}"), "redfish_username": USER, "redfish_password": "wrong",
    });
    let change = json!([{"op": "add", "path": "/driver_info", "value": info}]);
    rest.ask("PATCH", "nodes/n1", Some(change)).await?;
    let valid = rest.ask("GET", "nodes/n1/validate", None).await?;
    ensure!(valid["power"]["result"] == true && valid["management"]["result"] == true, "{valid}");
    fails(rest, "redfish_verify_ca").await.context("a certificate of an unknown CA")?;
    for path in [json!("/dev/zero"), json!(emulator.ca), json!("../ca.pem")] {
        let change = trusting(path.clone());
        ensure!(rest.status("PATCH", "nodes/n1", Some(change)).await? == 400, "a path was taken: {path}");
    }
    rest.ask("PATCH", "nodes/n1", Some(trusting(json!("missing.pem")))).await?;
    fails(rest, "names no usable PEM file").await.context("a file that does not exist")?;
    rest.ask("PATCH", "nodes/n1", Some(trusting(json!(fs::read_to_string(&emulator.ca)?)))).await?;
    fails(rest, "rejected the user or the password").await?;
    ensure!(emulator.asked("POST")?.is_empty() && emulator.asked("PATCH")?.is_empty(), "it was told something");
    Ok(())
}

/// A change of the certificates that are believed. The password must be given again for that.
fn trusting(certificates: Value) -> Value {
    json!([
        {"op": "add", "path": "/driver_info/redfish_verify_ca", "value": certificates},
        {"op": "add", "path": "/driver_info/redfish_password", "value": "wrong"},
    ])
}

async fn set(rest: &Rest<'_>, key: &str, value: Value) -> Result<()> {
    let change = json!([{"op": "add", "path": format!("/driver_info/{key}"), "value": value}]);
    rest.ask("PATCH", "nodes/n1", Some(change)).await.map(drop)
}

/// Managing the node fails for this reason.
async fn fails(rest: &Rest<'_>, why: &str) -> Result<()> {
    rest.provision("n1", "manage").await?;
    until(why, async || {
        let node = rest.ask("GET", "nodes/n1", None).await?;
        let error = node["last_error"].as_str().unwrap_or_default().to_owned();
        Ok((node["provision_state"] != "enroll" || !error.contains(why)).then_some(error))
    })
    .await
}

async fn power(rest: &Rest<'_>, emulator: &Emulator, system: &str) -> Result<()> {
    for (target, is, there) in [
        ("power on", "power on", "On"),
        ("power off", "power off", "Off"),
        ("power on", "power on", "On"),
        ("soft rebooting", "power on", "On"),
        ("soft power off", "power off", "Off"),
    ] {
        rest.ask("PUT", "nodes/n1/states/power", Some(json!({"target": target, "timeout": 40}))).await?;
        until(&format!("{target} to end"), async || {
            let node = rest.ask("GET", "nodes/n1", None).await?;
            Ok((!node["target_power_state"].is_null()).then(|| node.to_string()))
        })
        .await?;
        node_is(rest, "power_state", is).await.context(target)?;
        let power = &emulator.get(system).await?["PowerState"];
        ensure!(power == there, "{target}: the emulator says {power}");
        tell(target);
    }
    let asked = emulator.asked("POST")?;
    // A reboot is two commands.
    ensure!(asked.len() == 6, "each command once: {asked:?}");
    Ok(())
}

/// Firmware settings are known when the node is managed.
async fn firmware(rest: &Rest<'_>) -> Result<()> {
    let node = rest.ask("GET", "nodes/n1", None).await?;
    ensure!(node["bios_interface"] == "redfish", "{}", node["bios_interface"]);
    let states = rest.ask("GET", "nodes/n1/states", None).await?;
    ensure!(states["boot_mode"] == "uefi" && states["secure_boot"] == false, "{states}");
    let listed = rest.ask("GET", "nodes/n1/bios", None).await?;
    let list = listed["bios"].as_array().context("no list")?.iter();
    let values: Vec<_> = list.map(|setting| (setting["name"].clone(), setting["value"].clone())).collect();
    let known =
        [(json!("BootMode"), json!("Uefi")), (json!("NumCores"), json!("10")), (json!("SysPassword"), Value::Null)];
    ensure!(values == known, "{listed}");
    ensure!(listed["bios"][0].get("read_only").is_none() && listed["bios"][0]["updated_at"].is_null(), "{listed}");
    let detail = rest.ask("GET", "nodes/n1/bios?detail=true", None).await?;
    ensure!(detail["bios"][0]["allowable_values"] == json!(["Bios", "Uefi"]), "{detail}");
    let one = rest.ask("GET", "nodes/n1/bios/BootMode", None).await?;
    let mode = &one["BootMode"];
    ensure!(mode["value"] == "Uefi" && mode["attribute_type"] == "Enumeration" && mode["read_only"] == false, "{one}");
    ensure!(mode["links"][0]["href"].as_str().is_some_and(|href| href.ends_with("/bios/BootMode")), "{one}");
    ensure!(rest.status("GET", "nodes/n1/bios/Nothing", None).await? == 404);
    ensure!(rest.status("GET", "nodes/n1/bios?fields=name&detail=true", None).await? == 400);
    tell("firmware read");
    Ok(())
}

/// Changes a setting at the machine.
async fn change_firmware(emulator: &Emulator, system: &str) -> Result<()> {
    let secure = emulator.client.patch(format!("https://127.0.0.1:{PORT}{system}/SecureBoot"));
    let secure = secure.basic_auth(USER, Some(PASSWORD)).header("content-type", "application/json");
    secure.body(json!({"SecureBootEnable": true}).to_string()).send().await?.error_for_status()?;
    fs::write(&emulator.bios, json!({"BootMode": "Bios", "NumCores": "10"}).to_string())?;
    Ok(())
}

/// A change at the machine is detected when it is inspected, cleaned or deployed: when it boots a ramdisk.
async fn firmware_anew(rest: &Rest<'_>) -> Result<()> {
    until("the firmware as it is now", async || {
        let states = rest.ask("GET", "nodes/n1/states", None).await?;
        let one = rest.ask("GET", "nodes/n1/bios/BootMode", None).await?;
        let mode = &one["BootMode"];
        let is_so = states["secure_boot"] == true && mode["value"] == "Bios" && !mode["updated_at"].is_null();
        Ok((!is_so).then(|| format!("{states} {one}")))
    })
    .await?;
    ensure!(rest.status("GET", "nodes/n1/bios/SysPassword", None).await? == 404, "it is gone, and is still there");
    tell("firmware read anew");
    Ok(())
}

/// The service returns the boot device that was set.
async fn boot_device(rest: &Rest<'_>, emulator: &Emulator, system: &str) -> Result<()> {
    let path = "nodes/n1/management/boot_device";
    let supported = rest.ask("GET", &format!("{path}/supported"), None).await?;
    ensure!(supported["supported_boot_devices"] == json!(["pxe", "disk", "cdrom", "bios", "uefihttp"]), "{supported}");
    // The emulator turns a boot by HTTP without an address into PXE.
    for (device, target, read) in
        [("uefihttp", "Pxe", "pxe"), ("cdrom", "Cd", "cdrom"), ("pxe", "Pxe", "pxe"), ("disk", "Hdd", "disk")]
    {
        rest.ask("PUT", path, Some(json!({"boot_device": device, "persistent": true}))).await?;
        let is = &emulator.get(system).await?["Boot"]["BootSourceOverrideTarget"];
        ensure!(is == target, "{device}: the emulator says {is}");
        // The emulator reports all as persistent.
        let shown = rest.ask("GET", path, None).await?;
        ensure!(shown == json!({"boot_device": read, "persistent": true}), "{shown}");
        tell(format_args!("boot device {device}"));
    }
    let before = emulator.asked("PATCH")?.len();
    // A device that this system does not offer, and one that Redfish does not define.
    let refused = rest.ask("PUT", path, Some(json!({"boot_device": "bios"}))).await;
    let why = refused.err().context("it was taken")?.to_string();
    ensure!(why.contains(" 500: ") && why.contains("does not support BootSourceOverrideTarget = BiosSetup"), "{why}");
    ensure!(rest.status("PUT", path, Some(json!({"boot_device": "safe"}))).await? == 400);
    ensure!(emulator.asked("PATCH")?.len() == before, "it was told all the same");
    Ok(())
}

/// An inspection boots from the network, so the boot device is set before power on.
async fn boots(lab: &Lab, rest: &Rest<'_>, emulator: &Emulator, system: &str) -> Result<()> {
    ensure!(emulator.get(system).await?["Boot"]["BootSourceOverrideTarget"] == "Hdd");
    let told = emulator.asked("PATCH")?.len();
    let node = rest.ask("GET", "nodes/n1", None).await?;
    let port = json!({"node_uuid": node["uuid"], "address": "52:54:00:00:00:77"});
    rest.ask("POST", "ports", Some(port)).await?;
    rest.provision("n1", "inspect").await?;
    until("a system that boots from the network", async || {
        let now = emulator.get(system).await?;
        let is_so = now["Boot"]["BootSourceOverrideTarget"] == "Pxe" && now["PowerState"] == "On";
        Ok((!is_so).then(|| format!("{} {}", now["PowerState"], now["Boot"])))
    })
    .await?;
    ensure!(emulator.asked("PATCH")?.len() == told + 1, "the boot order was not set once");
    ensure!(lab.mesh().service("power-service-1")?.alive());
    tell("boots from the network");
    Ok(())
}

/// No value in the store contains the password.
async fn is_nowhere_in_the_store(lab: &Lab) -> Result<()> {
    let recorder = Recorder::begin(&lab.data()).await?;
    recorder.catches_up().await?;
    let all = recorder.since(0);
    ensure!(all.iter().any(|write| write.path.contains("/node-spec/")), "the node is not there");
    for write in all {
        let text = write.value.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        ensure!(!text.contains(PASSWORD), "it stands in {}", write.path);
        let unpacked = write.value.as_deref().map(keyspace::key_schema::decompress).transpose()?.unwrap_or_default();
        ensure!(!String::from_utf8_lossy(&unpacked).contains(BIOS_PASSWORD), "it stands in {}", write.path);
    }
    Ok(())
}

#[test]
fn a_session_of_a_power_service_that_died_in_a_command_is_closed_by_the_next_one() {
    let options = Options { set: vec![ALLOW_LOOPBACK.to_owned()], ..Options::default() };
    let fleet = Fleet::up("redk", 0, &options).unwrap();
    fleet
        .run(async |_, fleet| {
            let service = Service::bind().await?;
            tokio::select! {
                ended = service.serve() => ended,
                done = dies_in_a_command(fleet, &service) => done,
            }
        })
        .unwrap();
}

async fn dies_in_a_command(fleet: &Fleet, service: &Service) -> Result<()> {
    let rest = Rest::new(fleet.mesh())?;
    let info = json!({
        "redfish_address": format!("http://{}", service.address()?), "redfish_username": redfish::USER,
        "redfish_password": redfish::PASSWORD,
    });
    rest.ask("POST", "nodes", Some(json!({"driver": "redfish", "name": "n1", "driver_info": info}))).await?;
    rest.provision("n1", "manage").await?;
    node_is(&rest, "provision_state", "manageable").await?;
    ensure!(service.open() == 0, "a session was left open: {:?}", service.log());
    service.is_deaf(true);
    rest.ask("PUT", "nodes/n1/states/power", Some(json!({"target": "power on"}))).await?;
    let is_told = |log: &[String]| log.iter().any(|line| line.ends_with(" on"));
    until("a command", async || Ok((!is_told(&service.log())).then(|| format!("{:?}", service.log())))).await?;
    fleet.mesh().service("power-service-1")?.signal(Signal::KILL)?;
    service.is_deaf(false);
    node_is(&rest, "power_state", "power on").await?;
    ensure!(service.is_on(), "it is off");
    until("all sessions to be closed", async || Ok((service.open() > 0).then(|| format!("{:?}", service.log()))))
        .await?;
    let log = service.log();
    let session = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    let on: Vec<usize> = (0..log.len()).filter(|at| log[*at].ends_with(" on")).collect();
    let [first, second] = on[..] else { bail!("not told twice: {log:?}") };
    let (dead, next) = (session(&log[first]), session(&log[second]));
    ensure!(dead != next && log[first..second].contains(&format!("{next} closes {dead}")), "{log:?}");
    tell(log.join(", "));
    Ok(())
}
