//! Hosts: what they run, and how one is taken out of service.

use std::{collections::BTreeMap, time::Duration};

use clap::{Args, Subcommand};
use proto::api::v1::{
    DrainHostRequest, GetHostRequest, Host, HostState, ListHostsRequest, RemoveHostRequest, UndrainHostRequest,
    host::HostService,
};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};

use super::{answered, repeat};
use crate::{
    call::Api,
    error::{Error, may_continue},
    human::{self, ago, duration, length, moment},
    json,
    once::once,
    output::Screen,
    table, words,
};

/// How often a host is read that is waited for.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// What can be asked of hosts.
#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// List hosts, and whether their services run.
    #[command(after_help = "Examples:\n  ironmesh host list\n  ironmesh host list --watch")]
    List(List),
    /// Show a host: what it is to run, what of that runs, and the number of nodes of each service.
    #[command(after_help = "Example:\n  ironmesh host show h1")]
    Show(Named),
    /// Have a host hand its nodes to other hosts, and stop its services then.
    ///
    /// Nothing that runs on a node is broken off. The host's scheduler-service and its member of the store go on. It is
    /// refused if a rack would have no other host for one of its services.
    #[command(after_help = "Example:\n  ironmesh host drain h1 --wait")]
    Drain(Drain),
    /// Start the services of a drained host again.
    #[command(after_help = "Example:\n  ironmesh host undrain h1")]
    Undrain(Named),
    /// Remove a host for good: its certificates are revoked, and its member of the store leaves.
    ///
    /// Waits until it is gone. To use the machine again, let it join anew.
    #[command(after_help = "Examples:\n  ironmesh host remove h1\n  ironmesh host remove h1 --force")]
    Remove(Remove),
}

/// How hosts are listed.
#[derive(Debug, Clone, Args)]
pub struct List {
    /// Show the list again whenever it changes, until it is interrupted.
    #[arg(long)]
    watch: bool,
}

/// Which host.
#[derive(Debug, Clone, Args)]
pub struct Named {
    /// Its name.
    host: String,
}

/// Which host is drained, and how.
#[derive(Debug, Clone, Args)]
pub struct Drain {
    /// Its name.
    host: String,
    /// Drain it although a rack will have no other host for one of its services.
    #[arg(long)]
    force: bool,
    /// Wait until it is drained, and show how many nodes are left.
    #[arg(long)]
    wait: bool,
    /// How long to wait; the drain goes on afterwards.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    timeout: Duration,
}

/// Which host is removed, and how.
#[derive(Debug, Clone, Args)]
pub struct Remove {
    /// Its name.
    host: String,
    /// Remove it although it has not been drained, such as a host that is broken.
    #[arg(long)]
    force: bool,
    /// How long to wait; the removal goes on afterwards.
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = duration)]
    timeout: Duration,
}

pub(crate) async fn run(screen: &Screen, api: &Api, command: HostCommand) -> Result<(), Error> {
    match command {
        HostCommand::List(List { watch }) => {
            let ask = async || Ok(api.hosts().list_hosts(ListHostsRequest {}).await?.into_inner().hosts);
            let drawn = |hosts: &Vec<Host>| table_of(screen, hosts);
            let json = |hosts: &Vec<Host>| hosts.iter().map(json::host).collect::<Value>();
            if watch {
                return repeat::watch(screen, ask, drawn, json).await;
            }
            let hosts = ask().await?;
            screen.show(|| drawn(&hosts), || json(&hosts))
        }
        HostCommand::Show(Named { host }) => show(screen, &get(api, &host).await?),
        HostCommand::Drain(Drain { host, force, wait, timeout }) => {
            let request = DrainHostRequest { host: host.clone(), force };
            let answer = once(request, async |request| api.hosts().drain_host(request).await).await?;
            let drained = answered(answer.host)?;
            if !wait {
                return show(screen, &drained);
            }
            until_drained(screen, api, &host, timeout).await
        }
        HostCommand::Undrain(Named { host }) => {
            let request = UndrainHostRequest { host };
            let answer = once(request, async |request| api.hosts().undrain_host(request).await).await?;
            show(screen, &answered(answer.host)?)
        }
        HostCommand::Remove(Remove { host, force, timeout }) => {
            let request = RemoveHostRequest { host: host.clone(), force };
            once(request, async |request| api.hosts().remove_host(request).await).await?;
            until_gone(screen, api, &host, timeout).await
        }
    }
}

async fn get(api: &Api, host: &str) -> Result<Host, Error> {
    let request = GetHostRequest { host: host.to_owned() };
    answered(api.hosts().get_host(request).await?.into_inner().host)
}

/// Reads a host until it is as awaited. Returns `None` when the time is up.
async fn wait_for(
    api: &Api,
    host: &str,
    timeout: Duration,
    mut is_over: impl FnMut(Result<Host, Status>) -> Result<Option<()>, Error>,
) -> Result<Option<()>, Error> {
    let begun = Instant::now();
    loop {
        let read = match get(api, host).await {
            Ok(host) => Ok(host),
            Err(Error::Call(status)) => Err(status),
            Err(error) => return Err(error),
        };
        let goes_on = read.as_ref().is_err_and(may_continue);
        if !goes_on && is_over(read)?.is_some() {
            return Ok(Some(()));
        }
        if begun.elapsed() >= timeout {
            return Ok(None);
        }
        sleep(POLL_INTERVAL).await;
    }
}

async fn until_drained(screen: &Screen, api: &Api, host: &str, timeout: Duration) -> Result<(), Error> {
    let (begun, mut said) = (Instant::now(), String::new());
    let over = wait_for(api, host, timeout, |read| {
        let read = read?;
        match read.state() {
            HostState::Drained => return Ok(Some(())),
            HostState::Draining => {}
            HostState::Unspecified | HostState::Ready | HostState::Degraded | HostState::Down | HostState::Removing => {
                screen.note(&format!("{host}: it is {} now, another user changed it", words::host_state(read.state())));
                return Err(Error::Told);
            }
        }
        let words = left(&read);
        if words != said {
            screen.note(&format!("{host}: draining; {words}"));
            said = words;
        }
        Ok(None)
    });
    if over.await?.is_some() {
        let told = serde_json::json!({ "name": host, "state": "drained" });
        return screen.show(|| format!("{host}: drained after {}", length(begun.elapsed())), || told);
    }
    screen.note(&format!("{host}: still draining after {}; it goes on: ironmesh host show {host}", length(timeout)));
    Err(Error::Told)
}

/// The nodes that are left, by service.
fn left(host: &Host) -> String {
    let running = host.services.iter().filter(|service| !service.instance.is_empty());
    let mut nodes = BTreeMap::<_, u32>::new();
    for service in running.filter(|service| service.service() != proto::api::v1::ServiceKind::Scheduler) {
        let count = nodes.entry(words::service(service.service())).or_default();
        *count = count.saturating_add(service.owns);
    }
    let words: Vec<_> = nodes.iter().map(|(service, nodes)| format!("{service} {nodes}")).collect();
    if words.is_empty() { "its services have stopped".to_owned() } else { format!("nodes left: {}", words.join(", ")) }
}

async fn until_gone(screen: &Screen, api: &Api, host: &str, timeout: Duration) -> Result<(), Error> {
    let over = wait_for(api, host, timeout, |read| match read {
        Ok(_) => Ok(None),
        Err(status) if status.code() == Code::NotFound => Ok(Some(())),
        Err(status) => Err(status.into()),
    });
    if over.await?.is_some() {
        let told = serde_json::json!({ "name": host, "removed": true });
        return screen.show(|| format!("{host}: removed"), || told);
    }
    screen.note(&format!(
        "{host}: not gone after {}; it goes on while the authority's host is up: ironmesh host list",
        length(timeout)
    ));
    Err(Error::Told)
}

/// The services of a host that run, of those that it is to run.
fn services(host: &Host) -> String {
    let running = host.services.iter().filter(|service| !service.instance.is_empty()).count();
    format!("{running}/{}", host.services.len())
}

fn racks(host: &Host) -> String {
    let mut racks: Vec<_> = host.services.iter().filter(|service| is_of_rack(service)).collect();
    racks.dedup_by_key(|service| &service.rack);
    racks.iter().map(|service| human::rack(&service.rack)).collect::<Vec<_>>().join(", ")
}

fn is_of_rack(service: &HostService) -> bool {
    service.service() != proto::api::v1::ServiceKind::Scheduler
}

/// What a host is beside its racks' services.
fn roles(host: &Host) -> String {
    let scheduler = host.services.iter().any(|service| !is_of_rack(service));
    let roles = [(host.authority, "authority"), (host.store, "store"), (scheduler, "scheduler")];
    roles.iter().filter(|(is_so, _)| *is_so).map(|(_, role)| *role).collect::<Vec<_>>().join(", ")
}

fn table_of(screen: &Screen, hosts: &[Host]) -> String {
    let row = |host: &Host| {
        vec![
            host.name.clone(),
            words::host_state(host.state()).to_owned(),
            host.advertise.clone(),
            racks(host),
            services(host),
            roles(host),
        ]
    };
    table::list(screen, &["HOST", "STATE", "ADDRESS", "RACKS", "RUNNING", "ROLES"], hosts.iter().map(row))
}

fn show(screen: &Screen, host: &Host) -> Result<(), Error> {
    screen.show(|| drawn(screen, host), || json::host(host))
}

fn drawn(screen: &Screen, host: &Host) -> String {
    let now = screen.now();
    let drained = if host.drained_by.is_empty() {
        String::new()
    } else {
        format!("{} by {}", ago(now, host.drain_time), host.drained_by)
    };
    let facts = [
        ("host", host.name.clone()),
        ("state", words::host_state(host.state()).to_owned()),
        ("address", host.advertise.clone()),
        ("roles", roles(host)),
        ("weight", host.weight.to_string()),
        ("joined", moment(now, host.join_time)),
        ("drained", drained),
    ];
    let rows = host.services.iter().map(|service| {
        let is_up = !service.instance.is_empty();
        vec![
            words::service(service.service()).to_owned(),
            if is_of_rack(service) { human::rack(&service.rack) } else { String::new() },
            if is_up { "yes" } else { "no" }.to_owned(),
            service.endpoint.clone(),
            if is_up { service.owns.to_string() } else { String::new() },
            ago(now, service.join_time),
        ]
    });
    let text = table::facts(screen, facts);
    if host.services.is_empty() {
        return text;
    }
    let heading = ["SERVICE", "RACK", "RUNS", "ENDPOINT", "OWNS", "STARTED"];
    format!("{text}\n\n{}", table::list(screen, &heading, rows))
}
