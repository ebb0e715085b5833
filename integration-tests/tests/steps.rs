//! Steps that a user names, with holds, waits and power steps among them.

use std::{fs, io::Write as _, time::Duration};

use anyhow::{Context as _, Result, ensure};

use integration_tests::{
    bmc::USER,
    fleet::Fleet,
    ironic::Rest,
    lab::{Lab, STOCK_DISK, holds_image, image},
    machine::{Machine, Spec, disk::first_sector},
    mesh::Options,
};
use serde_json::{Value, json};
use wire_ipmi::chassis::Power;

/// Maximum duration of a boot of the stock agent with its work; most of it is Python's start.
const WAIT_TIMEOUT: Duration = Duration::from_secs(120);

fn step(name: &str) -> Value {
    let (interface, step) = name.split_once('.').unwrap_or(("deploy", name));
    json!({"interface": interface, "step": step})
}

async fn ask_steps(rest: &Rest<'_>, verb: &str, steps: &[Value]) -> Result<()> {
    let list = if verb == "active" { "deploy_steps".to_owned() } else { format!("{verb}_steps") };
    rest.ask("PUT", "nodes/n1/states/provision", Some(json!({"target": verb, list: steps}))).await.map(drop)
}

async fn node(rest: &Rest<'_>) -> Result<Value> {
    rest.ask("GET", "nodes/n1", None).await
}

#[test]
fn a_step_plan_holds_continues_waits_and_switches_the_machine() {
    // Each stage takes long enough to be observed.
    let slow = Options { set: vec!["scheduler.fake=300ms".to_owned()], ..Options::default() };
    let fleet = Fleet::up("steps", 0, &slow).unwrap();
    fleet
        .run(async |_, fleet| {
            let rest = Rest::new(fleet.mesh())?;
            rest.ask("POST", "nodes", Some(json!({"driver": "fake-hardware", "name": "n1"}))).await?;
            rest.provision("n1", "manage").await?;
            rest.reach("n1", "manageable").await?;
            cleans(&rest).await?;
            deploys(&rest).await?;
            services(&rest).await
        })
        .unwrap();
}

async fn cleans(rest: &Rest<'_>) -> Result<()> {
    let wait = json!({"interface": "deploy", "step": "wait", "args": {"seconds": 1}});
    let steps =
        [step("erase_devices"), step("hold"), step("power.power_on"), wait, step("power.power_off"), step("hold")];
    ask_steps(rest, "clean", &steps).await?;
    rest.reach("n1", "clean hold").await?;
    let held = node(rest).await?;
    ensure!(held["clean_step"] == step("hold") && held["target_provision_state"] == "available", "{held}");
    rest.provision("n1", "unhold").await?;
    // The machine is switched on, and the wait is long enough to observe it.
    let on = |node: &Value| node["clean_step"]["step"] == "wait" && node["power_state"] == "power on";
    until(rest, "the pause", on).await?;
    rest.reach("n1", "clean hold").await?;
    ensure!(node(rest).await?["power_state"] == "power off", "the step did not switch it off");
    rest.provision("n1", "unhold").await?;
    rest.reach("n1", "manageable").await?;
    let rested = node(rest).await?;
    ensure!(rested["clean_step"] == json!({}) && rested["last_error"].is_null(), "{rested}");

    // An abort at a hold fails the cleaning, and no later step is run.
    ask_steps(rest, "clean", &[step("hold"), step("power.power_on")]).await?;
    rest.reach("n1", "clean hold").await?;
    rest.provision("n1", "abort").await?;
    rest.reach("n1", "clean failed").await?;
    ensure!(node(rest).await?["power_state"] == "power off");
    rest.provision("n1", "manage").await?;
    let told =
        json!([{"interface": "bios", "step": "apply_configuration", "args": {"deep": [{"bios_password": "p"}]}}]);
    let told = json!({"target": "clean", "clean_steps": told});
    let refused = rest.ask("PUT", "nodes/n1/states/provision", Some(told)).await.err().context("it was taken")?;
    ensure!(refused.to_string().contains("bios_password"), "{refused}");
    for wrong in [json!({"seconds": 1_000_000}), json!({"seconds": "soon"}), json!({"minutes": 1})] {
        let steps = json!([{"interface": "deploy", "step": "wait", "args": wrong}]);
        let body = json!({"target": "clean", "clean_steps": steps});
        let status = rest.status("PUT", "nodes/n1/states/provision", Some(body)).await?;
        ensure!(status == 400, "{wrong}: {status}");
    }
    Ok(())
}

/// A template that matches a trait of the instance adds a step, and the request another.
async fn deploys(rest: &Rest<'_>) -> Result<()> {
    rest.provision("n1", "provide").await?;
    rest.reach("n1", "available").await?;
    let steps = json!([{"interface": "power", "step": "hold", "args": {}, "priority": 150}]);
    rest.ask("POST", "deploy_templates", Some(json!({"name": "CUSTOM_CHECKED", "steps": steps}))).await?;
    rest.ask("PUT", "nodes/n1/traits", Some(json!({"traits": ["CUSTOM_CHECKED"]}))).await?;
    let info = json!([{"op": "add", "path": "/instance_info/traits", "value": ["CUSTOM_CHECKED"]}]);
    rest.ask("PATCH", "nodes/n1", Some(info)).await?;
    let last = json!({"interface": "management", "step": "hold", "args": {}, "priority": 50});
    ask_steps(rest, "active", &[last]).await?;
    until(rest, "the machine to boot", |node| node["provision_state"] == "wait call-back").await?;
    for interface in ["power", "management"] {
        rest.reach("n1", "deploy hold").await?;
        let held = node(rest).await?;
        ensure!(held["deploy_step"] == step(&format!("{interface}.hold")), "{held}");
        rest.provision("n1", "unhold").await?;
    }
    rest.reach("n1", "active").await
}

/// The steps of a runbook run in their order; steps that need no ramdisk do not touch a machine in use.
async fn services(rest: &Rest<'_>) -> Result<()> {
    let mut steps = vec![];
    for (order, name) in [(3, "vendor.log_passthrough"), (1, "power.hold")] {
        let (interface, step) = name.split_once('.').unwrap_or_default();
        steps.push(json!({"interface": interface, "step": step, "args": {}, "order": order}));
    }
    let runbook = json!({"name": "CUSTOM_CHECKED", "steps": steps});
    rest.ask("POST", "runbooks", Some(runbook)).await?;
    rest.ask("PUT", "runbooks/CUSTOM_CHECKED/traits", Some(json!({"traits": ["CUSTOM_CHECKED"]}))).await?;
    let body = json!({"target": "service", "runbook": "CUSTOM_CHECKED", "disable_ramdisk": true});
    rest.ask("PUT", "nodes/n1/states/provision", Some(body)).await?;
    rest.reach("n1", "service hold").await?;
    ensure!(node(rest).await?["service_step"]["step"] == "hold");
    rest.provision("n1", "unhold").await?;
    rest.reach("n1", "active").await?;
    ask_steps(rest, "service", &[step("power.hold")]).await?;
    rest.reach("n1", "service hold").await?;
    rest.provision("n1", "abort").await?;
    rest.reach("n1", "active").await
}

async fn until(rest: &Rest<'_>, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<()> {
    let end = tokio::time::Instant::now() + WAIT_TIMEOUT;
    loop {
        let node = node(rest).await?;
        if is_so(&node) {
            return Ok(());
        }
        ensure!(tokio::time::Instant::now() < end, "waited in vain for {what}: {node}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn enrol(machine: &Machine, rest: &Rest<'_>, more: Value) -> Result<()> {
    let mut info = json!({
        "ipmi_address": machine.bmc_address, "ipmi_username": USER, "ipmi_password": machine.password(),
    });
    let (own, more) = (info.as_object_mut().context("no object")?, more.as_object().cloned().unwrap_or_default());
    own.extend(more);
    let node = json!({"name": "n1", "driver": "ipmi", "driver_info": info});
    let node: Value = rest.ask("POST", "nodes", Some(node)).await?;
    let port = json!({"address": machine.mac.to_string(), "node_uuid": node["uuid"]});
    rest.ask("POST", "ports", Some(port)).await?;
    rest.provision("n1", "manage").await?;
    rest.reach_within("n1", "manageable", WAIT_TIMEOUT).await
}

#[test]
fn our_agent_is_booted_for_its_step_only_and_a_deployment_is_held_before_and_after_it() {
    let lab = Lab::up("stown", &[Spec::default()], Options::default()).unwrap();
    lab.run(async |_, lab| {
        let (machine, rest) = (lab.machine("n1")?, Rest::new(lab.mesh())?);
        enrol(machine, &rest, json!({})).await?;
        // Power steps alone switch the machine, and boot nothing.
        ask_steps(&rest, "clean", &[step("power.power_on"), step("hold")]).await?;
        rest.reach_within("n1", "clean hold", WAIT_TIMEOUT).await?;
        ensure!(machine.power() == Power::On && machine.tokens().is_empty(), "{:?}", machine.console());
        rest.provision("n1", "unhold").await?;
        rest.reach_within("n1", "manageable", WAIT_TIMEOUT).await?;
        ensure!(machine.power() == Power::On, "nothing said that it was to be switched off");

        fs::OpenOptions::new().write(true).open(machine.disk())?.write_all(&[0xa5; 512])?;
        ask_steps(&rest, "clean", &[step("hold"), step("erase_devices"), step("power.power_off"), step("hold")])
            .await?;
        rest.reach_within("n1", "clean hold", WAIT_TIMEOUT).await?;
        ensure!(machine.tokens().is_empty() && first_sector(&machine.disk())? == [0xa5; 512]);
        rest.provision("n1", "unhold").await?;
        until(&rest, "the second hold", |node| {
            node["provision_state"] == "clean hold" && node["power_state"] == "power off"
        })
        .await?;
        ensure!(machine.tokens().len() == 1 && first_sector(&machine.disk())? == [0; 512]);
        rest.provision("n1", "unhold").await?;
        rest.reach_within("n1", "manageable", WAIT_TIMEOUT).await?;
        refuses(&rest).await?;

        rest.provision("n1", "provide").await?;
        rest.reach_within("n1", "available", WAIT_TIMEOUT).await?;
        let (url, digest) = lab.file("os.raw", &image())?;
        let image = json!([
            {"op": "add", "path": "/instance_info/image_source", "value": url},
            {"op": "add", "path": "/instance_info/image_checksum", "value": digest.trim_start_matches("sha256:")},
        ]);
        rest.ask("PATCH", "nodes/n1", Some(image)).await?;
        let hold = |priority: u32| json!({"interface": "power", "step": "hold", "args": {}, "priority": priority});
        ask_steps(&rest, "active", &[hold(90), hold(10)]).await?;
        rest.reach_within("n1", "deploy hold", WAIT_TIMEOUT).await?;
        ensure!(first_sector(&machine.disk())? == [0; 512], "it was written before the hold");
        rest.provision("n1", "unhold").await?;
        until(&rest, "the second hold", |node| node["provision_state"] == "deploy hold").await?;
        ensure!(holds_image(&machine.disk(), &self::image())?, "it was not written before the second hold");
        rest.provision("n1", "unhold").await?;
        rest.reach_within("n1", "active", WAIT_TIMEOUT).await?;
        ensure!(machine.power() == Power::On);
        Ok(())
    })
    .unwrap();
    lab.down().unwrap();
}

/// A step that our agent does not have is refused at once.
async fn refuses(rest: &Rest<'_>) -> Result<()> {
    let with = json!([{"interface": "deploy", "step": "erase_devices", "args": {"passes": 3}}]);
    for body in [
        json!({"target": "clean", "clean_steps": with}),
        json!({"target": "service", "service_steps": [step("raid.delete_configuration")]}),
    ] {
        let status = rest.status("PUT", "nodes/n1/states/provision", Some(body.clone())).await?;
        ensure!(status == 400, "{body}: {status}");
    }
    Ok(())
}

#[test]
fn a_stock_agent_stays_through_a_hold_and_receives_the_following_steps_with_their_arguments() {
    Lab::with_stock_agent("stipa", stock).unwrap();
}

/// A step that needs a reboot has one before the next step, also if it is the last one.
async fn reboots(rest: &Rest<'_>, machine: &Machine) -> Result<()> {
    let count = |words: &str| machine.console().iter().filter(|line| line.contains(words)).count();
    let before = (count("script from"), count("power on, told"));
    let settings = || step("management.apply_settings");
    ask_steps(rest, "clean", &[settings(), step("erase_devices_metadata"), settings()]).await?;
    rest.reach_within("n1", "manageable", WAIT_TIMEOUT).await?;
    let after = (count("script from") - before.0, count("power on, told") - before.1);
    ensure!(after == (2, 3), "booted by us and at all: {after:?} {:#?}", machine.console());
    Ok(())
}

async fn stock(lab: &Lab) -> Result<()> {
    let (machine, rest) = (lab.machine("n1")?, Rest::new(lab.mesh())?);
    let (kernel, _) = lab.file("ipa.kernel", b"a foreign kernel")?;
    let (ramdisk, _) = lab.file("ipa.initramfs", b"a ramdisk with the stock agent")?;
    enrol(machine, &rest, json!({"deploy_kernel": kernel, "deploy_ramdisk": ramdisk})).await?;
    let scribble = || -> Result<()> { Ok(fs::write(machine.disk(), vec![0xa5; usize::try_from(STOCK_DISK)?])?) };
    let is_erased = || -> Result<bool> { Ok(first_sector(&machine.disk())? == [0; 512]) };
    scribble()?;
    let steps = [step("erase_devices_metadata"), step("hold"), step("erase_devices_metadata")];
    ask_steps(&rest, "clean", &steps).await?;
    rest.reach_within("n1", "clean hold", WAIT_TIMEOUT).await?;
    ensure!(is_erased()?, "the step before the hold was not made");
    scribble()?;
    rest.provision("n1", "unhold").await?;
    rest.reach_within("n1", "manageable", WAIT_TIMEOUT).await?;
    ensure!(is_erased()?, "the step after the hold was not made");
    let boots = machine.console().iter().filter(|line| line.contains("script from")).count();
    ensure!(boots == 1, "it was booted {boots} times for two steps: {:?}", machine.console());

    reboots(&rest, machine).await?;

    // A step's arguments are passed to the agent, which refuses unknown ones.
    let steps = json!([{"interface": "deploy", "step": "erase_devices_metadata", "args": {"no_such": 1}}]);
    rest.ask("PUT", "nodes/n1/states/provision", Some(json!({"target": "clean", "clean_steps": steps}))).await?;
    rest.reach_within("n1", "clean failed", WAIT_TIMEOUT).await?;
    let why = node(&rest).await?["last_error"].to_string();
    ensure!(why.contains("no_such"), "{why}");
    rest.provision("n1", "manage").await?;
    scribble()?;
    by_its_own_list(&rest, machine).await?;
    ensure!(is_erased()?, "a cleaning by the agent's own list has erased nothing");
    Ok(())
}

/// Without named steps the agent's own steps are used; one that needs a reboot has it before the next.
async fn by_its_own_list(rest: &Rest<'_>, machine: &Machine) -> Result<()> {
    let count = || machine.console().iter().filter(|line| line.contains("script from")).count();
    let before = count();
    // Between erase_devices_metadata (99) and erase_devices (10).
    let between = json!([
        {"op": "add", "path": "/properties/apply_settings_priority", "value": "50"},
        {"op": "add", "path": "/automated_clean", "value": true},
    ]);
    rest.ask("PATCH", "nodes/n1", Some(between)).await?;
    rest.provision("n1", "provide").await?;
    until(rest, "the first part of the agent's list", |node| {
        node["provision_state"] != "manageable" && node["clean_step"]["step"] == "erase_devices_metadata"
    })
    .await?;
    until(rest, "the part behind the reboot", |node| node["clean_step"]["step"] == "erase_devices").await?;
    rest.reach_within("n1", "available", WAIT_TIMEOUT).await?;
    ensure!(count() - before == 2, "booted {} times for one reboot: {:#?}", count() - before, machine.console());
    Ok(())
}
