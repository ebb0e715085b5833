//! Measures two services with Ironic's REST API side by side: requests per second, latency, and the CPU time of client
//! and server. `scripts/bench api` starts both and calls this.
//!
//! Each measurement is repeated in turn at both, and the median counts: machines are noisy.

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

/// Compares two services that answer Ironic's REST API.
#[derive(Debug, Parser)]
struct Options {
    /// Ours, as http://127.0.0.1:6385.
    #[arg(long)]
    ours: String,
    /// The pids of ours, with etcd's.
    #[arg(long, value_delimiter = ',')]
    our_pids: Vec<u32>,
    /// The peer's; without it ours is measured alone.
    #[arg(long)]
    peer: Option<String>,
    /// The pids of the peer's.
    #[arg(long, value_delimiter = ',')]
    peer_pids: Vec<u32>,
    /// Nodes that there are.
    #[arg(long, default_value_t = 1000)]
    nodes: usize,
    /// Clients at the same time.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// How often each is made.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Nodes that are brought through a life at the same time; 0: none.
    #[arg(long, default_value_t = 200)]
    lives: usize,
    /// Only these are measured: get, list, create, patch, power, lives, pages.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

impl Options {
    fn wants(&self, what: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == what)
    }
}

/// One of the services.
#[derive(Debug, Clone)]
struct Service {
    url: String,
    pids: Vec<u32>,
    client: reqwest::Client,
    nodes: Arc<Vec<String>>,
}

/// What is asked.
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

/// Between two looks at a node that is waited for.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How long all the lives may take.
const WAIT_TIMEOUT: Duration = Duration::from_secs(900);
/// Changes a second beside which pages are read.
const CHANGES: u32 = 100;

/// What came of one measurement.
#[derive(Debug, Clone, Copy)]
struct Measured {
    per_second: f64,
    median: Duration,
    late: Duration,
    /// Processor time of the server and of this client for one request.
    server: Duration,
    client: Duration,
}

/// Processor time of a process and of what it has waited for (proc(5), `stat`: utime, stime, cutime, cstime, in
/// hundredths of a second).
fn spent(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = after.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum::<u64>();
    Duration::from_millis(ticks * 10)
}

impl Service {
    fn new(url: String, pids: Vec<u32>) -> Result<Self> {
        // Who is busy for long is waited for: by itself a connection would be given up after 30 s.
        let client = reqwest::Client::builder().no_proxy().tcp_user_timeout(None).build()?;
        Ok(Self { url, pids, client, nodes: Arc::default() })
    }

    fn ask(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}/v1/{path}", self.url));
        let request = request.header("X-OpenStack-Ironic-API-Version", "1.109");
        match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None => request,
        }
    }

    async fn create(&self) -> Result<String> {
        let body = json!({"driver": "fake-hardware", "resource_class": "baremetal", "extra": {"a": 1}});
        let answer = self.ask(reqwest::Method::POST, "nodes", Some(body)).send().await?.error_for_status()?;
        let node: Value = serde_json::from_str(&answer.text().await?)?;
        Ok(node["uuid"].as_str().context("no uuid")?.to_owned())
    }

    /// Enrols nodes until there are so many.
    async fn fill(&mut self, count: usize, clients: usize) -> Result<()> {
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

    async fn once(&self, kind: Kind, number: usize) -> Result<()> {
        use reqwest::Method;
        let node = self.nodes.get(number % self.nodes.len()).context("no nodes")?;
        let request = match kind {
            Kind::Create => return self.create().await.map(drop),
            Kind::Get => self.ask(Method::GET, &format!("nodes/{node}"), None),
            Kind::List => self.ask(Method::GET, "nodes?limit=1000", None),
            Kind::Patch => {
                let body = json!([{"op": "add", "path": "/extra/n", "value": number}]);
                self.ask(Method::PATCH, &format!("nodes/{node}"), Some(body))
            }
            Kind::Power => {
                let target = if (number / self.nodes.len()).is_multiple_of(2) { "power on" } else { "power off" };
                self.ask(Method::PUT, &format!("nodes/{node}/states/power"), Some(json!({"target": target})))
            }
        };
        let answer = request.send().await?;
        // A node that is still at the power change before is locked: a client of Ironic's asks again.
        let status = answer.status();
        ensure!(status.is_success() || status.as_u16() == 409, "{kind:?}: {status}: {}", answer.text().await?);
        answer.bytes().await?;
        Ok(())
    }

    async fn measure(&self, kind: Kind, clients: usize, seconds: u64) -> Result<Measured> {
        let (begun, next) = (Instant::now(), AtomicUsize::new(0));
        let until = begun + Duration::from_secs(seconds);
        let (server, own) = (self.spent(), spent(std::process::id()));
        let one = async || {
            let mut took = Vec::new();
            while Instant::now() < until {
                let at = Instant::now();
                self.once(kind, next.fetch_add(1, Ordering::Relaxed)).await?;
                took.push(at.elapsed());
            }
            anyhow::Ok(took)
        };
        let mut all = Vec::new();
        for took in join_all((0..clients).map(|_| one())).await {
            all.extend(took?);
        }
        let elapsed = begun.elapsed();
        let (server, own) = (self.spent().saturating_sub(server), spent(std::process::id()).saturating_sub(own));
        all.sort_unstable();
        let count = u32::try_from(all.len()).unwrap_or(u32::MAX).max(1);
        let at = |part: usize| all.get(all.len() * part / 100).copied().unwrap_or_default();
        Ok(Measured {
            per_second: f64::from(count) / elapsed.as_secs_f64(),
            median: at(50),
            late: at(99),
            server: server / count,
            client: own / count,
        })
    }

    /// Brings nodes from enroll to active and back by their verbs, all at the same time; how long that took.
    async fn live(&self, count: usize) -> Result<Duration> {
        use reqwest::Method;
        let mut nodes = Vec::new();
        for _ in 0..count {
            nodes.push(self.create().await?);
        }
        let begun = Instant::now();
        // A boot of the fake takes what is written in it, and nothing is cleaned, in either.
        let life = [("manage", "manageable"), ("provide", "available"), ("active", "active"), ("deleted", "available")];
        let one = async |node: &String| {
            for (target, state) in life {
                let path = format!("nodes/{node}/states/provision");
                let asking = || self.ask(Method::PUT, &path, Some(json!({"target": target})));
                let (answer, tries) = patiently(begun, asking).await?;
                // Whose connection broke may have been heard.
                ensure!(answer.status() == 202 || tries > 1, "{target}: {}", answer.text().await?);
                loop {
                    let asking = || self.ask(Method::GET, &format!("nodes/{node}?fields=provision_state"), None);
                    let answer: Value = serde_json::from_str(&patiently(begun, asking).await?.0.text().await?)?;
                    if answer["provision_state"] == state {
                        break;
                    }
                    ensure!(begun.elapsed() < WAIT_TIMEOUT, "{node} is not {state}: {answer}");
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
            self.ask(Method::DELETE, &format!("nodes/{node}"), None).send().await?;
        }
        Ok(took)
    }

    /// Pages of a list at one client, while nodes are changed at a steady rate; how many changes that came to.
    async fn measure_beside_changes(&self, seconds: u64) -> Result<(Measured, usize)> {
        let (begun, changes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let changing = async {
            let mut beat = tokio::time::interval(Duration::from_secs(1) / CHANGES);
            beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let mut under_way = FuturesUnordered::new();
            loop {
                // One that is late keeps no other from its time.
                tokio::select! {
                    _ = beat.tick() => under_way.push(self.once(Kind::Patch, begun.fetch_add(1, Ordering::Relaxed))),
                    Some(ended) = under_way.next() => {
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

    /// Memory that is its own (`Pss` of proc(5)), in MiB: of the service, and of etcd where it has one.
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

    fn spent(&self) -> Duration {
        self.pids.iter().map(|pid| spent(*pid)).sum()
    }
}

/// The one in the middle, by requests per second.
fn middle(mut all: Vec<Measured>) -> Option<Measured> {
    all.sort_by(|one, other| one.per_second.total_cmp(&other.per_second));
    all.get(all.len() / 2).copied()
}

fn row(name: &str, clients: usize, measured: &Measured) -> String {
    let Measured { per_second, median, late, server, client } = measured;
    let millis = |time: &Duration| time.as_secs_f64() * 1000.0;
    format!(
        "  {name:<6} {clients:>3} clients {per_second:>9.0}/s  p50 {:>8.2} ms  p99 {:>8.2} ms  server {:>7.3} ms  \
         client {:>6.3} ms of CPU each",
        millis(median),
        millis(late),
        millis(server),
        millis(client)
    )
}

async fn compare(options: &Options) -> Result<()> {
    let mut services = vec![("ours", Service::new(options.ours.clone(), options.our_pids.clone())?)];
    if let Some(peer) = &options.peer {
        services.push(("peer", Service::new(peer.clone(), options.peer_pids.clone())?));
    }
    for (name, service) in &mut services {
        let begun = Instant::now();
        service.fill(options.nodes, options.clients).await?;
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
            took.push(service.live(options.lives).await?.as_secs_f64());
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
        let (measured, changes) = service.measure_beside_changes(seconds).await?;
        let per_second = changes as u64 / seconds;
        let (own, etcd) = service.memory();
        tell(format_args!("list 1000 beside {per_second} PATCHes a second; memory {own} MiB, etcd {etcd} MiB"));
        tell(row(name, 1, &measured));
    }
    Ok(())
}

/// Measures one kind of request at all services in turn.
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
    let middles: Vec<Measured> = all.into_iter().filter_map(middle).collect();
    for ((name, _), measured) in services.iter().zip(&middles) {
        tell(row(name, clients, measured));
    }
    if let [ours, peer] = middles.as_slice() {
        let ratio = |one: Duration, other: Duration| one.as_secs_f64() / other.as_secs_f64().max(1e-9);
        tell(format_args!(
            "  {:.1} times its requests per second, {:.3} of its latency, {:.3} of its CPU",
            ours.per_second / peer.per_second,
            ratio(ours.median, peer.median),
            ratio(ours.server, peer.server)
        ));
    }
    Ok(())
}

/// An answer, and how often was asked for it: who has more connections than he can take breaks some of them.
async fn patiently(begun: Instant, asking: impl Fn() -> reqwest::RequestBuilder) -> Result<(reqwest::Response, u32)> {
    let mut tries = 1;
    loop {
        match asking().send().await {
            Ok(answer) => return Ok((answer, tries)),
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
