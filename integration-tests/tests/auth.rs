//! Authorization of the REST API, with tokens of a real Keystone and the stock clients.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use integration_tests::{
    fault::tell,
    fleet::Fleet,
    hostile::tokens::{AUDIENCE, ISSUER, issued},
    keystone::{Keystone, PASSWORD, People},
    mesh::Options,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// Columns of the matrix: five scopes, and five roles in each.
const SCOPES: &[&str] = &["system", "owner", "lessee", "stranger", "service"];
const ROLES: &[&str] = &["admin", "manager", "member", "reader", "service"];
/// Time for which a response of Keystone is cached.
const CACHE_TIME: Duration = Duration::from_secs(8);
/// Calls of the matrix. A permitted call fails for another reason, or changes nothing.
const CALLS: &[(&str, &str, &str)] = &[
    ("GET", "nodes/n1", ""),
    ("GET", "nodes/n1/states", ""),
    ("GET", "nodes/n1/traits", ""),
    ("GET", "nodes/n1/ports", ""),
    ("GET", "nodes/n1/history", ""),
    ("GET", "nodes/n1/validate", ""),
    ("GET", "nodes/n1/states/console", ""),
    ("GET", "nodes/n1/management/boot_device", ""),
    ("GET", "nodes/n1/vendor_passthru/methods", ""),
    ("PUT", "nodes/n1/states/power", r#"{"target": "bogus"}"#),
    ("PUT", "nodes/n1/states/provision", r#"{"target": "bogus"}"#),
    ("PUT", "nodes/n1/states/console", "{}"),
    ("PUT", "nodes/n1/maintenance", r#"{"bogus": 1}"#),
    ("DELETE", "nodes/n1/maintenance", r#"{"bogus": 1}"#),
    ("POST", "nodes/n1/vmedia", "{}"),
    ("POST", "nodes/n1/vifs", "{}"),
    ("PUT", "nodes/n1/traits", "{}"),
    ("PATCH", "nodes/n1", r#"[{"op": "add", "path": "/extra/a", "value": 1}]"#),
    ("PATCH", "nodes/n1", r#"[{"op": "add", "path": "/instance_info/a", "value": 1}]"#),
    ("PATCH", "nodes/n1", r#"[{"op": "add", "path": "/driver_info/a", "value": 1}]"#),
    ("PATCH", "nodes/n1", r#"[{"op": "replace", "path": "/name", "value": "n1"}]"#),
    ("PATCH", "nodes/n1", r#"[{"op": "replace", "path": "/driver", "value": "fake-hardware"}]"#),
    ("PATCH", "nodes/n1", r#"[{"op": "replace", "path": "/owner", "value": "@owner"}]"#),
    ("PATCH", "nodes/n1", r#"[{"op": "replace", "path": "/shard", "value": "s"}]"#),
    ("DELETE", "nodes/n1", ""),
    ("POST", "nodes", r#"{"driver": "bogus"}"#),
    ("POST", "ports", r#"{"node_uuid": "@n1", "address": "bogus"}"#),
    ("GET", "ports/@port", ""),
    ("PATCH", "ports/@port", r#"[{"op": "add", "path": "/extra/a", "value": 1}]"#),
    ("GET", "volume/targets/@target", ""),
    ("POST", "allocations", "{}"),
    ("GET", "allocations/a1", ""),
    ("PATCH", "allocations/a1", r#"[{"op": "add", "path": "/extra/a", "value": 1}]"#),
    ("GET", "runbooks/CUSTOM_RUN", ""),
    ("PATCH", "runbooks/CUSTOM_RUN", r#"[{"op": "add", "path": "/extra/a", "value": 1}]"#),
    ("GET", "chassis", ""),
    ("POST", "chassis", r#"{"bogus": 1}"#),
    ("GET", "drivers", ""),
    ("GET", "conductors", ""),
    ("GET", "shards", ""),
    ("POST", "deploy_templates", "{}"),
    ("GET", "inspection_rules", ""),
    ("GET", "webhooks", ""),
    ("POST", "webhooks", "{}"),
];

/// Maximum time for which requests to Keystone are retried on a busy host.
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

/// The caller of a request.
struct Asker<'m> {
    client: reqwest::Client,
    base: String,
    people: &'m People,
}

impl Asker<'_> {
    async fn with(&self, token: &str, method: &str, path: &str, body: &str) -> Result<(u16, Value)> {
        let until = Instant::now() + WAIT_TIMEOUT;
        loop {
            let request = self.client.request(method.parse()?, format!("{}/v1/{path}", self.base));
            let request = request.header("x-auth-token", token).header("x-openstack-ironic-api-version", "1.115");
            let answer = request.body(body.to_owned()).send().await?;
            let (status, text) = (answer.status().as_u16(), answer.text().await?);
            // A slow Keystone on a busy host gives 503; clients are told to retry.
            if status != 503 || Instant::now() > until {
                return Ok((status, serde_json::from_str(&text).unwrap_or_default()));
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    async fn ask(&self, who: (&str, &str), method: &str, path: &str, body: &Value) -> Result<(u16, Value)> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.with(self.people.token(who.0, who.1)?, method, path, &body).await
    }

    /// Sends a request as an admin of the system, and fails if it is rejected.
    async fn must(&self, method: &str, path: &str, body: Value) -> Result<Value> {
        let (status, answer) = self.ask(("system", "admin"), method, path, &body).await?;
        ensure!(status < 300, "{method} {path}: {status} {answer}");
        Ok(answer)
    }
}

fn uuid(of: &Value) -> Result<String> {
    Ok(of.get("uuid").and_then(Value::as_str).with_context(|| of.to_string())?.to_owned())
}

/// Creates the records for the calls: a node with owner and lessee, a node of another project, and their resources.
async fn things(asker: &Asker<'_>) -> Result<Vec<(&'static str, String)>> {
    let project = |name: &str| asker.people.projects.get(name).cloned().unwrap_or_default();
    let (owner, lessee) = (project("owner"), project("lessee"));
    let node = json!({
        "driver": "fake-hardware", "name": "n1", "owner": owner, "lessee": lessee,
        "driver_info": {"B1": "behind"}, "instance_uuid": "11111111-1111-4111-8111-111111111111",
    });
    let node = uuid(&asker.must("POST", "nodes", node).await?)?;
    asker.must("POST", "nodes", json!({"driver": "fake-hardware", "name": "n2", "owner": project("stranger")})).await?;
    asker.must("POST", "nodes", json!({"driver": "fake-hardware", "name": "n3"})).await?;
    let port = asker.must("POST", "ports", json!({"node_uuid": node, "address": "52:54:00:00:00:01"})).await?;
    let target = json!({
        "node_uuid": node, "volume_type": "iscsi", "boot_index": 0, "volume_id": "v", "properties": {"portal": "p"},
    });
    let target = asker.must("POST", "volume/targets", target).await?;
    asker.must("POST", "allocations", json!({"name": "a1", "resource_class": "none", "owner": owner})).await?;
    let steps = json!([{"interface": "deploy", "step": "deploy", "args": {}, "order": 1}]);
    asker.must("POST", "runbooks", json!({"name": "CUSTOM_RUN", "owner": owner, "steps": steps})).await?;
    Ok(vec![("@owner", owner), ("@n1", node), ("@port", uuid(&port)?), ("@target", uuid(&target)?)])
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/roles.txt")
}

/// Makes every call as every caller: `+` permitted, `-` 403, `.` 404. One after the other, so that each token is
/// validated once or twice.
async fn matrix(asker: &Asker<'_>, things: &[(&str, String)]) -> Result<String> {
    let mut rows: Vec<String> =
        CALLS.iter().map(|(method, path, body)| format!("{:100}", format!("{method} {path} {body}"))).collect();
    let told = |text: &str| things.iter().fold(text.to_owned(), |text, (word, is)| text.replace(word, is));
    for scope in SCOPES {
        rows.iter_mut().for_each(|row| row.push(' '));
        for role in ROLES {
            let token = asker.people.token(scope, role)?;
            for ((method, path, body), row) in CALLS.iter().zip(&mut rows) {
                let (status, answer) = asker.with(token, method, &told(path), &told(body)).await?;
                row.push(match status {
                    403 => '-',
                    404 => '.',
                    200..=499 if status != 401 => '+',
                    _ => anyhow::bail!("{method} {path} as {role} of {scope}: {status} {answer}"),
                });
            }
        }
    }
    let heads: Vec<String> = SCOPES.iter().map(|scope| format!("{scope:5.5}")).collect();
    let head = format!("# + let through, - 403, . 404; in each: {}", ROLES.join(" "));
    rows.insert(0, format!("{head:100} {}", heads.join(" ")));
    Ok(rows.join("\n") + "\n")
}

#[test]
fn each_role_of_a_real_keystone_may_do_what_the_golden_matrix_says() {
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    fs::write(&password, PASSWORD).unwrap();
    let set = |key: &str, value: &str| format!("scheduler.rest_keystone.{key}={value}");
    let set = vec![
        set("url", &Keystone::url()),
        set("password", &password.display().to_string()),
        set("seen", &format!("{}s", CACHE_TIME.as_secs())),
    ];
    let fleet = Fleet::up("roles", 0, &Options { set, ..Options::default() }).unwrap();
    let keystone = Keystone::up(fleet.place(), folder.path()).unwrap();
    let people = keystone.people(&fleet.mesh().rest(1).unwrap()).unwrap();
    fleet
        .run(async |_, fleet| {
            let client = reqwest::Client::builder().no_proxy().build()?;
            let asker = Asker { client, base: fleet.mesh().rest(1)?, people: &people };
            let things = things(&asker).await?;
            let matrix = matrix(&asker, &things).await?;
            if option_env!("UPDATE").is_some() {
                fs::write(golden(), &matrix)?;
            }
            ensure!(matrix == fs::read_to_string(golden())?, "UPDATE=1 rewrites the matrix; it is now:\n{matrix}");
            lists(&asker).await?;
            hidden_fields(&asker).await?;
            allocations(&asker).await?;
            own_nodes(&asker).await?;
            older_versions(&asker).await?;
            runbooks(&asker).await?;
            records(fleet, &people)
        })
        .unwrap();
    by_command_line(&fleet, &keystone).unwrap();
    fleet.run(async |_, fleet| revocation(fleet, &keystone, &people).await).unwrap();
}

/// Lists have only owned or lent nodes; a filter by a hidden value finds nothing.
async fn lists(asker: &Asker<'_>) -> Result<()> {
    for (scope, expected) in
        [("system", "n1 n2 n3"), ("owner", "n1"), ("lessee", "n1"), ("stranger", "n2"), ("service", "")]
    {
        let (_, body) = asker.ask((scope, "reader"), "GET", "nodes", &Value::Null).await?;
        let nodes = body["nodes"].as_array().context("no list")?;
        let names: Vec<&str> = nodes.iter().filter_map(|node| node["name"].as_str()).collect();
        ensure!(names.join(" ") == expected, "{scope}: {names:?}");
        let (_, body) = asker.ask((scope, "reader"), "GET", "ports", &Value::Null).await?;
        let count = body["ports"].as_array().map(Vec::len);
        ensure!(count == Some(usize::from(expected.contains("n1"))), "{scope}: {body}");
    }
    let stranger = ("stranger", "admin");
    for (hidden, absent) in [("ports?node=n1", "ports?node=n9"), ("nodes/n1/ports", "nodes/n9/ports")] {
        let (status, body) = asker.ask(stranger, "GET", hidden, &Value::Null).await?;
        let (same, other) = asker.ask(stranger, "GET", absent, &Value::Null).await?;
        let other: Value = serde_json::from_str(&other.to_string().replace("n9", "n1"))?;
        ensure!((status, &body) == (same, &other), "{hidden}: {status} {body}, {absent}: {same} {other}");
    }
    Ok(())
}

/// A lessee does not read the node's credentials.
async fn hidden_fields(asker: &Asker<'_>) -> Result<()> {
    for path in ["nodes/n1", "nodes/detail"] {
        for (scope, is_hidden) in [("lessee", true), ("owner", false), ("system", false)] {
            let (_, body) = asker.ask((scope, "reader"), "GET", path, &Value::Null).await?;
            let node = body["nodes"].get(0).unwrap_or(&body);
            for field in ["last_error", "reservation", "driver_info", "driver_internal_info"] {
                let is_redacted = node[field].to_string().contains("edacted");
                ensure!(is_redacted == is_hidden, "{path} {scope} {field}: {}", node[field]);
            }
            ensure!(body.to_string().contains("behind") != is_hidden, "{path} {scope}");
        }
    }
    let (_, states) = asker.ask(("lessee", "member"), "GET", "nodes/n1/states", &Value::Null).await?;
    ensure!(states["last_error"].to_string().contains("Redacted"), "{states}");
    let (_, target) = asker.ask(("owner", "reader"), "GET", "volume/targets", &Value::Null).await?;
    ensure!(!target.to_string().contains("portal"), "{target}");
    Ok(())
}

/// Allocations belong to their project, and use nodes that it owns or rents.
async fn allocations(asker: &Asker<'_>) -> Result<()> {
    let project = |name: &str| asker.people.projects.get(name).cloned().unwrap_or_default();
    let member = ("owner", "member");
    let wish = json!({"name": "mine", "resource_class": "none"});
    let (status, made) = asker.ask(member, "POST", "allocations", &wish).await?;
    ensure!(status == 201 && made["owner"] == json!(project("owner")), "{status} {made}");
    let others = json!({"resource_class": "none", "owner": project("stranger")});
    let (status, refused) = asker.ask(member, "POST", "allocations", &others).await?;
    ensure!(status == 403 && refused.to_string().contains("create_restricted"), "{status} {refused}");
    let (_, seen) = asker.ask(("stranger", "admin"), "GET", "allocations", &Value::Null).await?;
    ensure!(seen["allocations"] == json!([]), "{seen}");
    let hidden = json!({"resource_class": "none", "candidate_nodes": ["n2"]});
    let (status, refused) = asker.ask(member, "POST", "allocations", &hidden).await?;
    ensure!(status == 400 && refused.to_string().contains("Nodes cannot be found: n2"), "{status} {refused}");
    let (status, _) = asker.ask(member, "DELETE", "allocations/mine", &Value::Null).await?;
    ensure!(status == 204, "{status}");
    Ok(())
}

/// An admin of a project enrolls and deletes the project's own nodes.
async fn own_nodes(asker: &Asker<'_>) -> Result<()> {
    let (admin, owner) = (("owner", "admin"), asker.people.projects.get("owner").cloned().unwrap_or_default());
    let (status, made) = asker.ask(admin, "POST", "nodes", &json!({"driver": "fake-hardware", "name": "n4"})).await?;
    ensure!(status == 201 && made["owner"] == json!(owner), "{status} {made}");
    let others = json!({"driver": "fake-hardware", "owner": asker.people.projects.get("stranger")});
    let (status, refused) = asker.ask(admin, "POST", "nodes", &others).await?;
    ensure!(status == 400 && refused.to_string().contains("other than your own project"), "{status} {refused}");
    let below = json!({"driver": "fake-hardware", "parent_node": "n2"});
    let (status, refused) = asker.ask(admin, "POST", "nodes", &below).await?;
    ensure!(status == 400 && refused.to_string().contains("could not be found"), "{status} {refused}");
    let (status, refused) = asker.ask(("owner", "manager"), "DELETE", "nodes/n4", &Value::Null).await?;
    ensure!(
        status == 403 && refused.to_string().contains("Access was denied to the following resource: baremetal:node:")
    );
    let (status, _) = asker.ask(admin, "DELETE", "nodes/n4", &Value::Null).await?;
    ensure!(status == 204, "{status}");
    Ok(())
}

/// Only permitted callers get the error for a too old version; others get their usual error.
async fn older_versions(asker: &Asker<'_>) -> Result<()> {
    for (who, status, words) in [
        (("system", "admin"), 404, "starting with the API version 1.76"),
        (("system", "reader"), 403, "baremetal:node:set_boot_mode"),
        (("stranger", "admin"), 404, "Node n1 could not be found"),
    ] {
        let request = asker.client.put(format!("{}/v1/nodes/n1/states/boot_mode", asker.base));
        let request = request.header("x-auth-token", asker.people.token(who.0, who.1)?);
        let answer =
            request.header("x-openstack-ironic-api-version", "1.70").body(r#"{"target": "uefi"}"#).send().await?;
        let (seen, text) = (answer.status(), answer.text().await?);
        ensure!(seen == status && text.contains(words), "{who:?}: {seen} {text}");
    }
    Ok(())
}

/// A runbook that is made public no longer belongs to its project.
async fn runbooks(asker: &Asker<'_>) -> Result<()> {
    let public = json!([{"op": "replace", "path": "/public", "value": true}]);
    let (status, refused) = asker.ask(("owner", "admin"), "PATCH", "runbooks/CUSTOM_RUN", &public).await?;
    ensure!(status == 403, "{status} {refused}");
    let changed = asker.must("PATCH", "runbooks/CUSTOM_RUN", public).await?;
    ensure!(changed["public"] == true && changed["owner"].is_null(), "{changed}");
    Ok(())
}

/// Each change is logged, refused ones, too; tokens are not.
fn records(fleet: &Fleet, people: &People) -> Result<()> {
    let log = fleet.mesh().log("scheduler-service-1")?;
    let records: Vec<&str> = log.lines().filter(|line| line.contains(" audit api=\"rest\"")).collect();
    let has = |words: &[&str]| records.iter().any(|line| words.iter().all(|word| line.contains(word)));
    ensure!(has(&["a-admin", "POST", "201", "n4"]), "{records:#?}");
    ensure!(has(&["a-manager", "DELETE", "403", "node:delete"]), "no refusal");
    ensure!(has(&["a-admin", "PATCH", "status=200", "extra"]), "no change");
    for token in people.tokens.values().flat_map(|roles| roles.values()) {
        ensure!(!log.contains(token.as_str()), "a token is in the log");
    }
    ensure!(!log.contains(PASSWORD), "the password is in the log");
    tell(format_args!("{} records of changes", records.len()));
    Ok(())
}

/// The stock command line, which finds all endpoints in Keystone's catalog.
fn by_command_line(fleet: &Fleet, keystone: &Keystone) -> Result<()> {
    let baremetal = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients/bin/baremetal");
    let run = |role: &str, project: &str, words: &str| {
        let mut command = fleet.place().command(&baremetal.display().to_string());
        command.args(words.split_whitespace());
        keystone.as_who(&mut command, role, project);
        let output = command.output()?;
        anyhow::Ok((String::from_utf8(output.stdout)?.trim().to_owned(), String::from_utf8(output.stderr)?))
    };
    ensure!(run("member", "owner", "node list -f value -c Name")?.0 == "n1");
    ensure!(run("member", "stranger", "node list -f value -c Name")?.0 == "n2");
    let (_, hidden) = run("admin", "stranger", "node show n1")?;
    ensure!(hidden.contains("Node n1 could not be found"), "{hidden}");
    let (_, denied) = run("member", "lessee", "node manage n1")?;
    ensure!(
        denied.contains("Access was denied to the following resource: baremetal:node:set_provision_state"),
        "{denied}"
    );
    let (_, wrong) = run("member", "owner", "node manage n1")?;
    ensure!(wrong.is_empty(), "{wrong}");
    Ok(())
}

/// A revoked token is refused soon. Without Keystone no known caller is treated as unauthenticated.
async fn revocation(fleet: &Fleet, keystone: &Keystone, people: &People) -> Result<()> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let (nodes, tokens) = (format!("{}/v1/nodes", fleet.mesh().rest(1)?), format!("{}/auth/tokens", Keystone::url()));
    let (mine, other) = (people.token("system", "reader")?, people.token("owner", "reader")?);
    let ask =
        async |token: &str| Ok::<_, reqwest::Error>(client.get(&nodes).header("x-auth-token", token).send().await?);
    let none = client.get(&nodes).send().await?;
    let challenge = none.headers().get("www-authenticate").and_then(|value| value.to_str().ok()).unwrap_or_default();
    ensure!(none.status() == 401 && challenge == "Keystone uri=\"http://127.0.0.1:5000\"", "{none:?}");
    ensure!(ask(mine).await?.status() == 200 && ask("unknown").await?.status() == 401);
    let gone = client.delete(&tokens).header("x-auth-token", mine).header("x-subject-token", mine).send().await?;
    ensure!(gone.status() == 204, "{gone:?}");
    sleep(CACHE_TIME).await;
    ensure!(ask(mine).await?.status() == 401, "a token that was revoked is taken");
    ensure!(ask(other).await?.status() == 200);
    keystone.end()?;
    ensure!(ask(other).await?.status() == 200, "what was just heard is forgotten");
    sleep(CACHE_TIME).await;
    let away = ask(other).await?;
    ensure!(away.status() == 503 && !away.headers().contains_key("retry-after"), "{away:?}");
    let public = client.get(nodes.trim_end_matches("/nodes")).send().await?;
    ensure!(public.status() == 200, "{public:?}");
    Ok(())
}

#[test]
fn openid_tokens_are_accepted_by_their_claims_and_forged_ones_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    let tokens = issued(&keys).unwrap();
    let set = |key: &str, value: &str| format!("scheduler.rest_jwt.{key}={value}");
    let set = vec![set("keys", &keys.display().to_string()), set("issuer", ISSUER), set("audience", AUDIENCE)];
    let fleet = Fleet::up("openid", 0, &Options { set, ..Options::default() }).unwrap();
    fleet.run(async |_, fleet| by_claims(&format!("{}/v1/nodes", fleet.mesh().rest(1)?), &tokens).await).unwrap();
}

async fn by_claims(nodes: &str, tokens: &BTreeMap<String, String>) -> Result<()> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let bearer = |name: &str| format!("Bearer {}", tokens.get(name).map(String::as_str).unwrap_or_default());
    let version = ("x-openstack-ironic-api-version", "1.115");
    let node = json!({"driver": "fake-hardware", "name": "n1", "owner": "p1"}).to_string();
    let made = client.post(nodes).header("authorization", bearer("admin")).header(version.0, version.1).body(node);
    let made = made.send().await?;
    ensure!(made.status() == 201, "{}", made.text().await?);
    for (name, status, has) in
        [("admin", 200, true), ("member", 200, true), ("stranger", 200, false), ("nowhere", 403, false)]
    {
        let answer = client.get(nodes).header("authorization", bearer(name)).send().await?;
        let (seen, text) = (answer.status(), answer.text().await?);
        ensure!(seen == status && text.contains("\"uuid\"") == has, "{name}: {seen} {text}");
    }
    for name in ["expired", "early", "elsewhere", "unsigned", "shared", "changed", "none of them"] {
        let answer = client.get(nodes).header("authorization", bearer(name)).send().await?;
        let challenge = answer.headers().get("www-authenticate").and_then(|value| value.to_str().ok());
        ensure!(answer.status() == 401 && challenge == Some("Bearer realm=\"Baremetal API\""), "{name}: {answer:?}");
    }
    Ok(())
}
