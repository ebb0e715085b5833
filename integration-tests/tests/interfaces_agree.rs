//! REST, gRPC and bulk make the same decisions about a node.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration_tests::{
    fleet::Fleet,
    ironic::Rest,
    mesh::{Api, Options, verb},
};
use proto::api::v1::{CreateBulkRequest, DeleteNodeRequest, NodeSelector};
use serde_json::{Value, json};
use tonic::Code;

/// Brings a node of `fake-hardware` into use.
async fn in_use(rest: &Rest<'_>, name: &str) -> Result<()> {
    rest.ask("POST", "nodes", Some(json!({"driver": "fake-hardware", "name": name}))).await?;
    for (target, state) in [("manage", "manageable"), ("provide", "available"), ("active", "active")] {
        rest.provision(name, target).await?;
        rest.reach_within(name, state, Duration::from_secs(60)).await?;
    }
    Ok(())
}

async fn set(rest: &Rest<'_>, name: &str, field: &str, value: Value) -> Result<()> {
    let patch = json!([{"op": "add", "path": format!("/{field}"), "value": value}]);
    rest.ask("PATCH", &format!("nodes/{name}"), Some(patch)).await.map(drop)
}

/// Responses of each API to a verb that all of them must reject.
async fn refused(rest: &Rest<'_>, api: &mut Api, name: &str, verbs: [&str; 2], says: &str) -> Result<()> {
    let [ironic, ours] = verbs;
    let body = json!({"target": ironic, "rescue_password": (ironic == "rescue").then_some("secret")});
    let body = body.as_object().context("not an object")?.clone();
    let body: Value = body.into_iter().filter(|(_, value)| !value.is_null()).collect();
    let answer = rest.status("PUT", &format!("nodes/{name}/states/provision"), Some(body)).await?;
    ensure!(matches!(answer, 400 | 403), "REST answers {ironic} of {name} with {answer}");
    let status = api.ask(name, ours, "").await.err().with_context(|| format!("gRPC takes {ours} of {name}"))?;
    ensure!(status.code() == Code::FailedPrecondition && status.message().contains(says), "{ours}: {status:?}");
    let selector = Some(NodeSelector { nodes: vec![name.to_owned()], maintenance: None, ..NodeSelector::default() });
    let request = CreateBulkRequest { verb: verb(ours), selector, ..CreateBulkRequest::default() };
    let status =
        api.bulks.create_bulk(request).await.err().with_context(|| format!("a bulk takes {ours} of {name}"))?;
    ensure!(matches!(status.code(), Code::FailedPrecondition | Code::InvalidArgument), "{status:?}");
    let state = rest.ask("GET", &format!("nodes/{name}"), None).await?;
    ensure!(state["provision_state"] == "active", "{}", state["provision_state"]);
    Ok(())
}

#[test]
fn a_protected_node_survives_every_interface_and_one_in_maintenance_takes_no_work() {
    let fleet = Fleet::up("agree", 0, &Options::default()).unwrap();
    let agree = fleet.run(async |mut api, fleet| {
        let rest = Rest::new(fleet.mesh())?;
        in_use(&rest, "kept").await?;
        set(&rest, "kept", "protected", json!(true)).await?;
        for verbs in [["deleted", "undeploy"], ["rebuild", "rebuild"]] {
            refused(&rest, &mut api, "kept", verbs, "protected").await?;
        }
        let deleted = rest.status("DELETE", "nodes/kept", None).await?;
        ensure!(deleted == 403, "REST deletes: {deleted}");
        let request = DeleteNodeRequest { node: "kept".to_owned(), ..Default::default() };
        let status = api.nodes.delete_node(request).await.err().context("gRPC deletes")?;
        ensure!(status.message().contains("protected"), "{status:?}");
        set(&rest, "kept", "protected", json!(false)).await?;
        set(&rest, "kept", "maintenance", json!(true)).await?;
        for verbs in [["rescue", "rescue"], ["rebuild", "rebuild"]] {
            refused(&rest, &mut api, "kept", verbs, "maintenance").await?;
        }
        set(&rest, "kept", "maintenance", json!(false)).await?;
        api.ask("kept", "undeploy", "").await?;
        rest.reach_within("kept", "available", Duration::from_secs(60)).await
    });
    agree.unwrap();
}
