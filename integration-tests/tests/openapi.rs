//! OpenAPI document of the REST API: serving it, and compliance of the service.
//!
//! Compliance is tested with schemathesis, which makes valid and invalid requests from the description, and checks each
//! answer against it.

use std::{fs, path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, ensure};
use integration_tests::{fault::tell, fleet::Fleet, mesh::Options, rack::wait};
use serde_json::{Value, json};
use wire_ironic::{
    openapi,
    version::{HEADER, Version},
};

/// Phases: the limits of every schema, random requests, and sequences of calls.
const PHASES: &str = "examples,coverage,fuzzing,stateful";
/// Checks of each answer. Whether a valid request is accepted depends on the present resources, and is not checked.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
                      response_headers_conformance,negative_data_rejection,unsupported_method";
/// Secret that a webhook signs with.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Seed.
const SEED: &str = "1";
/// Random requests per call.
const EXAMPLES: &str = "25";
/// Minimum number of requests, as made when this was written; an empty description would pass all checks, too.
const AT_LEAST: usize = 10_000;
/// Maximum time for a node to reach the state that a request needs.
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

/// Prefix of the nodes' ids.
const NODE: &str = "11111111-1111-4111-8111-00000000000";
const STEP: &str = r#"{"interface": "deploy", "step": "x", "args": {}"#;

#[test]
fn the_served_description_is_the_golden_one_and_is_linked_from_the_root() {
    let fleet = Fleet::up("described", 0, &Options::default()).unwrap();
    fleet
        .run(async |_, fleet| {
            let rest = fleet.mesh().rest(1)?;
            let served = reqwest::get(format!("{rest}{}", openapi::PATH)).await?.text().await?;
            let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../services/wire-ironic/src/golden/openapi.json");
            let golden: Value = serde_json::from_str(&fs::read_to_string(golden)?)?;
            ensure!(serde_json::from_str::<Value>(&served)? == golden, "another is served");
            for entrance in ["/", "/v1", "/v1/"] {
                let answer = reqwest::get(format!("{rest}{entrance}")).await?;
                let link = answer.headers().get("link").context("no Link")?.to_str()?;
                ensure!(link == openapi::LINK, "{entrance}: {link}");
            }
            let client = reqwest::Client::new();
            for path in ["/v1/drivers", openapi::PATH] {
                let refused = client.post(format!("{rest}{path}")).send().await?;
                ensure!(refused.status() == 405, "{path}: {}", refused.status());
                ensure!(refused.headers().get("allow").is_some_and(|methods| methods == "GET"), "{path}: no Allow");
            }
            Ok(())
        })
        .unwrap();
}

#[test]
#[ignore = "needs schemathesis, and takes minutes: scripts/test --all"]
fn schemathesis_gets_only_answers_that_the_description_has() {
    let fleet = Fleet::up("schemathesis", 0, &Options::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fill(&fleet).unwrap();
    run(&fleet, folder.path()).unwrap();
}

/// Creates resources of each kind, so that not all requests get 404.
fn fill(fleet: &Fleet) -> Result<()> {
    for number in 1..=3 {
        let id = format!("{NODE}{number}");
        let node =
            json!({"driver": "fake-hardware", "name": format!("n{number}"), "uuid": id, "resource_class": "small"});
        ask(fleet, "POST", "nodes", &node)?;
        ask(fleet, "POST", "ports", &json!({"address": format!("52:54:00:00:00:0{number}"), "node_uuid": id}))?;
        come_to(fleet, number, "manage", "manageable")?;
    }
    for number in 1..=2 {
        come_to(fleet, number, "provide", "available")?;
    }
    let step = |more: &str| -> Result<Value> { Ok(serde_json::from_str(&format!("{STEP}, {more}}}"))?) };
    let node = format!("{NODE}3");
    for (path, body) in [
        ("chassis", json!({"description": "c"})),
        ("portgroups", json!({"node_uuid": node, "name": "g1"})),
        ("volume/connectors", json!({"node_uuid": node, "type": "iqn", "connector_id": "iqn.1"})),
        ("volume/targets", json!({"node_uuid": node, "volume_type": "iscsi", "volume_id": "v", "boot_index": 0})),
        ("deploy_templates", json!({"name": "CUSTOM_T", "steps": [step("\"priority\": 1")?]})),
        ("runbooks", json!({"name": "CUSTOM_R", "steps": [step("\"order\": 1")?]})),
        ("inspection_rules", json!({"actions": [{"op": "fail", "args": {"msg": "m"}}]})),
        ("allocations", json!({"resource_class": "small", "name": "a1"})),
        ("webhooks", json!({"name": "w1", "url": "http://127.0.0.1:9/", "delivery_info": {"secret": SECRET}})),
    ] {
        ask(fleet, "POST", path, &body)?;
    }
    ask(fleet, "GET", "nodes/n1/volume", &Value::Null).map(drop)
}

/// Requests a transition, and waits until it is done.
fn come_to(fleet: &Fleet, number: u8, verb: &str, state: &str) -> Result<()> {
    ask(fleet, "PUT", &format!("nodes/n{number}/states/provision"), &json!({"target": verb}))?;
    let there = || {
        let shown: Value = serde_json::from_str(&ask(fleet, "GET", &format!("nodes/n{number}"), &Value::Null)?)?;
        Ok(shown.get("provision_state").is_some_and(|is| is == state).then_some(()))
    };
    wait::until(state, WAIT_TIMEOUT, there)
}

/// Makes one request, which must succeed, and returns the body.
fn ask(fleet: &Fleet, method: &str, path: &str, body: &Value) -> Result<String> {
    let (url, body) = (format!("{}/v1/{path}", fleet.mesh().rest(1)?), body.to_string());
    let version = format!("{HEADER}: {}", Version::MAX);
    let mut words = vec!["curl", "-s", "--fail-with-body", "-X", method, "-H", &version, &url];
    if method != "GET" {
        words.extend(["-d", &body]);
    }
    fleet.place().run(&words).with_context(|| format!("{method} {path} {body}"))
}

fn run(fleet: &Fleet, folder: &Path) -> Result<()> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/schemathesis/bin/schemathesis");
    fs::write(folder.join("schemathesis.toml"), configuration())?;
    let mut command = fleet.place().command(&program.display().to_string());
    command.args(["--config-file", "schemathesis.toml", "run", &format!("{}{}", fleet.mesh().rest(1)?, openapi::PATH)]);
    command.args(["--phases", PHASES, "--checks", CHECKS, "--seed", SEED, "--max-examples", EXAMPLES]);
    command.args(["--generation-database", "none", "--continue-on-failure", "--no-color", "--warnings", "off"]);
    command.args(["-H", &format!("{HEADER}: {}", Version::MAX)]);
    let output = command.current_dir(folder).stdin(Stdio::null()).output().context("schemathesis")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let made = said.lines().find_map(|line| line.trim().split_once(" generated")).context("no count")?.0;
    tell(format_args!("schemathesis: {made} requests"));
    ensure!(made.parse::<usize>()? >= AT_LEAST, "{made} requests, not {AT_LEAST}");
    Ok(())
}

/// Existing names, in addition to generated ones.
fn configuration() -> String {
    let mut text = String::new();
    for (parameter, values) in [
        ("path.node", vec!["n1".to_owned(), "n2".to_owned(), format!("{NODE}3")]),
        ("path.driver", vec!["fake-hardware".to_owned(), "ipmi".to_owned()]),
        ("path.allocation", vec!["a1".to_owned()]),
        ("path.portgroup", vec!["g1".to_owned()]),
        ("path.runbook", vec!["CUSTOM_R".to_owned()]),
        ("path.deploy_template", vec!["CUSTOM_T".to_owned()]),
        ("path.webhook", vec!["w1".to_owned()]),
        ("query.node", vec!["n1".to_owned()]),
        ("body.driver", vec!["fake-hardware".to_owned(), "redfish".to_owned()]),
        ("body.node_uuid", vec![format!("{NODE}1"), format!("{NODE}3")]),
    ] {
        let name = parameter.replace('.', "_");
        text.push_str(&format!(
            "[dictionaries.{name}]\nvalues = {values:?}\n\
             [parameters.\"{parameter}\"]\ndictionary = \"{name}\"\nprobability = 0.6\n"
        ));
    }
    text
}
