//! Collects the state of every etcd member and reads all values.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};
use keyspace::key::ROOT;
use reqwest::{Certificate, Client, Identity};

use super::{
    Access, StoreLocation,
    health::{Contents, Facts, Member, find_problems},
    show,
};

/// How long to wait for the metrics of a member.
const METRICS_TIMEOUT: Duration = Duration::from_secs(3);
/// The metric with the quota of a member (etcd 3.4 and later).
const QUOTA: &str = "etcd_server_quota_backend_bytes";

pub(super) async fn run(format: cli::Format, location: &StoreLocation) -> Result<ExitCode> {
    let access = location.access(&[])?;
    let facts = gather(&access).await?;
    let findings = find_problems(&facts);
    show::all(format, &facts, &findings);
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn gather(access: &Access) -> Result<Facts> {
    let store = access.store(&access.common.etcd).await?;
    let standing = store.standing().await.context("cannot read the store")?;
    let (pairs, _) = store.list_pairs(ROOT).await.context("cannot read the store")?;
    let mut urls = access.common.etcd.clone();
    for member in store.cluster_members().await.context("cannot list etcd's members")? {
        if !member.urls.iter().any(|url| urls.contains(url)) {
            urls.extend(member.urls.into_iter().take(1));
        }
    }
    let http = http(access)?;
    let mut members = Vec::new();
    for url in urls {
        members.push(member(access, &http, url).await);
    }
    Ok(Facts {
        members,
        revision: standing.revision,
        compacted: store.compacted(standing.revision).await.context("cannot determine the oldest revision")?,
        incarnation: standing.incarnation,
        alarms: store.alarms().await.context("cannot list alarms")?,
        contents: Contents::of(&pairs),
        etcdctl: etcdctl(access),
    })
}

async fn member(access: &Access, http: &Client, url: String) -> Member {
    let asked = async {
        let state = access.store(std::slice::from_ref(&url)).await?.member_state().await?;
        anyhow::Ok(state)
    };
    let state = match asked.await {
        Ok(state) => state,
        Err(error) => return Member { url, trouble: Some(format!("{error:#}")), ..Member::default() },
    };
    Member {
        quota: quota(http, &url).await,
        url,
        trouble: None,
        version: state.version,
        cluster: state.cluster,
        leads: state.leader == state.id,
        is_led: state.leader != 0,
        size: state.size,
        in_use: state.in_use,
    }
}

fn http(access: &Access) -> Result<Client> {
    let [ca, certificate, key] = &access.pem;
    let client = Client::builder()
        .no_proxy()
        .timeout(METRICS_TIMEOUT)
        .tls_certs_only(Certificate::from_pem_bundle(ca).context("the CA cannot be used")?)
        .identity(
            Identity::from_pem(&[&certificate[..], &key[..]].concat()).context("the certificate cannot be used")?,
        );
    client.build().context("cannot create the HTTP client")
}

/// Returns the quota of a member, or `None` if its metrics are not available.
async fn quota(http: &Client, url: &str) -> Option<u64> {
    let answer = http.get(format!("{url}/metrics")).send().await.ok()?;
    quota_in(&answer.text().await.ok()?)
}

fn quota_in(metrics: &str) -> Option<u64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(QUOTA)?.strip_prefix(' '))?;
    let bytes: f64 = line.trim().parse().ok()?;
    // Formatted without fraction or exponent.
    format!("{bytes:.0}").parse().ok()
}

fn etcdctl(access: &Access) -> String {
    let (common, files) = (&access.common, &access.files);
    format!(
        "ETCDCTL_API=3 etcdctl --endpoints={} --cacert={} --cert={} --key={}",
        common.etcd.join(","),
        files.ca.display(),
        files.certificate.display(),
        files.key.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quota_is_read_from_etcds_metrics() {
        let metrics = "# HELP etcd_server_quota_backend_bytes Current backend storage quota size in bytes.\n\
                       # TYPE etcd_server_quota_backend_bytes gauge\n\
                       etcd_server_quota_backend_bytes 2.147483648e+09\n";
        assert_eq!(quota_in(metrics), Some(2 << 30));
        assert_eq!(quota_in("something else"), None);
    }
}
