//! Benchmarks two services with Ironic's REST API: requests per second, latency, and the CPU time of client and server.
//! `scripts/bench api` starts both services and runs this program.
//!
//! Measurements alternate between the services, and the median of all rounds is reported, because machines are noisy.

use std::{
    fs,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use futures::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use integration_tests::fault::tell;
use serde_json::{Value, json};
use tokio::time::Instant;

/// Compares two services with Ironic's REST API.
#[derive(Debug, Parser)]
struct Options {
    /// URL of Ironmesh, such as http://127.0.0.1:6385
    #[arg(long)]
    ours: String,
    /// Process ids of Ironmesh, including etcd
    #[arg(long, value_delimiter = ',')]
    our_pids: Vec<u32>,
    /// URL of the peer; without it, only Ironmesh is measured
    #[arg(long)]
    peer: Option<String>,
    /// Process ids of the peer
    #[arg(long, value_delimiter = ',')]
    peer_pids: Vec<u32>,
    /// Number of nodes
    #[arg(long, default_value_t = 1000)]
    nodes: usize,
    /// Number of concurrent clients
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Duration of each measurement, in seconds
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Number of rounds of each measurement
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Number of nodes that are deployed and undeployed concurrently; 0 skips this measurement
    #[arg(long, default_value_t = 200)]
    lives: usize,
    /// Measurements to run: get, list, create, patch, power, lives, pages; all by default
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

impl Options {
    fn wants(&self, what: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == what)
    }
}

/// Measured service.
#[derive(Debug, Clone)]
struct Service {
    url: String,
    pids: Vec<u32>,
    client: reqwest::Client,
    nodes: Arc<Vec<String>>,
}

/// Kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Get,
    List,
    Create,
    Patch,
    Power,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Get, Self::List, Self::Create, Self::Patch, Self::Power];

    const fn key(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Create => "create",
            Self::Patch => "patch",
            Self::Power => "power",
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Get => "get one",
            Self::List => "list 1000",
            Self::Create => "create",
            Self::Patch => "PATCH",
            Self::Power => "power",
        }
    }
}

/// Interval between two polls of a node's state.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Maximum duration of all deployments.
const WAIT_TIMEOUT: Duration = Duration::from_secs(900);
/// Changes per second during the measurement of pages.
const CHANGES_PER_SECOND: u32 = 100;

/// Result of a measurement.
#[derive(Debug, Clone, Copy)]
struct Measured {
    requests_per_second: f64,
    /// Median latency.
    p50: Duration,
    /// 99th percentile of the latency.
    p99: Duration,
    /// CPU time of the server per request.
    server_cpu: Duration,
    /// CPU time of this client per request.
    client_cpu: Duration,
}

/// Returns the CPU time of a process (proc(5), `stat`: utime and stime, in hundredths of a second).
fn cpu_time(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = after.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum::<u64>();
    Duration::from_millis(ticks * 10)
}

impl Service {
    fn new(url: String, pids: Vec<u32>) -> Result<Self> {
        // A busy service may respond late: the default timeout would drop a connection after 30 s.
        let client = reqwest::Client::builder().no_proxy().tcp_user_timeout(None).build()?;
        Ok(Self { url, pids, client, nodes: Arc::default() })
    }

    fn request(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}/v1/{path}", self.url));
        let request = request.header("X-OpenStack-Ironic-API-Version", "1.109");
        match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None => request,
        }
    }

    async fn create(&self) -> Result<String> {
        let body = json!({"driver": "fake-hardware", "resource_class": "baremetal", "extra": {"a": 1}});
        let response = self.request(reqwest::Method::POST, "nodes", Some(body)).send().await?.error_for_status()?;
        let node: Value = serde_json::from_str(&response.text().await?)?;
        Ok(node["uuid"].as_str().context("no uuid")?.to_owned())
    }

    /// Enrolls `count` nodes.
    async fn enroll(&mut self, count: usize, clients: usize) -> Result<()> {
        let left = Arc::new(AtomicUsize::new(count));
        let one = async || {
            let mut made = Vec::new();
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                made.push(self.create().await?);
            }
            anyhow::Ok(made)
        };
        let made = join_all((0..clients).map(|_| one())).await;
        let mut nodes = Vec::new();
        for made in made {
            nodes.extend(made?);
        }
        self.nodes = Arc::new(nodes);
        Ok(())
    }

    async fn send_one(&self, kind: Kind, number: usize) -> Result<()> {
        use reqwest::Method;
        let node = self.nodes.get(number % self.nodes.len()).context("no nodes")?;
        let request = match kind {
            Kind::Create => return self.create().await.map(drop),
            Kind::Get => self.request(Method::GET, &format!("nodes/{node}"), None),
            Kind::List => self.request(Method::GET, "nodes?limit=1000", None),
            Kind::Patch => {
                let body = json!([{"op": "add", "path": "/extra/n", "value": number}]);
                self.request(Method::PATCH, &format!("nodes/{node}"), Some(body))
            }
            Kind::Power => {
                let target = if (number / self.nodes.len()).is_multiple_of(2) { "power on" } else { "power off" };
                self.request(Method::PUT, &format!("nodes/{node}/states/power"), Some(json!({"target": target})))
            }
        };
        let response = request.send().await?;
        // A node is locked during a power change; clients of Ironic repeat the request.
        let status = response.status();
        ensure!(status.is_success() || status.as_u16() == 409, "{kind:?}: {status}: {}", response.text().await?);
        response.bytes().await?;
        Ok(())
    }

    async fn measure(&self, kind: Kind, clients: usize, seconds: u64) -> Result<Measured> {
        let (begun, next) = (Instant::now(), AtomicUsize::new(0));
        let until = begun + Duration::from_secs(seconds);
        let (server, own) = (self.cpu_time(), cpu_time(std::process::id()));
        let one = async || {
            let mut took = Vec::new();
            while Instant::now() < until {
                let at = Instant::now();
                self.send_one(kind, next.fetch_add(1, Ordering::Relaxed)).await?;
                took.push(at.elapsed());
            }
            anyhow::Ok(took)
        };
        let mut all = Vec::new();
        for took in join_all((0..clients).map(|_| one())).await {
            all.extend(took?);
        }
        let elapsed = begun.elapsed();
        let (server, own) = (self.cpu_time().saturating_sub(server), cpu_time(std::process::id()).saturating_sub(own));
        all.sort_unstable();
        let count = u32::try_from(all.len()).unwrap_or(u32::MAX).max(1);
        let percentile = |percent: usize| all.get(all.len() * percent / 100).copied().unwrap_or_default();
        Ok(Measured {
            requests_per_second: f64::from(count) / elapsed.as_secs_f64(),
            p50: percentile(50),
            p99: percentile(99),
            server_cpu: server / count,
            client_cpu: own / count,
        })
    }

    /// Deploys and undeploys nodes concurrently by their verbs, starting in enroll, and returns the duration.
    async fn measure_lives(&self, count: usize) -> Result<Duration> {
        use reqwest::Method;
        let mut nodes = Vec::new();
        for _ in 0..count {
            nodes.push(self.create().await?);
        }
        let begun = Instant::now();
        // Both services have simulated nodes with configured boot times and without cleaning.
        let life = [("manage", "manageable"), ("provide", "available"), ("active", "active"), ("deleted", "available")];
        let one = async |node: &String| {
            for (target, state) in life {
                let path = format!("nodes/{node}/states/provision");
                let request = || self.request(Method::PUT, &path, Some(json!({"target": target})));
                let (response, tries) = send_with_retries(begun, request).await?;
                // A request whose connection broke may have been accepted, so its repetition may fail.
                ensure!(response.status() == 202 || tries > 1, "{target}: {}", response.text().await?);
                loop {
                    let request = || self.request(Method::GET, &format!("nodes/{node}?fields=provision_state"), None);
                    let node_state: Value =
                        serde_json::from_str(&send_with_retries(begun, request).await?.0.text().await?)?;
                    if node_state["provision_state"] == state {
                        break;
                    }
                    ensure!(begun.elapsed() < WAIT_TIMEOUT, "{node} is not {state}: {node_state}");
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
            }
            anyhow::Ok(())
        };
        for ended in join_all(nodes.iter().map(one)).await {
            ended?;
        }
        let took = begun.elapsed();
        for node in &nodes {
            self.request(Method::DELETE, &format!("nodes/{node}"), None).send().await?;
        }
        Ok(took)
    }

    /// Measures pages of a list with one client while nodes are changed at a steady rate. Also returns the number of changes.
    async fn measure_pages_during_changes(&self, seconds: u64) -> Result<(Measured, usize)> {
        let (begun, changes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let changing = async {
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / CHANGES_PER_SECOND);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let mut in_flight = FuturesUnordered::new();
            loop {
                // A late change does not delay the next one.
                tokio::select! {
                    _ = ticks.tick() => in_flight.push(self.send_one(Kind::Patch, begun.fetch_add(1, Ordering::Relaxed))),
                    Some(ended) = in_flight.next() => {
                        ended?;
                        changes.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        };
        tokio::select! {
            measured = self.measure(Kind::List, 1, seconds) => {
                measured.map(|measured| (measured, changes.load(Ordering::Relaxed)))
            }
            failed = changing => failed,
        }
    }

    /// Returns the memory of the service and of its etcd, in MiB (`Pss` of proc(5)).
    fn memory(&self) -> (u64, u64) {
        let of = |pid: &u32| {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or_default();
            line.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or_default() / 1024
        };
        let is_etcd = |pid: &&u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "etcd\n");
        let (etcd, own): (Vec<&u32>, Vec<&u32>) = self.pids.iter().partition(is_etcd);
        (own.into_iter().map(of).sum(), etcd.into_iter().map(of).sum())
    }

    fn cpu_time(&self) -> Duration {
        self.pids.iter().map(|pid| cpu_time(*pid)).sum()
    }
}

/// Returns the median, by requests per second.
fn median(mut all: Vec<Measured>) -> Option<Measured> {
    all.sort_by(|one, other| one.requests_per_second.total_cmp(&other.requests_per_second));
    all.get(all.len() / 2).copied()
}

fn row(name: &str, clients: usize, measured: &Measured) -> String {
    let Measured { requests_per_second, p50, p99, server_cpu, client_cpu } = measured;
    let millis = |time: &Duration| time.as_secs_f64() * 1000.0;
    format!(
        "  {name:<6} {clients:>3} clients {requests_per_second:>9.0}/s  p50 {:>8.2} ms  p99 {:>8.2} ms  server {:>7.3} ms  \
         client {:>6.3} ms of CPU each",
        millis(p50),
        millis(p99),
        millis(server_cpu),
        millis(client_cpu)
    )
}

async fn compare(options: &Options) -> Result<()> {
    let mut services = vec![("ours", Service::new(options.ours.clone(), options.our_pids.clone())?)];
    if let Some(peer) = &options.peer {
        services.push(("peer", Service::new(peer.clone(), options.peer_pids.clone())?));
    }
    for (name, service) in &mut services {
        let begun = Instant::now();
        service.enroll(options.nodes, options.clients).await?;
        let (took, (own, etcd)) = (begun.elapsed().as_secs_f64(), service.memory());
        tell(format_args!(
            "{name}: {} nodes enrolled in {took:.1} s; memory {own} MiB, etcd {etcd} MiB",
            options.nodes
        ));
    }
    for kind in Kind::ALL.into_iter().filter(|kind| options.wants(kind.key())) {
        for clients in [options.clients, 1] {
            compare_kind(options, &services, kind, clients).await?;
        }
    }
    if options.lives > 0 && options.wants("lives") {
        let mut took = Vec::new();
        for (name, service) in &services {
            took.push(service.measure_lives(options.lives).await?.as_secs_f64());
            let seconds = took.last().copied().unwrap_or_default();
            tell(format_args!(
                "{name}: {} nodes through manage, provide, active, deleted: {seconds:.1} s",
                options.lives
            ));
        }
        if let [ours, peer] = took.as_slice() {
            tell(format_args!("  {:.3} of its time", ours / peer));
        }
    }
    let seconds = options.seconds * 3;
    for (name, service) in services.iter().filter(|_| options.wants("pages")) {
        let (measured, changes) = service.measure_pages_during_changes(seconds).await?;
        let per_second = changes as u64 / seconds;
        let (own, etcd) = service.memory();
        tell(format_args!("list 1000 during {per_second} PATCHes per second; memory {own} MiB, etcd {etcd} MiB"));
        tell(row(name, 1, &measured));
    }
    Ok(())
}

/// Measures one kind of request, alternating between the services.
async fn compare_kind(
    options: &Options,
    services: &[(&'static str, Service)],
    kind: Kind,
    clients: usize,
) -> Result<()> {
    let mut all: Vec<Vec<Measured>> = services.iter().map(|_| Vec::new()).collect();
    for _ in 0..options.rounds {
        for ((_, service), measured) in services.iter().zip(&mut all) {
            measured.push(service.measure(kind, clients, options.seconds).await?);
        }
    }
    tell(kind.word());
    let medians: Vec<Measured> = all.into_iter().filter_map(median).collect();
    for ((name, _), measured) in services.iter().zip(&medians) {
        tell(row(name, clients, measured));
    }
    if let [ours, peer] = medians.as_slice() {
        let ratio = |one: Duration, other: Duration| one.as_secs_f64() / other.as_secs_f64().max(1e-9);
        tell(format_args!(
            "  {:.1} times its requests per second, {:.3} of its latency, {:.3} of its CPU",
            ours.requests_per_second / peer.requests_per_second,
            ratio(ours.p50, peer.p50),
            ratio(ours.server_cpu, peer.server_cpu)
        ));
    }
    Ok(())
}

/// Sends a request until there is a response, and returns the response and the number of tries. A service with too many
/// connections drops some of them.
async fn send_with_retries(
    begun: Instant,
    request: impl Fn() -> reqwest::RequestBuilder,
) -> Result<(reqwest::Response, u32)> {
    let mut tries = 1;
    loop {
        match request().send().await {
            Ok(response) => return Ok((response, tries)),
            Err(error) if begun.elapsed() > WAIT_TIMEOUT => return Err(error.into()),
            Err(_) => tokio::time::sleep(POLL_INTERVAL).await,
        }
        tries += 1;
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    service_kit::tls::install_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(compare(&options)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
