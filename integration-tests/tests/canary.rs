//! Searches for secrets with known values wherever they might leak to. Needs root and the packages of `scripts/test`;
//! `ironmesh` must be built.

use std::fs;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use integration_tests::collector::{Collector, Sent};
use integration_tests::hostile::raw;
use integration_tests::hostile::users::{self, ask};
use integration_tests::lab::{IMAGE, Lab, WAIT_TIMEOUT};
use integration_tests::machine::{Spec, disk};
use integration_tests::mesh::{Api, Options};
use integration_tests::rack::wait;
use integration_tests::record;
use proto::api::v1::{
    GetNodeTimelineRequest, ListImagesRequest, ListNodesRequest, ListOperationsRequest, WatchEventsRequest,
};
use serde_json::{Map, Value, json};
use service_kit::Host;

/// A password that looks different in each encoding.
const PASSWORD: &str = "canary/+? 1f7e&%pw";
/// Secrets that a REST client writes, by where it writes them.
const WRITTEN: [(&str, &str); 7] = [
    ("driver_info", "canary/+? 2a9c&%di"),
    ("instance_info", "canary/+? 3b8d&%ii"),
    ("a Redfish password", "canary/+? 4c7e&%rf"),
    ("a config drive", "canary/+? 5d6f&%cd"),
    ("a webhook's secret", "canary/+? 6e5a&%wh, 32 octets.."),
    ("a token of Keystone", "canary/+?6f4b&%kt"),
    ("a raw command's data", "canary/+? 8a2c&%rw"),
];
/// End of the names of files with sealing keys.
const SEALING_KEYS: &str = "sealing.keys";
/// The password of our own user at Keystone.
const KEYSTONE: &str = "canary/+? 7f3b&%ks";
/// Names of secrets, in the spelling of various drivers.
const NAMES: [&str; 16] = [
    "ipmi_password",
    "redfish_password",
    "Password",
    "auth_token",
    "agent_secret",
    "adminPass",
    "ssl_private_key",
    "rescue_passphrase",
    "snmp_community",
    "snmp_auth_key",
    "snmp_priv_key",
    "ipmi_hex_kg_key",
    "new_password",
    "deploy_sslkey",
    "fernetkey_old",
    "encrypted_key",
];

/// Magic number of a zstd frame (RFC 8878 §3.1.1).
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Maximum number of octets of one frame that are searched.
const MAX_UNPACKED_BYTES: u64 = 64 << 20;

/// Octets as words of a raw command.
fn hex_words(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:#04x}")).collect::<Vec<_>>().join(" ")
}

/// A secret in all its encodings.
struct Canary {
    name: &'static str,
    ways: Vec<Vec<u8>>,
}

impl Canary {
    fn new(name: &'static str, secret: &[u8]) -> Self {
        let mut ways = vec![secret.to_vec()];
        ways.extend([STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD].map(|way| way.encode(secret).into_bytes()));
        ways.extend([hex::encode(secret), hex::encode_upper(secret)].map(String::into_bytes));
        let quoted = |octet: &u8| match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(*octet).to_string(),
            octet => format!("%{octet:02X}"),
        };
        ways.push(secret.iter().map(quoted).collect::<String>().into_bytes());
        // As Rust prints octets, and as a JSON array, also within a longer one.
        let octets = secret.iter().map(u8::to_string).collect::<Vec<_>>();
        ways.extend([octets.join(", "), octets.join(",")].map(String::into_bytes));
        // As a raw command of IPMI.
        ways.push(hex_words(secret).into_bytes());
        // Within the base64 of a longer value it can start at three offsets; the middle part is the same.
        for before in [1, 2] {
            let shifted = STANDARD_NO_PAD.encode([&vec![0; before], secret].concat());
            ways.push(shifted.into_bytes().into_iter().skip(4).take(secret.len()).collect());
        }
        Self { name, ways }
    }

    /// One pass for all encodings: logs at the most verbose level are long.
    fn is_in(&self, octets: &[u8]) -> bool {
        let begins = |octet: u8| self.ways.iter().any(|way| way.first() == Some(&octet));
        let firsts: Vec<bool> = (0..=u8::MAX).map(begins).collect();
        let mut left = octets;
        while let [first, rest @ ..] = left {
            if firsts.get(usize::from(*first)) == Some(&true) && self.ways.iter().any(|way| left.starts_with(way)) {
                return true;
            }
            left = rest;
        }
        false
    }
}

/// All files below a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Content of all zstd frames in the octets; of a truncated frame, what precedes the end.
fn unpacked(octets: &[u8]) -> Vec<u8> {
    let mut content = vec![];
    for begin in (0..octets.len()).filter(|begin| octets.get(*begin..).is_some_and(|rest| rest.starts_with(&ZSTD))) {
        if let Ok(decoder) = zstd::Decoder::new(octets.get(begin..).unwrap_or_default()) {
            // Octets that only look like a frame end in an error soon.
            let _ = decoder.single_frame().take(MAX_UNPACKED_BYTES).read_to_end(&mut content);
        }
    }
    content
}

/// Files with any of the secrets.
fn leaks(canaries: &[Canary], places: impl IntoIterator<Item = (String, Vec<u8>)>) -> Vec<String> {
    let mut leaks = vec![];
    for (place, octets) in places {
        for (place, octets) in [(format!("{place}, unpacked"), unpacked(&octets)), (place, octets)] {
            leaks
                .extend(canaries.iter().filter(|one| one.is_in(&octets)).map(|one| format!("{} in {place}", one.name)));
        }
    }
    leaks
}

/// All events of a node until it is active, from the stream.
async fn events(api: &mut Api) -> Result<String> {
    let mut said = String::new();
    let mut stream = api.events.watch_events(WatchEventsRequest { remembered: 1000 }).await?.into_inner();
    while let Some(event) = stream.message().await?.and_then(|answer| answer.event) {
        said += &format!("{event:?}");
        if event.kind == "STATE" && event.text == "active" {
            return Ok(said);
        }
    }
    anyhow::bail!("no node became active: {said}")
}

/// All answers of the API.
async fn answers(api: &mut Api) -> Result<String> {
    let mut said = format!("{:?}", api.rack().await?);
    let nodes = api.nodes.list_nodes(ListNodesRequest::default()).await?;
    let images = api.images.list_images(ListImagesRequest::default()).await?;
    let operations = api.operations.list_operations(ListOperationsRequest::default()).await?;
    let timeline = api.nodes.get_node_timeline(GetNodeTimelineRequest { node: "n1".to_owned() }).await?;
    said += &format!("{nodes:?} {images:?} {operations:?} {timeline:?}");
    Ok(said)
}

/// All that the services publish over plain HTTP.
async fn monitors(data: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut shown = vec![];
    for file in files(data)?.into_iter().filter(|file| file.ends_with("monitor.address")) {
        let url = format!("http://{}/metrics", fs::read_to_string(&file)?.trim());
        let answer = reqwest::Client::builder().no_proxy().build()?.get(&url).send().await?;
        shown.push((url, answer.bytes().await?.to_vec()));
    }
    Ok(shown)
}

/// A dictionary with a secret under every name of one: as text, in an object, in a list, and deeper.
fn dictionary(secret: &str) -> Value {
    let all = |value: &Value| NAMES.iter().map(|name| ((*name).to_owned(), value.clone())).collect::<Map<_, _>>();
    let (text, object, list) =
        (json!(secret), json!({"hash": secret, "more": [secret]}), json!([secret, {"a": secret}]));
    json!({"objects": all(&object), "lists": all(&list), "deep": [{"deeper": {"texts": all(&text)}}]})
}

/// The keys with which secrets are sealed, of the scheduler-service and of each leaf.
fn sealing_keys(folder: &Path) -> Result<Vec<Canary>> {
    let mut canaries = Vec::new();
    for file in files(folder)?.into_iter().filter(|file| file.to_string_lossy().ends_with(SEALING_KEYS)) {
        let content: Value = serde_json::from_slice(&fs::read(&file)?)?;
        for key in content["keys"].as_array().context("a file without sealing keys")? {
            let secret = key["secret"].as_str().context("a sealing key without its bytes")?;
            canaries.push(Canary::new("a sealing key", &hex::decode(secret)?));
        }
    }
    ensure!(canaries.len() > 5, "{} sealing keys", canaries.len());
    Ok(canaries)
}

/// Writes secrets by the REST API: into dictionaries, webhooks and config drives. Returns all answers.
async fn write_secrets(api: &users::Api) -> Result<String> {
    let [driver_info, instance_info, redfish, drive, webhook, token, data] = WRITTEN.map(|(_, secret)| secret);
    let coded = STANDARD.encode(webhook);
    let said = std::cell::RefCell::new(String::new());
    let send = async |method: &str, path: &str, fields: &str, body: Value, status: u16| {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = ask(api, method, path, fields, &body).await?;
        ensure!(answer.statuses == [status], "{method} {path}: {}", answer.text);
        *said.borrow_mut() += &answer.text;
        anyhow::Ok(answer.text)
    };
    let node = json!({"driver": "fake-hardware", "name": "f1", "driver_info": dictionary(driver_info)});
    send("POST", "nodes", "", node, 201).await?;
    let paths = ["/instance_info/more", "/extra/more", "/properties/more"];
    let more = paths.map(|path| json!({"op": "add", "path": path, "value": dictionary(instance_info)}));
    let more = Value::from(more.to_vec());
    send("PATCH", "nodes/f1", "", more, 200).await?;
    let node = json!({"driver": "redfish", "name": "r1", "driver_info": {"redfish_address": "https://198.51.100.9",
        "redfish_username": "u", "redfish_password": redfish, "redfish_system_id": "/redfish/v1/Systems/1"}});
    send("POST", "nodes", "", node, 201).await?;
    // Its BMC cannot be reached, so that errors tell of it.
    send("PUT", "nodes/r1/states/provision", "", json!({"target": "manage"}), 202).await?;
    let webhook =
        json!({"name": "w1", "url": "http://198.51.100.9/", "delivery_info": {"secret": format!("whsec_{coded}")}});
    send("POST", "webhooks", "", webhook, 201).await?;
    for (target, state) in [("manage", "manageable"), ("provide", "available"), ("active", "active")] {
        let drive = if target == "active" { json!({"user_data": format!("password: {drive}")}) } else { Value::Null };
        let body = if target == "active" {
            json!({"target": target, "configdrive": drive})
        } else {
            json!({"target": target})
        };
        send("PUT", "nodes/f1/states/provision", "", body, 202).await?;
        let begun = tokio::time::Instant::now();
        while !send("GET", "nodes/f1/states", "", Value::Null, 200)
            .await?
            .contains(&format!("\"provision_state\":\"{state}\""))
        {
            ensure!(begun.elapsed() < WAIT_TIMEOUT, "f1 does not become {state}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
    // Keystone does not answer, so that errors tell of it.
    let request = format!("GET /v1/nodes HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-Auth-Token: {token}\r\n\r\n");
    let answer = raw::exchange(&api.address, request.as_bytes()).await?;
    ensure!(matches!(answer.statuses.as_slice(), [401 | 503]), "{}", answer.text);
    *said.borrow_mut() += &answer.text;
    // Its BMC does not have the command, so that the node's error tells of it.
    let raw_bytes = format!("0x06 0x47 0x02 0x02 {}", hex_words(data.as_bytes()));
    let path = "nodes/n1/vendor_passthru?method=send_raw";
    send("POST", path, "", json!({"raw_bytes": raw_bytes}), 202).await?;
    let begun = tokio::time::Instant::now();
    while !send("GET", "nodes/n1", "", Value::Null, 200).await?.contains("to raw command 0x06 0x47") {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the raw command of n1 has no end");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    // A change that is refused is quoted in the error.
    let wrong = json!([{"op": "add", "path": "/driver_info/deep/password/x/y", "value": driver_info}]);
    send("PATCH", "nodes/f1", "", wrong, 400).await?;
    for path in [
        "nodes/detail",
        "nodes/f1",
        "nodes/r1",
        "webhooks",
        "webhooks/w1",
        "nodes/f1/history?detail=true",
        "nodes/f1/validate",
    ] {
        send("GET", path, "", Value::Null, 200).await?;
    }
    Ok(said.into_inner())
}

/// Keys of the nodes, webhooks and boots.
async fn keys(lab: &Lab) -> Result<Vec<String>> {
    let (pairs, _) = record::store(&lab.data(), "scheduler-service-1").await?.list_pairs("/ironmesh/v1/").await?;
    let kinds = ["/node-spec/", "/port/", "/webhook/", "/boot", "/agent", "/config-drive", "/intent"];
    let keys = pairs.into_iter().map(|pair| pair.path);
    Ok(keys.filter(|key| kinds.iter().any(|kind| key.contains(kind))).take(20).collect())
}

/// What the command line prints, and what it writes of the store.
fn command_line(lab: &Lab, keys: &[String]) -> Result<Vec<(String, Vec<u8>)>> {
    let (place, data) = (lab.rack().place(), lab.data());
    let program = integration_tests::mesh::program()?.display().to_string();
    let (context, folder) = (data.join("client.toml").display().to_string(), data.display().to_string());
    let mut printed = Vec::new();
    let calls = [
        "node list",
        "node show f1",
        "node show r1",
        "node show n1",
        "node history n1",
        "image list",
        "operation list",
        "webhook list",
        "webhook show w1",
        "rack show",
    ];
    for call in calls {
        let words: Vec<&str> =
            [program.as_str(), "--context", &context, "-o", "json"].into_iter().chain(call.split(' ')).collect();
        printed.push((format!("ironmesh {call}"), place.run(&words)?.into_bytes()));
    }
    let backup = data.with_file_name("backup.db");
    place.run(&[&program, "store", "backup", "--data", &folder, &backup.display().to_string()])?;
    printed.push(("a backup".to_owned(), fs::read(&backup)?));
    let checked = place.run(&[&program, "store", "check", "--data", &folder])?;
    printed.push(("ironmesh store check".to_owned(), checked.into_bytes()));
    for key in keys {
        let value = place.run(&[&program, "store", "cat", "--data", &folder, key])?;
        printed.push((format!("ironmesh store cat {key}"), value.into_bytes()));
    }
    ensure!(printed.iter().any(|(place, _)| place.contains("store cat")), "no key was printed");
    Ok(printed)
}

#[test]
fn secrets_are_nowhere_to_be_seen() {
    let spec = Spec { password: PASSWORD.to_owned(), ..Spec::default() };
    // Logs at the most verbose level are searched, too.
    let collector = SocketAddr::from((Ipv4Addr::LOCALHOST, 4317));
    let folder = tempfile::tempdir().unwrap();
    let [users, keystone] = ["users", "keystone"].map(|name| folder.path().join(name));
    fs::write(&users, raw::USERS).unwrap();
    fs::write(&keystone, KEYSTONE).unwrap();
    let set = [
        format!("scheduler.rest_users={}", users.display()),
        "scheduler.rest_keystone.url=http://127.0.0.1:9".to_owned(),
        format!("scheduler.rest_keystone.password={}", keystone.display()),
    ];
    let options =
        Options { log: "trace".to_owned(), otlp: format!("http://{collector}"), set: set.into(), ..Options::default() };
    let lab = Lab::up("tcanary", &[spec], options).unwrap();
    lab.run(async |mut api, lab| {
        let host = Host::default();
        let traces = Collector::listen(collector, &host).await?;
        let machine = lab.machine("n1")?;
        api.enrol(machine).await?;
        api.bring("n1", "manage", "", "manageable", WAIT_TIMEOUT).await?;
        api.bring("n1", "provide", "", "available", WAIT_TIMEOUT).await?;
        let node = api.bring("n1", "deploy", IMAGE, "active", WAIT_TIMEOUT).await?;

        let mut canaries = vec![Canary::new("the BMC's password", PASSWORD.as_bytes())];
        let tokens = machine.tokens();
        assert_eq!(tokens.len(), 1);
        canaries.extend(tokens.iter().map(|token| Canary::new("a boot token", token)));
        canaries.extend(WRITTEN.map(|(name, secret)| Canary::new(name, secret.as_bytes())));
        canaries.push(Canary::new("our password at Keystone", KEYSTONE.as_bytes()));
        canaries.extend(sealing_keys(&lab.data().join("certs"))?);
        let home = disk::phone_home(&machine.disk())?;
        let (_, life_key) = home.rsplit_once('/').unwrap();
        canaries.push(Canary::new("the key to phone home with", life_key.as_bytes()));

        // Boots are stored when an operation ends, with the events known by then; the first operation's are complete
        // with the second.
        api.bring("n1", "undeploy", "", "available", WAIT_TIMEOUT).await?;
        let tokens = machine.tokens();
        assert_eq!(tokens.len(), 2);
        canaries.extend(tokens.iter().skip(1).map(|token| Canary::new("a later boot token", token)));

        let address = lab.mesh().rest(1)?.trim_start_matches("http://").to_owned();
        let rest = users::Api { address, pid: lab.mesh().service("scheduler-service-1")?.pid() };
        let written = write_secrets(&rest).await?;
        let mut places = vec![("the API's answers".to_owned(), answers(&mut api).await?.into_bytes())];
        places.push(("the answers of REST".to_owned(), written.into_bytes()));
        places.extend(command_line(lab, &keys(lab).await?)?);
        places.push(("the events".to_owned(), events(&mut api).await?.into_bytes()));
        let is_last = |sent: &Sent| sent.service == "power-service" && sent.attribute("path").ends_with("/EnsurePower");
        // The last work is power on and off: to be written, to boot from disk, to be wiped.
        let worked = |spans: &[Sent]| {
            let of_node = spans.iter().any(|sent| sent.attribute("node") == node.id);
            (of_node && spans.iter().filter(|sent| is_last(sent)).count() >= 4).then_some(())
        };
        traces.until("the traces of the work", WAIT_TIMEOUT, worked).await?;
        places.push(("the traces".to_owned(), traces.octets()));
        // Compressed data is written later: boot histories, and each service's snapshot every few seconds.
        let packed = [("etcd/member/snap/db", "IMAGE_WRITTEN"), ("power-service-1/view.zst", &node.id)];
        for (file, word) in packed {
            let (path, word) = (lab.data().join(file), Canary::new("a word", word.as_bytes()));
            wait::until(file, WAIT_TIMEOUT, || {
                Ok(fs::read(&path).is_ok_and(|octets| word.is_in(&unpacked(&octets))).then_some(()))
            })?;
        }
        places.extend(monitors(&lab.data()).await?);
        for file in files(&lab.data())? {
            // A file that was being written has its last name by now, and is read under it.
            let is_unfinished = file.extension().is_some_and(|extension| extension == "unfinished");
            let mut content = match fs::read(&file) {
                Err(error) if is_unfinished && error.kind() == std::io::ErrorKind::NotFound => continue,
                read => read.with_context(|| file.display().to_string())?,
            };
            // etcd preallocates its log.
            content.truncate(content.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1));
            // The keys are where they must be, and nowhere else.
            if !file.to_string_lossy().ends_with(SEALING_KEYS) {
                places.push((file.display().to_string(), content));
            }
        }
        assert!(places.iter().any(|(place, octets)| place.ends_with("etcd/member/snap/db") && !octets.is_empty()));
        for pid in lab.mesh().pids()? {
            for what in ["cmdline", "environ"] {
                let path = format!("/proc/{pid}/{what}");
                let content = fs::read(&path).with_context(|| path.clone())?;
                places.push((path, content));
            }
        }
        assert!(places.len() > 30, "{}", places.len());
        // A control value that is not secret is found by the same search in the store, in logs and in answers of the
        // API.
        let public = Canary::new("the node's id", node.id.as_bytes());
        let found = leaks(&[public], places.clone());
        for place in [
            "snap/db",
            "a backup",
            "ironmesh node show n1",
            "store cat",
            "pxe-service-1/log",
            "answers",
            "events",
            "traces",
            "view.zst, unpacked",
        ] {
            assert!(found.iter().any(|found| found.contains(place)), "{place}: {found:?}");
        }
        // No file is exempt: passwords and tokens are sealed in etcd, and keys of certificates are other secrets.
        assert_eq!(leaks(&canaries, places), Vec::<String>::new());
        host.stop();
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_secret_is_found_in_each_encoding() {
    let canary = [Canary::new("it", PASSWORD.as_bytes())];
    let inside = format!("{{\"password\":\"{PASSWORD}\"}}");
    for written in [
        inside.clone(),
        STANDARD.encode(PASSWORD),
        STANDARD.encode(&inside),
        STANDARD.encode(format!(" {inside}")),
        STANDARD.encode(format!("  {inside}")),
        hex::encode(&inside),
        "x=canary%2F%2B%3F%201f7e%26%25pw&y".to_owned(),
        format!("{:?}", inside.as_bytes()),
        serde_json::to_string(inside.as_bytes()).unwrap(),
    ] {
        assert_eq!(leaks(&canary, [("here".to_owned(), written.clone().into_bytes())]).len(), 1, "{written}");
    }
    let packed = zstd::encode_all(inside.as_bytes(), 3).unwrap();
    for before in [&b""[..], b"before", &ZSTD] {
        let places = [("here".to_owned(), [before, &packed, b"after"].concat())];
        assert!(leaks(&canary, places).contains(&"it in here, unpacked".to_owned()));
    }
    assert!(leaks(&canary, [("here".to_owned(), b"canary".to_vec())]).is_empty());
}
