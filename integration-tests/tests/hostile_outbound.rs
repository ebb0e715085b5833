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
    hostile::{
        self, Guard,
        outbound::{self, ALLOWED, Named, Places, REFUSED, Use},
        raw,
    },
    ironic::Rest,
    lab::{Lab, WAIT_TIMEOUT},
    machine::Spec,
    mesh::{Api, Options},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const CANARY: &str = "what-a-user-must-not-read";
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

/// The node and the rack that the URLs are given to.
struct Place<'l> {
    rest: Rest<'l>,
    places: Places,
    /// The internal server, which must not be reached.
    inside: &'l Server,
    /// Counts images, so that each has a digest of its own and is downloaded.
    number: AtomicUsize,
}

impl Place<'_> {
    /// Gives a URL to the services, and returns the words with which they refuse it.
    async fn give(&self, used: Use, url: &str) -> Result<String> {
        match used {
            Use::Drive => {
                let deploy = json!({"target": "active", "configdrive": url});
                let answer = self.rest.ask("PUT", "nodes/n1/states/provision", Some(deploy)).await;
                let answer = answer.err().with_context(|| format!("{url} was taken"))?.to_string();
                ensure!(answer.contains(": 400: "), "{answer}");
                Ok(answer)
            }
            Use::Webhook => self.webhook(url).await,
            Use::Image => {
                let digest = format!("{:064x}", self.number.fetch_add(1, Ordering::SeqCst));
                deploy_fails(&self.rest, url, &digest).await
            }
            Use::BootFile => boot_file_fails(&self.rest, url).await,
        }
    }

    async fn webhook(&self, url: &str) -> Result<String> {
        let name = format!("w{}", self.number.fetch_add(1, Ordering::SeqCst));
        let webhook = json!({"name": name, "url": url, "delivery_info": {"secret": SECRET}});
        self.rest.ask("POST", "webhooks", Some(webhook)).await?;
        // A change of a node is an event.
        self.rest.ask("POST", "nodes", Some(json!({"driver": "fake-hardware", "name": format!("f-{name}")}))).await?;
        let until = Instant::now() + WAIT_TIMEOUT;
        loop {
            let webhook = self.rest.ask("GET", &format!("webhooks/{name}"), None).await?;
            if let Some(error) = webhook["last_error"].as_str() {
                return Ok(error.to_owned());
            }
            ensure!(Instant::now() < until, "{name}: {webhook}");
            sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    async fn carry_out(&self, named: &Named) -> Result<String> {
        let url = self.places.fill(named.url);
        let answer = self.give(named.used, &url).await?;
        ensure!(answer.contains(named.words), "{url}: {answer}");
        ensure!(self.inside.connections() == 0, "{url}: loopback was reached");
        Ok("refused".to_owned())
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

/// Cleans the node with this kernel, and returns why that failed.
async fn boot_file_fails(rest: &Rest<'_>, url: &str) -> Result<String> {
    rest.provision("n1", "deleted").await?;
    rest.reach_within("n1", "available", WAIT_TIMEOUT).await?;
    rest.provision("n1", "manage").await?;
    rest.reach_within("n1", "manageable", WAIT_TIMEOUT).await?;
    let files = json!([
        {"op": "add", "path": "/driver_info/deploy_kernel", "value": url},
        {"op": "add", "path": "/driver_info/deploy_ramdisk", "value": url},
    ]);
    rest.ask("PATCH", "nodes/n1", Some(files)).await?;
    let clean = json!({"target": "clean", "clean_steps": [{"interface": "deploy", "step": "erase_devices_metadata"}]});
    rest.ask("PUT", "nodes/n1/states/provision", Some(clean)).await?;
    fails(rest, "clean failed").await
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
        let answer =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{CANARY}", CANARY.len());
        let inside = Server::start("127.0.0.1", answer)?;
        let redirect = Server::redirecting(&inside.url)?;
        let downgrade = Server::redirecting("file:///etc/passwd")?;
        let (content, digest) = lab.file("other.raw", CANARY.as_bytes())?;
        let folder = content.trim_start_matches("file://").trim_end_matches("/other.raw").to_owned();
        symlink("/etc/passwd", format!("{folder}/link.raw"))?;
        symlink("/etc", format!("{folder}/etc"))?;
        fs::create_dir(format!("{folder}/folder.raw"))?;
        let places = Places {
            port: inside.url.rsplit(':').next().context("no port")?.to_owned(),
            inside: inside.url.clone(),
            redirect: redirect.url.clone(),
            downgrade: downgrade.url.clone(),
            rest: lab.mesh().rest(1)?,
            agents: lab.mesh().ironic_door(1)?,
            bmc: lab.machine("n1")?.bmc_address.to_string(),
            folder,
        };
        let place = Place { rest: Rest::new(lab.mesh())?, places, inside: &inside, number: AtomicUsize::new(0) };
        // A deployment without an image is refused before its config drive is downloaded.
        let image = json!([
            {"op": "add", "path": "/instance_info/image_source", "value": "http://198.51.100.7/os.raw"},
            {"op": "add", "path": "/instance_info/image_checksum", "value": "0".repeat(64)},
        ]);
        place.rest.ask("PATCH", "nodes/n1", Some(image)).await?;
        let mut guard = Guard::new(lab.mesh(), &lab.data(), api.clone(), &raw::others()).await?;
        let given = async |named: &_| place.carry_out(named).await;
        hostile::attack("outbound", outbound::TABLE, &mut guard, given).await?;
        ensure!(redirect.connections() > 2 && downgrade.connections() == 1, "the allowed servers were not reached");
        refusals_do_not_differ(&place).await?;
        receiver_is_reached_and_not_quoted(&place).await?;
        nothing_is_told(&mut api, &place, digest.trim_start_matches("sha256:")).await
    })
    .unwrap();
    lab.down().unwrap();
}

/// Nothing tells an open port from a closed one.
async fn refusals_do_not_differ(place: &Place<'_>) -> Result<()> {
    let mut reasons = Vec::new();
    for url in [place.places.inside.as_str(), "http://127.0.0.1:1", &place.places.rest] {
        let webhook = place.webhook(url).await?;
        reasons.push(webhook.split_once(REFUSED).context(webhook.clone())?.1.to_owned());
    }
    reasons.dedup();
    ensure!(reasons.len() == 1, "{reasons:?}");
    Ok(())
}

async fn receiver_is_reached_and_not_quoted(place: &Place<'_>) -> Result<()> {
    let outside = Server::start(ALLOWED, format!("HTTP/1.1 500 {CANARY}\r\ncontent-length: 22\r\n\r\n{CANARY}"))?;
    let error = place.webhook(&outside.url).await?;
    ensure!(error.contains("500") && outside.connections() > 0, "the allowed server was not reached: {error}");
    Ok(())
}

/// No answer has what a server sent or a file has, or the true digest of a file with a wrong one.
async fn nothing_is_told(api: &mut Api, place: &Place<'_>, digest: &str) -> Result<()> {
    let mut answers: Vec<Value> = Vec::new();
    for path in ["nodes/detail", "webhooks", "nodes/n1/history?detail=true", "nodes/n1"] {
        answers.push(place.rest.ask("GET", path, None).await?);
    }
    let told = format!("{answers:?} {:?}", api.node("n1").await?);
    ensure!(!told.contains(CANARY), "an answer has what a server sent: {told}");
    ensure!(!told.contains(digest), "an answer tells the digest of a file that does not have the registered one");
    Ok(())
}
