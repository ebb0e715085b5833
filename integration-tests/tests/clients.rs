//! Behavior that clients of Ironic's API rely on beyond its reference, with their own requests: Metal3's baremetal-operator,
//! gophercloud, Nova and Terraform; and our extensions to Ironic's API.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration_tests::{fleet::Fleet, ironic::Rest, lab::WAIT_TIMEOUT, mesh::Options};
use reqwest::{Client, StatusCode, header};
use serde_json::{Value, json};
use tokio::time::timeout;

/// A client with its version and headers.
struct As {
    client: Client,
    base: String,
    headers: Vec<(&'static str, String)>,
}

/// An answer.
struct Said {
    status: u16,
    tag: String,
    body: Value,
}

impl As {
    fn new(fleet: &Fleet, headers: &[(&'static str, &str)]) -> Result<Self> {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Ok(Self { client: Client::builder().no_proxy().build()?, base: fleet.mesh().rest(1)?, headers })
    }

    async fn ask(&self, method: &str, path: &str, body: Value, more: &[(&'static str, &str)]) -> Result<Said> {
        let mut request = self.client.request(method.parse()?, format!("{}/v1/{path}", self.base));
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        if !body.is_null() {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let tag = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()).unwrap_or_default().to_owned();
        let text = answer.text().await?;
        let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? };
        // gophercloud and ironicclient read a body if there is a content type.
        ensure!(
            text.is_empty() != headers.contains_key(header::CONTENT_TYPE),
            "{method} {path}: a type without a body"
        );
        Ok(Said { status, tag, body })
    }

    /// The same, expecting this status.
    async fn must(&self, method: &str, path: &str, body: Value, status: u16) -> Result<Value> {
        let said = self.ask(method, path, body.clone(), &[]).await?;
        ensure!(said.status == status, "{method} {path} {body}: {} and not {status}: {}", said.status, said.body);
        Ok(said.body)
    }
}

fn fault(body: &Value) -> String {
    let inner = body["error_message"].as_str().unwrap_or_default();
    serde_json::from_str::<Value>(inner).map(|inner| inner["faultstring"].to_string()).unwrap_or_default()
}

#[test]
fn metal3_finds_changes_and_removes_a_host_as_it_does_with_ironic() {
    let fleet = Fleet::up("metal3", 0, &Options::default()).unwrap();
    fleet.run(async |_, fleet| metal3(fleet).await).unwrap();
}

/// baremetal-operator over gophercloud.
async fn metal3(fleet: &Fleet) -> Result<()> {
    let versions = [("X-OpenStack-Ironic-API-Version", "1.109"), ("OpenStack-API-Version", "baremetal 1.109")];
    let bmo = As::new(fleet, &versions)?;
    // It searches by id, by both its names, and by MAC; only 404 means that the node does not exist.
    for ident in ["00000000-0000-4000-8000-000000000009", "metal3~host-0", "host-0"] {
        bmo.must("GET", &format!("nodes/{ident}"), Value::Null, 404).await?;
    }
    ensure!(
        bmo.must("GET", "ports?address=52:54:00:0a:0b:0c&fields=node_uuid", Value::Null, 200).await?["ports"]
            == json!([])
    );
    let node = bmo
        .must(
            "POST",
            "nodes",
            json!({
                "driver": "fake-hardware", "name": "metal3~host-0", "boot_interface": "fake", "deploy_interface": "fake",
                "inspect_interface": "fake", "driver_info": {"deploy_kernel": "http://h/k", "deploy_ramdisk": "http://h/r",
                "force_persistent_boot_device": "Default"}, "properties": {"capabilities": "cpu_vt:true"},
                "automated_clean": true,
            }),
            201,
        )
        .await?;
    let id = node["uuid"].as_str().context("no id")?.to_owned();
    let path = format!("nodes/{id}");
    bmo.must("POST", "ports", json!({"address": "52:54:00:0a:0b:0c", "node_uuid": id, "pxe_enabled": true}), 201)
        .await?;
    bmo.must("POST", "ports", json!({"address": "52:54:00:0a:0b:0c", "node_uuid": id}), 409).await?;
    // Without an inventory it inspects the node.
    bmo.must("GET", &format!("{path}/inventory"), Value::Null, 404).await?;
    let verb = |target: &str| json!({"target": target});
    bmo.must("PUT", &format!("{path}/states/provision"), verb("manage"), 202).await?;
    until(&bmo, &path, "manageable").await?;
    // Values that it compares are returned as it wrote them.
    let info = json!({"image_source": "http://h/i.raw", "image_os_hash_algo": "sha256", "image_os_hash_value": "ab",
                      "image_disk_format": "raw", "root_device": {"name": "s== /dev/sda"}, "capabilities": {"boot_mode": "uefi"}});
    let patch: Vec<Value> = info
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| json!({"op": "add", "path": format!("/instance_info/{name}"), "value": value}))
        .chain([json!({"op": "add", "path": "/instance_uuid", "value": "11111111-2222-4333-8444-555555555555"})])
        .collect();
    let changed = bmo.must("PATCH", &path, Value::Array(patch), 200).await?;
    ensure!(changed["instance_info"] == info, "{}", changed["instance_info"]);
    // Removing a field restores its default; removing a missing field is an error.
    for (remove, then) in
        [("/deploy_interface", json!("fake")), ("/automated_clean", Value::Null), ("/instance_uuid", Value::Null)]
    {
        let changed = bmo.must("PATCH", &path, json!([{"op": "remove", "path": remove}]), 200).await?;
        let field = remove.trim_start_matches('/');
        ensure!(changed[field] == then, "{field} is {}", changed[field]);
    }
    bmo.must("PATCH", &path, json!([{"op": "remove", "path": "/instance_info/nothing"}]), 400).await?;
    // A network config drive for a driver without one is refused in a way that it handles; soft off falls back to hard
    // off.
    bmo.must("PUT", &format!("{path}/states/power"), json!({"target": "soft power off", "timeout": 30}), 202).await?;
    bmo.must("PUT", &format!("{path}/states/provision"), verb("provide"), 202).await?;
    until(&bmo, &path, "available").await?;
    let drive = json!({"target": "active", "configdrive": {"meta_data": {"uuid": id}, "user_data": "#cloud-config"}});
    bmo.must("PUT", &format!("{path}/states/provision"), drive, 202).await?;
    until(&bmo, &path, "active").await?;
    // Ending the maintenance clears a fault.
    bmo.must("PUT", &format!("{path}/maintenance"), json!({"reason": "detached by metal3"}), 202).await?;
    ensure!(bmo.must("GET", &path, Value::Null, 200).await?["maintenance"] == true);
    bmo.must("DELETE", &format!("{path}/maintenance"), Value::Null, 202).await?;
    // A host is deleted: first maintenance, then the node; a missing node counts as deleted.
    bmo.must("PUT", &format!("{path}/maintenance"), json!({"reason": "forced"}), 202).await?;
    bmo.must("DELETE", &path, Value::Null, 204).await?;
    bmo.must("DELETE", &path, Value::Null, 404).await.map(drop)
}

async fn until(client: &As, path: &str, state: &str) -> Result<()> {
    let reached = async {
        loop {
            let node = client.must("GET", path, Value::Null, 200).await?;
            if node["provision_state"] == state {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    timeout(WAIT_TIMEOUT, reached).await.with_context(|| format!("{path} is not {state}"))?
}

#[test]
fn nova_claims_a_node_by_its_instance_and_terraform_and_curl_get_the_versions_they_ask_for() {
    let fleet = Fleet::up("nova", 0, &Options::default()).unwrap();
    fleet.run(async |_, fleet| nova(fleet).await).unwrap();
}

async fn nova(fleet: &Fleet) -> Result<()> {
    let nova = As::new(fleet, &[("OpenStack-API-Version", "baremetal 1.46")])?;
    let node = nova
        .must("POST", "nodes", json!({"driver": "fake-hardware", "name": "n1", "resource_class": "big"}), 201)
        .await?;
    let path = format!("nodes/{}", node["uuid"].as_str().context("no id")?);
    let claim = |id: &str| json!([{"op": "add", "path": "/instance_uuid", "value": id}]);
    nova.must("PATCH", &path, claim("11111111-2222-4333-8444-555555555551"), 200).await?;
    // Another compute service that wants the node is refused, and takes another node.
    let taken = nova.must("PATCH", &path, claim("11111111-2222-4333-8444-555555555552"), 409).await?;
    ensure!(fault(&taken).contains("is associated with instance"), "{taken}");
    let found =
        nova.must("GET", "nodes/detail?instance_uuid=11111111-2222-4333-8444-555555555551", Value::Null, 200).await?;
    ensure!(found["nodes"][0]["uuid"] == node["uuid"], "{found}");
    let valid = nova.must("GET", &format!("{path}/validate"), Value::Null, 200).await?;
    for interface in ["deploy", "power", "storage"] {
        ensure!(valid[interface]["result"] == true, "{interface}: {valid}");
    }
    nova.must("POST", &format!("{path}/vifs"), json!({"id": "11111111-2222-4333-8444-555555555553"}), 204).await?;
    nova.must("DELETE", &format!("{path}/vifs/11111111-2222-4333-8444-555555555553"), Value::Null, 204).await?;
    // Terraform's provider uses 1.52, and gets a node by an allocation.
    let terraform = As::new(fleet, &[("X-OpenStack-Ironic-API-Version", "1.52")])?;
    let none = terraform.must("POST", "allocations", json!({"resource_class": "none", "name": "a"}), 201).await?;
    let none = terraform
        .must("GET", &format!("allocations/{}", none["uuid"].as_str().context("no id")?), Value::Null, 200)
        .await?;
    ensure!(none["state"] == "error" && none["last_error"].is_string(), "{none}");
    // curl without a version gets the first one, in which nodes have no names.
    let curl = As::new(fleet, &[])?;
    let shown = curl.must("GET", &path, Value::Null, 200).await?;
    ensure!(shown.get("name").is_none() && shown.get("resource_class").is_none(), "{shown}");
    curl.must("GET", "nodes/n1", Value::Null, 404).await.map(drop)
}

#[test]
fn of_two_conditional_changes_one_succeeds_and_the_other_reads_again() {
    let fleet = Fleet::up("etag", 0, &Options::default()).unwrap();
    fleet.run(async |_, fleet| conditions(fleet).await).unwrap();
}

async fn conditions(fleet: &Fleet) -> Result<()> {
    let newest = [("X-OpenStack-Ironic-API-Version", "1.115")];
    let client = As::new(fleet, &newest)?;
    client.must("POST", "nodes", json!({"driver": "fake-hardware", "name": "n1"}), 201).await?;
    let read = client.ask("GET", "nodes/n1", Value::Null, &[]).await?;
    let again = client.ask("GET", "nodes/n1", Value::Null, &[("If-None-Match", &read.tag)]).await?;
    ensure!((again.status, again.tag.as_str()) == (304, read.tag.as_str()), "{}", again.status);
    let patch = |text: &str| json!([{"op": "add", "path": "/description", "value": text}]);
    let first = client.ask("PATCH", "nodes/n1", patch("first"), &[("If-Match", &read.tag)]).await?;
    ensure!(first.status == 200 && first.tag != read.tag, "{}", first.body);
    for (method, path, body) in [
        ("PATCH", "nodes/n1", patch("second")),
        ("PUT", "nodes/n1/maintenance", json!({})),
        ("PUT", "nodes/n1/states/provision", json!({"target": "manage"})),
        ("PUT", "nodes/n1/states/power", json!({"target": "power on"})),
        ("DELETE", "nodes/n1", Value::Null),
    ] {
        let late = client.ask(method, path, body, &[("If-Match", &read.tag)]).await?;
        ensure!(late.status == 412 && fault(&late.body).contains("read it"), "{method} {path}: {}", late.body);
    }
    let node = client.must("GET", "nodes/n1", Value::Null, 200).await?;
    ensure!(
        node["description"] == "first" && node["provision_state"] == "enroll" && node["maintenance"] == false,
        "{node}"
    );
    // Of many concurrent changes with the same tag, one succeeds.
    let tries = (0..8).map(|number| {
        let (client, tag, body) = (&client, &first.tag, patch(&number.to_string()));
        async move { client.ask("PATCH", "nodes/n1", body, &[("If-Match", tag)]).await.map(|said| said.status) }
    });
    let mut statuses = futures::future::try_join_all(tries).await?;
    statuses.sort_unstable();
    ensure!(statuses == [200, 412, 412, 412, 412, 412, 412, 412], "{statuses:?}");
    Ok(())
}

#[test]
fn a_list_stream_delivers_each_change_and_the_missed_ones() {
    let fleet = Fleet::up("events", 0, &Options::default()).unwrap();
    fleet.run(async |_, fleet| follow(fleet).await).unwrap();
}

/// A stream of events.
struct Events {
    answer: reqwest::Response,
    buffer: String,
}

impl Events {
    async fn open(fleet: &Fleet, query: &str, last: Option<&str>) -> Result<Self> {
        let client = Client::builder().no_proxy().build()?;
        let mut request = client.get(format!("{}/v1/nodes?{query}", fleet.mesh().rest(1)?));
        request = request.header("Accept", "text/event-stream").header("X-OpenStack-Ironic-API-Version", "1.115");
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let answer = request.send().await?;
        ensure!(answer.status() == StatusCode::OK, "{}", answer.status());
        ensure!(answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream"));
        Ok(Self { answer, buffer: String::new() })
    }

    /// The next event: its name, id and data.
    async fn next(&mut self) -> Result<(String, String, Value)> {
        loop {
            if let Some((event, rest)) = self.buffer.split_once("\n\n") {
                let event = event.to_owned();
                self.buffer = rest.to_owned();
                let line = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                if let (Some(name), Some(id), Some(data)) = (line("event: "), line("id: "), line("data: ")) {
                    return Ok((name, id, serde_json::from_str(&data)?));
                }
                continue;
            }
            let piece = timeout(WAIT_TIMEOUT, self.answer.chunk()).await.context("nothing comes")??;
            self.buffer.push_str(std::str::from_utf8(&piece.context("the stream ended")?)?);
        }
    }

    /// Name of the event, and of its node.
    async fn told(&mut self) -> Result<(String, String, String)> {
        let (name, id, data) = self.next().await?;
        Ok((name, data["name"].as_str().unwrap_or_default().to_owned(), id))
    }
}

async fn follow(fleet: &Fleet) -> Result<()> {
    let rest = Rest::new(fleet.mesh())?;
    let make = |name: &str| json!({"driver": "fake-hardware", "name": name});
    for name in ["a", "b"] {
        rest.ask("POST", "nodes", Some(make(name))).await?;
    }
    let mut events = Events::open(fleet, "maintenance=false&fields=name,provision_state", None).await?;
    for wanted in [("node", "a"), ("node", "b"), ("current", "")] {
        let (event, name, _) = events.told().await?;
        ensure!((event.as_str(), name.as_str()) == wanted, "{event} {name}");
    }
    rest.provision("a", "manage").await?;
    let last = loop {
        let (event, id, data) = events.next().await?;
        ensure!(event == "node" && data["name"] == "a", "{event} {data}");
        if data["provision_state"] == "manageable" {
            break id;
        }
    };
    // A node that leaves the filtered list is reported as gone.
    rest.ask("PUT", "nodes/b/maintenance", Some(json!({}))).await?;
    ensure!(events.told().await?.0 == "gone");
    drop(events);
    rest.ask("POST", "nodes", Some(make("c"))).await?;
    // A client that reconnects gets the changes that it missed, and the present nodes.
    let mut events = Events::open(fleet, "maintenance=false&fields=name", Some(&last)).await?;
    let (event, name, _) = events.told().await?;
    ensure!((event.as_str(), name.as_str()) == ("node", "c"), "{event} {name}");
    let (event, _, data) = events.next().await?;
    ensure!(event == "current" && data["nodes"].as_array().is_some_and(|nodes| nodes.len() == 2), "{data}");
    rest.ask("DELETE", "nodes/c", None).await?;
    ensure!(events.told().await?.0 == "gone");
    let wrong = rest.status("GET", "nodes?fields=bogus", None).await?;
    ensure!(wrong == 400, "{wrong}");
    Ok(())
}
