//! Keeps what a host needs up to date while it runs: certificates, CAs, sealing keys, and where etcd and the schedulers are.
//! A host without the CAs asks the authority; while that is away, the host goes on with what it has.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use authority::{
    client::{ClientError, HostClient},
    purpose::Purpose,
    server::Authority,
};
use keyspace::store::Pem;
use proto::authority::v1::{Cluster, WatchHostFilesResponse};
use service_kit::{Host, clock, status, tls::Tls};
use tokio::sync::watch;

use super::{config::HostConfig, files, identities, machine::write_context, record::Order};
use crate::console::{Failures, say};

/// Delay before the authority is asked again.
const RETRY_DELAY: Duration = Duration::from_secs(5);
/// Interval at which certificates are checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);
/// Interval at which the host with the CAs looks where etcd and the schedulers are.
const CLUSTER_INTERVAL: Duration = Duration::from_secs(5);

/// Follows what the authority says until the host stops.
pub(crate) async fn follow_authority(data: PathBuf, orders: watch::Sender<Option<Order>>, host: Host) {
    let mut failures = Failures::default();
    loop {
        let failed = tokio::select! {
            () = host.stopping() => return,
            failed = follow(&data, &orders, &mut failures) => failed.err(),
        };
        failures.report(failed.map(|error| format!("the authority cannot be asked, will retry: {error:#}")));
        tokio::select! {
            () = host.stopping() => return,
            () = tokio::time::sleep(RETRY_DELAY) => {}
        }
    }
}

async fn follow(data: &Path, orders: &watch::Sender<Option<Order>>, failures: &mut Failures) -> Result<()> {
    let config = HostConfig::load(data)?;
    if files::is_expired(data) {
        bail!(
            "the certificate of this host has expired; join again with a new token: ironmesh join {} --token-file FILE",
            config.authority
        );
    }
    let tls = Tls::load(identities::files(data, &Purpose::Host)).context("cannot use the host's certificate")?;
    let mut client = HostClient::new(&config.authority, &tls)?;
    let mut stream = match client.watch_files().await {
        Err(ClientError::Removed(why)) => {
            orders.send_replace(Some(Order::Leave(why)));
            return Ok(());
        }
        outcome => outcome?,
    };
    failures.report(None);
    let mut revoked = Vec::new();
    loop {
        match tokio::time::timeout(CHECK_INTERVAL, stream.message()).await {
            Ok(Ok(Some(news))) => revoked = apply(data, news)?,
            Ok(Ok(None)) => bail!("the authority has closed the connection"),
            Ok(Err(status)) => {
                let error = ClientError::of(&config.authority, &status);
                let ClientError::Removed(why) = error else { return Err(error.into()) };
                orders.send_replace(Some(Order::Leave(why)));
                return Ok(());
            }
            // Nothing has changed.
            Err(_) => {}
        }
        if renew(data, &mut client, &std::mem::take(&mut revoked)).await? {
            // With the new certificate of the host.
            return Ok(());
        }
    }
}

/// Writes what has changed. Returns the names of certificates that are revoked.
fn apply(data: &Path, news: WatchHostFilesResponse) -> Result<Vec<String>> {
    for name in files::write_all(data, &news.files)? {
        say(&format!("{name} has changed"));
    }
    if let Some(cluster) = news.cluster {
        keep_cluster(data, &cluster)?;
    }
    Ok(news.revoked)
}

/// Notes where etcd and the schedulers are. Returns whether that has changed.
fn keep_cluster(data: &Path, cluster: &Cluster) -> Result<bool> {
    let config = HostConfig::load(data)?;
    // No list is better than an empty one.
    let etcd = if cluster.etcd.is_empty() { config.etcd.clone() } else { cluster.etcd.clone() };
    let known = config.schedulers.clone();
    let schedulers = if cluster.schedulers.is_empty() { known } else { cluster.schedulers.clone() };
    let after = HostConfig { etcd, schedulers, ..config.clone() };
    if after == config {
        return Ok(false);
    }
    after.save(data)?;
    say(&format!("etcd is at {}, schedulers at {}", after.etcd.join(", "), after.schedulers.join(", ")));
    Ok(true)
}

/// Renews what is due. Returns whether the host's own certificate is another one now.
async fn renew(data: &Path, client: &mut HostClient, revoked: &[String]) -> Result<bool> {
    let config = HostConfig::load(data)?;
    let due = files::due(data, identities::roles(&config).purposes(), revoked, clock::now());
    if due.is_empty() {
        return Ok(false);
    }
    let requests = files::requests(data, due)?;
    for signed in client.renew(&requests).await? {
        let Some(request) = requests.iter().find(|request| request.purpose.file_name() == signed.name) else {
            continue;
        };
        files::write_certificate(data, request, &signed.certificate)?;
        say(&format!("renewed certificate {}", signed.name));
    }
    Ok(requests.iter().any(|request| request.purpose == Purpose::Host))
}

/// Notes where etcd and the schedulers are on the host with the CAs, and in the administrator's context. `etcd` has the
/// certificate of etcd's administrator.
pub(crate) async fn follow_cluster(authority: Authority, etcd: Tls, host: Host) {
    let mut failures = Failures::default();
    loop {
        if let Ok(cluster) = authority.cluster().await {
            let kept = keep_cluster(&authority.data, &cluster).and_then(|is_new| {
                write_context(&authority.data, &HostConfig::load(&authority.data)?)?;
                Ok(is_new)
            });
            let [ca, certificate, key] = etcd.pem();
            let pem = Pem { ca: &ca, certificate: &certificate, key: &key };
            let failed = match kept {
                // With all members, so that the authority goes on when one is lost.
                Ok(true) if !cluster.etcd.is_empty() => {
                    authority.store.reconnect(&cluster.etcd, pem).await.err().map(|error| status::chain(&error))
                }
                Ok(_) => None,
                Err(error) => Some(format!("{error:#}")),
            };
            failures.report(failed.map(|why| format!("cannot note where etcd and the schedulers are: {why}")));
        }
        tokio::select! {
            () = host.stopping() => return,
            () = tokio::time::sleep(CLUSTER_INTERVAL) => {}
        }
    }
}
