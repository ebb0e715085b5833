//! A stand-in for `ironic-python-agent` drives nodes of `fake-hardware` over loopback, as it does with Ironic.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use integration_tests::{
    fleet::Fleet,
    ironic::Rest,
    mesh::Options,
    stand_in::{MAC, StandIn, report},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};

const WAIT_TIMEOUT: Duration = Duration::from_secs(90);
const POLL_INTERVAL: Duration = Duration::from_millis(30);

async fn shown(rest: &Rest<'_>, path: &str) -> Result<Value> {
    rest.ask("GET", path, None).await
}

/// Waits until a node is in a state, also one in which its operation waits.
async fn comes_to(rest: &Rest<'_>, node: &str, state: &str) -> Result<Value> {
    let until = Instant::now() + WAIT_TIMEOUT;
    loop {
        let now = shown(rest, &format!("nodes/{node}")).await?;
        if now["provision_state"] == state {
            return Ok(now);
        }
        ensure!(Instant::now() < until, "{node} is not {state}: {now}");
        sleep(POLL_INTERVAL).await;
    }
}

async fn enrol(rest: &Rest<'_>, name: &str) -> Result<String> {
    let node = json!({
        "driver": "fake-hardware", "name": name, "deploy_interface": "direct", "inspect_interface": "agent",
        "automated_clean": true,
    });
    let node = rest.ask("POST", "nodes", Some(node)).await?;
    Ok(node["uuid"].as_str().context("no id")?.to_owned())
}

#[test]
fn a_stand_in_inspects_cleans_deploys_services_and_undeploys_a_node_without_a_machine() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { files_from: vec![folder.path().to_owned()], ..Options::default() };
    let fleet = Fleet::up("standin", 0, &options).unwrap();
    fleet
        .run(async |_, fleet| {
            let (rest, agent) = (Rest::new(fleet.mesh())?, StandIn::start().await?);
            let node = enrol(&rest, "f1").await?;
            rest.provision(&node, "manage").await?;
            comes_to(&rest, &node, "manageable").await?;
            let valid = shown(&rest, &format!("nodes/{node}/validate")).await?;
            ensure!(valid["inspect"]["result"] == true, "{valid}");
            // As Ironic: the interface is fine, and there is no image yet.
            let why = valid["deploy"]["reason"].as_str().unwrap_or_default();
            ensure!(valid["deploy"]["result"] == false && why.contains("instance_info.image_source"), "{valid}");
            let lives = async {
                inspects(&rest, &agent, &node).await?;
                aborts(&rest, &agent, &node).await?;
                cleans(&rest, &agent, &node).await?;
                let image = folder.path().join("os.raw");
                fs::write(&image, vec![0x5a; 1 << 20])?;
                let digest = hex::encode(Sha256::digest(fs::read(&image)?));
                deploys(&rest, &agent, &node, (&format!("file://{}", image.display()), &digest)).await?;
                services(&rest, &agent, &node).await?;
                undeploys(&rest, &agent, &node).await
            };
            agent.beating(&rest, lives).await
        })
        .unwrap();
}

async fn inspects(rest: &Rest<'_>, agent: &StandIn, node: &str) -> Result<()> {
    let lookup = format!("lookup?node_uuid={node}");
    ensure!(rest.status("GET", &lookup, None).await? == 404, "a node that waits for no agent was found");
    rest.provision(node, "inspect").await?;
    let waits = comes_to(rest, node, "inspect wait").await?;
    ensure!(waits["target_provision_state"] == "manageable", "{waits}");
    let found = agent.boot(rest, node).await?;
    ensure!(found["node"]["uuid"] == node, "{found}");
    let again = shown(rest, &lookup).await?;
    ensure!(again["config"]["agent_token"] == "******", "the token was given twice: {again}");
    // A heartbeat before the report changes nothing.
    agent.beat(rest, node).await?;
    let answer = agent.report(rest, node).await?;
    ensure!(!answer.to_string().contains(&agent.token()), "{answer}");
    comes_to(rest, node, "manageable").await?;
    let inventory = shown(rest, &format!("nodes/{node}/inventory")).await?;
    ensure!(inventory["inventory"] == report()["inventory"], "{inventory}");
    let ports = shown(rest, &format!("ports?node_uuid={node}")).await?;
    ensure!(ports["ports"][0]["address"] == MAC, "{ports}");
    let late = rest.status("POST", &format!("continue_inspection?node_uuid={node}"), Some(report())).await?;
    ensure!(late == 404, "a report that no inspection asked for: {late}");
    Ok(())
}

/// Begins an operation with steps.
async fn begins(rest: &Rest<'_>, node: &str, body: Value) -> Result<()> {
    rest.ask("PUT", &format!("nodes/{node}/states/provision"), Some(body)).await.map(drop)
}

/// The stand-in boots for the operation that waits in this state, and is heard.
async fn boots(rest: &Rest<'_>, agent: &StandIn, node: &str, waits: &str) -> Result<()> {
    comes_to(rest, node, waits).await?;
    agent.boot(rest, node).await?;
    agent.beats_for(node);
    Ok(())
}

/// After an abort, which leaves a step of the agent running, the next operation has its own commands alone.
async fn aborts(rest: &Rest<'_>, agent: &StandIn, node: &str) -> Result<()> {
    begins(rest, node, json!({"target": "clean", "clean_steps": [{"interface": "deploy", "step": "erase_devices"}]}))
        .await?;
    comes_to(rest, node, "clean wait").await?;
    agent.boot(rest, node).await?;
    agent.run_on();
    agent.beats_for(node);
    let until = Instant::now() + WAIT_TIMEOUT;
    while agent.executed().is_empty() {
        ensure!(Instant::now() < until, "the step was not sent");
        sleep(POLL_INTERVAL).await;
    }
    rest.provision(node, "abort").await?;
    comes_to(rest, node, "clean failed").await?;
    rest.provision(node, "manage").await?;
    comes_to(rest, node, "manageable").await?;
    let steps = json!([
        {"interface": "bios", "step": "apply_configuration", "args": {"settings": [{"name": "boot", "value": "uefi"}]}},
        {"interface": "deploy", "step": "erase_devices_metadata"},
    ]);
    begins(rest, node, json!({"target": "clean", "clean_steps": steps})).await?;
    boots(rest, agent, node, "clean wait").await?;
    comes_to(rest, node, "manageable").await?;
    ensure!(agent.executed() == ["deploy.erase_devices", "deploy.erase_devices_metadata"], "{:?}", agent.executed());
    Ok(())
}

async fn cleans(rest: &Rest<'_>, agent: &StandIn, node: &str) -> Result<()> {
    rest.provision(node, "provide").await?;
    boots(rest, agent, node, "clean wait").await?;
    comes_to(rest, node, "available").await?;
    let steps = agent.executed();
    ensure!(steps.last().is_some_and(|step| step == "deploy.erase_devices_metadata") && steps.len() == 3, "{steps:?}");
    Ok(())
}

async fn deploys(rest: &Rest<'_>, agent: &StandIn, node: &str, (url, digest): (&str, &str)) -> Result<()> {
    let path = format!("nodes/{node}");
    let none = rest.status("PUT", &format!("{path}/states/provision"), Some(json!({"target": "active"}))).await?;
    ensure!(none == 400, "a deployment without an image: {none}");
    let image = json!([
        {"op": "add", "path": "/instance_info/image_source", "value": url},
        {"op": "add", "path": "/instance_info/image_checksum", "value": digest},
    ]);
    rest.ask("PATCH", &path, Some(image)).await?;
    rest.provision(node, "active").await?;
    comes_to(rest, node, "wait call-back").await?;
    agent.boot(rest, node).await?;
    refusals(rest, agent, node).await?;
    agent.beats_for(node);
    comes_to(rest, node, "active").await?;
    ensure!(agent.image() == digest, "it did not download the image");
    ensure!(agent.executed().last().is_some_and(|step| step == "deploy.write_image"), "{:?}", agent.executed());
    let active = shown(rest, &path).await?;
    ensure!(active["power_state"] == "power on" && active["last_error"].is_null(), "{active}");
    Ok(())
}

/// A heartbeat is refused that has another token, or names an address that is not on loopback.
async fn refusals(rest: &Rest<'_>, agent: &StandIn, node: &str) -> Result<()> {
    for (key, value, why) in [
        ("agent_token", "0".repeat(64), "another token"),
        ("callback_url", "http://192.0.2.1:9999".to_owned(), "another host"),
        ("callback_url", "https://10.77.1.100:9999".to_owned(), "a machine"),
        ("callback_url", "http://169.254.169.254".to_owned(), "a metadata service"),
        ("callback_url", "http://localhost:9999".to_owned(), "a name"),
        ("callback_url", "file:///etc/passwd".to_owned(), "no HTTP"),
    ] {
        let mut body = agent.heartbeat();
        body[key] = json!(value);
        let status = rest.status("POST", &format!("heartbeat/{node}"), Some(body)).await?;
        ensure!(status == 400, "{why}: {status}");
    }
    Ok(())
}

async fn services(rest: &Rest<'_>, agent: &StandIn, node: &str) -> Result<()> {
    let settings = json!({"settings": [{"name": "virtualization", "value": "off"}]});
    let steps = json!([
        {"interface": "deploy", "step": "burnin_cpu"},
        {"interface": "bios", "step": "apply_configuration", "args": settings},
    ]);
    begins(rest, node, json!({"target": "service", "service_steps": steps})).await?;
    boots(rest, agent, node, "service wait").await?;
    comes_to(rest, node, "active").await?;
    ensure!(agent.executed().last().is_some_and(|step| step == "deploy.burnin_cpu"), "{:?}", agent.executed());
    let bios = shown(rest, &format!("nodes/{node}/bios")).await?;
    ensure!(bios["bios"][0]["name"] == "virtualization" && bios["bios"][0]["value"] == "off", "{bios}");
    Ok(())
}

async fn undeploys(rest: &Rest<'_>, agent: &StandIn, node: &str) -> Result<()> {
    rest.provision(node, "deleted").await?;
    boots(rest, agent, node, "clean wait").await?;
    comes_to(rest, node, "available").await?;
    let steps = agent.executed();
    ensure!(steps.last().is_some_and(|step| step == "deploy.erase_devices_metadata") && steps.len() == 6, "{steps:?}");
    let free = shown(rest, &format!("nodes/{node}")).await?;
    ensure!(free["power_state"] == "power off" && free["instance_info"] == json!({}), "{free}");
    Ok(())
}

#[test]
fn an_api_that_passes_no_calls_of_agents_on_has_no_stand_ins_and_one_that_passes_all_calls_none_back() {
    for (setting, lookup, heartbeat) in [("never", 404, 404), ("always", 200, 400)] {
        let options = Options { set: vec![format!("scheduler.rest_agents={setting}")], ..Options::default() };
        let fleet = Fleet::up("standoff", 0, &options).unwrap();
        fleet
            .run(async |_, fleet| {
                let (rest, agent) = (Rest::new(fleet.mesh())?, StandIn::start().await?);
                let node = enrol(&rest, "f1").await?;
                rest.provision(&node, "manage").await?;
                comes_to(&rest, &node, "manageable").await?;
                rest.provision(&node, "provide").await?;
                comes_to(&rest, &node, "clean wait").await?;
                if lookup == 200 {
                    agent.boot(&rest, &node).await?;
                }
                let status = rest.status("GET", &format!("lookup?node_uuid={node}"), None).await?;
                ensure!(status == lookup, "{setting}: {status}");
                let status = rest.status("POST", &format!("heartbeat/{node}"), Some(agent.heartbeat())).await?;
                ensure!(status == heartbeat, "{setting}: {status}");
                ensure!(agent.executed().is_empty(), "it was called");
                Ok(())
            })
            .unwrap();
    }
}
