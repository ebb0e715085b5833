//! Follows the record of the host in the store: what operators have ordered.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use durable_file::Access;
use keyspace::{Store, key, store::Pem, value::Host as Record};
use serde::{Deserialize, Serialize};
use service_kit::{Host, tls::Files};
use tokio::sync::watch;

use super::config::HostConfig;
use crate::{console::Failures, pem_files};

/// How often the record is read.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// What a host is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Order {
    /// Run all its services.
    Run,
    /// Run no services of racks, but its scheduler-service and its member of etcd.
    Drain,
    /// Stop everything: it was removed. The text says by whom and when.
    Leave(String),
}

/// Returns what a host is to do according to its record. `None` if there is no record, which says nothing: the host may be
/// about to be registered, or the store be a backup from before it joined.
pub(crate) fn order(record: Option<&Record>) -> Option<Order> {
    let record = record?;
    Some(match (&record.removal, &record.drain) {
        (Some(removal), _) => Order::Leave(format!("{} removed it at {}", removal.by, removal.at)),
        (None, Some(_)) => Order::Drain,
        (None, None) => Order::Run,
    })
}

/// Name of the file with the last order.
const FILE: &str = "order.json";

/// Notes an order, so that a host that is drained or removed stays it when it starts again.
pub(crate) fn note(data: &Path, order: &Order) -> Result<()> {
    let text = serde_json::to_vec(order).context("cannot encode the order")?;
    Ok(durable_file::replace(&data.join(FILE), &text, Access::Everyone)?)
}

/// Returns the last order that was noted. A file that cannot be read says nothing: the record says it again.
pub(crate) fn noted(data: &Path) -> Option<Order> {
    serde_json::from_slice(&std::fs::read(data.join(FILE)).ok()?).ok()
}

/// Reads the record regularly.
#[derive(Debug)]
pub(crate) struct Follower {
    /// The host's data directory, with the present members of etcd in `host.toml`.
    pub(crate) data: PathBuf,
    /// Name of the host.
    pub(crate) name: String,
    /// The files of an etcd user that may read the record.
    pub(crate) files: Files,
}

impl Follower {
    /// Reports each change of the order until the host stops. While etcd does not answer, the last order stands.
    pub(crate) async fn run(self, orders: watch::Sender<Option<Order>>, host: Host) {
        let (mut store, mut failures) = (None, Failures::default());
        loop {
            let failure = match self.read(&mut store).await {
                Ok(record) => match order(record.as_ref()) {
                    Some(order) => {
                        let order = Some(order);
                        orders.send_if_modified(|current| {
                            let is_new = *current != order;
                            *current = order;
                            is_new
                        });
                        None
                    }
                    None => Some(format!("host {:?} is not in the store; it keeps running what it runs", self.name)),
                },
                Err(error) => {
                    // The next attempt uses the present certificates and members.
                    store = None;
                    Some(format!("cannot read what this host is to do, will retry: {error:#}"))
                }
            };
            failures.report(failure);
            tokio::select! {
                () = host.stopping() => return,
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
        }
    }

    async fn read(&self, store: &mut Option<Store>) -> Result<Option<Record>> {
        let store = match store {
            Some(store) => store,
            None => store.insert(connect(&self.data, &self.files).await?),
        };
        let record = store.get(&key::host(&self.name)).await.context("etcd does not answer")?;
        Ok(record.map(|record| record.value))
    }
}

/// Connects to the members of etcd that `host.toml` names.
pub(crate) async fn connect(data: &Path, files: &Files) -> Result<Store> {
    let members = HostConfig::load(data)?.etcd;
    let pem = pem_files::read(files)?;
    let pem = Pem { ca: &pem[0], certificate: &pem[1], key: &pem[2] };
    Store::connect(&members, pem).await.with_context(|| format!("cannot reach etcd at {}", members.join(", ")))
}

#[cfg(test)]
pub(crate) mod tests {
    use domain::time::Timestamp;
    use keyspace::value::Mark;

    use super::*;

    /// The record of a host that runs.
    pub(crate) fn record() -> Record {
        Record {
            name: "h2".to_owned(),
            advertise: "10.0.0.12".parse().unwrap(),
            key: String::new(),
            racks: Vec::new(),
            store: false,
            scheduler: false,
            authority: false,
            weight: 100,
            joined: Timestamp::default(),
            drain: None,
            removal: None,
        }
    }

    #[test]
    fn the_last_order_is_noted() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(noted(folder.path()), None);
        for order in [Order::Drain, Order::Leave("ann removed it".to_owned()), Order::Run] {
            note(folder.path(), &order).unwrap();
            assert_eq!(noted(folder.path()), Some(order));
        }
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert_eq!(noted(folder.path()), None);
    }

    #[test]
    fn a_record_orders_to_run_to_drain_or_to_leave() {
        let mark = |by: &str| Some(Mark { by: by.to_owned(), at: Timestamp::default() });
        let with = |drain, removal| Some(Record { drain, removal, ..record() });
        let leave = |by: &str| Some(Order::Leave(format!("{by} removed it at {}", Timestamp::default())));
        for (case, record, expected) in [
            ("no record", None, None),
            ("a host that runs", with(None, None), Some(Order::Run)),
            ("drained", with(mark("ann"), None), Some(Order::Drain)),
            ("removed", with(None, mark("bob")), leave("bob")),
            ("drained and removed", with(mark("ann"), mark("bob")), leave("bob")),
            ("removed by a program", with(mark("ann"), mark("")), leave("")),
        ] {
            assert_eq!(order(record.as_ref()), expected, "{case}");
        }
    }
}
