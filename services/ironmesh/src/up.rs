//! A rack from one command: an etcd of its own, a private CA, and every service as a child process of this one,
//! started again with back-off when it ends. A child that was reaped is proven dead, and is said to be.

mod certs;
mod child;
mod etcd;
mod plan;
mod room;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use domain::{id::RackId, net::Subnet, service::Service};
use keyspace::{
    Change, Expect, Store, key,
    store::Pem,
    value::{Holder, Incarnation, Network, Rack},
};
use service_kit::{Host, status, tls::Role};
use tokio::time::Instant;

/// How long all services may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// How long children may take to stop: they hand over first.
const GRACE: Duration = Duration::from_secs(15);

/// Runs one whole rack: etcd, every service, certificates and all, from one command.
///
/// Without --network everything binds loopback and needs no privileges: the API, power and images work, and machines
/// are not booted. With it, machines on that network are booted; this needs root, or CAP_NET_BIND_SERVICE,
/// CAP_NET_RAW and CAP_NET_ADMIN.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// The folder that everything is kept in; made where there is none.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// The rack's name: lower-case letters, digits, dashes.
    #[arg(long, default_value = "", value_name = "NAME")]
    pub(crate) rack: String,
    /// A member of an etcd that is there already, as https://10.0.0.1:2379, instead of one of its own; may be given more
    /// than once. Its members must trust the CA in certs/ca.pem of the data folder and have certificates of it: put
    /// ca.pem and ca.key there before the first start, or use the ones that it makes.
    #[arg(long, value_name = "URL", value_parser = etcd::member)]
    pub(crate) etcd: Vec<String>,
    /// Replicas of every rack service.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=9))]
    pub(crate) replicas: u8,
    /// Scheduler-services, each with the whole API.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=9))]
    pub(crate) schedulers: u8,
    /// Where the first scheduler-service answers Ironic's REST API; port 0 takes any free one. Further ones take a free
    /// port of the same host. Unless --set scheduler.rest_users=FILE names users, or scheduler.rest_keystone.url or
    /// scheduler.rest_jwt.keys who knows them, nobody is asked who he is there, and it must be loopback.
    #[arg(long, default_value = "127.0.0.1:6385", value_name = "ADDRESS:PORT")]
    pub(crate) rest: SocketAddr,
    /// The interface on the provisioning network.
    #[arg(long, value_name = "DEVICE", requires_all = ["address", "range"])]
    pub(crate) network: Option<String>,
    /// An address on that interface; one for each replica.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) address: Vec<Ipv4Addr>,
    /// The length of the network's prefix.
    #[arg(long, default_value_t = 24, value_name = "BITS")]
    pub(crate) prefix: u8,
    /// The addresses that machines may have, as FIRST-LAST.
    #[arg(long, value_name = "FIRST-LAST")]
    pub(crate) range: Option<String>,
    /// The DHCP server identifier: an address on that interface that nothing else has. The leader of the pxe-services
    /// holds it, so that machines renew their leases with whoever is there (RFC 2132 §9.7). Without it the first
    /// replica's own address is taken, and while that one is away machines renew late, by broadcast.
    #[arg(long, value_name = "ADDRESS", requires = "network")]
    pub(crate) server_identifier: Option<Ipv4Addr>,
    /// The router that machines are told of.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) router: Option<Ipv4Addr>,
    /// A folder that images registered by file: URLs may lie in; may be given more than once.
    #[arg(long, value_name = "DIR")]
    pub(crate) files_from: Vec<PathBuf>,
    /// Where traces go (OTLP), as http://collector:4317.
    #[arg(long, default_value = "", value_name = "URL")]
    pub(crate) otlp: String,
    /// What is logged, as an EnvFilter.
    #[arg(long, default_value = "info", value_name = "FILTER")]
    pub(crate) log: String,
    /// A key of a service's own table, such as power.poll=30s or scheduler.boots=1; may be given more than once. The
    /// keys are those of the files in deploy/config.
    #[arg(long, value_name = "TABLE.KEY=VALUE", value_parser = plan::setting)]
    pub(crate) set: Vec<plan::Setting>,
}

/// Runs until it is asked to stop.
/// A certificate for somebody.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ironmesh certificate ann --role reader --data /var/lib/ironmesh")]
pub(crate) struct Certificate {
    /// Who is to bear it.
    name: String,
    /// What he may do: reader sees everything, member uses nodes, service looks after nodes and images, admin may all.
    #[arg(long)]
    role: Role,
    /// The folder of `ironmesh up`, with its private CA.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

/// Makes it.
pub(crate) fn certify(wanted: &Certificate) -> ExitCode {
    match certs::certify(&wanted.data, &wanted.name, wanted.role) {
        Ok(context) => {
            crate::store::answer(&context.display().to_string());
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}

pub(crate) fn run(options: Options) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    match runtime.block_on(up(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

pub(crate) fn fail(error: &anyhow::Error) -> ExitCode {
    say(&format!("error: {error:#}"));
    ExitCode::FAILURE
}

#[expect(clippy::print_stderr, reason = "this is for who typed the command")]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}

async fn up(mut options: Options) -> Result<()> {
    std::fs::create_dir_all(&options.data).with_context(|| format!("cannot make {}", options.data.display()))?;
    options.data = options.data.canonicalize().context("cannot use the data folder")?;
    let _lock = mesh::DataDirLock::take(&options.data.join("up"))
        .with_context(|| format!("cannot run a rack in {}", options.data.display()))?;
    check(&options)?;
    let certs = certs::prepare(&options.data, &options.rack).context("cannot prepare certificates")?;
    let host = Host::default();
    host.spawn(child::stop_on_signal(host.clone()));
    let own = if options.etcd.is_empty() {
        say("starting etcd");
        Some(etcd::start(&options.data, &certs).await?)
    } else {
        None
    };
    let members = own.as_ref().map_or_else(|| options.etcd.clone(), |own| vec![own.endpoint.clone()]);
    let outcome = Box::pin(with_etcd(&options, &certs, &members, &host)).await;
    host.stop();
    let drained = host.drain(GRACE).await;
    if let Some(own) = own {
        own.stop().await;
    }
    say("stopped");
    drained.context("some services did not stop in time")?;
    outcome
}

async fn with_etcd(options: &Options, certs: &certs::Certs, members: &[String], host: &Host) -> Result<()> {
    let pem = certs.up.read()?;
    let pem = Pem { ca: &pem[0], certificate: &pem[1], key: &pem[2] };
    let store = Store::connect(members, pem).await.context("cannot prepare to reach etcd")?;
    tokio::select! {
        outcome = prepare(options, &store) => outcome?,
        () = host.stopping() => return Ok(()),
    };
    let rack = find_rack(&store, &options.rack).await?;
    if options.etcd.is_empty() {
        host.spawn(room::keep(store.clone(), host.clone()));
    }
    let children = plan::children(options, certs, members)?;
    for child in &children {
        child.write_config()?;
        host.spawn(child.clone().keep(host.clone(), store.clone(), rack));
    }
    tokio::select! {
        outcome = ready(options, &children, certs) => outcome?,
        () = host.stopping() => return Ok(()),
    }
    host.stopping().await;
    say("stopping: each service hands over first");
    Ok(())
}

fn check(options: &Options) -> Result<()> {
    if !service_kit::config::is_rack_name(&options.rack) {
        bail!("--rack {:?}: must be lower-case letters, digits and dashes", options.rack);
    }
    if options.network.is_some() && options.address.len() != usize::from(options.replicas) {
        let (have, want) = (options.address.len(), options.replicas);
        bail!("--address: give one for each of the {want} replicas, there are {have}");
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
        bail!("--range {range:?}: must lie in {subnet}");
    }
    if let Some(identifier) = options.server_identifier
        && !subnet.contains(identifier)
    {
        bail!("--server-identifier {identifier}: must lie in {subnet}");
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

/// Waits for etcd, and makes what must be there before the first service: the incarnation and the rack.
async fn prepare(options: &Options, store: &Store) -> Result<()> {
    let begun = Instant::now();
    loop {
        match store.get(&key::incarnation()).await {
            Ok(_) => break,
            Err(error) if begun.elapsed() < PATIENCE => {
                tracing::debug!(error = %status::chain(&error), "etcd is not there yet");
                tokio::time::sleep(LOOK).await;
            }
            Err(error) if options.etcd.is_empty() => {
                return Err(error).context("etcd does not come up; see etcd.log in the data folder");
            }
            Err(error) => return Err(error).context(format!("etcd does not answer at {}", options.etcd.join(", "))),
        }
    }
    begin_incarnation(&options.data, store).await?;
    let id = RackId::new(uuid::Uuid::new_v4());
    let name = options.rack.clone();
    let rack = Rack {
        id,
        name: name.clone(),
        network: network(options)?,
        kernel: None,
        ramdisk: None,
        kernel_arguments: "console=ttyS0".to_owned(),
    };
    let holder = Holder { kind: "rack".to_owned(), id: id.uuid(), name };
    let change = Change::new().put(&key::rack_name(&options.rack), &holder, Expect::Absent)?.put(
        &key::rack(id),
        &rack,
        Expect::Absent,
    )?;
    unless_there(store.commit(change).await)
}

/// A new store gets its incarnation; one that was restored says so, before any service reads it.
async fn begin_incarnation(data: &Path, store: &Store) -> Result<()> {
    if let Some(how) = crate::store::restored(data)? {
        unless_there(store.mark_restored_backup(how).await.map(|()| how.found))?;
        say(&format!(
            "the store is a restored backup: look at it, then ironmesh store adopt --data {}",
            data.display()
        ));
        return crate::store::restore_was_said(data);
    }
    let is_new = store.get(&key::incarnation()).await?.is_none();
    if let Some(known) = crate::store::notes(data)?.first().filter(|_| is_new) {
        bail!(
            "the store in {} is empty, and services there have known one at revision {}; bring a copy back with \
             ironmesh store restore, or begin anew in an empty folder",
            data.display(),
            known.revision
        );
    }
    let incarnation = Incarnation { id: uuid::Uuid::new_v4(), ..Incarnation::default() };
    unless_there(store.commit(Change::new().put(&key::incarnation(), &incarnation, Expect::Absent)?).await)
}

/// Ends an etcd that an `ironmesh up` left behind in this folder.
pub(crate) async fn end_leftover_etcd(data: &Path) -> Result<()> {
    etcd::end_leftover(data).await
}

fn unless_there(outcome: Result<i64, keyspace::Error>) -> Result<()> {
    match outcome {
        Ok(_) | Err(keyspace::Error::Conflict) => Ok(()),
        Err(error) => Err(error).context("cannot prepare the store"),
    }
}

async fn find_rack(store: &Store, name: &str) -> Result<RackId> {
    let holder = store.get(&key::rack_name(name)).await?.context("the rack is not in the store")?;
    Ok(RackId::new(holder.value.id))
}

/// Waits until every service answers, then says what there is.
async fn ready(options: &Options, children: &[child::Child], certs: &certs::Certs) -> Result<()> {
    let begun = Instant::now();
    for child in children {
        while !child.is_ready() {
            if begun.elapsed() > PATIENCE {
                bail!("{} does not come up; see {}", child.name, child.log().display());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    let schedulers = children.iter().filter(|child| child.service == Service::Scheduler);
    let endpoints: Option<Vec<_>> = schedulers.map(child::Child::endpoint).collect();
    let endpoint = endpoints.context("the scheduler-service has no address")?.join(",");
    let client = options.data.join("client.toml");
    let text = format!(
        "endpoint = {endpoint:?}\nca = {:?}\ncertificate = {:?}\nkey = {:?}\n",
        certs.operator.ca.display().to_string(),
        certs.operator.certificate.display().to_string(),
        certs.operator.key.display().to_string(),
    );
    std::fs::write(&client, text).with_context(|| format!("cannot write {}", client.display()))?;
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
