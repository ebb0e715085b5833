//! Proof that an instance is dead. Its nodes then pass on at once.
//!
//! There are two proofs, both from one kernel: the parent reaped the process (`ironmesh up`), or a successor holds the lock
//! of its data directory under the same boot id. A deleted pod, an expired network lock or a host that does not answer
//! prove nothing.

mod data_dir;

use domain::{id::InstanceId, service::Service, time::Timestamp};
use keyspace::{
    Change, Expect, Store, View,
    key::{self, Scope},
    value::Dead,
};
use service_kit::clock;

pub use self::data_dir::{DataDirError, DataDirLock, SimulatedDataDir};

/// The instances among which a ring shares nodes: those of one service in one rack or datacenter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// The rack or datacenter.
    pub scope: Scope,
    /// The service.
    pub service: Service,
}

/// Publishes that an instance is proven dead, and deletes its member key and, if it led, its election key, which would
/// otherwise remain until its lease expires. `by` says who proved it, and how.
///
/// # Errors
/// [`keyspace::Error`]. It is no error if the proof was published before.
pub async fn publish(store: &Store, group: Group, instance: InstanceId, by: &str) -> Result<(), keyspace::Error> {
    let Group { scope, service } = group;
    let dead = Dead { by: by.to_owned(), at: clock::now() };
    let change = Change::new().put(&key::dead(scope, service, instance), &dead, Expect::Absent)?;
    ignore_conflict(store.commit(change.clear(&key::member(scope, service, instance))).await)?;
    let election = key::election(scope, service);
    match store.get(&election).await? {
        Some(leader) if leader.value.instance == instance => {
            let change = Change::new().delete(&election, Expect::Revision(leader.revision));
            ignore_conflict(store.commit(change).await)
        }
        Some(_) | None => Ok(()),
    }
}

fn ignore_conflict(outcome: Result<i64, keyspace::Error>) -> Result<(), keyspace::Error> {
    match outcome {
        Ok(_) | Err(keyspace::Error::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Adds the proof that the instance before this one is dead to the change with which this one joins: no observer sees one
/// without the other.
pub(crate) fn succeed(
    change: Change,
    view: &View,
    group: Group,
    before: InstanceId,
    now: Timestamp,
) -> Result<Change, keyspace::Error> {
    let Group { scope, service } = group;
    let (dead, election) = (key::dead(scope, service, before), key::election(scope, service));
    let mut change = change.clear(&key::member(scope, service, before));
    if view.get(&dead).is_none() {
        let by = "its successor holds the lock of its data directory".to_owned();
        change = change.put(&dead, &Dead { by, at: now }, Expect::Absent)?;
    }
    Ok(match view.get(&election) {
        Some(leader) if leader.value.instance == before => change.delete(&election, Expect::Revision(leader.revision)),
        Some(_) | None => change,
    })
}
