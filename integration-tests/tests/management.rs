//! Management of nodes with a BMC beside power on and off: boot devices, soft power off and interrupts, by the stock
//! command line and over REST, checked with `ipmitool`.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use integration_tests::{
    bmc::{Habit, PASSWORD, Script, USER},
    fault::tell,
    fleet::{Fleet, Machine},
    ironic::Rest,
    lab::{Lab, WAIT_TIMEOUT as LONG, holds_image, image},
    machine::Spec,
    mesh::Options,
};
use proto::api::v1::GetNodeRequest;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use wire_ipmi::{
    app::Reset,
    chassis::{Control, Identify, Power},
    responder::machine::Change,
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// One machine, enrolled and managed.
struct Bed<'f> {
    fleet: &'f Fleet,
    rest: Rest<'f>,
}

impl<'f> Bed<'f> {
    async fn new(fleet: &'f Fleet) -> Result<Self> {
        let bed = Self { fleet, rest: Rest::new(fleet.mesh())? };
        let info = json!({
            "ipmi_address": bed.machine().address.to_string(), "ipmi_username": USER, "ipmi_password": PASSWORD,
        });
        let node = json!({"driver": "ipmi", "name": "n1", "driver_info": info});
        bed.rest.ask("POST", "nodes", Some(node)).await?;
        bed.rest.provision("n1", "manage").await?;
        bed.is("provision_state", "manageable").await?;
        Ok(bed)
    }

    fn machine(&self) -> &'f Machine {
        &self.fleet.machines()[0]
    }

    async fn show(&self) -> Result<Value> {
        self.rest.ask("GET", "nodes/n1", None).await
    }

    /// Waits until a field of the node has this value, and no power change is pending.
    async fn is(&self, field: &str, wanted: &str) -> Result<()> {
        let until = Instant::now() + WAIT_TIMEOUT;
        loop {
            let node = self.show().await?;
            if node[field] == wanted && node["target_power_state"].is_null() {
                return Ok(());
            }
            ensure!(
                Instant::now() < until,
                "{field} is {}, target {}, error {}",
                node[field],
                node["target_power_state"],
                node["last_error"]
            );
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Requests a power state, and waits for the end. Returns the node's error.
    async fn power(&self, target: &str, timeout: Option<u32>) -> Result<String> {
        let body = timeout.map_or_else(|| json!({"target": target}), |time| json!({"target": target, "timeout": time}));
        self.rest.ask("PUT", "nodes/n1/states/power", Some(body)).await?;
        let until = Instant::now() + WAIT_TIMEOUT;
        loop {
            let node = self.show().await?;
            if node["target_power_state"].is_null() {
                return Ok(node["last_error"].as_str().unwrap_or_default().to_owned());
            }
            ensure!(Instant::now() < until, "{target} has no end: {node}");
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Commands about power that the machine received since `from`.
    fn told(&self, from: usize) -> Vec<Control> {
        let all = self.machine().bmc.mutations();
        let control = |change: Change| if let Change::Power(control) = change { Some(control) } else { None };
        all.iter().skip(from).filter_map(|mutation| control(mutation.change)).collect()
    }

    /// Changes by the BMC since `from`.
    fn changes(&self, from: usize) -> Vec<Change> {
        self.machine().bmc.mutations().iter().skip(from).map(|mutation| mutation.change).collect()
    }

    /// Requests a raw command.
    async fn send_raw(&self, raw: &str) -> Result<()> {
        let path = "nodes/n1/vendor_passthru?method=send_raw";
        let status = self.rest.status("POST", path, Some(json!({"raw_bytes": raw}))).await?;
        ensure!(status == 202, "{status}");
        Ok(())
    }

    /// Waits until the last command to the BMC has ended. Returns its failure.
    async fn ended(&self) -> Result<Option<String>> {
        let request = GetNodeRequest { node: "n1".to_owned() };
        let mut api = self.fleet.mesh().api_of(1)?;
        let until = Instant::now() + LONG;
        loop {
            let node = api.nodes.get_node(request.clone()).await?.into_inner().node.context("no node")?;
            let observed = node.observed.context("nothing is observed")?;
            if observed.power_settled_generation >= node.generation {
                return Ok(observed.power_failure.map(|failure| failure.text));
            }
            ensure!(Instant::now() < until, "the command has no end");
            sleep(POLL_INTERVAL).await;
        }
    }

    fn ipmitool(&self, words: &str) -> Result<String> {
        let address = self.machine().address.to_string();
        let mut all = vec!["ipmitool", "-I", "lanplus", "-C", "3", "-H", &address, "-U", USER, "-P", PASSWORD];
        all.extend(words.split_whitespace());
        self.fleet.place().run(&all)
    }

    /// The stock command line: its output, or its error.
    fn baremetal(&self, words: &str) -> Result<Result<String, String>> {
        self.baremetal_with(&words.split_whitespace().collect::<Vec<_>>())
    }

    /// The same, with arguments that have spaces.
    fn baremetal_with(&self, words: &[&str]) -> Result<Result<String, String>> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients/bin/baremetal");
        let mut command = self.fleet.place().command(&program.display().to_string());
        command.args(words).stdin(Stdio::null());
        command.envs([("OS_ENDPOINT", self.fleet.mesh().rest(1)?.as_str()), ("OS_AUTH_TYPE", "none")]);
        let output = command.output()?;
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).trim().to_owned();
        Ok(if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) })
    }

    /// Output of the stock command line.
    fn shown(&self, words: &str) -> Result<Value> {
        let said = self.baremetal(&format!("{words} -f json"))?.map_err(anyhow::Error::msg)?;
        serde_json::from_str(&said).with_context(|| said)
    }

    /// Error of the REST API.
    async fn refused(&self, method: &str, path: &str, body: Option<Value>) -> Result<String> {
        match self.rest.ask(method, path, body).await {
            Ok(answer) => bail!("{method} {path} was answered: {answer}"),
            Err(error) => Ok(format!("{error:#}")),
        }
    }
}

#[test]
fn ipmitool_reads_the_boot_device_that_the_stock_command_line_sets() {
    let fleet = Fleet::up("mboot", 1, &Options::default()).unwrap();
    fleet.run(async |_, fleet| boot_device(&Bed::new(fleet).await?).await).unwrap();
}

async fn boot_device(bed: &Bed<'_>) -> Result<()> {
    let path = "nodes/n1/management/boot_device";
    let supported = bed.shown("node boot device show n1 --supported")?;
    ensure!(supported["supported_boot_devices"] == "pxe, disk, cdrom, bios, safe", "{supported}");
    ensure!(bed.shown("node boot device show n1")? == json!({"boot_device": null, "persistent": false}));
    for (words, device, persistent, selector, holds) in [
        ("pxe", "pxe", false, "Force PXE", "Options apply to only next boot"),
        ("disk --persistent", "disk", true, "Force Boot from default Hard-Drive", "Options apply to all future boots"),
        ("cdrom", "cdrom", false, "Force Boot from CD/DVD", "Options apply to only next boot"),
        ("bios", "bios", false, "Force Boot into BIOS Setup", "Options apply to only next boot"),
        ("safe", "safe", false, "Force Boot from default Hard-Drive, request Safe-Mode", "only next boot"),
    ] {
        bed.baremetal(&format!("node boot device set n1 {words}"))?.map_err(anyhow::Error::msg)?;
        let read = bed.ipmitool("chassis bootparam get 5")?;
        let is_so = ["Boot Flag Valid", "BIOS EFI boot", selector, holds].iter().all(|words| read.contains(words));
        ensure!(is_so, "{words}: {read}");
        let shown = bed.shown("node boot device show n1")?;
        ensure!(shown == json!({"boot_device": device, "persistent": persistent}), "{words}: {shown}");
        tell(words);
    }
    ensure!(bed.machine().power() == Power::Off && bed.told(0).is_empty(), "its power was touched: {:?}", bed.told(0));
    // A device that ipmitool sets is read back.
    bed.ipmitool("chassis bootdev pxe options=persistent")?;
    let shown = bed.rest.ask("GET", path, None).await?;
    ensure!(shown == json!({"boot_device": "pxe", "persistent": true}), "{shown}");

    let before = bed.machine().bmc.mutations().len();
    let refused = bed.baremetal("node boot device set n1 wanboot")?.err().context("it was taken")?;
    ensure!(refused.contains("Invalid boot device wanboot specified."), "{refused}");
    let status = bed.rest.status("PUT", path, Some(json!({"boot_device": "toaster"}))).await?;
    ensure!(status == 400 && bed.machine().bmc.mutations().len() == before, "{status}");
    // A boot that a power request starts uses this order.
    ensure!(bed.power("power on", None).await?.is_empty() && bed.machine().power() == Power::On);
    silent(bed, path).await
}

/// A silent BMC is reported with its cause, and works again when it is back.
async fn silent(bed: &Bed<'_>, path: &str) -> Result<()> {
    bed.machine().bmc.follow(Script::new([Habit::Deaf(u32::MAX)]));
    for (method, body) in [("GET", None), ("PUT", Some(json!({"boot_device": "disk"})))] {
        let why = bed.refused(method, path, body).await?;
        let is_told = ["500", "IPMI call failed: ", "does not answer", "Server"].iter().all(|word| why.contains(word));
        ensure!(is_told, "{why}");
        tell(why);
    }
    bed.machine().bmc.follow(Script::default());
    bed.rest.ask("PUT", path, Some(json!({"boot_device": "disk"}))).await?;
    ensure!(bed.rest.ask("GET", path, None).await?["boot_device"] == "disk");
    ensure!(bed.show().await?["last_error"].is_null(), "it is mended and its error stands");
    Ok(())
}

#[test]
fn a_soft_power_off_waits_as_long_as_requested_and_never_switches_the_machine_off() {
    let fleet = Fleet::up("msoft", 1, &Options::default()).unwrap();
    fleet.run(async |_, fleet| soft_power(&Bed::new(fleet).await?).await).unwrap();
}

async fn soft_power(bed: &Bed<'_>) -> Result<()> {
    bed.power("power on", None).await?;
    let begun = bed.machine().bmc.mutations().len();
    bed.machine().heeds(false);
    for (target, state) in [("soft power off", "power off"), ("soft rebooting", "power on")] {
        let why = bed.power(target, Some(2)).await?;
        ensure!(why.starts_with(&format!("Failed to change power state to '{state}' by '{target}': ")), "{why}");
        ensure!(why.contains("is still on"), "{why}");
        bed.is("power_state", "power on").await?;
        tell(why);
    }
    ensure!(bed.told(begun) == [Control::Soft, Control::Soft], "{:?}", bed.told(begun));
    ensure!(bed.machine().power() == Power::On);

    bed.machine().heeds(true);
    let begun = bed.machine().bmc.mutations().len();
    ensure!(bed.power("soft rebooting", Some(20)).await?.is_empty());
    bed.is("power_state", "power on").await?;
    ensure!(bed.told(begun) == [Control::Soft, Control::On], "{:?}", bed.told(begun));
    let begun = bed.machine().bmc.mutations().len();
    ensure!(bed.power("soft power off", None).await?.is_empty());
    bed.is("power_state", "power off").await?;
    // A node that is off already receives no command.
    ensure!(bed.power("soft power off", Some(20)).await?.is_empty());
    ensure!(bed.told(begun) == [Control::Soft], "{:?}", bed.told(begun));
    let newer = bed.rest.status("PUT", "nodes/n1/states/power", Some(json!({"target": "soft off"}))).await?;
    ensure!(newer == 400, "{newer}");
    Ok(())
}

#[test]
fn a_hanging_system_is_interrupted_once_and_one_that_is_off_is_not() {
    let fleet = Fleet::up("mnmi", 1, &Options::default()).unwrap();
    fleet.run(async |_, fleet| interrupt(&Bed::new(fleet).await?).await).unwrap();
}

async fn interrupt(bed: &Bed<'_>) -> Result<()> {
    let path = "nodes/n1/management/inject_nmi";
    let why = bed.refused("PUT", path, None).await?;
    ensure!(why.contains(" 500: ") && why.contains("the machine is off"), "{why}");
    ensure!(bed.told(0).is_empty(), "{:?}", bed.told(0));
    bed.power("power on", None).await?;
    let begun = bed.machine().bmc.mutations().len();
    bed.baremetal("node inject nmi n1")?.map_err(anyhow::Error::msg)?;
    ensure!(bed.told(begun) == [Control::Diagnostic], "{:?}", bed.told(begun));
    // The BMC carries it out and dies: the outcome is unknown, and it is not sent again.
    bed.machine().bmc.follow(Script::new([Habit::Reboots(1)]));
    let why = bed.refused("PUT", path, None).await?;
    ensure!(why.contains(" 500: ") && why.contains("the interrupt was sent, but the BMC did not confirm it"), "{why}");
    ensure!(bed.told(begun) == [Control::Diagnostic; 2], "{:?}", bed.told(begun));
    bed.is("power_state", "power on").await?;
    tell(why);
    Ok(())
}

#[test]
fn a_bmc_is_reset_and_gets_raw_commands_once_by_the_stock_command_line() {
    let fleet = Fleet::up("mbmc", 1, &Options::default()).unwrap();
    fleet.run(async |_, fleet| command_bmc(&Bed::new(fleet).await?).await).unwrap();
}

const RESET: &str = "nodes/n1/vendor_passthru?method=bmc_reset";

async fn command_bmc(bed: &Bed<'_>) -> Result<()> {
    let methods = bed.baremetal("node passthru list n1")?.map_err(anyhow::Error::msg)?;
    ensure!(methods.contains("bmc_reset") && methods.contains("send_raw"), "{methods}");
    bed.power("power on", None).await?;

    let begun = bed.changes(0).len();
    bed.baremetal("node passthru call n1 bmc_reset --arg warm=true")?.map_err(anyhow::Error::msg)?;
    ensure!(bed.ended().await?.is_none());
    ensure!(bed.changes(begun) == [Change::Reset(Reset::Warm)], "{:?}", bed.changes(begun));
    // The BMC restarts without an answer, and the next commands find it again.
    bed.baremetal("node passthru call n1 bmc_reset --arg warm=false")?.map_err(anyhow::Error::msg)?;
    ensure!(bed.ended().await?.is_none());
    ensure!(bed.changes(begun) == [Reset::Warm, Reset::Cold].map(Change::Reset), "{:?}", bed.changes(begun));
    let raw = ["node", "passthru", "call", "n1", "send_raw", "--arg", "raw_bytes=0x00 0x04 15"];
    bed.baremetal_with(&raw)?.map_err(anyhow::Error::msg)?;
    ensure!(bed.ended().await?.is_none());
    ensure!(bed.changes(begun).last() == Some(&Change::Identify(Identify::Seconds(15))), "{:?}", bed.changes(begun));

    // What the BMC does not have is reported with the code, and without the data.
    bed.send_raw("0x06 0x47 0x02 0x02 0x68 0x75 0x6e 0x74").await?;
    let why = bed.ended().await?.unwrap_or_default();
    ensure!(why.contains("completion code 0xc1 to raw command 0x06 0x47") && !why.contains("0x68"), "{why}");
    let shown = bed.show().await?["last_error"].to_string();
    ensure!(
        shown.contains("Async execution of send_raw failed with error: IPMI call failed: ") && shown.contains("0xc1"),
        "{shown}"
    );
    tell(why);
    // A command that is carried out and not answered is not repeated.
    let begun = bed.changes(0).len();
    bed.machine().bmc.follow(Script::new([Habit::Reboots(1)]));
    bed.send_raw("chassis 4 7").await?;
    let why = bed.ended().await?.unwrap_or_default();
    ensure!(why.contains("raw command 0x00 0x04 was sent") && why.contains("may have been carried out"), "{why}");
    ensure!(bed.changes(begun) == [Change::Identify(Identify::Seconds(7))], "{:?}", bed.changes(begun));
    tell(why);

    // A silent BMC is waited for; meanwhile the node is locked, as in Ironic.
    bed.machine().bmc.follow(Script::new([Habit::Deaf(u32::MAX)]));
    ensure!(bed.rest.status("POST", RESET, Some(json!({"warm": true}))).await? == 202);
    for (method, path, body) in [
        ("POST", RESET, json!({"warm": true})),
        ("POST", "nodes/n1/vendor_passthru/send_raw", json!({"raw_bytes": "6 1"})),
        ("PUT", "nodes/n1/states/power", json!({"target": "power off"})),
        ("PUT", "nodes/n1/states/provision", json!({"target": "provide"})),
    ] {
        let status = bed.rest.status(method, path, Some(body)).await?;
        ensure!(status == 409, "{method} {path}: {status}");
    }
    bed.machine().bmc.follow(Script::default());
    ensure!(bed.ended().await?.is_none());
    ensure!(bed.changes(begun).last() == Some(&Change::Reset(Reset::Warm)), "{:?}", bed.changes(begun));
    bed.is("power_state", "power on").await?;
    refused_commands(bed).await
}

/// Requests that are refused, and send nothing.
async fn refused_commands(bed: &Bed<'_>) -> Result<()> {
    let begun = bed.changes(0).len();
    for (body, word) in [
        (json!({}), "raw_bytes"),
        (json!({"raw_bytes": ""}), "raw_bytes"),
        (json!({"raw_bytes": "0x06"}), "at least two"),
        (json!({"raw_bytes": "0x06 0x100"}), "word 2"),
        (json!({"raw_bytes": "0x07 0x01"}), "word 1"),
        (json!({"raw_bytes": "6 1 x"}), "word 3"),
    ] {
        let why = bed.refused("POST", "nodes/n1/vendor_passthru?method=send_raw", Some(body)).await?;
        ensure!(why.contains(" 400: ") && why.contains(word), "{why}");
    }
    ensure!(bed.rest.status("POST", RESET, Some(json!({"warm": "tepid"}))).await? == 400);
    ensure!(bed.rest.status("GET", RESET, None).await? == 400, "only POST");
    let without = json!([{"op": "replace", "path": "/vendor_interface", "value": "no-vendor"}]);
    bed.rest.ask("PATCH", "nodes/n1", Some(without)).await?;
    let why = bed.refused("POST", RESET, Some(json!({"warm": true}))).await?;
    ensure!(why.contains(" 400: "), "{why}");
    ensure!(bed.changes(begun).is_empty(), "{:?}", bed.changes(begun));
    Ok(())
}

#[test]
fn a_manually_managed_machine_is_deployed_once_its_button_is_pressed() {
    let lab = Lab::up("mhand", &[Spec::default()], Options::default()).unwrap();
    lab.run(async |_, lab| by_hand(lab).await).unwrap();
    lab.down().unwrap();
}

async fn by_hand(lab: &Lab) -> Result<()> {
    let (machine, rest) = (lab.machine("n1")?, Rest::new(lab.mesh())?);
    let node = rest.ask("POST", "nodes", Some(json!({"driver": "manual-management", "name": "n1"}))).await?;
    for (interface, by) in [("power", "fake"), ("management", "noop"), ("deploy", "autodetect"), ("boot", "ipxe")] {
        ensure!(node[format!("{interface}_interface")] == by, "{interface}: {node}");
    }
    let port = json!({"address": machine.mac.to_string(), "node_uuid": node["uuid"]});
    rest.ask("POST", "ports", Some(port)).await?;
    ensure!(rest.status("PATCH", "nodes/n1", Some(power_by("ipmitool"))).await? == 400, "it has no BMC");
    // It is taken, but not carried out.
    ensure!(rest.status("PATCH", "nodes/n1", Some(power_by("agent"))).await? == 200);
    let valid = rest.ask("GET", "nodes/n1/validate", None).await?;
    ensure!(valid["power"]["reason"].to_string().contains("not carried out"), "{valid}");
    ensure!(rest.status("PUT", "nodes/n1/states/provision", Some(json!({"target": "manage"}))).await? == 400);
    ensure!(rest.status("PUT", "nodes/n1/states/power", Some(json!({"target": "power on"}))).await? == 400);
    ensure!(rest.status("PATCH", "nodes/n1", Some(power_by("fake"))).await? == 200);
    rest.provision("n1", "manage").await?;
    rest.reach_within("n1", "manageable", LONG).await?;
    let device = "nodes/n1/management/boot_device";
    ensure!(rest.ask("GET", device, None).await? == json!({"boot_device": "pxe", "persistent": true}));
    rest.ask("PUT", device, Some(json!({"boot_device": "disk"}))).await?;
    ensure!(rest.status("PUT", device, Some(json!({"boot_device": "cdrom"}))).await? == 400);
    ensure!(rest.status("PUT", "nodes/n1/management/inject_nmi", None).await? == 400);
    let valid = rest.ask("GET", "nodes/n1/validate", None).await?;
    ensure!(valid["power"]["result"] == true && valid["management"]["result"] == true, "{valid}");

    rest.provision("n1", "provide").await?;
    rest.reach_within("n1", "available", LONG).await?;
    let (url, digest) = lab.file("os.raw", &image())?;
    let image = json!([
        {"op": "add", "path": "/instance_info/image_source", "value": url},
        {"op": "add", "path": "/instance_info/image_checksum", "value": digest.trim_start_matches("sha256:")},
    ]);
    rest.ask("PATCH", "nodes/n1", Some(image)).await?;
    rest.provision("n1", "active").await?;
    rest.reach_within("n1", "wait call-back", LONG).await?;
    ensure!(machine.power() == Power::Off, "the machine is on before its button was pressed");
    machine.press_power()?;
    rest.reach_within("n1", "active", LONG).await?;
    ensure!(holds_image(&machine.disk(), &self::image())?, "the image is not on its disk");
    ensure!(machine.mutations().is_empty(), "its BMC was told something");
    Ok(())
}

fn power_by(interface: &str) -> Value {
    json!([{"op": "replace", "path": "/power_interface", "value": interface}])
}
