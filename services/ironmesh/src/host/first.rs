//! What the host with the keys of the CAs writes into the store when it starts: the incarnation, racks, users and roles,
//! and its own record. All of it can be repeated.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result};
use keyspace::{
    Change, Expect, Store,
    access::{host_role, rack_roles},
    key,
    value::Host as Record,
};
use service_kit::{clock, tls::KeyDigest};

use super::{config::HostConfig, identities};
use crate::{
    console::{Failures, say},
    store::{Checks, ensure_access},
    up::{begin_incarnation, create_rack, find_rack, ignore_conflict},
};
use authority::purpose::Purpose;

/// Delay before another attempt.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Prepares the store, again and again until it is prepared: etcd may have no quorum yet.
pub(crate) async fn prepare_until_done(data: &Path, host: &HostConfig, store: &Store) {
    let mut failures = Failures::default();
    while let Err(error) = prepare(data, host, store).await {
        failures.report(Some(format!("cannot prepare the store, will retry: {error:#}")));
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

/// Prepares the store.
pub(crate) async fn prepare(data: &Path, host: &HostConfig, store: &Store) -> Result<()> {
    begin_incarnation(data, store).await?;
    let mut roles = Vec::new();
    for rack in host.racks.iter().map(|rack| &rack.name).chain(&host.new_racks) {
        create_rack(store, rack, None).await?;
        roles.extend(rack_roles(find_rack(store, rack).await?, rack));
    }
    roles.push(host_role(&host.name));
    // Before any service starts: a change of roles makes requests that are under way outdated.
    if ensure_access(store, roles, host.built_in_etcd).await? == Checks::Nothing {
        say(&format!(
            "etcd does not check who writes what; make it so with: ironmesh store init --data {} --apply",
            data.display()
        ));
    }
    register(data, host, store).await
}

/// Writes the host's own record.
async fn register(data: &Path, host: &HostConfig, store: &Store) -> Result<()> {
    let key = key::host(&host.name);
    let present = store.get(&key).await.context("cannot read the host's record")?;
    let certificate = identities::files(data, &Purpose::Host).certificate;
    let certificate = std::fs::read(&certificate).with_context(|| format!("cannot read {}", certificate.display()))?;
    let own = KeyDigest::of_pem(&certificate).context("the certificate of the host cannot be read")?;
    let record = record_of(host, own.as_str(), present.as_ref().map(|present| &present.value));
    if present.as_ref().is_some_and(|present| present.value == record) {
        return Ok(());
    }
    let change = Change::new().put(&key, &record, Expect::same(present.as_ref()))?;
    ignore_conflict(store.commit(change).await)
}

/// Returns the record of a host. What operators have ordered stays as it is.
fn record_of(host: &HostConfig, key: &str, present: Option<&Record>) -> Record {
    let roles = identities::roles(host);
    Record {
        name: host.name.clone(),
        advertise: host.advertise,
        key: key.to_owned(),
        racks: roles.racks,
        store: roles.store,
        scheduler: roles.scheduler,
        authority: true,
        weight: host.weight,
        joined: present.map_or_else(clock::now, |record| record.joined),
        drain: present.and_then(|record| record.drain.clone()),
        removal: present.and_then(|record| record.removal.clone()),
    }
}

#[cfg(test)]
mod tests {
    use domain::time::Timestamp;
    use keyspace::value::Mark;

    use super::*;
    use crate::host::{config::tests::host, record::tests::record};

    #[test]
    fn a_host_that_starts_again_keeps_what_operators_have_ordered() {
        let config = host("10.0.0.12".parse().unwrap());
        let new = record_of(&config, "ab", None);
        assert!(new.authority && new.scheduler && !new.store && new.drain.is_none());
        assert_eq!(new.racks.len(), 1);
        let mark = Some(Mark { by: "ann".to_owned(), at: Timestamp::default() });
        for (drain, removal) in [(None, None), (mark.clone(), None), (None, mark.clone()), (mark.clone(), mark.clone())]
        {
            let before = Record { drain: drain.clone(), removal: removal.clone(), ..record() };
            let after = record_of(&config, "ab", Some(&before));
            assert_eq!((after.drain, after.removal), (drain, removal));
            assert_eq!((after.key.as_str(), after.joined, after.racks.len()), ("ab", Timestamp::default(), 1));
        }
    }
}
