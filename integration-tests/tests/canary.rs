//! Secrets that have names of their own are looked for wherever they might leak to. Needs root and the packages of
//! `scripts/test`; `ironmesh` must be built.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use integration_tests::lab::{IMAGE, Lab, PATIENCE};
use integration_tests::machine::{Spec, disk};
use integration_tests::mesh::{Api, Options};
use proto::api::v1::{GetNodeTimelineRequest, ListImagesRequest, ListNodesRequest, ListOperationsRequest};

/// A password whose every way to be written differs.
const PASSWORD: &str = "canary/+? 1f7e&%pw";

/// A secret, in each way that it may be written.
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
        // As Rust shows octets, and as JSON writes them.
        ways.push(format!("{secret:?}").into_bytes());
        ways.push(format!("{secret:?}").replace(' ', "").into_bytes());
        // In base64 of something longer it may begin at any of three places: what is between is the same.
        for before in [1, 2] {
            let shifted = STANDARD_NO_PAD.encode([&vec![0; before], secret].concat());
            ways.push(shifted.into_bytes().into_iter().skip(4).take(secret.len()).collect());
        }
        Self { name, ways }
    }

    /// One walk, whatever the number of ways: logs at the most talkative level are long.
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

/// Every file below a folder.
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

/// Where any of the secrets is.
fn leaks(canaries: &[Canary], places: impl IntoIterator<Item = (String, Vec<u8>)>) -> Vec<String> {
    let mut leaks = vec![];
    for (place, octets) in places {
        leaks.extend(canaries.iter().filter(|one| one.is_in(&octets)).map(|one| format!("{} in {place}", one.name)));
    }
    leaks
}

/// All that the API says.
async fn answers(api: &mut Api) -> Result<String> {
    let mut said = format!("{:?}", api.rack().await?);
    let nodes = api.nodes.list_nodes(ListNodesRequest::default()).await?;
    let images = api.images.list_images(ListImagesRequest {}).await?;
    let operations = api.operations.list_operations(ListOperationsRequest::default()).await?;
    let timeline = api.nodes.get_node_timeline(GetNodeTimelineRequest { node: "n1".to_owned() }).await?;
    said += &format!("{nodes:?} {images:?} {operations:?} {timeline:?}");
    Ok(said)
}

/// What the services show of themselves over plain HTTP.
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
    // Whatever is told at the most talkative level, too.
    let options = Options { log: "trace".to_owned(), ..Options::default() };
    let lab = Lab::up("tcanary", &[spec], options).unwrap();
    lab.run(async |mut api, lab| {
        let machine = lab.machine("n1")?;
        api.enrol(machine).await?;
        api.bring("n1", "manage", "", "manageable", PATIENCE).await?;
        api.bring("n1", "provide", "", "available", PATIENCE).await?;
        let node = api.bring("n1", "deploy", IMAGE, "active", PATIENCE).await?;

        let mut canaries = vec![Canary::new("the BMC's password", PASSWORD.as_bytes())];
        let tokens = machine.tokens();
        assert_eq!(tokens.len(), 1);
        canaries.extend(tokens.iter().map(|token| Canary::new("a boot token", token)));
        let home = disk::phone_home(&machine.disk())?;
        let (_, life_key) = home.rsplit_once('/').unwrap();
        canaries.push(Canary::new("the key to phone home with", life_key.as_bytes()));

        let mut places = vec![("the API's answers".to_owned(), answers(&mut api).await?.into_bytes())];
        places.extend(monitors(&lab.data()).await?);
        for file in files(&lab.data())? {
            let mut content = fs::read(&file).with_context(|| file.display().to_string())?;
            // etcd makes its log as long as it may become.
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
        // What is no secret is found by the same search: in the store, in logs and in the API's answers.
        let public = Canary::new("the node's id", node.id.as_bytes());
        let found = leaks(&[public], places.clone());
        for place in ["snap/db", "pxe-service-1/log", "answers"] {
            assert!(found.iter().any(|found| found.contains(place)), "{place}: {found:?}");
        }
        // No place is exempt: passwords and tokens are sealed in etcd, and the certificates' keys are other secrets.
        assert_eq!(leaks(&canaries, places), Vec::<String>::new());
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_secret_is_found_in_whatever_way_it_is_written() {
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
        format!("{:?}", PASSWORD.as_bytes()),
    ] {
        assert_eq!(leaks(&canary, [("here".to_owned(), written.clone().into_bytes())]).len(), 1, "{written}");
    }
    assert!(leaks(&canary, [("here".to_owned(), b"canary".to_vec())]).is_empty());
}
