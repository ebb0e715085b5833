//! A node moves to another rack by its conductor group, like a machine that was carried there.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration_tests::{
    bmc::USER,
    fleet::Fleet,
    ironic::Rest,
    mesh::{Api, Mesh, Options},
};
use proto::api::v1::UpdateNodeRequest;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use wire_ipmi::chassis::Power;

const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

#[test]
fn a_node_that_moves_to_another_rack_keeps_its_state_and_obeys_only_services_there() {
    let slow = Options { set: vec!["scheduler.fake=500ms".to_owned()], ..Options::default() };
    let fleet = Fleet::up("rehome", 1, &slow).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fleet
        .run(async |mut api, fleet| {
            let other = fleet.mesh().with_rack("r2", &folder.path().join("r2"), &slow)?;
            let rest = Rest::new(fleet.mesh())?;
            moves(fleet, &other, &rest, &mut api).await?;
            refuses(&rest).await
        })
        .unwrap();
}

fn group(name: &str) -> Value {
    json!([{"op": "replace", "path": "/conductor_group", "value": name}])
}

async fn switch(rest: &Rest<'_>, target: &str) -> Result<()> {
    rest.ask("PUT", "nodes/n1/states/power", Some(json!({"target": target}))).await?;
    let until = Instant::now() + WAIT_TIMEOUT;
    loop {
        let node = rest.ask("GET", "nodes/n1", None).await?;
        if node["power_state"] == target && node["target_power_state"].is_null() {
            return Ok(());
        }
        ensure!(Instant::now() < until, "not {target}: {node}");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn moves(fleet: &Fleet, other: &Mesh, rest: &Rest<'_>, api: &mut Api) -> Result<()> {
    let machine = fleet.machines().first().context("no machine")?;
    let info = json!({
        "ipmi_address": machine.address, "ipmi_username": USER, "ipmi_password": machine.bmc.password(),
    });
    let made = json!({"name": "n1", "driver": "ipmi", "driver_info": info, "extra": {"shelf": 7}, "owner": "me"});
    let node = rest.ask("POST", "nodes", Some(made)).await?;
    let port = json!({"address": "52:54:00:09:00:01", "node_uuid": node["uuid"], "extra": {"card": 1}});
    let port = rest.ask("POST", "ports", Some(port)).await?;
    rest.provision("n1", "manage").await?;
    rest.reach("n1", "manageable").await?;
    switch(rest, "power on").await?;
    let before = rest.ask("GET", "nodes/n1", None).await?;
    ensure!(before["conductor_group"] == "", "{before}");

    rest.ask("PATCH", "nodes/n1", Some(group("r2"))).await?;
    let after = rest.ask("GET", "nodes/n1", None).await?;
    ensure!(after["conductor_group"] == "r2" && after["power_state"] == "power on", "{after}");
    for same in ["uuid", "name", "driver", "driver_info", "extra", "owner", "provision_state", "created_at"] {
        ensure!(before[same] == after[same], "{same}: {} and then {}", before[same], after[same]);
    }
    let kept = rest.ask("GET", &format!("ports/{}", port["uuid"].as_str().unwrap_or_default()), None).await?;
    ensure!(kept["address"] == port["address"] && kept["extra"] == port["extra"], "{kept}");
    let conductor = after["conductor"].as_str().context("it has no conductor")?;
    let shown = rest.ask("GET", &format!("conductors/{conductor}"), None).await?;
    ensure!(shown["conductor_group"] == "r2", "{shown}");

    // From here on the old rack's services have no part in it, and need not run.
    let old = fleet.mesh().service("power-service-1")?;
    old.signal(rustix::process::Signal::STOP)?;
    switch(rest, "power off").await?;
    ensure!(machine.power() == Power::Off);
    ensure!(other.log("power-service-1").is_ok());
    old.signal(rustix::process::Signal::CONT)?;
    // And back, over the gRPC API.
    let rack = Some(String::new());
    let back = UpdateNodeRequest { node: "n1".to_owned(), rack, ..UpdateNodeRequest::default() };
    let both = UpdateNodeRequest { name: Some("n9".to_owned()), ..back.clone() };
    let refused = api.nodes.update_node(both).await.err().context("two things were changed at once")?;
    ensure!(refused.message().contains("only thing"), "{refused}");
    api.nodes.update_node(back).await?;
    switch(rest, "power on").await?;
    ensure!(machine.power() == Power::On);
    rest.ask("DELETE", "nodes/n1", None).await.map(drop)
}

/// A node does not move to a rack without services, and not while an operation runs.
async fn refuses(rest: &Rest<'_>) -> Result<()> {
    rest.ask("POST", "nodes", Some(json!({"driver": "fake-hardware", "name": "n1"}))).await?;
    let status = rest.status("PATCH", "nodes/n1", Some(group("nowhere"))).await?;
    ensure!(status == 400, "{status}");
    rest.provision("n1", "manage").await?;
    rest.reach("n1", "manageable").await?;
    rest.provision("n1", "inspect").await?;
    let status = rest.status("PATCH", "nodes/n1", Some(group("r2"))).await?;
    ensure!(status == 409, "{status}");
    rest.reach("n1", "manageable").await?;
    // With another change in the same request: both or none.
    let both = json!([
        {"op": "replace", "path": "/conductor_group", "value": "r2"},
        {"op": "replace", "path": "/name", "value": "n2"},
        {"op": "add", "path": "/extra/note", "value": "there"},
    ]);
    rest.ask("PATCH", "nodes/n1", Some(both)).await?;
    let moved = rest.ask("GET", "nodes/n2", None).await?;
    ensure!(moved["conductor_group"] == "r2" && moved["extra"]["note"] == "there", "{moved}");
    // Its operations continue there.
    rest.provision("n2", "provide").await?;
    rest.reach("n2", "available").await?;
    rest.provision("n2", "active").await?;
    rest.reach("n2", "active").await?;
    rest.ask("PATCH", "nodes/n2", Some(group(""))).await?;
    rest.provision("n2", "deleted").await?;
    rest.reach("n2", "available").await
}
