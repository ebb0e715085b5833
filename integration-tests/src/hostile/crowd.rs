//! Thousands of slow and idle connections, and how long authenticated requests take beside them.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use domain::service::Service;
use futures::{FutureExt as _, future::join_all};
use service_kit::{client::mesh_channel, listener::HttpLimits};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{
    Attack, Work, certificates,
    floods::{Place, open_connections},
    raw,
};

/// Number of connections, half of them to REST and half to gRPC.
pub const CONNECTIONS: u32 = 10_000;
/// Addresses of loopback that they come from.
const ADDRESSES: u32 = 250;
/// Connections that are opened at the same time.
const AT_ONCE: u32 = 100;
/// Authenticated requests of each kind.
const REQUESTS: usize = 100;
/// Connections that are being accepted or closed while they are counted.
const MAX_LATE: usize = 200;
/// Upper bound of one request on a busy host with a service that is not optimized.
const REQUEST_WAIT: Duration = Duration::from_secs(10);
/// What the connections send: nothing, half of a head, an HTTP/2 preface without a request, half of a TLS record.
const BEGINNINGS: [&[u8]; 4] =
    [b"", b"GET /v1/nodes HTTP/1.1\r\nX:", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02"];

/// How long requests took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// Half of them took no longer.
    pub p50: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} ms (p50), {:.1} ms (p99)", self.p50.as_secs_f64() * 1e3, self.p99.as_secs_f64() * 1e3)
    }
}

impl Latency {
    fn of(mut took: Vec<Duration>) -> Result<Self> {
        took.sort();
        let at = |part: usize| took.get((took.len() * part).div_ceil(100).saturating_sub(1)).copied();
        Ok(Self { p50: at(50).context("no request")?, p99: at(99).context("no request")? })
    }
}

/// Latencies over both APIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Of the REST API, with a connection and a password check for each request.
    pub rest: Latency,
    /// Of the gRPC API, over one connection.
    pub grpc: Latency,
    /// Connections that were open at the same time; the service closes some to make room.
    pub opened: usize,
}

/// The attack: 250 strangers at the same time, which fill two listeners and may cost four times as much as one stranger.
pub const TABLE: &[Attack<Work<Place>>] = &[Attack {
    name: "10,000 connections of 250 addresses are slow or idle",
    source: "issue 18",
    how: |place| attack(place).boxed_local(),
}];

async fn attack(place: &Place) -> Result<String> {
    let Report { rest, grpc, opened } = measure(place).await?;
    Ok(format!("beside {opened} connections REST takes {rest}, gRPC {grpc}"))
}

/// Measures requests without other connections.
///
/// # Errors
/// A request is not answered within 10 s.
pub async fn alone(place: &Place) -> Result<Report> {
    let (rest, grpc) = tokio::join!(ask_rest(place), ask_grpc(place));
    Ok(Report { rest: rest?, grpc: grpc?, opened: 0 })
}

/// Opens the connections, keeps them, and measures requests of others meanwhile.
///
/// # Errors
/// A request is not answered within 10 s.
pub async fn measure(place: &Place) -> Result<Report> {
    let mut held = Vec::new();
    for first in (0..CONNECTIONS).step_by(usize::try_from(AT_ONCE)?) {
        let opened = join_all((first..first + AT_ONCE).map(|number| open(place, number))).await;
        for stream in opened {
            held.push(stream?);
        }
    }
    let report = alone(place).await?;
    let most = HttpLimits::default().connections + MAX_LATE;
    for address in [&place.rest, &place.grpc] {
        let kept = open_connections(address)?;
        ensure!(kept <= most, "{kept} connections are open at {address}");
    }
    Ok(Report { opened: held.len(), ..report })
}

async fn open(place: &Place, number: u32) -> Result<TcpStream> {
    let to: SocketAddr = if number.is_multiple_of(2) { &place.rest } else { &place.grpc }.parse()?;
    let from = Ipv4Addr::from_bits(Ipv4Addr::new(127, 8, 0, 1).to_bits() + number % ADDRESSES);
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let connect = timeout(REQUEST_WAIT, socket.connect(to)).await;
    let mut stream = connect.with_context(|| format!("connection {number} is not accepted"))??;
    let beginning = BEGINNINGS.get(usize::try_from(number / 2)? % BEGINNINGS.len()).copied().unwrap_or_default();
    // The service may have closed it to make room for another.
    let _ = stream.write_all(beginning).await;
    Ok(stream)
}

async fn ask_rest(place: &Place) -> Result<Latency> {
    let (request, mut took) = (raw::others(), Vec::new());
    for _ in 0..REQUESTS {
        let begun = Instant::now();
        let answer = timeout(REQUEST_WAIT, raw::exchange(&place.rest, request.as_bytes())).await;
        let answer = answer.context("REST does not answer")??;
        ensure!(answer.statuses == [200], "REST answers {}", answer.text);
        took.push(begun.elapsed());
    }
    Latency::of(took)
}

async fn ask_grpc(place: &Place) -> Result<Latency> {
    let tls = certificates::of_rack(&place.data, "default-power-service")?;
    let mut health = HealthClient::new(mesh_channel(&tls, &place.grpc, Service::Scheduler, "", None)?);
    let mut took = Vec::new();
    for _ in 0..REQUESTS {
        let begun = Instant::now();
        let answer = timeout(REQUEST_WAIT, health.check(HealthCheckRequest::default())).await;
        answer.context("gRPC does not answer")??;
        took.push(begun.elapsed());
    }
    Latency::of(took)
}
