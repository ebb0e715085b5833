//! Attacks on the HTTP and gRPC listeners of a running rack. While each one lasts, other clients are served, and the
//! attacked service takes little more memory.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use domain::service::Service;
use integration_tests::{fault::tell, fleet::Fleet, mesh::Options};
use service_kit::{
    client::mesh_channel,
    listener::raise_descriptor_limit,
    tls::{Files, Tls},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep, timeout},
};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// How much more memory a service may take while it is attacked, in bytes.
const MAX_GROWTH: u64 = 64 << 20;
/// Upper bound of every wait.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long another client may wait for its response, on a busy host and with a service that is not optimized.
const OTHERS_WAIT: Duration = Duration::from_secs(10);
/// Two users, whose password is `right`.
const USERS: &str = "ann:$2b$04$abcdefghijklmnopqrstuuFmEfrkTQnczNzw475xE2VhDrK1uwJiC
bob:$2b$04$abcdefghijklmnopqrstuuFmEfrkTQnczNzw475xE2VhDrK1uwJiC
";
/// Size of the large bodies, and of the image.
const LARGE_BYTES: usize = 62 << 20;

/// An attacked service.
struct Target<'f> {
    fleet: &'f Fleet,
    name: &'static str,
    address: String,
    before: u64,
}

impl<'f> Target<'f> {
    /// The service `name`, which writes its address to `file`.
    fn new(fleet: &'f Fleet, name: &'static str, file: &str) -> Result<Self> {
        let path = fleet.data().join(name).join(file);
        let address = fs::read_to_string(&path).with_context(|| path.display().to_string())?.trim().to_owned();
        let mut target = Self { fleet, name, address, before: 0 };
        target.before = target.memory()?;
        Ok(target)
    }

    /// Resident memory of the service, in bytes.
    fn memory(&self) -> Result<u64> {
        let pid = self.fleet.mesh().service(self.name)?.pid();
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kibibytes << 10)
    }

    fn costs_little(&self, attack: &str) -> Result<()> {
        let growth = self.memory()?.saturating_sub(self.before);
        tell(format_args!("{attack}: {} MiB more for {}", growth >> 20, self.name));
        ensure!(growth <= MAX_GROWTH, "{attack}: {} grew by {} MiB", self.name, growth >> 20);
        Ok(())
    }

    async fn send(&self, text: &str) -> Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4096)?;
        let mut stream = socket.connect(self.address.parse()?).await?;
        stream.write_all(text.as_bytes()).await?;
        Ok(stream)
    }

    /// Fails unless another client is served.
    async fn serves_others(&self, attack: &str, request: &str) -> Result<()> {
        let served = async {
            let mut stream = self.send(request).await?;
            read_head(&mut stream).await
        };
        let head = timeout(OTHERS_WAIT, served).await.with_context(|| format!("{attack}: no response to others"))??;
        ensure!(head.starts_with("HTTP/1.1 200"), "{attack}: others get {head}");
        Ok(())
    }
}

/// Reads a response until its head is complete or the connection ends.
async fn read_head(stream: &mut TcpStream) -> Result<String> {
    let (mut got, mut buffer) = (Vec::new(), [0; 1024]);
    let reading = async {
        while !got.windows(4).any(|end| end == b"\r\n\r\n") {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(count) => got.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            }
        }
    };
    timeout(PATIENCE, reading).await.context("neither a response nor the end of the connection")?;
    Ok(String::from_utf8_lossy(&got).into_owned())
}

fn as_user(name: &str, more: &str) -> String {
    let credentials = BASE64_STANDARD.encode(format!("{name}:right"));
    format!("GET /v1/nodes HTTP/1.1\r\nHost: h\r\nAuthorization: Basic {credentials}\r\n{more}\r\n")
}

fn fleet(tag: &str, folder: &Path, set: &[&str]) -> Result<Fleet> {
    raise_descriptor_limit();
    let users = folder.join("users");
    fs::write(&users, USERS)?;
    let own = format!("scheduler.rest_users={}", users.display());
    let set = set.iter().map(|text| (*text).to_owned()).chain([own]).collect();
    Fleet::up(tag, 0, &Options { set, ..Options::default() })
}

/// 62 MiB for a path that only ends like the one that takes config drives, as JSON that is large when it is parsed.
async fn large_bodies(rest: &Target<'_>) -> Result<()> {
    let body = "[[],".repeat(LARGE_BYTES / 4);
    for (method, path) in [
        ("POST", "/v1/heartbeat/x/states/provision"),
        ("PUT", "/v1/heartbeat/x/states/provision"),
        ("POST", "/v1/heartbeat/x"),
        ("POST", "/v1/lookup/continue_inspection"),
        ("POST", "/v1/continue_inspection"),
        ("PUT", "/v1/nodes/x/states/provision"),
    ] {
        let mut attackers = Vec::new();
        for _ in 0..3 {
            let mut stream = rest.connect().await?;
            let head = format!(
                "{method} {path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
                body.len()
            );
            let body = body.as_str();
            attackers.push(async move {
                // The service may close the connection while the body is sent.
                let sent = async {
                    stream.write_all(head.as_bytes()).await?;
                    stream.write_all(body.as_bytes()).await
                };
                let _ = timeout(PATIENCE, sent).await;
                read_head(&mut stream).await
            });
        }
        let heads = futures::future::join_all(attackers).await;
        for head in heads {
            let head = head?;
            let is_refused = head.is_empty()
                || ["400", "401", "404", "413", "503"]
                    .iter()
                    .any(|status| head.starts_with(&format!("HTTP/1.1 {status}")));
            ensure!(is_refused, "{method} {path}: {head}");
        }
        let attack = format!("three bodies of 62 MiB for {path}");
        rest.costs_little(&attack)?;
        rest.serves_others(&attack, &as_user("ann", "")).await?;
    }
    Ok(())
}

impl Target<'_> {
    async fn connect(&self) -> Result<TcpStream> {
        Ok(TcpStream::connect(&self.address).await?)
    }
}

/// Opens connections that send only a beginning. Waits until the service closes all of them if `ends`.
async fn silent(rest: &Target<'_>, attack: &str, count: usize, beginning: &str, ends: bool) -> Result<()> {
    let mut streams = Vec::new();
    for _ in 0..count {
        streams.push(rest.send(beginning).await.with_context(|| format!("{attack}: connection {}", streams.len()))?);
    }
    for user in ["ann", "bob"] {
        rest.serves_others(attack, &as_user(user, "")).await?;
    }
    rest.costs_little(attack)?;
    for stream in streams.iter_mut().filter(|_| ends) {
        read_head(stream).await.with_context(|| attack.to_owned())?;
    }
    Ok(())
}

/// Event streams that their client does not read, all of one user.
async fn unread_event_streams(rest: &Target<'_>) -> Result<()> {
    let attack = "300 unread event streams";
    let request = as_user("ann", "Accept: text/event-stream\r\nX-OpenStack-Ironic-API-Version: 1.115\r\n");
    let (mut streams, mut refused) = (Vec::new(), 0);
    for _ in 0..300 {
        let mut stream = rest.send(&request).await?;
        let head = read_head(&mut stream).await?;
        refused += usize::from(head.starts_with("HTTP/1.1 429"));
        ensure!(!head.to_ascii_lowercase().contains("retry-after"), "{head}");
        streams.push(stream);
    }
    ensure!(refused > 200, "{refused} of 300 event streams were refused");
    rest.serves_others(attack, &as_user("ann", "")).await?;
    let follow = as_user("bob", "Accept: text/event-stream\r\nX-OpenStack-Ironic-API-Version: 1.115\r\n");
    rest.serves_others(attack, &follow).await?;
    rest.costs_little(attack)
}

#[test]
fn strangers_and_single_users_do_not_keep_the_rest_api_from_others() {
    let folder = tempfile::tempdir().unwrap();
    let limits = ["service.http.head_timeout=5s", "service.http.body_timeout=5s", "service.http.write_timeout=5s"];
    let fleet = fleet("hostile", folder.path(), &limits).unwrap();
    fleet
        .run(async |_, fleet| {
            let rest = Target::new(fleet, "scheduler-service-1", "rest.address")?;
            rest.serves_others("no attack", &as_user("ann", "")).await?;
            large_bodies(&rest).await?;
            silent(&rest, "400 unfinished heads", 400, "GET /v1/nodes HTTP/1.1\r\nHost: h\r\nX:", true).await?;
            let body = "POST /v1/heartbeat/x HTTP/1.1\r\nHost: h\r\nContent-Length: 99\r\n\r\n{";
            silent(&rest, "400 unfinished bodies", 400, body, true).await?;
            silent(&rest, "1200 idle connections", 1200, "", false).await?;
            let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0";
            silent(&rest, "400 HTTP/2 connections without a request", 400, preface, true).await?;
            unread_event_streams(&rest).await?;
            let log = fleet.mesh().log("scheduler-service-1")?;
            ensure!(log.contains("reached a limit"), "the log does not tell of the limits");
            ensure!(!log.contains("fenced"), "the scheduler was fenced");
            Ok(())
        })
        .unwrap();
}

#[test]
fn slow_readers_of_an_image_cost_little_and_are_closed() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(
        "readers",
        folder.path(),
        &["service.http.write_timeout=5s", "service.http.connections_per_loopback_address=500"],
    )
    .unwrap();
    fleet
        .run(async |_, fleet| {
            let storage = Target::new(fleet, "storage-service-1", "http.address")?;
            let digest = "a".repeat(64);
            let folder = fleet.data().join("storage-service-1/images");
            let until = Instant::now() + PATIENCE;
            // The cache is opened when the service has joined the mesh.
            while !folder.exists() {
                ensure!(Instant::now() < until, "{} does not exist", folder.display());
                sleep(Duration::from_millis(50)).await;
            }
            let image = fs::File::create(folder.join(format!("sha256-{digest}")))?;
            image.set_len(u64::try_from(LARGE_BYTES)?)?;
            let request = format!("GET /files/sha256:{digest} HTTP/1.1\r\nHost: h\r\n\r\n");
            let mut streams = Vec::new();
            for _ in 0..400 {
                streams.push(storage.send(&request).await?);
            }
            storage.serves_others("400 slow image readers", &request).await?;
            storage.costs_little("400 slow image readers")?;
            // The service gives all of them up: what is left to read is much less than the image.
            let until = Instant::now() + PATIENCE;
            while storage.open_connections()? > 0 {
                ensure!(Instant::now() < until, "{} readers stay", storage.open_connections()?);
                sleep(Duration::from_millis(200)).await;
            }
            storage.costs_little("400 slow image readers, closed")
        })
        .unwrap();
}

impl Target<'_> {
    /// Number of connections that the service has accepted and not closed.
    fn open_connections(&self) -> Result<usize> {
        let pid = self.fleet.mesh().service(self.name)?.pid();
        let port: u16 = self.address.rsplit(':').next().unwrap_or_default().parse()?;
        let local = format!(":{port:04X}");
        let table = fs::read_to_string(format!("/proc/{pid}/net/tcp"))?;
        let is_open = |line: &&str| {
            let mut words = line.split_whitespace().skip(1);
            let (own, state) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
            // States of the kernel: 01 is established, 08 closed by the peer alone.
            own.ends_with(&local) && matches!(state, "01" | "08")
        };
        Ok(table.lines().filter(is_open).count())
    }
}

#[test]
fn one_certificate_does_not_shut_out_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet("certs", folder.path(), &["service.http.connections_per_identity=40"]).unwrap();
    fleet
        .run(async |mut api, fleet| {
            let grpc = Target::new(fleet, "scheduler-service-1", "grpc.address")?;
            let certs = fleet.data().join("certs");
            let tls = |name: &str| {
                let file = |ending: &str| certs.join(format!("{name}.{ending}"));
                Tls::load(Files { ca: certs.join("ca.pem"), certificate: file("pem"), key: file("key") })
            };
            let channel = |tls: &Tls| mesh_channel(tls, &grpc.address, Service::Scheduler, "", None);
            let mine = tls("operator")?;
            let (mut open, mut refused) = (Vec::new(), 0);
            for _ in 0..100 {
                // Each has a connection of its own, with a stream that does not end.
                let mut health = HealthClient::new(channel(&mine)?);
                match timeout(PATIENCE, health.watch(HealthCheckRequest::default())).await? {
                    Ok(stream) => open.push((health, stream)),
                    Err(status) => {
                        ensure!(status.code() == Code::ResourceExhausted, "{status}");
                        ensure!(status.message().contains("with this certificate"), "{status}");
                        refused += 1;
                    }
                }
            }
            ensure!(open.len() <= 40 && refused >= 60, "{} are open, {refused} refused", open.len());
            let mut health = HealthClient::new(channel(&tls("default-power-service")?)?);
            timeout(OTHERS_WAIT, health.check(HealthCheckRequest::default())).await??;
            grpc.costs_little("100 connections with one certificate")?;
            drop(open);
            let until = Instant::now() + PATIENCE;
            while let Err(error) = api.rack().await {
                ensure!(Instant::now() < until, "{error:#}");
                sleep(Duration::from_millis(200)).await;
            }
            Ok(())
        })
        .unwrap();
}
