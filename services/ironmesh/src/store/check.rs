//! Collects the state of every etcd member and reads all values.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use keyspace::key::ROOT;

use super::{
    Access, StoreLocation,
    health::{Contents, Facts, find_problems},
    members, show,
};

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
    let (members, _) = members::gather(access, &store).await?;
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

/// Returns the command line prefix of etcdctl.
pub(super) fn etcdctl(access: &Access) -> String {
    let (common, files) = (&access.common, &access.files);
    format!(
        "ETCDCTL_API=3 etcdctl --endpoints={} --cacert={} --cert={} --key={}",
        common.etcd.join(","),
        files.ca.display(),
        files.certificate.display(),
        files.key.display()
    )
}
