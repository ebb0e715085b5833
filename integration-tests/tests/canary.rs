//! Searches for secrets with known values wherever they might leak to. Needs root and the packages of `scripts/test`;
//! `ironmesh` must be built.

use std::fs;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use integration_tests::collector::{Collector, Sent};
use integration_tests::lab::{IMAGE, Lab, WAIT_TIMEOUT};
use integration_tests::machine::{Spec, disk};
use integration_tests::mesh::{Api, Options};
use integration_tests::rack::wait;
use proto::api::v1::{
    GetNodeTimelineRequest, ListImagesRequest, ListNodesRequest, ListOperationsRequest, WatchEventsRequest,
};
use service_kit::Host;

/// A password that looks different in each encoding.
const PASSWORD: &str = "canary/+? 1f7e&%pw";

/// Magic number of a zstd frame (RFC 8878 §3.1.1).
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Maximum number of octets of one frame that are searched.
const MAX_UNPACKED_BYTES: u64 = 64 << 20;

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

#[test]
fn secrets_are_nowhere_to_be_seen() {
    let spec = Spec { password: PASSWORD.to_owned(), ..Spec::default() };
    // Logs at the most verbose level are searched, too.
    let collector = SocketAddr::from((Ipv4Addr::LOCALHOST, 4317));
    let options = Options { log: "trace".to_owned(), otlp: format!("http://{collector}"), ..Options::default() };
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
        let home = disk::phone_home(&machine.disk())?;
        let (_, life_key) = home.rsplit_once('/').unwrap();
        canaries.push(Canary::new("the key to phone home with", life_key.as_bytes()));

        // Boots are stored when an operation ends, with the events known by then; the first operation's are complete
        // with the second.
        api.bring("n1", "undeploy", "", "available", WAIT_TIMEOUT).await?;
        let tokens = machine.tokens();
        assert_eq!(tokens.len(), 2);
        canaries.extend(tokens.iter().skip(1).map(|token| Canary::new("a later boot token", token)));

        let mut places = vec![("the API's answers".to_owned(), answers(&mut api).await?.into_bytes())];
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
            let mut content = fs::read(&file).with_context(|| file.display().to_string())?;
            // etcd preallocates its log.
            content.truncate(content.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1));
            places.push((file.display().to_string(), content));
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
        for place in ["snap/db", "pxe-service-1/log", "answers", "events", "traces", "view.zst, unpacked"] {
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
