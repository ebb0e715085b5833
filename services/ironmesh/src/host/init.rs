//! `ironmesh init`: makes a machine the first host of a datacenter.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use domain::service::Service;
use service_kit::config::FULL_WEIGHT;

use super::{
    DEFAULT_DATA,
    config::{HostConfig, RackConfig, SchedulerConfig, services},
    identities,
    machine::{find_etcd, has_address, has_interface, host_name, is_free, start_command, write_context},
    plan, ports, run as supervisor,
};
use crate::{
    certs,
    console::{answer, fail},
};

/// Make this machine the first host of a new datacenter: CAs, store, scheduler, and a context for the administrator.
///
/// It prepares the data directory only, and can be repeated. Start the host then with systemctl enable --now
/// ironmesh-host, or with ironmesh host run. Other machines become hosts with ironmesh join.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  ironmesh init --datacenter fra1 --advertise 10.0.0.11\n  ironmesh init --datacenter fra1 \
                  --advertise 10.0.0.11 --rack r7 --interface eth1 --address 10.77.1.1"
)]
pub(crate) struct Options {
    /// Name of the datacenter: a DNS label.
    #[arg(long, value_name = "NAME")]
    datacenter: String,
    /// Address of this machine at which other hosts reach it.
    #[arg(long, value_name = "ADDRESS")]
    advertise: IpAddr,
    /// Name of this host: a DNS label. By default the first label of the machine's name.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Trust domain of the identities in certificates.
    #[arg(long, value_name = "DOMAIN", default_value = "ironmesh")]
    trust_domain: String,
    /// Use etcd clusters of your own, with --etcd, instead of the built-in etcd. Their members must trust the CA in
    /// certs/etcd-ca.pem of the data directory and have certificates of it.
    #[arg(long, requires = "etcd")]
    no_store: bool,
    /// Member of that etcd, as https://10.0.0.1:2379; may be repeated.
    #[arg(long, value_name = "URL", value_parser = crate::store::member, requires = "no_store")]
    etcd: Vec<String>,
    /// Address of Ironic's REST API. Requests are not authenticated, and the address must be loopback, unless users are
    /// configured with --set scheduler.rest_users=FILE, scheduler.rest_keystone.url or scheduler.rest_jwt.keys.
    #[arg(long, default_value = "127.0.0.1:6385", value_name = "ADDRESS:PORT")]
    rest: SocketAddr,
    /// Create a rack; may be repeated. This host serves it if --interface or --services is given.
    #[arg(long, value_name = "NAME")]
    rack: Vec<String>,
    /// Services that this host runs for the rack, such as power,pxe. By default all, if --interface is given.
    #[arg(long, value_name = "NAMES", value_parser = services, requires = "rack")]
    services: Option<BTreeSet<Service>>,
    /// Interface of this host on the rack's provisioning network.
    #[arg(long, value_name = "DEVICE", requires_all = ["rack", "address"])]
    interface: Option<String>,
    /// Address of this host on that interface.
    #[arg(long, value_name = "ADDRESS", requires = "interface")]
    address: Vec<Ipv4Addr>,
    /// Prefix length of that network.
    #[arg(long, default_value_t = 24, value_name = "BITS")]
    prefix: u8,
    /// Share of the nodes of its racks that this host takes, in percent of a full share.
    #[arg(long, default_value_t = FULL_WEIGHT, value_name = "PERCENT")]
    weight: u32,
    /// Address of listeners for metrics and health, which are plain HTTP.
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    monitor: IpAddr,
    /// OTLP endpoint for traces, such as http://collector:4317.
    #[arg(long, default_value = "", value_name = "URL")]
    otlp: String,
    /// Log filter, in EnvFilter syntax.
    #[arg(long, default_value = "info", value_name = "FILTER")]
    log: String,
    /// Set a key of a service's own table, such as power.poll=30s; may be repeated.
    #[arg(long, value_name = "TABLE.KEY=VALUE", value_parser = kept_setting)]
    set: Vec<String>,
    /// Data directory of the host; created if it does not exist.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA)]
    data: PathBuf,
    /// Go on as ironmesh host run.
    #[arg(long)]
    run: bool,
}

/// Checks a setting, and keeps its text.
fn kept_setting(text: &str) -> Result<String> {
    crate::up::setting(text).map(|_| text.to_owned())
}

/// Runs the command.
pub(crate) fn run(options: Options) -> ExitCode {
    if let Err(error) = init(&options) {
        return fail(&error);
    }
    if options.run { supervisor::run(supervisor::Options { data: options.data }) } else { ExitCode::SUCCESS }
}

fn init(options: &Options) -> Result<()> {
    let data = &options.data;
    fs::create_dir_all(data.join("certs")).with_context(|| format!("cannot create {}", data.display()))?;
    let data = &data.canonicalize().with_context(|| format!("cannot use {}", data.display()))?;
    let present = HostConfig::find(data)?;
    let config = configuration(options, &host_name(options.name.as_deref())?)?;
    may_prepare(data, present.as_ref(), &config)?;
    let config = with_what_was_added(config, present)?;
    {
        // A host that runs uses the ports itself.
        let _lock = mesh::DataDirLock::take(&data.join("up"))
            .with_context(|| format!("a host runs in {}; stop it before it is changed", data.display()))?;
        check_machine(&config)?;
        certs::remove_leftovers(data)?;
        service_kit::tls::install_provider();
        identities::prepare(data, &config).context("cannot prepare certificates and keys")?;
        write_context(data, &config)?;
        config.save(data)?;
    }
    answer(&next_steps(data, &config));
    Ok(())
}

/// Determines what the host is and runs.
fn configuration(options: &Options, name: &str) -> Result<HostConfig> {
    let serves = options.interface.is_some() || options.services.is_some();
    let mut racks = Vec::new();
    if serves {
        let [rack] = &options.rack[..] else { bail!("--interface and --services are for one --rack, not for several") };
        racks.push(RackConfig {
            name: rack.clone(),
            slot: 0,
            services: options.services.clone().unwrap_or_else(|| super::config::RACK_SERVICES.into()),
            interface: options.interface.clone().unwrap_or_default(),
            addresses: options.address.clone(),
            prefix: options.prefix,
        });
    }
    let at = |port| SocketAddr::new(options.advertise, port).to_string();
    let built_in_etcd = !options.no_store;
    let config = HostConfig {
        name: name.to_owned(),
        datacenter: options.datacenter.clone(),
        trust_domain: options.trust_domain.clone(),
        advertise: options.advertise,
        weight: options.weight,
        monitor: options.monitor,
        authority: at(ports::AUTHORITY_PORT),
        store: built_in_etcd,
        initial_cluster: String::new(),
        etcd: if built_in_etcd { vec![format!("https://{}", at(ports::ETCD_PORT))] } else { options.etcd.clone() },
        built_in_etcd,
        schedulers: vec![at(ports::SCHEDULER_PORT)],
        new_racks: if serves { Vec::new() } else { options.rack.clone() },
        log: options.log.clone(),
        otlp: options.otlp.clone(),
        set: options.set.clone(),
        scheduler: Some(SchedulerConfig { rest: options.rest }),
        racks,
    };
    let problems = config.problems();
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    // Wrong keys of --set are named now and not when the host starts.
    plan::children(&config, &options.data)?;
    Ok(config)
}

/// Keeps the racks of an earlier run, and the members of etcd and schedulers that have joined since.
fn with_what_was_added(mut config: HostConfig, present: Option<HostConfig>) -> Result<HostConfig> {
    let Some(present) = present else { return Ok(config) };
    if config.built_in_etcd {
        config.etcd.extend(present.etcd.into_iter().filter(|member| !config.etcd.contains(member)).collect::<Vec<_>>());
    }
    let others = present.schedulers.into_iter().filter(|scheduler| !config.schedulers.contains(scheduler));
    config.schedulers.extend(others.collect::<Vec<_>>());
    for rack in &mut config.racks {
        let before = present.racks.iter().find(|before| before.name == rack.name);
        let free = (0..=u8::MAX).find(|slot| present.racks.iter().all(|before| before.slot != *slot));
        rack.slot = before.map_or_else(|| free.unwrap_or(u8::MAX), |before| before.slot);
    }
    let has = |name: &str, racks: &[RackConfig]| racks.iter().any(|rack| rack.name == name);
    let kept: Vec<_> = present.racks.into_iter().filter(|rack| !has(&rack.name, &config.racks)).collect();
    config.racks.extend(kept);
    config.racks.sort_by_key(|rack| rack.slot);
    let created: BTreeSet<_> = present.new_racks.into_iter().chain(config.new_racks).collect();
    config.new_racks = created.into_iter().filter(|name| !has(name, &config.racks)).collect();
    let problems = config.problems();
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(config)
}

/// Refuses a directory that belongs to something else.
fn may_prepare(data: &Path, present: Option<&HostConfig>, config: &HostConfig) -> Result<()> {
    let shown = data.display();
    if let Some(present) = present {
        ensure!(
            present.datacenter == config.datacenter && present.trust_domain == config.trust_domain,
            "{shown} is of host {} of datacenter {} of trust domain {}; use another directory",
            present.name,
            present.datacenter,
            present.trust_domain
        );
        ensure!(
            present.built_in_etcd == config.built_in_etcd,
            "host {} uses {}; that cannot be changed by ironmesh init",
            present.name,
            if present.built_in_etcd { "the built-in etcd" } else { "an etcd of your own" }
        );
        ensure!(
            present.name == config.name,
            "{shown} is of host {}, not of {}; use another directory, or pass --name {}",
            present.name,
            config.name,
            present.name
        );
        ensure!(
            identities::has_ca(data),
            "host {} has joined datacenter {} and is not its first one; add racks with ironmesh join",
            present.name,
            present.datacenter
        );
        ensure!(
            present.advertise == config.advertise,
            "host {} has the address {}, which is in the store and in certificates; use it with --advertise",
            present.name,
            present.advertise
        );
    } else if data.join("client.toml").exists() && data.join("etcd/member").exists() {
        bail!("{shown} is of an ironmesh up; use another directory");
    }
    Ok(())
}

/// Checks that the machine has the address, the ports, and etcd.
fn check_machine(config: &HostConfig) -> Result<()> {
    has_address("--advertise", config.advertise)?;
    let rest = config.scheduler.as_ref().map(|scheduler| (scheduler.rest, "the REST API"));
    let own = |port| SocketAddr::new(config.advertise, port);
    let mut all =
        vec![(own(ports::AUTHORITY_PORT), "the authority"), (own(ports::SCHEDULER_PORT), "scheduler-service")];
    all.extend(rest.filter(|(at, _)| at.port() != 0));
    if config.store {
        all.extend([(own(ports::ETCD_PORT), "etcd"), (own(ports::ETCD_PEER_PORT), "etcd's other members")]);
    }
    for rack in &config.racks {
        let of_rack = rack.services.iter().map(|service| (own(ports::grpc(*service, rack.slot)), service.name()));
        all.extend(of_rack);
        if !rack.interface.is_empty() {
            has_interface(&rack.interface)?;
        }
        for address in &rack.addresses {
            has_address("--address", (*address).into())?;
        }
    }
    for (address, purpose) in all {
        is_free(address, purpose)?;
    }
    if config.store {
        find_etcd("--no-store --etcd URL")?;
    }
    Ok(())
}

/// Returns what an operator types next.
fn next_steps(data: &Path, config: &HostConfig) -> String {
    let shown = data.display();
    let start = start_command(data);
    let rack = config.racks.iter().map(|rack| &rack.name).chain(&config.new_racks).next();
    let rack = rack.map_or("RACK", String::as_str);
    format!(
        "host {} of datacenter {} is prepared in {shown}\n\n\
         start it:              {start}\n\
         use it:                export IRONMESH_CONTEXT={shown}/client.toml\n\
         see it:                ironmesh host list\n\
         let others join:       ironmesh token create --rack {rack}\n\
         and on the other one:  ironmesh join {} --token-file FILE\n\
         ports for firewalls:   ironmesh host ports --data {shown}",
        config.name, config.datacenter, config.advertise
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parsed(words: &str) -> Options {
        let words = format!("init --datacenter fra1 --advertise 127.0.0.1 {words}");
        Line::try_parse_from(words.split_whitespace()).unwrap().options
    }

    #[test]
    fn the_first_host_has_the_store_the_scheduler_and_the_racks_that_it_is_given() {
        let of = |words: &str| configuration(&parsed(words), "h1").unwrap();
        let plain = of("");
        assert!(plain.store && plain.built_in_etcd && plain.scheduler.is_some() && plain.racks.is_empty());
        assert_eq!(plain.etcd, ["https://127.0.0.1:2379"]);
        assert_eq!(plain.schedulers, ["127.0.0.1:7390"]);
        let own = of("--no-store --etcd https://10.0.0.1:2379");
        assert!(!own.store && !own.built_in_etcd && own.etcd == ["https://10.0.0.1:2379"]);
        assert_eq!(of("--rack r7 --rack r8").new_racks, ["r7", "r8"]);
        assert!(of("--rack r7 --rack r8").racks.is_empty());
        let serves = of("--rack r7 --interface eth1 --address 10.77.1.1");
        assert_eq!((serves.racks[0].services.len(), serves.racks[0].interface.as_str()), (4, "eth1"));
        assert_eq!(of("--rack r7 --services power").racks[0].services, [Service::Power].into());
        assert_eq!(of("--set power.poll=7s").set, ["power.poll=7s"]);
        for (words, error) in [
            ("--rack r7 --rack r8 --services power", "one --rack"),
            ("--rack R7 --services power", "rack.name"),
            ("--set power.pol=7s --rack r7 --services power", "`pol`"),
            ("--weight 0", "weight"),
        ] {
            let found = format!("{:#}", configuration(&parsed(words), "h1").unwrap_err());
            assert!(found.contains(error), "{words}: {found}");
        }
        for words in ["--etcd https://10.0.0.1:2379", "--no-store", "--interface eth1", "--set nothing"] {
            let words = format!("init --datacenter fra1 --advertise 127.0.0.1 {words}");
            Line::try_parse_from(words.split_whitespace()).unwrap_err();
        }
    }

    #[test]
    fn what_was_added_to_a_host_stays_when_init_is_repeated() {
        let of = |words: &str| configuration(&parsed(words), "h1").unwrap();
        // Racks that are created and those that are served, with their slots: before, asked for, and after.
        for (before, words, created, served) in [
            ("", "", &[][..], &[][..]),
            ("--rack r7", "", &["r7"], &[]),
            ("--rack r7", "--rack r8", &["r7", "r8"], &[]),
            ("--rack r7", "--rack r7 --services power", &[], &[("r7", 0, 1)]),
            ("--rack r7 --services power", "--rack r7 --services power,pxe", &[], &[("r7", 0, 2)]),
            ("--rack r7 --services power", "--rack r8 --services power", &[], &[("r7", 0, 1), ("r8", 1, 1)]),
            ("--rack r7 --services power", "", &[], &[("r7", 0, 1)]),
        ] {
            let after = with_what_was_added(of(words), Some(of(before))).unwrap();
            assert_eq!(after.new_racks, created, "{before} then {words}");
            let found: Vec<_> =
                after.racks.iter().map(|rack| (rack.name.as_str(), rack.slot, rack.services.len())).collect();
            assert_eq!(found, served, "{before} then {words}");
        }
        let mut grown = of("");
        grown.etcd.push("https://10.0.0.2:2379".to_owned());
        grown.schedulers.push("10.0.0.2:7390".to_owned());
        let after = with_what_was_added(of(""), Some(grown.clone())).unwrap();
        assert_eq!((after.etcd, after.schedulers), (grown.etcd, grown.schedulers));
    }

    #[test]
    fn the_directory_of_another_host_or_datacenter_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        fs::create_dir(data.join("certs")).unwrap();
        fs::write(data.join("certs/ca.key"), "").unwrap();
        let config = configuration(&parsed(""), "h1").unwrap();
        may_prepare(data, None, &config).unwrap();
        may_prepare(data, Some(&config), &config).unwrap();
        let of = |change: &dyn Fn(&mut HostConfig)| {
            let mut other = config.clone();
            change(&mut other);
            other
        };
        for (present, words) in [
            (of(&|host| "h2".clone_into(&mut host.name)), "of host h2, not of h1"),
            (of(&|host| "ams1".clone_into(&mut host.datacenter)), "datacenter ams1"),
            (of(&|host| "example.org".clone_into(&mut host.trust_domain)), "trust domain example.org"),
            (of(&|host| host.advertise = [10, 0, 0, 9].into()), "address 10.0.0.9"),
        ] {
            let error = may_prepare(data, Some(&present), &config).unwrap_err().to_string();
            assert!(error.contains(words), "{words}: {error}");
        }
        fs::remove_file(data.join("certs/ca.key")).unwrap();
        let error = may_prepare(data, Some(&config), &config).unwrap_err().to_string();
        assert!(error.contains("ironmesh join"), "{error}");
        fs::create_dir_all(data.join("etcd/member")).unwrap();
        fs::write(data.join("client.toml"), "").unwrap();
        let error = may_prepare(data, None, &config).unwrap_err().to_string();
        assert!(error.contains("ironmesh up"), "{error}");
    }

    #[test]
    fn an_address_of_another_machine_and_a_port_that_is_taken_are_named() {
        has_address("--advertise", [127, 0, 0, 1].into()).unwrap();
        // TEST-NET-1 (RFC 5737) is no machine's.
        let error = has_address("--advertise", [192, 0, 2, 1].into()).unwrap_err().to_string();
        assert!(error.contains("--advertise 192.0.2.1") && error.contains("does not have"), "{error}");
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = taken.local_addr().unwrap();
        let error = is_free(at, "etcd").unwrap_err().to_string();
        assert!(error.contains(&at.port().to_string()) && error.contains("etcd"), "{error}");
        drop(taken);
        is_free(at, "etcd").unwrap();
    }

    #[test]
    fn what_init_prepares_is_kept_when_it_is_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        fs::create_dir(data.join("certs")).unwrap();
        let config = configuration(&parsed("--rack r7 --services power"), "h1").unwrap();
        let files = ["certs/ca.key", "certs/etcd-ca.key", "certs/etcd-root.key", "certs/sealing.keys"];
        let prepare = || {
            identities::prepare(data, &config).unwrap();
            write_context(data, &config).unwrap();
            config.save(data).unwrap();
            files.map(|name| fs::read(data.join(name)).unwrap())
        };
        assert_eq!(prepare(), prepare());
        assert!(data.join("certs/r7-power-service.sealing.keys").exists());
        let context = fs::read_to_string(data.join("client.toml")).unwrap();
        assert!(context.contains("endpoint = \"127.0.0.1:7390\"") && context.contains("operator.key"), "{context}");
        let text = next_steps(data, &config);
        assert!(text.contains("token create --rack r7") && text.contains("ironmesh join 127.0.0.1"), "{text}");
    }
}
