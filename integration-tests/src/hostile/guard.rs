//! What must hold after every attack: its cost is bounded, no service loses its membership, none panics, and others are
//! served.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tokio::time::timeout;

use super::raw;
use crate::{
    mesh::{Api, Mesh},
    site::Running,
};

/// How much more memory a service may take while one attacker is at work, in bytes.
pub const MAX_GROWTH: u64 = 64 << 20;
/// How long another client may wait for its response, on a busy host and with a service that is not optimized.
pub const OTHERS_WAIT: Duration = Duration::from_secs(20);
/// Words in a service's log that no attack may cause.
const FORBIDDEN: [&str; 4] =
    ["panicked", "fenced: ending all work", "an essential task ended", "incarnation is another"];
/// The services of a rack with one replica of each.
const SERVICES: [&str; 5] =
    ["scheduler-service-1", "power-service-1", "pxe-service-1", "storage-service-1", "inventory-service-1"];

/// An attacked service.
#[derive(Debug)]
struct Guarded {
    name: String,
    pid: i32,
    log: PathBuf,
    /// Memory of its own before the attacks, in bytes.
    before: u64,
}

impl Guarded {
    fn new(name: &str, pid: i32, log: PathBuf) -> Result<Self> {
        let mut guarded = Self { name: name.to_owned(), pid, log, before: 0 };
        guarded.before = guarded.status("RssAnon:")?;
        Ok(guarded)
    }

    /// How much more memory of its own it had at its peak than before the attacks, in bytes. Pages of its program and of
    /// other files are not the attacker's: the operating system takes them back.
    fn growth(&self) -> Result<u64> {
        let peak = self.status("VmHWM:")?.saturating_sub(self.status("RssFile:")?);
        Ok(peak.saturating_sub(self.before))
    }

    /// A value of `/proc/PID/status`, in bytes.
    fn status(&self, key: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid));
        let status = status.with_context(|| format!("{} does not run any more", self.name))?;
        let line = status.lines().find_map(|line| line.strip_prefix(key)).with_context(|| key.to_owned())?;
        let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kibibytes << 10)
    }
}

/// Watches a rack while it is attacked.
#[derive(Debug)]
pub struct Guard {
    /// How much more memory each service may take, in bytes: [`MAX_GROWTH`] for one attacker.
    pub limit: u64,
    services: Vec<Guarded>,
    clients: Option<Clients>,
}

/// What other clients see of the rack.
#[derive(Debug)]
struct Clients {
    api: Api,
    /// The members, by service: their ids change when one is fenced or restarted.
    members: BTreeMap<String, Vec<String>>,
    /// Address of the REST API, and a request of another user that it must answer with 200.
    rest: (String, String),
}

impl Guard {
    /// Notes the state of a rack with its folder. `others` is a request to the REST API that must be answered with 200 at all
    /// times.
    ///
    /// # Errors
    /// A service does not run, or the API does not answer.
    pub async fn new(mesh: &Mesh, data: &Path, api: Api, others: &str) -> Result<Self> {
        let address = mesh.rest(1)?.trim_start_matches("http://").to_owned();
        let mut clients = Clients { api, members: BTreeMap::new(), rest: (address, others.to_owned()) };
        clients.are_served().await?;
        clients.members = clients.present_members().await?;
        let guarded = |name: &&str| Guarded::new(name, mesh.service(name)?.pid(), data.join(name).join("log"));
        Ok(Self {
            limit: MAX_GROWTH,
            services: SERVICES.iter().map(guarded).collect::<Result<_>>()?,
            clients: Some(clients),
        })
    }

    /// Notes the state of services that were started one by one.
    ///
    /// # Errors
    /// One does not run.
    pub fn of_services(running: &[Running]) -> Result<Self> {
        let guarded = |running: &Running| Guarded::new(running.name(), running.pid()?, running.log_file().to_owned());
        Ok(Self { limit: MAX_GROWTH, services: running.iter().map(guarded).collect::<Result<_>>()?, clients: None })
    }

    /// Begins an attack: its cost is the peak of each service's memory from now on.
    ///
    /// # Errors
    /// A service does not run.
    pub fn begin(&mut self) -> Result<()> {
        for guarded in &mut self.services {
            // Resets the peak (proc(5), "clear_refs").
            fs::write(format!("/proc/{}/clear_refs", guarded.pid), "5").with_context(|| guarded.name.clone())?;
        }
        Ok(())
    }

    /// Checks that the attack cost no service more than the limit at any time, that the members are the same, that no
    /// log has a panic or a fence, and that others are served. Returns the largest cost in words.
    ///
    /// # Errors
    /// What did not hold.
    pub async fn check(&self) -> Result<String> {
        let (mut most, mut dearest) = (0, "each service");
        for guarded in &self.services {
            let growth = guarded.growth()?;
            ensure!(growth <= self.limit, "{} took {} MiB more", guarded.name, growth >> 20);
            if growth > most {
                (most, dearest) = (growth, &guarded.name);
            }
            let log = fs::read_to_string(&guarded.log).with_context(|| guarded.log.display().to_string())?;
            let found = FORBIDDEN.iter().find(|words| log.contains(**words));
            ensure!(found.is_none(), "the log of {} has {found:?}", guarded.name);
        }
        if let Some(clients) = &self.clients {
            clients.are_served().await?;
            let members = clients.present_members().await?;
            ensure!(members == clients.members, "the members are {members:?} and were {:?}", clients.members);
        }
        Ok(format!("{} MiB more in {dearest}", most >> 20))
    }
}

impl Clients {
    async fn are_served(&self) -> Result<()> {
        let (address, request) = &self.rest;
        let answer = timeout(OTHERS_WAIT, raw::exchange(address, request.as_bytes())).await;
        let answer = answer.context("no response to others")??;
        ensure!(answer.statuses == [200], "others get {}", answer.text);
        Ok(())
    }

    async fn present_members(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let rack = timeout(OTHERS_WAIT, self.api.clone().rack()).await.context("gRPC does not answer others")??;
        let mut members: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for replica in rack.replicas {
            ensure!(!replica.stopping, "{replica:?} stops");
            members.entry(format!("{:?}", replica.service())).or_default().push(replica.instance);
        }
        Ok(members)
    }
}
