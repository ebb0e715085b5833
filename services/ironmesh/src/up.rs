//! Runs a whole rack: an etcd, a private CA, and every service as a child process, restarted with back-off when it
//! exits. When a child was reaped its death is proven, which is published.

mod child;
mod deaths;
mod plan;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use domain::{id::RackId, net::Subnet, service::Service};
use durable_file::Access;
use keyspace::{
    Change, Expect, Store,
    access::rack_roles,
    key,
    store::Pem,
    value::{Holder, Incarnation, Network, Rack},
};
use service_kit::{
    Host,
    config::{RACK_NAME_RULE, is_rack_name},
    status,
};
use tokio::{sync::Notify, time::Instant};

pub(crate) use self::{
    child::{Child, stop_on_signal},
    deaths::Deaths,
    plan::{BMC_CA_FOLDER, Setting, format_config, setting},
};
use crate::{
    certificate::Renewal,
    certs,
    console::{fail, say},
    etcd::{self, EtcdConfig, EtcdTls},
    etcd_space, pem_files, sealing,
    store::{Checks, ensure_access},
};

/// How long to wait until all services are ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How often readiness is checked.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);
/// How long children may take to stop: they hand their nodes over first.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// Run a whole rack: etcd, all services and certificates.
///
/// Without --network all listeners bind to loopback and no privileges are needed: the API, power and images work, but
/// machines are not booted. With it, machines on that network are booted; this requires root, or CAP_NET_BIND_SERVICE,
/// CAP_NET_RAW and CAP_NET_ADMIN.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Data directory; created if it does not exist.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Name of the rack: lower-case letters, digits, dashes.
    #[arg(long, default_value = "", value_name = "NAME")]
    pub(crate) rack: String,
    /// Member of an existing etcd, as https://10.0.0.1:2379, instead of starting one; may be repeated. Its members must
    /// trust the CA in certs/etcd-ca.pem of the data directory and have certificates of it: put etcd-ca.pem and
    /// etcd-ca.key there before the first start, or use the generated ones.
    #[arg(long, value_name = "URL", value_parser = crate::store::member)]
    pub(crate) etcd: Vec<String>,
    /// Number of replicas of each rack service.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=9))]
    pub(crate) replicas: u8,
    /// Number of scheduler-services, each with the whole API.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=9))]
    pub(crate) schedulers: u8,
    /// Address of the first scheduler-service's listener for Ironic's REST API; port 0 selects a free one. Further
    /// schedulers use a free port of the same host. Requests are not authenticated, and the address must be loopback,
    /// unless users are configured with --set scheduler.rest_users=FILE, scheduler.rest_keystone.url or
    /// scheduler.rest_jwt.keys.
    #[arg(long, default_value = "127.0.0.1:6385", value_name = "ADDRESS:PORT")]
    pub(crate) rest: SocketAddr,
    /// Interface on the provisioning network.
    #[arg(long, value_name = "DEVICE", requires_all = ["address", "range"])]
    pub(crate) network: Option<String>,
    /// Addresses on that interface, one for each replica.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) address: Vec<Ipv4Addr>,
    /// Prefix length of the network.
    #[arg(long, default_value_t = 24, value_name = "BITS")]
    pub(crate) prefix: u8,
    /// Addresses for machines, as FIRST-LAST.
    #[arg(long, value_name = "FIRST-LAST")]
    pub(crate) range: Option<String>,
    /// DHCP server identifier: an unused address on that interface. The leader of the pxe-services holds it, so that
    /// machines can always renew their leases (RFC 2132 §9.7). By default the address of the first replica is used, and
    /// while that replica is down machines renew late, by broadcast.
    #[arg(long, value_name = "ADDRESS", requires = "network")]
    pub(crate) server_identifier: Option<Ipv4Addr>,
    /// Router to announce to machines.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) router: Option<Ipv4Addr>,
    /// Directory that file: URLs of images may refer to; may be repeated.
    #[arg(long, value_name = "DIR")]
    pub(crate) files_from: Vec<PathBuf>,
    /// OTLP endpoint for traces, such as http://collector:4317.
    #[arg(long, default_value = "", value_name = "URL")]
    pub(crate) otlp: String,
    /// Log filter, in EnvFilter syntax.
    #[arg(long, default_value = "info", value_name = "FILTER")]
    pub(crate) log: String,
    /// Set a key of a service's own table, such as power.poll=30s or scheduler.boots=1; may be repeated. The keys are
    /// those of the files in deploy/config. A list is written as outbound.allow=["127.0.0.1"].
    #[arg(long, value_name = "TABLE.KEY=VALUE", value_parser = plan::setting)]
    pub(crate) set: Vec<Setting>,
}

pub(crate) fn run(options: Options) -> ExitCode {
    // They go where the other output of this process goes. The services write files of their own, with the same filter.
    if let Err(error) = service_kit::telemetry::set_up_logs(&options.log) {
        return fail(&anyhow::Error::new(error).context("--log"));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    match runtime.block_on(up(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

async fn up(mut options: Options) -> Result<()> {
    std::fs::create_dir_all(&options.data).with_context(|| format!("cannot create {}", options.data.display()))?;
    options.data = options.data.canonicalize().context("cannot use the data directory")?;
    let _lock = mesh::DataDirLock::take(&options.data.join("up"))
        .with_context(|| format!("cannot run a rack in {}", options.data.display()))?;
    check(&options)?;
    certs::remove_leftovers(&options.data)?;
    let certs = certs::prepare(&options.data, &options.rack).context("cannot prepare certificates")?;
    sealing::prepare(&options.data, &options.rack).context("cannot prepare the sealing keys")?;
    let host = Host::default();
    host.spawn(stop_on_signal(host.clone()));
    host.spawn(sealing::keep(options.data.clone(), options.rack.clone(), host.clone()));
    let own = if options.etcd.is_empty() {
        say("starting etcd");
        let tls = EtcdTls { files: certs.etcd.clone(), revoked: certs.revoked_for_etcd.clone() };
        Some(etcd::start(EtcdConfig::loopback(&options.data, tls)?).await?)
    } else {
        None
    };
    let cluster = Cluster {
        members: own.as_ref().map_or_else(|| options.etcd.clone(), |own| vec![own.endpoint.clone()]),
        restart: own.as_ref().map(|own| Arc::clone(&own.restart)),
    };
    let outcome = Box::pin(with_etcd(&options, &certs, cluster, &host)).await;
    host.stop();
    let drained = host.drain(STOP_TIMEOUT).await;
    if let Some(own) = own {
        own.stop().await;
    }
    say("stopped");
    drained.context("some services did not stop in time")?;
    outcome
}

/// The etcd that the rack uses.
struct Cluster {
    members: Vec<String>,
    /// Restarts it; `None` if it is not ours.
    restart: Option<Arc<Notify>>,
}

async fn with_etcd(options: &Options, certs: &certs::Certs, cluster: Cluster, host: &Host) -> Result<()> {
    let Cluster { members, restart } = cluster;
    let pem = pem_files::read(&certs.administrator)?;
    let pem = Pem { ca: &pem[0], certificate: &pem[1], key: &pem[2] };
    let store = Store::connect(&members, pem).await.context("cannot create the etcd client")?;
    tokio::select! {
        outcome = prepare(options, &store) => outcome?,
        () = host.stopping() => return Ok(()),
    };
    let rack = find_rack(&store, &options.rack).await?;
    // Before any service starts: a change of roles makes requests that are under way outdated.
    let owns_etcd = options.etcd.is_empty();
    if ensure_access(&store, rack_roles(rack, &options.rack), owns_etcd).await? == Checks::Nothing {
        say(&format!(
            "etcd does not check who writes what; make it so with: ironmesh store init --data {} --apply",
            options.data.display()
        ));
    }
    if owns_etcd {
        host.spawn(etcd_space::run(store.clone(), certs.administrator.clone(), host.clone()));
    }
    let renewal = Renewal {
        folder: certs.folder.clone(),
        wanted: certs.wanted(),
        administrator: certs.administrator.clone(),
        members: members.clone(),
        store: store.clone(),
        restart_etcd: restart,
    };
    host.spawn(renewal.run(host.clone()));
    let children = plan::children(options, certs, &members)?;
    for child in &children {
        child.write_config()?;
        let deaths = Deaths::Administrator { store: store.clone(), rack };
        host.spawn(child.clone().keep(host.clone(), deaths));
    }
    tokio::select! {
        outcome = ready(options, &children, certs) => outcome?,
        () = host.stopping() => return Ok(()),
    }
    host.stopping().await;
    say("stopping: the services hand over first");
    Ok(())
}

fn check(options: &Options) -> Result<()> {
    if !is_rack_name(&options.rack) {
        bail!("--rack {:?}: {RACK_NAME_RULE}", options.rack);
    }
    if options.network.is_some() && options.address.len() != usize::from(options.replicas) {
        let (have, want) = (options.address.len(), options.replicas);
        bail!("--address: one address for each of the {want} replicas is required, but {have} were given");
    }
    Ok(())
}

fn network(options: &Options) -> Result<Option<Network>> {
    let (Some(range), Some(first_replica)) = (&options.range, options.address.first()) else { return Ok(None) };
    let wrong = || format!("--range {range:?}: must be FIRST-LAST, such as 10.77.1.100-10.77.1.199");
    let (first, last) = range.split_once('-').with_context(wrong)?;
    let subnet = Subnet::around(*first_replica, options.prefix).context("--prefix: at most 30")?;
    let (first, last): (Ipv4Addr, Ipv4Addr) = (first.parse().with_context(wrong)?, last.parse().with_context(wrong)?);
    if !subnet.contains(first) || !subnet.contains(last) || first > last {
        bail!("--range {range:?}: must be within {subnet}");
    }
    if let Some(identifier) = options.server_identifier
        && !subnet.contains(identifier)
    {
        bail!("--server-identifier {identifier}: must be within {subnet}");
    }
    Ok(Some(Network {
        subnet,
        first,
        last,
        router: options.router,
        name_servers: Vec::new(),
        server_identifier: options.server_identifier.unwrap_or(*first_replica),
    }))
}

/// Waits for etcd and creates what the services require: the incarnation and the rack.
async fn prepare(options: &Options, store: &Store) -> Result<()> {
    let begun = Instant::now();
    loop {
        match store.get(&key::incarnation()).await {
            Ok(_) => break,
            Err(error) if begun.elapsed() < READY_TIMEOUT => {
                tracing::debug!(error = %status::chain(&error), "etcd is not ready yet");
                tokio::time::sleep(CHECK_INTERVAL).await;
            }
            Err(error) if options.etcd.is_empty() => {
                return Err(error).context("etcd does not start; see etcd.log in the data directory");
            }
            Err(error) => return Err(error).context(format!("etcd does not respond at {}", options.etcd.join(", "))),
        }
    }
    begin_incarnation(&options.data, store).await?;
    create_rack(store, &options.rack, network(options)?).await
}

/// Creates a rack, unless there is one of this name.
pub(crate) async fn create_rack(store: &Store, name: &str, network: Option<Network>) -> Result<()> {
    let id = RackId::new(uuid::Uuid::new_v4());
    let name = name.to_owned();
    let rack = Rack {
        id,
        name: name.clone(),
        network,
        kernel: None,
        ramdisk: None,
        kernel_arguments: "console=ttyS0".parse()?,
    };
    let place = key::rack_name(&name);
    let holder = Holder { kind: "rack".to_owned(), id: id.uuid(), name };
    let change = Change::new().put(&place, &holder, Expect::Absent)?.put(&key::rack(id), &rack, Expect::Absent)?;
    ignore_conflict(store.commit(change).await)
}

/// Creates the incarnation of a new store, or marks a restored backup before any service reads it.
pub(crate) async fn begin_incarnation(data: &Path, store: &Store) -> Result<()> {
    if let Some(how) = crate::store::restored(data)? {
        ignore_conflict(store.mark_restored_backup(how).await.map(|()| how.found))?;
        say(&format!(
            "the store is a restored backup: check its content, then run: ironmesh store adopt --data {}",
            data.display()
        ));
        return crate::store::clear_restored(data);
    }
    let is_new = store.get(&key::incarnation()).await?.is_none();
    if let Some(known) = crate::store::notes(data)?.first().filter(|_| is_new) {
        bail!(
            "the store in {} is empty, but services there have seen one at revision {}; restore a backup with ironmesh store restore, or start in an empty directory",
            data.display(),
            known.revision
        );
    }
    let incarnation = Incarnation { id: uuid::Uuid::new_v4(), ..Incarnation::default() };
    ignore_conflict(store.commit(Change::new().put(&key::incarnation(), &incarnation, Expect::Absent)?).await)
}

pub(crate) fn ignore_conflict(outcome: Result<i64, keyspace::Error>) -> Result<()> {
    match outcome {
        Ok(_) | Err(keyspace::Error::Conflict) => Ok(()),
        Err(error) => Err(error).context("cannot prepare the store"),
    }
}

pub(crate) async fn find_rack(store: &Store, name: &str) -> Result<RackId> {
    let holder = store.get(&key::rack_name(name)).await?.context("the rack is not in the store")?;
    Ok(RackId::new(holder.value.id))
}

/// Waits until every service is ready, then prints the endpoints.
async fn ready(options: &Options, children: &[Child], certs: &certs::Certs) -> Result<()> {
    let begun = Instant::now();
    // All at the same time: a service that has joined may exit while another one is awaited.
    while let Some(child) = children.iter().find(|child| !child.is_ready()) {
        if begun.elapsed() > READY_TIMEOUT {
            let error = child.last_error().map(|error| format!(": {error}")).unwrap_or_default();
            bail!("{} does not start{error}; see {}", child.name, child.log().display());
        }
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
    let schedulers = children.iter().filter(|child| child.service == Service::Scheduler);
    let endpoints: Option<Vec<_>> = schedulers.map(Child::endpoint).collect();
    let endpoint = endpoints.context("the scheduler-service has no address")?.join(",");
    let client = options.data.join("client.toml");
    let text = format!(
        "endpoint = {endpoint:?}\nca = {:?}\ncertificate = {:?}\nkey = {:?}\n",
        certs.operator.ca.display().to_string(),
        certs.operator.certificate.display().to_string(),
        certs.operator.key.display().to_string(),
    );
    durable_file::write(&client, text.as_bytes(), Access::Everyone)?;
    let schedulers = children.iter().filter(|child| child.service == Service::Scheduler);
    let rest = schedulers.filter_map(|child| std::fs::read_to_string(child.data.join("rest.address")).ok());
    let is_https = options.set.iter().any(|setting| setting.is("scheduler", "rest_tls.certificate"));
    let scheme = if is_https { "https" } else { "http" };
    let rest: Vec<_> = rest.map(|address| format!("{scheme}://{}", address.trim())).collect();
    say(&format!(
        "ready: {} services, the API at {endpoint}, Ironic's at {}\nuse it with: ironmesh --context {} node list",
        children.len(),
        rest.join(", "),
        client.display()
    ));
    Ok(())
}
