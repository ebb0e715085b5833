//! What users have the services request: each URL that an attacker could name is refused, and answers tell nothing of what is
//! there.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::symlink,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::{Context as _, Result, ensure};
use integration_tests::{
    ironic::Rest,
    lab::{Lab, WAIT_TIMEOUT},
    machine::Spec,
    mesh::{Api, Options},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// The only address of loopback that users may name here.
const ALLOWED: &str = "127.0.0.9";
const CANARY: &str = "what-a-user-must-not-read";
const REFUSED: &str = "is not an allowed destination";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A server that answers every request alike. It ends with the process.
struct Server {
    url: String,
    connections: Arc<AtomicUsize>,
}

impl Server {
    fn start(address: &str, answer: String) -> Result<Self> {
        let listener = TcpListener::bind((address, 0))?;
        let url = format!("http://{}", listener.local_addr()?);
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                drop(stream.read(&mut [0; 4096]));
                drop(stream.write_all(answer.as_bytes()));
            }
        });
        Ok(Self { url, connections })
    }

    fn redirecting(to: &str) -> Result<Self> {
        let head = format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        Self::start(ALLOWED, head)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Deploys an image, and returns why that failed.
async fn deploy_fails(rest: &Rest<'_>, url: &str, digest: &str) -> Result<String> {
    let image = json!([
        {"op": "add", "path": "/instance_info/image_source", "value": url},
        {"op": "add", "path": "/instance_info/image_checksum", "value": digest},
    ]);
    rest.ask("PATCH", "nodes/n1", Some(image)).await?;
    rest.provision("n1", "active").await?;
    fails(rest, "deploy failed").await
}

async fn fails(rest: &Rest<'_>, state: &str) -> Result<String> {
    rest.reach_within("n1", state, WAIT_TIMEOUT).await?;
    let node = rest.ask("GET", "nodes/n1", None).await?;
    Ok(node["last_error"].as_str().context("it has no error")?.to_owned())
}

#[test]
fn what_users_name_reaches_no_internal_server_and_no_file_outside_the_permitted_folder() {
    let set = vec![format!("outbound.allow=[\"{ALLOWED}\"]")];
    let lab = Lab::up("hostout", &[Spec::default()], Options { set, ..Options::default() }).unwrap();
    lab.run(async |mut api, lab| {
        lab.make_available(&mut api).await?;
        let rest = Rest::new(lab.mesh())?;
        // A deployment without an image is refused before its config drive is downloaded.
        let image = json!([
            {"op": "add", "path": "/instance_info/image_source", "value": "http://198.51.100.7/os.raw"},
            {"op": "add", "path": "/instance_info/image_checksum", "value": "0".repeat(64)},
        ]);
        rest.ask("PATCH", "nodes/n1", Some(image)).await?;
        config_drives(lab, &rest).await?;
        webhooks(&rest).await?;
        images(lab, &rest).await?;
        boot_files(&rest).await?;
        canary_is_nowhere(&mut api, &rest).await
    })
    .unwrap();
    lab.down().unwrap();
}

async fn config_drives(lab: &Lab, rest: &Rest<'_>) -> Result<()> {
    let drive = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{CANARY}", CANARY.len());
    let inside = Server::start("127.0.0.1", drive)?;
    let port = inside.url.rsplit(':').next().context("no port")?;
    let redirect = Server::redirecting(&inside.url)?;
    let downgrade = Server::redirecting("file:///etc/passwd")?;
    let bmc = lab.machine("n1")?.bmc_address;
    let drives = [
        (format!("{}/drive", inside.url), REFUSED),
        (format!("http://localhost:{port}/drive"), REFUSED),
        (format!("http://2130706433:{port}/drive"), REFUSED),
        (format!("http://[::ffff:127.0.0.1]:{port}/drive"), REFUSED),
        (format!("http://0.0.0.0:{port}/drive"), REFUSED),
        // Our own listeners, open or not: the REST API, images and agents of Ironic's protocol; and a closed port.
        (format!("{}/v1/nodes", lab.mesh().rest(1)?), REFUSED),
        ("http://10.77.1.1:8081/files/sha256:0".to_owned(), REFUSED),
        (format!("{}/v1/lookup", lab.mesh().ironic_door(1)?), REFUSED),
        ("http://127.0.0.1:1/drive".to_owned(), REFUSED),
        // A machine, a BMC, and the metadata service of a cloud.
        ("http://10.77.1.150/drive".to_owned(), REFUSED),
        (format!("http://{bmc}/drive"), REFUSED),
        ("http://169.254.169.254/latest/user-data".to_owned(), REFUSED),
        (format!("{}/drive", redirect.url), REFUSED),
        (format!("{}/drive", downgrade.url), "without a valid address"),
        ("file:///etc/passwd".to_owned(), "http://"),
    ];
    let mut reasons = Vec::new();
    for (url, words) in drives {
        let deploy = json!({"target": "active", "configdrive": url});
        let answer = rest.ask("PUT", "nodes/n1/states/provision", Some(deploy)).await;
        let answer = answer.err().with_context(|| format!("{url} was taken"))?.to_string();
        ensure!(answer.contains(": 400: ") && answer.contains(words), "{url}: {answer}");
        reasons.extend(answer.split_once(REFUSED).map(|(_, reason)| reason.to_owned()));
    }
    // Nothing tells an open port from a closed one.
    reasons.dedup();
    ensure!(reasons.len() == 1, "{reasons:?}");
    ensure!(inside.connections() == 0, "loopback was reached");
    ensure!(redirect.connections() == 1, "the allowed server was not reached");
    Ok(())
}

async fn webhooks(rest: &Rest<'_>) -> Result<()> {
    let inside = Server::start("127.0.0.1", format!("HTTP/1.1 500 {CANARY}\r\ncontent-length: 0\r\n\r\n"))?;
    let outside = Server::start(ALLOWED, format!("HTTP/1.1 500 {CANARY}\r\ncontent-length: 22\r\n\r\n{CANARY}"))?;
    let redirect = Server::redirecting(&inside.url)?;
    let receivers = [
        ("inside", inside.url.clone(), REFUSED),
        ("metadata", "http://169.254.169.254/".to_owned(), REFUSED),
        ("redirect", redirect.url.clone(), "redirects are not followed"),
        ("outside", outside.url.clone(), "500"),
    ];
    for (name, url, _) in &receivers {
        let webhook = json!({"name": name, "url": url, "delivery_info": {"secret": SECRET}});
        rest.ask("POST", "webhooks", Some(webhook)).await?;
    }
    rest.ask("POST", "nodes", Some(json!({"driver": "fake-hardware", "name": "f1"}))).await?;
    for (name, _, words) in receivers {
        let until = Instant::now() + WAIT_TIMEOUT;
        loop {
            let webhook = rest.ask("GET", &format!("webhooks/{name}"), None).await?;
            let error = webhook["last_error"].as_str().unwrap_or_default();
            if error.contains(words) {
                break;
            }
            ensure!(Instant::now() < until, "{name}: {webhook}");
            sleep(std::time::Duration::from_millis(50)).await;
        }
    }
    ensure!(inside.connections() == 0, "loopback was reached");
    ensure!(outside.connections() > 0, "the allowed server was not reached");
    Ok(())
}

async fn images(lab: &Lab, rest: &Rest<'_>) -> Result<()> {
    let redirect = Server::redirecting(&format!("{}/v1/nodes", lab.mesh().rest(1)?))?;
    let (content, digest) = lab.file("other.raw", CANARY.as_bytes())?;
    let folder = content.trim_start_matches("file://").trim_end_matches("/other.raw").to_owned();
    symlink("/etc/passwd", format!("{folder}/link.raw"))?;
    symlink("/etc", format!("{folder}/etc"))?;
    fs::create_dir(format!("{folder}/folder.raw"))?;
    let sources = [
        (lab.mesh().rest(1)?, REFUSED),
        ("http://169.254.169.254/latest/meta-data".to_owned(), REFUSED),
        (format!("{}/image.raw", redirect.url), REFUSED),
        ("file:///etc/passwd".to_owned(), "in no directory of storage.files_from"),
        ("file:///etc/no-such-file".to_owned(), "in no directory of storage.files_from"),
        (format!("file://{folder}/../mesh/client.toml"), "in no directory of storage.files_from"),
        (format!("file://{folder}/link.raw"), "symbolic link"),
        (format!("file://{folder}/etc/passwd"), "symbolic link"),
        (format!("file://{folder}/folder.raw"), "not a regular file"),
        (content, "does not have the registered digest"),
    ];
    for (number, (url, words)) in sources.iter().enumerate() {
        // Each has a digest of its own, so that each is downloaded.
        let error = deploy_fails(rest, url, &format!("{number:064x}")).await?;
        ensure!(error.contains(words), "{url}: {error}");
    }
    let digest = digest.trim_start_matches("sha256:");
    for path in ["nodes/detail", "nodes/n1/history?detail=true", "nodes/n1"] {
        let answer = rest.ask("GET", path, None).await?.to_string();
        ensure!(!answer.contains(digest), "{path} tells the digest of a file that does not have the registered one");
    }
    Ok(())
}

async fn boot_files(rest: &Rest<'_>) -> Result<()> {
    let inside = Server::start("127.0.0.1", format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{CANARY}"))?;
    let redirect = Server::redirecting(&inside.url)?;
    rest.provision("n1", "deleted").await?;
    rest.reach_within("n1", "available", WAIT_TIMEOUT).await?;
    rest.provision("n1", "manage").await?;
    rest.reach_within("n1", "manageable", WAIT_TIMEOUT).await?;
    let files = json!([
        {"op": "add", "path": "/driver_info/deploy_kernel", "value": format!("{}/kernel", redirect.url)},
        {"op": "add", "path": "/driver_info/deploy_ramdisk", "value": format!("{}/ramdisk", inside.url)},
    ]);
    rest.ask("PATCH", "nodes/n1", Some(files)).await?;
    let clean = json!({"target": "clean", "clean_steps": [{"interface": "deploy", "step": "erase_devices_metadata"}]});
    rest.ask("PUT", "nodes/n1/states/provision", Some(clean)).await?;
    let error = fails(rest, "clean failed").await?;
    ensure!(error.contains(REFUSED), "{error}");
    ensure!(inside.connections() == 0, "loopback was reached");
    Ok(())
}

async fn canary_is_nowhere(api: &mut Api, rest: &Rest<'_>) -> Result<()> {
    let mut answers: Vec<Value> = Vec::new();
    for path in ["nodes/detail", "webhooks", "nodes/n1/history?detail=true"] {
        answers.push(rest.ask("GET", path, None).await?);
    }
    let events = format!("{answers:?} {:?}", api.node("n1").await?);
    ensure!(!events.contains(CANARY), "an answer has what a server sent: {events}");
    Ok(())
}
