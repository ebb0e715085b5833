//! Many connections, large bodies and responses that are not read: what one peer takes from all others.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use domain::service::Service;
use futures::{FutureExt as _, future::join_all};
use service_kit::client::mesh_channel;
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep, timeout},
};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{
    Attack, Work, certificates,
    guard::OTHERS_WAIT,
    raw::{self, PATIENCE},
};

/// Settings of the rack for these attacks: what is closed after a time is closed soon.
pub const SETTINGS: [&str; 4] = [
    "service.http.head_timeout=5s",
    "service.http.body_timeout=5s",
    "service.http.write_timeout=5s",
    "service.http.connections_per_identity=40",
];
/// Size of the large bodies, and of the image.
const LARGE_BYTES: usize = 62 << 20;

/// Readers of an image: each costs the storage-service up to 280 KiB on a busy machine.
const READERS: usize = 128;

/// The rack's listeners and folders.
#[derive(Debug, Clone)]
pub struct Place {
    /// Address of the REST API.
    pub rest: String,
    /// Address of the scheduler's gRPC API.
    pub grpc: String,
    /// Address at which the storage-service serves images.
    pub images: String,
    /// The mesh's folder.
    pub data: PathBuf,
}

impl Place {
    /// Reads the addresses of the rack in this folder.
    ///
    /// # Errors
    /// A service has not written its address.
    pub fn of(data: PathBuf) -> Result<Self> {
        let address = |file: &str| {
            let path = data.join(file);
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            anyhow::Ok(text.trim().to_owned())
        };
        Ok(Self {
            rest: address("scheduler-service-1/rest.address")?,
            grpc: address("scheduler-service-1/grpc.address")?,
            images: address("storage-service-1/http.address")?,
            data,
        })
    }
}

const fn row(name: &'static str, source: &'static str, how: Work<Place>) -> Attack<Work<Place>> {
    Attack { name, source, how }
}

/// The attacks.
pub const TABLE: &[Attack<Work<Place>>] = &[
    row(
        "Bodies of 62 MiB without credentials are JSON that is 30 times as large when parsed",
        "ISSUES-SEEN §6",
        |place| large_bodies(place).boxed_local(),
    ),
    row("400 request heads are never finished", "ISSUES-SEEN §6, slowloris", |place| {
        silent(place, 400, "GET /v1/nodes HTTP/1.1\r\nHost: h\r\nX:", Ends::Yes).boxed_local()
    }),
    row("400 request bodies are never finished", "R.U.D.Y., CVE-2007-6750", |place| {
        let body = "POST /v1/heartbeat/x HTTP/1.1\r\nHost: h\r\nContent-Length: 99\r\n\r\n{";
        silent(place, 400, body, Ends::Yes).boxed_local()
    }),
    row("1,200 connections are idle", "ISSUES-SEEN §6", |place| silent(place, 1200, "", Ends::No).boxed_local()),
    row("400 HTTP/2 connections have no request", "CVE-2019-9517", |place| {
        silent(place, 400, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0", Ends::Yes).boxed_local()
    }),
    row("One user opens 300 event streams and reads none", "ISSUES-SEEN §6", |place| {
        unread_event_streams(place).boxed_local()
    }),
    row("2,000 requests are sent at once over one connection", "RFC 9112 §9.3.2, pipelining", |place| {
        pipelined(place).boxed_local()
    }),
    row("128 readers of an image do not read", "ISSUES-SEEN §6", |place| slow_readers(place).boxed_local()),
    row("A request asks for 3,000 overlapping ranges of an image", "CVE-2011-3192, RFC 9110 §14.2", |place| {
        ranges(place).boxed_local()
    }),
    row("One certificate opens 100 connections", "ISSUES-SEEN §6", |place| one_certificate(place).boxed_local()),
];

async fn send(address: &str, text: &str) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    let mut stream = socket.connect(address.parse()?).await?;
    stream.write_all(text.as_bytes()).await?;
    Ok(stream)
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

/// A list of nodes for a user.
fn list(name: &str, more: &str) -> String {
    format!("GET /v1/nodes HTTP/1.1\r\nHost: h\r\n{}{more}\r\n", raw::as_user(name))
}

async fn is_served(address: &str, request: &str) -> Result<()> {
    let served = async { read_head(&mut send(address, request).await?).await };
    let head = timeout(OTHERS_WAIT, served).await.context("no response to others")??;
    ensure!(head.starts_with("HTTP/1.1 200"), "others get {head}");
    Ok(())
}

/// 62 MiB for paths that only end like the one that takes config drives, and for the one itself.
async fn large_bodies(place: &Place) -> Result<String> {
    let body = "[[],".repeat(LARGE_BYTES / 4);
    let calls = [
        ("POST", "/v1/heartbeat/x/states/provision"),
        ("PUT", "/v1/heartbeat/x/states/provision"),
        ("POST", "/v1/heartbeat/x"),
        ("POST", "/v1/lookup/continue_inspection"),
        ("POST", "/v1/continue_inspection"),
        ("PUT", "/v1/nodes/x/states/provision"),
    ];
    for (method, path) in calls {
        let attackers = (0..3).map(async |_| {
            let chunk = format!("{:x}\r\n", body.len());
            let mut stream = send(
                &place.rest,
                &format!("{method} {path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"),
            )
            .await?;
            // The service may close the connection while the body is sent.
            let _ = timeout(PATIENCE, stream.write_all(body.as_bytes())).await;
            read_head(&mut stream).await
        });
        for head in join_all(attackers).await {
            let head = head?;
            let refusals = ["400", "401", "404", "413", "503"];
            let is_refused =
                head.is_empty() || refusals.iter().any(|status| head.starts_with(&format!("HTTP/1.1 {status}")));
            ensure!(is_refused, "{method} {path}: {head}");
        }
        is_served(&place.rest, &list("ann", "")).await?;
    }
    Ok(format!("{} refused or closed", 3 * calls.len()))
}

/// Whether the service closes connections by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    Yes,
    No,
}

/// Opens connections that send only a beginning. Waits until the service has closed all of them, if it does so.
async fn silent(place: &Place, count: usize, beginning: &'static str, ends: Ends) -> Result<String> {
    let mut streams = Vec::new();
    for _ in 0..count {
        streams.push(send(&place.rest, beginning).await.with_context(|| format!("connection {}", streams.len()))?);
    }
    for user in ["ann", "bob"] {
        is_served(&place.rest, &list(user, "")).await?;
    }
    for stream in streams.iter_mut().filter(|_| ends == Ends::Yes) {
        read_head(stream).await?;
    }
    Ok(if ends == Ends::Yes { "all were closed".to_owned() } else { "others were served".to_owned() })
}

/// Event streams that their client does not read, all of one user.
async fn unread_event_streams(place: &Place) -> Result<String> {
    let follow = "Accept: text/event-stream\r\n";
    let (mut streams, mut refused) = (Vec::new(), 0);
    for _ in 0..300 {
        let mut stream = send(&place.rest, &list("ann", follow)).await?;
        let head = read_head(&mut stream).await?;
        refused += usize::from(head.starts_with("HTTP/1.1 429"));
        ensure!(!head.to_ascii_lowercase().contains("retry-after"), "{head}");
        streams.push(stream);
    }
    ensure!(refused > 200, "{refused} of 300 event streams were refused");
    is_served(&place.rest, &list("ann", "")).await?;
    is_served(&place.rest, &list("bob", follow)).await?;
    Ok(format!("{refused} were refused"))
}

/// Requests of which no response is read.
async fn pipelined(place: &Place) -> Result<String> {
    let mut stream = send(&place.rest, "").await?;
    let all = list("ann", "").repeat(2000);
    let sent = timeout(Duration::from_secs(3), stream.write_all(all.as_bytes())).await;
    is_served(&place.rest, &list("bob", "")).await?;
    Ok(if sent.is_ok() { "all were read" } else { "the rest was not read" }.to_owned())
}

/// Puts an image that begins with `letter` into the cache of the storage-service, and waits until it is served: it is
/// verified before. Returns its path.
async fn image(place: &Place, letter: u8) -> Result<String> {
    let folder = place.data.join("storage-service-1/images");
    let mut content = vec![0; LARGE_BYTES];
    content.splice(..1, [letter]);
    let digest = hex::encode(Sha256::digest(&content));
    let until = Instant::now() + PATIENCE;
    // The cache is opened when the service has joined the mesh.
    while !folder.exists() {
        ensure!(Instant::now() < until, "{} does not exist", folder.display());
        sleep(Duration::from_millis(50)).await;
    }
    // The cache removes what is not whole, and never sees the file in parts.
    let (whole, part) = (folder.join(format!("sha256-{digest}")), place.data.join(format!("image-{letter}")));
    fs::write(&part, content)?;
    fs::rename(part, whole)?;
    let path = format!("/files/sha256:{digest}");
    let request = format!("HEAD {path} HTTP/1.1\r\nHost: h\r\n\r\n");
    while !read_head(&mut send(&place.images, &request).await?).await?.starts_with("HTTP/1.1 200") {
        ensure!(Instant::now() < until, "the image is not served");
        sleep(Duration::from_millis(50)).await;
    }
    Ok(path)
}

async fn slow_readers(place: &Place) -> Result<String> {
    let request = format!("GET {} HTTP/1.1\r\nHost: h\r\n\r\n", image(place, b'a').await?);
    let mut streams = Vec::new();
    for _ in 0..READERS {
        streams.push(send(&place.images, &request).await?);
    }
    is_served(&place.images, &request).await?;
    // The service gives all of them up: what is left to read is much less than the image.
    let until = Instant::now() + PATIENCE;
    while open_connections(&place.images)? > 0 {
        ensure!(Instant::now() < until, "{} readers stay", open_connections(&place.images)?);
        sleep(Duration::from_millis(200)).await;
    }
    Ok("all were closed".to_owned())
}

/// Number of connections that the service at this address, in the network namespace of the calling thread, has accepted and
/// not closed.
pub(super) fn open_connections(address: &str) -> Result<usize> {
    let port: u16 = address.rsplit(':').next().unwrap_or_default().parse()?;
    let local = format!(":{port:04X}");
    let table = fs::read_to_string("/proc/thread-self/net/tcp")?;
    let is_open = |line: &&str| {
        let mut words = line.split_whitespace().skip(1);
        let (own, state) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
        // States of the kernel: 01 is established, 08 closed by the peer alone.
        own.ends_with(&local) && matches!(state, "01" | "08")
    };
    Ok(table.lines().filter(is_open).count())
}

/// Ranges that are 3,000 times as large as the image together.
async fn ranges(place: &Place) -> Result<String> {
    let path = image(place, b'b').await?;
    let ranges = vec!["0-"; 3000].join(",");
    let mut stream =
        send(&place.images, &format!("GET {path} HTTP/1.1\r\nHost: h\r\nRange: bytes={ranges}\r\n\r\n")).await?;
    let head = read_head(&mut stream).await?;
    let length = head.to_ascii_lowercase();
    let length = length.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
    let is_bounded = ["400", "416"].iter().any(|status| head.starts_with(&format!("HTTP/1.1 {status}")))
        || (["200", "206"].iter().any(|status| head.starts_with(&format!("HTTP/1.1 {status}")))
            && length.is_some_and(|length| length <= LARGE_BYTES));
    ensure!(is_bounded, "{head}");
    Ok(head.lines().next().unwrap_or_default().to_owned())
}

async fn one_certificate(place: &Place) -> Result<String> {
    let channel = |name: &str| {
        let tls = certificates::of_rack(&place.data, name)?;
        anyhow::Ok(mesh_channel(&tls, &place.grpc, Service::Scheduler, "", None)?)
    };
    let (mut open, mut refused) = (Vec::new(), 0);
    for _ in 0..100 {
        // Each has a connection of its own, with a stream that does not end.
        let mut health = HealthClient::new(channel("operator")?);
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
    let mut health = HealthClient::new(channel("default-power-service")?);
    timeout(OTHERS_WAIT, health.check(HealthCheckRequest::default())).await??;
    drop(open);
    // The service notes the end of each connection; until then the operator has no other one.
    let until = Instant::now() + PATIENCE;
    loop {
        let mut health = HealthClient::new(channel("operator")?);
        if timeout(PATIENCE, health.check(HealthCheckRequest::default())).await?.is_ok() {
            return Ok(format!("{refused} were refused"));
        }
        ensure!(Instant::now() < until, "the connections stay open");
        sleep(Duration::from_millis(100)).await;
    }
}
