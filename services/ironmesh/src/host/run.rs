//! `ironmesh host run`: one process supervises what a host runs.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use authority::{ledger::Issuer, server::Authority};
use clap::Args;
use keyspace::{Store, store::Pem};
use service_kit::{Host, tls::Tls};
use tokio::sync::{Notify, watch};

use super::{
    config::HostConfig,
    first,
    group::{Group, STOP_TIMEOUT, separate},
    identities, plan, ports,
    record::{self, Follower, Order},
    upkeep,
};
use crate::{
    certificate::Renewal,
    certs,
    console::{fail, say},
    etcd::{self, ClusterState, Etcd, EtcdConfig, EtcdTls},
    etcd_space, pem_files, sealing,
    up::stop_on_signal,
};

/// How long services wait at the first start until the store is prepared. They start without it then, as islands.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(15);

/// How long services of racks wait at the start for the host's record.
const ORDER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the member of etcd of a host that was removed waits until the other members have removed it.
const MEMBER_REMOVAL_TIMEOUT: Duration = Duration::from_secs(60);

/// Run what this host runs: etcd, the scheduler-service and the services of racks, as ironmesh init or ironmesh join has
/// prepared it.
///
/// Services are restarted when they exit. When the host is drained, the services of racks hand over and stop; when it is
/// removed, everything stops. The unit ironmesh-host.service runs it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Data directory of the host.
    #[arg(long, value_name = "DIR", default_value = super::DEFAULT_DATA)]
    pub(crate) data: PathBuf,
}

/// Runs the command.
pub(crate) fn run(options: Options) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    match runtime.block_on(start(&options.data)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

async fn start(data: &Path) -> Result<()> {
    let config = HostConfig::load(data)?;
    service_kit::telemetry::set_up_logs(&config.log).context("host.toml: log")?;
    service_kit::tls::install_provider();
    let data = data.canonicalize().context("cannot use the data directory")?;
    // An `ironmesh up` excludes it, too.
    let _lock = mesh::DataDirLock::take(&data.join("up"))
        .with_context(|| format!("cannot run the host in {}", data.display()))?;
    certs::remove_leftovers(&data)?;
    if let Some(Order::Leave(why)) = record::noted(&data) {
        say(&format!("this host was removed from the datacenter: {why}. To join again, use an empty data directory"));
        return Ok(());
    }
    let is_authority = identities::has_ca(&data);
    if is_authority {
        identities::prepare(&data, &config)?;
    }
    let host = Host::default();
    host.spawn(stop_on_signal(host.clone()));
    say(&format!("host {} of datacenter {} starts, at {}", config.name, config.datacenter, config.advertise));
    let etcd = if config.store { Some(start_etcd(&data, &config).await?) } else { None };
    if let Some(etcd) = &etcd {
        host.spawn(tell_when_removed(etcd.removed(), host.clone()));
    }
    let supervisor = Supervisor { data, config, is_authority, host: host.clone() };
    let restart = etcd.as_ref().map(|etcd| Arc::clone(&etcd.restart));
    let outcome = Box::pin(supervisor.run(restart)).await;
    if let (Ok(Ended::Removed), Some(etcd)) = (&outcome, &etcd) {
        wait_until_removed(etcd.removed(), &host).await;
    }
    host.stop();
    let drained = host.drain(STOP_TIMEOUT).await;
    if let Some(etcd) = etcd {
        etcd.stop().await;
    }
    say("stopped");
    drained.context("some tasks did not stop in time")?;
    outcome.map(drop)
}

/// Why the services of a host have ended.
enum Ended {
    /// The process was asked to stop.
    Stopped,
    /// The host was removed from the datacenter.
    Removed,
}

/// Waits until etcd has removed the member of this host: without it, a store of two members could not decide that.
async fn wait_until_removed(mut removed: watch::Receiver<bool>, host: &Host) {
    say("etcd goes on until its other members have removed this one");
    let waiting = tokio::time::timeout(MEMBER_REMOVAL_TIMEOUT, removed.wait_for(|removed| *removed));
    tokio::select! {
        () = host.stopping() => {}
        waited = waiting => if waited.is_err() {
            say("etcd has not removed the member of this host; remove it on the host with the CAs: ironmesh store member remove NAME --data DIR");
        }
    }
}

async fn start_etcd(data: &Path, config: &HostConfig) -> Result<Etcd> {
    let revoked = data.join("certs").join(Issuer::Etcd.revocation_list());
    let tls = EtcdTls { files: identities::etcd_member(data), revoked };
    let state = match config.initial_cluster.as_str() {
        "" => ClusterState::New,
        all => ClusterState::Existing(all.to_owned()),
    };
    say("starting etcd");
    etcd::start(EtcdConfig::of_host(&config.name, config.advertise, data, tls, state)).await
}

/// A member that its cluster has removed is not restarted.
async fn tell_when_removed(mut removed: watch::Receiver<bool>, host: Host) {
    tokio::select! {
        () = host.stopping() => {}
        removed = removed.wait_for(|removed| *removed) => if removed.is_ok() {
            say("the member of etcd on this host was removed; the services go on with the other members");
        }
    }
}

struct Supervisor {
    data: PathBuf,
    config: HostConfig,
    is_authority: bool,
    host: Host,
}

impl Supervisor {
    /// Runs the services until the host stops or was removed.
    async fn run(&self, restart_etcd: Option<Arc<Notify>>) -> Result<Ended> {
        let Self { data, config, host, .. } = self;
        let (racks, schedulers) = separate(plan::children(config, data)?);
        let mut racks = Group::new("services of racks", config, data, racks);
        let mut schedulers = Group::new("scheduler-service", config, data, schedulers);
        if self.is_authority {
            tokio::select! {
                prepared = self.with_store(restart_etcd) => prepared?,
                () = host.stopping() => return Ok(Ended::Stopped),
            }
        }
        // What was ordered before the host was started, until its record says something else.
        let (orders, mut order) = watch::channel(record::noted(data));
        if !self.is_authority {
            host.spawn(upkeep::follow_authority(data.clone(), orders.clone(), host.clone()));
        }
        let files = if self.is_authority { pem_files::administrator(data) } else { identities::host_for_etcd(data) };
        let follower = Follower { data: data.clone(), name: config.name.clone(), files };
        host.spawn(follower.run(orders, host.clone()));
        if let Err(error) = schedulers.start() {
            schedulers.stop().await;
            return Err(error);
        }
        // A host that is drained must not take nodes for a moment. Without an answer it does what it was made for.
        tokio::select! {
            _ = tokio::time::timeout(ORDER_TIMEOUT, order.wait_for(Option::is_some)) => {}
            () = host.stopping() => {}
        }
        let outcome = loop {
            if host.is_stopping() {
                break Ok(Ended::Stopped);
            }
            let current = order.borrow_and_update().clone();
            if let Some(order) = &current
                && let Err(error) = record::note(data, order)
            {
                say(&format!("cannot note what this host is ordered to do: {error:#}"));
            }
            match current {
                None | Some(Order::Run) => {
                    if let Err(error) = racks.start() {
                        break Err(error);
                    }
                }
                Some(Order::Drain) => {
                    say("this host is drained: the services of racks hand over and stop");
                    racks.stop().await;
                }
                Some(Order::Leave(why)) => {
                    say(&format!("this host was removed from the datacenter and stops everything: {why}"));
                    break Ok(Ended::Removed);
                }
            }
            tokio::select! {
                changed = order.changed() => if changed.is_err() { break Ok(Ended::Stopped) },
                () = host.stopping() => {
                    say("stopping: the services hand over first");
                    break Ok(Ended::Stopped);
                }
            }
        };
        racks.stop().await;
        schedulers.stop().await;
        outcome
    }

    /// Does what takes etcd's administrator: prepares the store, and renews certificates.
    async fn with_store(&self, restart_etcd: Option<Arc<Notify>>) -> Result<()> {
        let Self { data, config, host, .. } = self;
        let administrator = pem_files::administrator(data);
        let pem = pem_files::read(&administrator)?;
        let pem = Pem { ca: &pem[0], certificate: &pem[1], key: &pem[2] };
        let store = Store::connect(&config.etcd, pem).await.context("cannot create the etcd client")?;
        let mut preparation = {
            let (data, config, store, host) = (data.clone(), config.clone(), store.clone(), host.clone());
            let (done, is_done) = watch::channel(false);
            host.clone().spawn(async move {
                tokio::select! {
                    () = first::prepare_until_done(&data, &config, &store) => {}
                    () = host.stopping() => return,
                }
                done.send_replace(true);
                // Until the host stops: a closed channel would say that it never will be done.
                host.stopping().await;
            });
            is_done
        };
        if tokio::time::timeout(PREPARE_TIMEOUT, preparation.wait_for(|done| *done)).await.is_err() {
            say(&format!(
                "etcd has not answered at {} for {} s; services start from what is on disk",
                config.etcd.join(", "),
                PREPARE_TIMEOUT.as_secs()
            ));
        }
        let authority = Authority {
            data: data.clone(),
            realm: identities::realm(config)?,
            store: store.clone(),
            own_etcd: (!config.built_in_etcd).then(|| config.etcd.clone()),
        };
        self.run_authority(authority, preparation)?;
        let renewal = Renewal {
            folder: data.join("certs"),
            wanted: identities::wanted(config, &identities::realm(config)?),
            administrator: administrator.clone(),
            members: config.etcd.clone(),
            store: store.clone(),
            restart_etcd,
        };
        host.spawn(renewal.run(host.clone()));
        if config.built_in_etcd {
            host.spawn(etcd_space::run(store, administrator, host.clone()));
        }
        for rack in &config.racks {
            host.spawn(sealing::keep(data.clone(), rack.name.clone(), host.clone()));
        }
        Ok(())
    }
}

impl Supervisor {
    /// Lets hosts join, and keeps the store and this host up to date with what they are.
    fn run_authority(&self, authority: Authority, mut preparation: watch::Receiver<bool>) -> Result<()> {
        let Self { data, config, host, .. } = self;
        let tls = Tls::load(identities::authority(data)).context("cannot use the authority's certificate")?;
        let etcd =
            Tls::load(pem_files::administrator(data)).context("cannot use the certificate of etcd's administrator")?;
        // Before anything is served.
        tls.revocations().add(authority::signing::revoked_serials(data)?);
        host.spawn(tls.clone().follow(host.clone()));
        host.spawn(etcd.clone().follow(host.clone()));
        {
            let (authority, own, etcd, host) = (authority.clone(), tls.clone(), etcd.clone(), self.host.clone());
            self.host.spawn(async move {
                // Before the store is prepared, what it says of hosts is not complete.
                tokio::select! {
                    prepared = preparation.wait_for(|done| *done) => if prepared.is_err() { return },
                    () = host.stopping() => return,
                }
                authority::reconcile::run(authority, own, etcd, host).await;
            });
        }
        host.spawn(upkeep::follow_cluster(authority.clone(), etcd, host.clone()));
        let (address, stopping) = (SocketAddr::new(config.advertise, ports::AUTHORITY_PORT), host.clone());
        host.spawn(async move {
            if let Err(error) = authority::server::serve(authority, address, tls, stopping.clone()).await {
                say(&format!("the authority cannot listen at {address}, so that no host can join: {error}"));
            }
        });
        Ok(())
    }
}

/// Prints the ports of a host.
pub(crate) fn show_ports(format: cli::Format, data: &Path) -> Result<()> {
    let config = HostConfig::load(data)?;
    let table = ports::table(&config, identities::has_ca(data));
    match format {
        cli::Format::Table => crate::console::answer(ports::shown(&table).trim_end()),
        cli::Format::Name => bail!("ports have no names; use -o json, -o yaml or -o table"),
        format @ (cli::Format::Json | cli::Format::Yaml) => {
            let value = serde_json::to_value(&table).context("cannot encode the ports")?;
            crate::console::answer(cli::written(format, &value).trim_end());
        }
    }
    Ok(())
}
