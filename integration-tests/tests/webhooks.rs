//! Webhooks, delivered to a receiver that verifies them with the Standard Webhooks project's own library.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use integration_tests::{
    authority::Authority,
    fleet::Fleet,
    ironic::Rest,
    mesh::{ALLOW_LOOPBACK, Api, Options, program},
    rack::daemon::Daemon,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const PORT: &str = "8443";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const TOKEN: &str = "t0k3n-of-the-receiver";
/// Maximum duration of a delivery.
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

/// A running receiver. It is ended with its namespace.
struct Receiver {
    folder: PathBuf,
    ca: String,
    _process: Daemon,
}

impl Receiver {
    fn start(fleet: &Fleet, folder: &Path) -> Result<Self> {
        let authority = Authority::new()?;
        let files = authority.issue_for_loopback(&folder.join("certs"))?;
        let beside = |path: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let mut command = fleet.place().command(&beside("../target/clients/bin/python").display().to_string());
        command.arg(beside("clients/receiver.py")).arg(PORT).arg(&files.certificate).arg(&files.key);
        command.args([SECRET, TOKEN]).arg(folder);
        let process = Daemon::spawn(command, &folder.join("receiver.log"), &folder.join("receiver.record"))?;
        Ok(Self { folder: folder.to_owned(), ca: authority.pem().to_owned(), _process: process })
    }

    /// Requests that it accepted at a path, in order.
    fn taken(&self, path: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.join("taken")).unwrap_or_default();
        // A line that is still being written is not JSON yet.
        let all = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        all.filter(|event| event["path"] == path).collect()
    }

    /// Waits until it has accepted something.
    async fn takes(&self, path: &str, what: &str, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
        let until = Instant::now() + WAIT_TIMEOUT;
        loop {
            let wrong = fs::read_to_string(self.folder.join("wrong")).unwrap_or_default();
            ensure!(wrong.is_empty(), "the receiver does not believe us: {wrong}");
            let all = self.taken(path);
            if let Some(event) = all.iter().find(|event| is_it(event)) {
                return Ok(event.clone());
            }
            let log = fs::read_to_string(self.folder.join("receiver.log")).unwrap_or_default();
            ensure!(Instant::now() < until, "{what} is not told at {path}; {log} {all:#?}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn answers(&self, status: u16) -> Result<()> {
        Ok(fs::write(self.folder.join("answer"), status.to_string())?)
    }

    fn answers_well(&self) -> Result<()> {
        Ok(fs::remove_file(self.folder.join("answer"))?)
    }

    fn hook(&self, name: &str, query: &str) -> Value {
        let info = json!({"secret": SECRET, "token": TOKEN, "ca": self.ca});
        json!({"name": name, "url": format!("https://127.0.0.1:{PORT}/{name}"), "delivery_info": info, "query": query})
    }
}

fn is_in(event: &Value, state: &str) -> bool {
    event["type"] == "node.changed" && event["data"]["node"]["provision_state"] == state
}

async fn hook_until(rest: &Rest<'_>, name: &str, what: &str, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
    let until = Instant::now() + WAIT_TIMEOUT;
    loop {
        let hook = rest.ask("GET", &format!("webhooks/{name}"), None).await?;
        if is_it(&hook) {
            return Ok(hook);
        }
        ensure!(Instant::now() < until, "{what}: {hook}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn webhooks_deliver_states_also_after_an_absence_and_from_the_next_leader() {
    let set = vec![ALLOW_LOOPBACK.to_owned()];
    let fleet = Fleet::up("hooks", 0, &Options { schedulers: 2, set, ..Options::default() }).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fleet
        .run(async |mut api, fleet| {
            let receiver = Receiver::start(fleet, folder.path())?;
            let rest = Rest::new(fleet.mesh())?;
            rest.ask("POST", "nodes", Some(json!({"driver": "fake-hardware", "name": "n1"}))).await?;
            tells(&rest, &receiver).await?;
            delivers_after_an_absence(&rest, &receiver).await?;
            goes_on(&mut api, fleet, &rest, &receiver).await?;
            ends(&rest, &receiver).await?;
            from_the_command_line(fleet, &rest, &receiver).await
        })
        .unwrap();
}

async fn tells(rest: &Rest<'_>, receiver: &Receiver) -> Result<()> {
    let made = rest.ask("POST", "webhooks", Some(receiver.hook("all", ""))).await?;
    let few = receiver.hook("few", "provision_state=manageable&fields=uuid,name,provision_state");
    rest.ask("POST", "webhooks", Some(few)).await?;
    for shown in [made, rest.ask("GET", "webhooks/all", None).await?, rest.ask("GET", "webhooks", None).await?] {
        let text = shown.to_string();
        ensure!(!text.contains(SECRET) && !text.contains(TOKEN), "a secret is shown: {text}");
    }
    for (name, value) in [("url", json!("ftp://x/")), ("query", json!("colour=red")), ("delivery_info", json!({}))] {
        let mut wrong = receiver.hook("wrong", "");
        wrong[name] = value;
        let status = rest.status("POST", "webhooks", Some(wrong)).await?;
        ensure!(status == 400, "{name}: {status}");
    }
    rest.provision("n1", "manage").await?;
    rest.reach("n1", "manageable").await?;
    let all = receiver.takes("/all", "a node that is manageable", |event| is_in(event, "manageable")).await?;
    ensure!(all["data"]["node"]["driver"] == "fake-hardware", "{all}");
    let few = receiver.takes("/few", "a node that is manageable", |event| is_in(event, "manageable")).await?;
    let mut fields: Vec<&String> = few["data"]["node"].as_object().context("no node")?.keys().collect();
    fields.retain(|name| *name != "links");
    ensure!(fields == ["name", "provision_state", "uuid"], "{few}");
    rest.provision("n1", "provide").await?;
    let left = |event: &Value| event["type"] == "node.left" && event["data"]["uuid"] == few["data"]["node"]["uuid"];
    receiver.takes("/few", "a node that is not manageable any more", left).await?;
    hook_until(rest, "all", "it is not noted", |hook| hook["delivered_at"].is_string()).await.map(drop)
}

async fn delivers_after_an_absence(rest: &Rest<'_>, receiver: &Receiver) -> Result<()> {
    rest.reach("n1", "available").await?;
    receiver.answers(503)?;
    let with = |note: &str| json!([{"op": "add", "path": "/extra/note", "value": note}]);
    rest.ask("PATCH", "nodes/n1", Some(with("first"))).await?;
    let failing = |hook: &Value| hook["failing_since"].is_string();
    let hook = hook_until(rest, "all", "no failure is shown", failing).await?;
    ensure!(hook["last_error"].as_str().is_some_and(|why| why.contains("503")), "{hook}");
    rest.ask("PATCH", "nodes/n1", Some(with("second"))).await?;
    receiver.answers_well()?;
    receiver.takes("/all", "what it is now", |event| event["data"]["node"]["extra"]["note"] == "second").await?;
    hook_until(rest, "all", "it fails still", |hook| hook["failing_since"].is_null() && hook["last_error"].is_null())
        .await
        .map(drop)
}

/// The leader dies, and the next one continues: no state is missed, and a repeated one has the same id.
async fn goes_on(api: &mut Api, fleet: &Fleet, rest: &Rest<'_>, receiver: &Receiver) -> Result<()> {
    rest.ask("POST", "nodes", Some(json!({"driver": "fake-hardware", "name": "n2"}))).await?;
    let is_second = |event: &Value| event["data"]["node"]["name"] == "n2";
    let second = receiver.takes("/all", "a new node", is_second).await?;
    let leader = fleet.leading_scheduler(api).await?;
    fleet.mesh().service(&leader)?.signal(Signal::KILL)?;
    rest.provision("n2", "manage").await?;
    rest.ask("PATCH", "nodes/n1", Some(json!([{"op": "add", "path": "/extra/note", "value": "third"}]))).await?;
    let is_there = |event: &Value| is_second(event) && is_in(event, "manageable");
    receiver.takes("/all", "what the other one became", is_there).await?;
    receiver.takes("/all", "what was changed", |event| event["data"]["node"]["extra"]["note"] == "third").await?;
    rest.reach("n2", "manageable").await?;
    rest.ask("DELETE", "nodes/n2", None).await?;
    let gone = |event: &Value| event["type"] == "node.left" && event["data"]["uuid"] == second["data"]["node"]["uuid"];
    receiver.takes("/all", "a node that is gone", gone).await?;
    let all = receiver.taken("/all");
    for event in all.iter().filter(|event| event["type"] == "node.changed") {
        let twin = |other: &&Value| other["id"] == event["id"] && other["data"] != event["data"];
        ensure!(all.iter().find(twin).is_none(), "one id, two things: {event}");
    }
    Ok(())
}

/// The same over the gRPC API.
async fn from_the_command_line(fleet: &Fleet, rest: &Rest<'_>, receiver: &Receiver) -> Result<()> {
    let file = |name: &str, text: &str| -> Result<String> {
        let path = receiver.folder.join(name);
        fs::write(&path, format!("{text}\n"))?;
        Ok(path.display().to_string())
    };
    let (secret, token, ca) = (file("secret", SECRET)?, file("token", TOKEN)?, file("ca", &receiver.ca)?);
    let ask = |words: &[&str]| -> Result<(Option<i32>, Value, String)> {
        let mut command = std::process::Command::new(program()?);
        command.arg("--context").arg(fleet.data().join("client.toml")).arg("webhook").args(words).args(["-o", "json"]);
        let ended = command.stdin(Stdio::null()).output()?;
        let said = serde_json::from_slice(&ended.stdout).unwrap_or_default();
        Ok((ended.status.code(), said, String::from_utf8_lossy(&ended.stderr).into_owned()))
    };
    let url = format!("https://127.0.0.1:{PORT}/own");
    let create = ["create", "own", &url, "--secret-file", &secret, "--token-file", &token, "--ca-file", &ca];
    let (code, made, why) = ask(&create)?;
    ensure!(code == Some(0) && made["enabled"] == true && made["failing_since"].is_null(), "{made} {why}");
    ensure!(!made.to_string().contains(TOKEN), "a secret is shown: {made}");
    let (code, _, why) = ask(&create)?;
    ensure!(code == Some(1) && why.contains("name own is taken"), "{why}");
    let (code, _, why) = ask(&["set", "own", "--query", "colour=red"])?;
    ensure!(code == Some(1) && why.contains("colour"), "{why}");
    let note = |note: &str| json!([{"op": "add", "path": "/extra/note", "value": note}]);
    rest.ask("PATCH", "nodes/n1", Some(note("own"))).await?;
    receiver.takes("/own", "a change", |event| event["data"]["node"]["extra"]["note"] == "own").await?;
    let (code, off, why) = ask(&["set", "own", "--enabled", "false"])?;
    ensure!(code == Some(0) && off["enabled"] == false, "{off} {why}");
    ensure!(ask(&["list"])?.1[0]["name"] == "own");
    ensure!(ask(&["delete", "own"])?.0 == Some(0) && ask(&["show", "own"])?.0 == Some(1));
    Ok(())
}

/// A receiver that answers 410 gets nothing more, and a deleted webhook leaves nothing behind.
async fn ends(rest: &Rest<'_>, receiver: &Receiver) -> Result<()> {
    receiver.answers(410)?;
    rest.ask("PATCH", "nodes/n1", Some(json!([{"op": "add", "path": "/extra/note", "value": "last"}]))).await?;
    let off = |hook: &Value| hook["enabled"] == false && hook["last_error"].is_string();
    let hook = hook_until(rest, "all", "it is not disabled", off).await?;
    ensure!(hook["last_error"].as_str().is_some_and(|why| why.contains("410")), "{hook}");
    receiver.answers_well()?;
    // Once it is enabled again, it gets what it missed.
    let on = json!([{"op": "replace", "path": "/enabled", "value": true}]);
    rest.ask("PATCH", "webhooks/all", Some(on)).await?;
    receiver.takes("/all", "what it missed", |event| event["data"]["node"]["extra"]["note"] == "last").await?;
    for name in ["all", "few"] {
        rest.ask("DELETE", &format!("webhooks/{name}"), None).await?;
    }
    ensure!(rest.status("GET", "webhooks/all", None).await? == 404);
    ensure!(rest.ask("GET", "webhooks", None).await?["webhooks"] == json!([]));
    Ok(())
}
