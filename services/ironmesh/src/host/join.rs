//! `ironmesh join`: makes a machine a host of a datacenter, or lets a host do more.
//!
//! The keys are written first, then the authority is asked, then certificates and files are written, and `host.toml` last:
//! after a crash the command is repeated, with the same keys.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use authority::{
    client::{Allowed, ClientError, HostClient, JoinClient},
    keys,
    purpose::{Purpose, Roles},
};
use clap::Args;
use domain::service::Service;
use keyspace::value::HostRack;
use proto::authority::v1::{Cluster, JoinRequest, JoinResponse};
use service_kit::{
    config::{FULL_WEIGHT, MAX_WEIGHT},
    join_token::JoinToken,
    tls::Tls,
};
use tokio::time::Instant;

use super::{
    DEFAULT_DATA,
    config::{HostConfig, RackConfig, SchedulerConfig, services},
    files, identities,
    machine::{find_etcd, has_address, has_interface, host_name, is_free, start_command},
    ports::{self, AUTHORITY_PORT},
    run as supervisor,
};
use crate::{
    console::{answer, fail, say},
    up::setting,
};

/// How long a host waits until etcd takes another member.
const LATER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the authority may take to say what a token allows.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Delay before it asks again.
const LATER_DELAY: Duration = Duration::from_secs(1);
/// How long a connection to a host may take that is tried after joining.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// Make this machine a host of a datacenter, or let a host serve another rack.
///
/// It prepares the data directory only, and can be repeated, also after it was interrupted. Private keys are made here and
/// stay here. Start the host then with systemctl enable --now ironmesh-host, or with ironmesh host run.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  ironmesh join 10.0.0.11 --token-file token --store --scheduler\n  ironmesh join 10.0.0.11 \
                  --token-file - --interface eth1 --address 10.77.7.1"
)]
pub(crate) struct Options {
    /// The first host of the datacenter, which has the authority: an address or name, with a port if it is not 7380.
    #[arg(value_name = "ADDRESS[:PORT]")]
    authority: String,
    /// Join token. Other users of this machine can read it in the list of processes: --token-file is safer.
    #[arg(long, value_name = "TOKEN", required_unless_present = "token_file", conflicts_with = "token_file")]
    token: Option<String>,
    /// File with the join token; - is the standard input.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Name of this host: a DNS label. By default the first label of the machine's name.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Address of this machine at which other hosts reach it. By default the one from which it reaches the authority.
    #[arg(long, value_name = "ADDRESS")]
    advertise: Option<IpAddr>,
    /// Run a member of the built-in etcd.
    #[arg(long)]
    store: bool,
    /// Run a scheduler-service.
    #[arg(long)]
    scheduler: bool,
    /// Services to run for the token's rack, such as power,pxe. Without --services, --store and --scheduler the host runs
    /// everything that the token allows.
    #[arg(long, value_name = "NAMES", value_parser = services)]
    services: Option<BTreeSet<Service>>,
    /// Interface of this host on the rack's provisioning network.
    #[arg(long, value_name = "DEVICE", requires = "address")]
    interface: Option<String>,
    /// Address of this host on that interface.
    #[arg(long, value_name = "ADDRESS", requires = "interface")]
    address: Vec<Ipv4Addr>,
    /// Prefix length of that network.
    #[arg(long, default_value_t = 24, value_name = "BITS")]
    prefix: u8,
    /// Share of the nodes of its racks that this host takes, in percent of a full share.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_WEIGHT)))]
    weight: Option<u32>,
    /// Address of Ironic's REST API of the scheduler-service, as with ironmesh init.
    #[arg(long, default_value = "127.0.0.1:6385", value_name = "ADDRESS:PORT")]
    rest: SocketAddr,
    /// Address of listeners for metrics and health, which are plain HTTP.
    #[arg(long, value_name = "ADDRESS")]
    monitor: Option<IpAddr>,
    /// OTLP endpoint for traces, such as http://collector:4317.
    #[arg(long, value_name = "URL")]
    otlp: Option<String>,
    /// Log filter, in EnvFilter syntax.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Set a key of a service's own table, such as power.poll=30s; may be repeated.
    #[arg(long, value_name = "TABLE.KEY=VALUE", value_parser = |text: &str| setting(text).map(|_| text.to_owned()))]
    set: Vec<String>,
    /// Data directory of the host; created if it does not exist.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA)]
    data: PathBuf,
    /// Go on as ironmesh host run.
    #[arg(long)]
    run: bool,
}

/// Runs the command.
pub(crate) fn run(options: Options) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    if let Err(error) = runtime.block_on(join(&options)) {
        return fail(&error);
    }
    drop(runtime);
    if options.run { supervisor::run(supervisor::Options { data: options.data }) } else { ExitCode::SUCCESS }
}

async fn join(options: &Options) -> Result<()> {
    let token = read_token(options)?;
    fs::create_dir_all(options.data.join("certs"))
        .with_context(|| format!("cannot create {}", options.data.display()))?;
    let data = &options.data.canonicalize().with_context(|| format!("cannot use {}", options.data.display()))?;
    let _lock = mesh::DataDirLock::take(&data.join("up")).with_context(|| {
        format!("a host or another ironmesh join runs in {}; stop it before it is changed", data.display())
    })?;
    let present = HostConfig::find(data)?;
    may_join(data, present.as_ref(), &token)?;
    service_kit::tls::install_provider();
    let authority = authority_address(&options.authority)?;
    let name = match (&options.name, &present) {
        (None, Some(present)) => present.name.clone(),
        (given, _) => host_name(given.as_deref())?,
    };
    if let Some(present) = present.as_ref().filter(|present| present.name != name) {
        bail!(
            "{} is of host {}, not of {name}; use another directory, or pass --name {}",
            data.display(),
            present.name,
            present.name
        );
    }
    let advertise = advertised(options, present.as_ref(), &authority)?;
    has_address("--advertise", advertise)?;
    say(&format!("asking the authority at {authority}"));
    if present.is_some() {
        is_still_a_host(data, &authority).await?;
    }
    let mut client = JoinClient::new(&authority, token)?;
    let described = tokio::time::timeout(ANSWER_TIMEOUT, client.describe()).await;
    let allowed = described.with_context(|| {
        format!(
            "the authority has not answered at {authority} for {} s; check the address and firewalls",
            ANSWER_TIMEOUT.as_secs()
        )
    })??;
    let asked = roles(options, &allowed);
    check_machine(advertise, present.as_ref(), &asked, options)?;
    let all = together(present.as_ref().map(identities::roles).unwrap_or_default(), &asked);
    let host = Joining { options, allowed: &allowed, name: &name, advertise, authority: &authority };
    // What cannot be started is refused before anything is asked for.
    super::plan::children(&host.configuration(present.clone(), &provisional(&all))?, data)?;
    let folder = data.join("certs");
    let requests = all.purposes().into_iter().map(|purpose| keys::prepare(&folder, purpose));
    let requests: Vec<_> = requests.collect::<Result<_>>()?;
    let request = JoinRequest {
        host: name.clone(),
        advertise: advertise.to_string(),
        roles: Some(asked.to_wire()),
        certificates: requests.iter().map(keys::Requested::to_wire).collect(),
        weight: options.weight.unwrap_or_default(),
        ..JoinRequest::default()
    };
    let answer = join_when_possible(&mut client, request).await?;
    for signed in &answer.certificates {
        let request = requests.iter().find(|request| request.purpose.file_name() == signed.name);
        let request = request
            .with_context(|| format!("the authority sent a certificate {:?} that was not asked for", signed.name))?;
        files::write_certificate(data, request, &signed.certificate)?;
    }
    files::write_all(data, &answer.files)?;
    let config = host.configuration(present, &answer)?;
    config.save(data)?;
    probe(&config);
    answer_next(data, &config);
    Ok(())
}

/// Refuses a host that was removed: its member of etcd cannot come back.
async fn is_still_a_host(data: &Path, authority: &str) -> Result<()> {
    let files = identities::files(data, &Purpose::Host);
    if !files.certificate.exists() {
        return Ok(());
    }
    let tls = Tls::load(files).context("cannot use the host's certificate")?;
    match HostClient::new(authority, &tls)?.renew(&[]).await {
        Err(ClientError::Removed(why)) => {
            bail!("{} is of a host that was removed ({why}); use an empty data directory", data.display())
        }
        // An expired certificate is what a host joins again for; other errors are told when it asks to join.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// What the answer will be but for what only the authority knows: slots, and where etcd and the schedulers are.
fn provisional(roles: &Roles) -> JoinResponse {
    let mut roles = roles.to_wire();
    for (slot, rack) in roles.racks.iter_mut().enumerate() {
        rack.slot = u32::try_from(slot).unwrap_or_default();
    }
    let etcd = vec!["https://127.0.0.1:2379".to_owned()];
    let cluster = Cluster { etcd, schedulers: Vec::new(), built_in_etcd: true };
    JoinResponse { roles: Some(roles), cluster: Some(cluster), ..JoinResponse::default() }
}

/// Joins, and tries again for a while if that is possible only later: etcd takes one new member at a time.
async fn join_when_possible(client: &mut JoinClient, request: JoinRequest) -> Result<JoinResponse> {
    let begun = Instant::now();
    let mut is_told = false;
    loop {
        match client.join(request.clone()).await {
            Err(ClientError::Later(why)) if begun.elapsed() < LATER_TIMEOUT => {
                if !is_told {
                    say(&format!("waiting up to {} s: {why}", LATER_TIMEOUT.as_secs()));
                    is_told = true;
                }
                tokio::time::sleep(LATER_DELAY).await;
            }
            outcome => return Ok(outcome?),
        }
    }
}

fn read_token(options: &Options) -> Result<JoinToken> {
    let text = match (&options.token, &options.token_file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) if path == Path::new("-") => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).context("cannot read the join token from the standard input")?;
            text
        }
        (None, Some(path)) => fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?,
        // clap requires one.
        (None, None) => bail!("pass --token-file or --token"),
    };
    Ok(text.parse()?)
}

/// Refuses a directory that belongs to something else.
fn may_join(data: &Path, present: Option<&HostConfig>, token: &JoinToken) -> Result<()> {
    let shown = data.display();
    match present {
        Some(present) => ensure!(
            present.datacenter == token.datacenter(),
            "{shown} is of host {} of datacenter {}, and the join token is of datacenter {}; use another directory",
            present.name,
            present.datacenter,
            token.datacenter()
        ),
        None => ensure!(
            !data.join("client.toml").exists() && !data.join("etcd/member").exists() && !identities::has_ca(data),
            "{shown} is of an ironmesh up or of another datacenter; use an empty directory"
        ),
    }
    Ok(())
}

/// Adds the port if there is none.
fn authority_address(text: &str) -> Result<String> {
    let wrong = || format!("{text:?}: must be an address such as 10.0.0.11, or with a port 10.0.0.11:{AUTHORITY_PORT}");
    let text = text.trim();
    ensure!(!text.is_empty() && !text.contains(['/', ',', ' ']), "{}", wrong());
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, AUTHORITY_PORT).to_string());
    }
    match text.rsplit_once(':') {
        Some((host, port)) => {
            port.parse::<u16>().ok().filter(|port| *port != 0 && !host.is_empty()).with_context(wrong)?;
            Ok(text.to_owned())
        }
        None => Ok(format!("{text}:{AUTHORITY_PORT}")),
    }
}

/// Returns the address at which others reach this host.
fn advertised(options: &Options, present: Option<&HostConfig>, authority: &str) -> Result<IpAddr> {
    if let Some(given) = options.advertise {
        return Ok(given);
    }
    if let Some(present) = present {
        return Ok(present.advertise);
    }
    let address = authority.to_socket_addrs().ok().and_then(|mut all| all.next());
    let address = address.with_context(|| format!("cannot find the address of {authority}"))?;
    let any: SocketAddr = if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let local = UdpSocket::bind(any).and_then(|socket| {
        socket.connect(address)?;
        socket.local_addr()
    });
    let local = local.with_context(|| format!("this machine has no way to {authority}; pass --advertise"))?;
    Ok(local.ip())
}

/// Returns what the host is to run in addition: what the options name, or everything that the token allows.
fn roles(options: &Options, allowed: &Allowed) -> Roles {
    let Roles { racks, store, scheduler } = allowed.roles.clone();
    if options.services.is_none() && !options.store && !options.scheduler {
        return Roles { racks, store, scheduler };
    }
    let racks = racks.into_iter().filter_map(|rack| Some(HostRack { services: options.services.clone()?, ..rack }));
    Roles { racks: racks.collect(), store: options.store, scheduler: options.scheduler }
}

/// Adds roles to those that a host has.
fn together(mut present: Roles, asked: &Roles) -> Roles {
    for rack in &asked.racks {
        match present.racks.iter_mut().find(|before| before.rack == rack.rack) {
            Some(before) => before.services.extend(rack.services.iter().copied()),
            None => present.racks.push(rack.clone()),
        }
    }
    present.store |= asked.store;
    present.scheduler |= asked.scheduler;
    present
}

/// Checks the addresses and ports of what the host is to run in addition.
fn check_machine(advertise: IpAddr, present: Option<&HostConfig>, asked: &Roles, options: &Options) -> Result<()> {
    let own = |port| SocketAddr::new(advertise, port);
    let mut all = Vec::new();
    if asked.store && present.is_none_or(|present| !present.store) {
        all.extend([(own(ports::ETCD_PORT), "etcd"), (own(ports::ETCD_PEER_PORT), "etcd's other members")]);
        find_etcd("the first host with --no-store --etcd URL")?;
    }
    if asked.scheduler && present.is_none_or(|present| present.scheduler.is_none()) {
        all.push((own(ports::SCHEDULER_PORT), "scheduler-service"));
        all.extend((options.rest.port() != 0).then_some((options.rest, "the REST API")));
    }
    options.interface.as_deref().map_or(Ok(()), has_interface)?;
    for address in &options.address {
        has_address("--address", (*address).into())?;
    }
    // The slots of racks are known only when the host has joined.
    all.into_iter().try_for_each(|(address, purpose)| is_free(address, purpose))
}

/// What a host joins with.
struct Joining<'a> {
    options: &'a Options,
    allowed: &'a Allowed,
    name: &'a str,
    advertise: IpAddr,
    authority: &'a str,
}

impl Joining<'_> {
    /// Determines what the host is now.
    fn configuration(&self, present: Option<HostConfig>, answer: &JoinResponse) -> Result<HostConfig> {
        let Self { options, allowed, name, advertise, authority } = self;
        let roles = Roles::from_wire(&answer.roles.clone().unwrap_or_default())?;
        let cluster = answer.cluster.clone().unwrap_or_default();
        let before = present.as_ref();
        let keep = |given: &Option<String>, before: Option<&String>, default: &str| {
            given.clone().or_else(|| before.cloned()).unwrap_or_else(|| default.to_owned())
        };
        let mut set = before.map(|before| before.set.clone()).unwrap_or_default();
        set.extend(options.set.iter().filter(|text| !set.contains(text)).cloned().collect::<Vec<_>>());
        let scheduler = before.and_then(|before| before.scheduler.clone());
        let config = HostConfig {
            name: (*name).to_owned(),
            datacenter: allowed.datacenter.clone(),
            trust_domain: allowed.trust_domain.clone(),
            advertise: *advertise,
            weight: options.weight.or_else(|| Some(before?.weight)).unwrap_or(FULL_WEIGHT),
            monitor: options.monitor.or_else(|| Some(before?.monitor)).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            authority: (*authority).to_owned(),
            store: roles.store,
            initial_cluster: if answer.initial_cluster.is_empty() {
                before.map(|before| before.initial_cluster.clone()).unwrap_or_default()
            } else {
                answer.initial_cluster.clone()
            },
            etcd: cluster.etcd,
            built_in_etcd: cluster.built_in_etcd,
            schedulers: cluster.schedulers,
            new_racks: Vec::new(),
            log: keep(&options.log, before.map(|before| &before.log), "info"),
            otlp: keep(&options.otlp, before.map(|before| &before.otlp), ""),
            set,
            scheduler: scheduler.or_else(|| roles.scheduler.then_some(SchedulerConfig { rest: options.rest })),
            racks: roles.racks.iter().map(|rack| self.rack(rack, before)).collect(),
        };
        let problems = config.problems();
        ensure!(problems.is_empty(), "{}", problems.join("\n"));
        Ok(config)
    }

    fn rack(&self, rack: &HostRack, before: Option<&HostConfig>) -> RackConfig {
        let before = before.and_then(|before| before.racks.iter().find(|before| before.name == rack.rack));
        let is_new = self.allowed.roles.racks.iter().any(|allowed| allowed.rack == rack.rack);
        let given = self.options.interface.clone().filter(|_| is_new);
        let (interface, addresses, prefix) = match (given, before) {
            (Some(interface), _) => (interface, self.options.address.clone(), self.options.prefix),
            (None, Some(before)) => (before.interface.clone(), before.addresses.clone(), before.prefix),
            (None, None) => (String::new(), Vec::new(), self.options.prefix),
        };
        let (name, services) = (rack.rack.clone(), rack.services.clone());
        RackConfig { name, slot: rack.slot, services, interface, addresses, prefix }
    }
}

/// Names what cannot be reached from here: the host has joined, and its services will wait for it.
fn probe(config: &HostConfig) {
    let etcd = config.etcd.iter().filter_map(|url| Some((url.strip_prefix("https://")?.to_owned(), "etcd")));
    let schedulers = config.schedulers.iter().map(|address| (address.clone(), "scheduler-service"));
    let own = config.advertise;
    for (address, purpose) in etcd.chain(schedulers) {
        let Some(resolved) = address.to_socket_addrs().ok().and_then(|mut all| all.next()) else { continue };
        if resolved.ip() == own {
            continue;
        }
        if let Err(error) = TcpStream::connect_timeout(&resolved, PROBE_TIMEOUT) {
            say(&format!(
                "warning: TCP port {} of {} cannot be reached from here ({error}); it is for {purpose}. Check that it runs, and \
                 the firewalls (ironmesh host ports)",
                resolved.port(),
                resolved.ip()
            ));
        }
    }
}

/// Says what was done, and what an operator types next.
fn answer_next(data: &Path, config: &HostConfig) {
    let mut runs: Vec<_> = config.racks.iter().map(|rack| format!("services of rack {:?}", rack.name)).collect();
    runs.extend(config.store.then(|| "a member of the store".to_owned()));
    runs.extend(config.scheduler.is_some().then(|| "a scheduler-service".to_owned()));
    answer(&format!(
        "host {} has joined datacenter {}, at {}; it runs {}\n\n\
         start it:              {}\n\
         see it on another:     ironmesh host list\n\
         ports for firewalls:   ironmesh host ports --data {}",
        config.name,
        config.datacenter,
        config.advertise,
        runs.join(", "),
        start_command(data),
        data.display()
    ));
}

#[cfg(test)]
mod tests;
