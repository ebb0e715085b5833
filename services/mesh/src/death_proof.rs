//! Proof that an instance is dead: nothing needs to be waited for then.
//!
//! Two things prove it, both on one kernel: a parent reaped the process (`ironmesh up`), or a successor holds the lock
//! of the data folder under the same boot. A deleted pod, a lapsed network lock, a host that does not answer prove
//! nothing.

use std::{
    fs,
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use domain::{
    id::{InstanceId, SlotId},
    service::Service,
};
use keyspace::{
    Change, Expect, Store, View,
    key::{self, Scope},
    value::Dead,
};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use service_kit::clock;

/// The data folder can not be had.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error("{holder} works in {path}; give each replica a data folder of its own, or end the other one")]
    Taken {
        /// The folder.
        path: PathBuf,
        /// Who has it, as far as he said.
        holder: String,
    },
    /// It can not be used.
    #[error("cannot use the data folder {path}")]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// IslandReason.
        source: io::Error,
    },
}

/// Where whoever has the lock says who he is: for people, it proves nothing.
const PID: &str = "lock.pid";

/// Who has the folder: his pid, and where this machine knows it, his command line.
fn holder(folder: &Path) -> String {
    let Ok(pid) = fs::read_to_string(folder.join(PID)) else { return "another process".to_owned() };
    let pid = pid.trim();
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    if command.is_empty() { format!("process {pid}") } else { format!("process {pid} ({})", command.trim()) }
}

/// The lock of a data folder, and who had it last.
#[derive(Debug)]
pub struct DataDirLock {
    file: fs::File,
    last: Option<Note>,
    boot: String,
    slot: SlotId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    instance: InstanceId,
    boot: String,
    #[serde(default)]
    slot: Option<SlotId>,
}

impl DataDirLock {
    /// Takes the folder's lock, which the kernel gives back when the process ends, however it ends.
    ///
    /// # Errors
    /// [`DataDirError`]
    pub fn take(folder: &Path) -> Result<Self, DataDirError> {
        let unusable = |source| DataDirError::Unusable { path: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(unusable)?;
        let path = folder.join("lock");
        let mut file =
            fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(unusable)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| DataDirError::Taken { path: folder.to_owned(), holder: holder(folder) })?;
        fs::write(folder.join(PID), format!("{}\n", std::process::id())).map_err(unusable)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(unusable)?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        let last: Option<Note> = serde_json::from_str(&text).ok();
        let slot = last.as_ref().and_then(|last| last.slot).unwrap_or_else(|| SlotId::new(uuid::Uuid::new_v4()));
        Ok(Self { file, last, boot, slot })
    }

    /// The slot of whoever works in this folder.
    pub(crate) const fn slot(&self) -> SlotId {
        self.slot
    }

    /// The last instance that was noted, where this kernel proves that it has ended: all its workers are gone, with its
    /// process or, in this very process, by the caller's word.
    pub(crate) fn before(&self) -> Option<InstanceId> {
        let last = self.last.as_ref().filter(|last| !self.boot.is_empty() && last.boot == self.boot);
        last.map(|last| last.instance)
    }

    /// Notes the present instance.
    pub(crate) fn note(&mut self, instance: InstanceId) {
        let note = Note { instance, boot: self.boot.clone(), slot: Some(self.slot) };
        self.last = Some(note.clone());
        let text = serde_json::to_vec(&note).unwrap_or_default();
        let written = self
            .file
            .rewind()
            .and_then(|()| self.file.set_len(0))
            .and_then(|()| self.file.write_all(&text))
            .and_then(|()| self.file.sync_all());
        if let Err(error) = written {
            tracing::warn!(%error, "cannot note the instance in the data folder");
        }
    }
}

/// Publishes that an instance is proven dead, and takes away what its lease would keep for a while: its place among the
/// members and, where it led, the leadership.
///
/// # Errors
/// [`keyspace::Error`]; that it was published before is none.
pub async fn publish(
    store: &Store,
    (scope, service): (Scope, Service),
    instance: InstanceId,
    by: &str,
) -> Result<(), keyspace::Error> {
    let dead = Dead { by: by.to_owned(), at: clock::now() };
    let change = Change::new().put(&key::dead(scope, service, instance), &dead, Expect::Absent)?;
    unless_known(store.commit(change.clear(&key::member(scope, service, instance))).await)?;
    let election = key::election(scope, service);
    match store.get(&election).await? {
        Some(leader) if leader.value.instance == instance => {
            let change = Change::new().delete(&election, Expect::Revision(leader.revision));
            unless_known(store.commit(change).await)
        }
        Some(_) | None => Ok(()),
    }
}

fn unless_known(outcome: Result<i64, keyspace::Error>) -> Result<(), keyspace::Error> {
    match outcome {
        Ok(_) | Err(keyspace::Error::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Adds to the change by which a successor joins that the instance before it is proven dead: nobody sees the ring's place
/// of the one without the other's.
pub(crate) fn succeeds(
    change: Change,
    view: &View,
    (scope, service): (Scope, Service),
    before: InstanceId,
) -> Result<Change, keyspace::Error> {
    let (dead, election) = (key::dead(scope, service, before), key::election(scope, service));
    let mut change = change.clear(&key::member(scope, service, before));
    if view.get(&dead).is_none() {
        let by = "its successor holds the lock of its data folder".to_owned();
        change = change.put(&dead, &Dead { by, at: clock::now() }, Expect::Absent)?;
    }
    Ok(match view.get(&election) {
        Some(leader) if leader.value.instance == before => change.delete(&election, Expect::Revision(leader.revision)),
        Some(_) | None => change,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_process_and_remembers_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let id = |n| InstanceId::new(uuid::Uuid::from_u128(n));
        let mut lock = DataDirLock::take(folder.path()).unwrap();
        assert_eq!(lock.before(), None);
        let slot = lock.slot();
        lock.note(id(1));
        let pid = format!("process {} (", std::process::id());
        assert!(
            matches!(DataDirLock::take(folder.path()), Err(DataDirError::Taken { holder, .. }) if holder.contains(&pid))
        );
        drop(lock);
        let lock = DataDirLock::take(folder.path()).unwrap();
        assert_eq!((lock.before(), lock.slot()), (Some(id(1)), slot));
    }
}
