//! The lock of a data directory, and the note of the instance that last held it.

use std::{
    fmt, fs,
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use domain::id::{InstanceId, SlotId};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// The file that is locked; it holds the note of the last instance.
const LOCK_FILE: &str = "lock";
/// Names the process that holds the lock. It is for operators and proves nothing.
const PID_FILE: &str = "lock.pid";

/// The data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process holds its lock.
    #[error("{holder} is using {path}; give each replica its own data directory, or stop the other process")]
    Taken {
        /// The directory.
        path: PathBuf,
        /// The other process.
        holder: String,
    },
    /// Reading or writing it failed.
    #[error("cannot use the data directory {path}")]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Describes the process that holds the directory: its pid and, on this machine, its command line.
fn holder(directory: &Path) -> String {
    let Ok(pid) = fs::read_to_string(directory.join(PID_FILE)) else { return "another process".to_owned() };
    let pid = pid.trim();
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    if command.is_empty() { format!("process {pid}") } else { format!("process {pid} ({})", command.trim()) }
}

/// The lock of a data directory. The kernel releases it when the process ends, however it ends.
#[derive(Debug)]
pub struct DataDirLock {
    keeper: Keeper,
    last: Option<Note>,
    /// The kernel's boot id; empty if it is unknown.
    boot: String,
    slot: SlotId,
}

/// Where the note of the instance is kept.
enum Keeper {
    File(fs::File),
    Simulated(Box<dyn FnMut(InstanceId) + Send + Sync>),
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File(_) => "File",
            Self::Simulated(_) => "Simulated",
        })
    }
}

/// What a simulated data directory holds.
#[derive(Debug, Clone)]
pub struct SimulatedDataDir {
    /// The instance that last held it, if there was one.
    pub last: Option<InstanceId>,
    /// Its slot in the ring.
    pub slot: SlotId,
    /// The kernel's boot id; empty if it is unknown, and then nothing is proven.
    pub boot: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    instance: InstanceId,
    boot: String,
    #[serde(default)]
    slot: Option<SlotId>,
}

impl DataDirLock {
    /// Takes the lock of a directory, which is created if it does not exist.
    ///
    /// # Errors
    /// [`DataDirError::Taken`] if another process holds it, [`DataDirError::Unusable`] if it cannot be read or written.
    pub fn take(directory: &Path) -> Result<Self, DataDirError> {
        let unusable = |source| DataDirError::Unusable { path: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(unusable)?;
        let path = directory.join(LOCK_FILE);
        let mut file =
            fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(unusable)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| DataDirError::Taken { path: directory.to_owned(), holder: holder(directory) })?;
        fs::write(directory.join(PID_FILE), format!("{}\n", std::process::id())).map_err(unusable)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(unusable)?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        let last: Option<Note> = serde_json::from_str(&text).ok();
        let slot = last.as_ref().and_then(|last| last.slot).unwrap_or_else(|| SlotId::new(uuid::Uuid::new_v4()));
        Ok(Self { keeper: Keeper::File(file), last, boot, slot })
    }

    /// A lock of no directory, for simulated processes. It proves the death of `last` although no kernel says so. `note` is
    /// called with each instance that joins.
    #[must_use]
    pub fn dangerous_simulated(
        directory: SimulatedDataDir,
        note: impl FnMut(InstanceId) + Send + Sync + 'static,
    ) -> Self {
        let SimulatedDataDir { last, slot, boot } = directory;
        let last = last.map(|instance| Note { instance, boot: boot.clone(), slot: Some(slot) });
        Self { keeper: Keeper::Simulated(Box::new(note)), last, boot, slot }
    }

    /// The slot in the ring that belongs to this directory.
    pub(crate) const fn slot(&self) -> SlotId {
        self.slot
    }

    /// The instance that was noted last.
    pub(crate) fn last(&self) -> Option<InstanceId> {
        self.last.as_ref().map(|last| last.instance)
    }

    /// The instance that was noted last, if this kernel proves that its workers have ended: its process is gone, or it was
    /// in this process and the caller has ended them.
    pub(crate) fn proven_dead(&self) -> Option<InstanceId> {
        let last = self.last.as_ref().filter(|last| !self.boot.is_empty() && last.boot == self.boot);
        last.map(|last| last.instance)
    }

    /// Notes the current instance.
    pub(crate) fn note(&mut self, instance: InstanceId) {
        let note = Note { instance, boot: self.boot.clone(), slot: Some(self.slot) };
        self.last = Some(note.clone());
        let written = match &mut self.keeper {
            Keeper::File(file) => write(file, &note),
            Keeper::Simulated(keep) => {
                keep(instance);
                Ok(())
            }
        };
        if let Err(error) = written {
            tracing::warn!(%error, "cannot note the instance in the data directory");
        }
    }
}

fn write(file: &mut fs::File, note: &Note) -> io::Result<()> {
    let text = serde_json::to_vec(note).unwrap_or_default();
    file.rewind()?;
    file.set_len(0)?;
    file.write_all(&text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> InstanceId {
        InstanceId::new(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn a_directory_has_one_process_and_remembers_the_last_one() {
        let directory = tempfile::tempdir().unwrap();
        let mut lock = DataDirLock::take(directory.path()).unwrap();
        assert_eq!(lock.proven_dead(), None);
        let slot = lock.slot();
        lock.note(id(1));
        let pid = format!("process {} (", std::process::id());
        let second = DataDirLock::take(directory.path());
        assert!(matches!(second, Err(DataDirError::Taken { holder, .. }) if holder.contains(&pid)));
        drop(lock);
        let lock = DataDirLock::take(directory.path()).unwrap();
        assert_eq!((lock.proven_dead(), lock.slot()), (Some(id(1)), slot));
    }

    #[test]
    fn a_note_from_another_boot_proves_nothing_but_keeps_the_slot() {
        let directory = tempfile::tempdir().unwrap();
        let slot = SlotId::new(uuid::Uuid::from_u128(7));
        let note = Note { instance: id(1), boot: "another boot".to_owned(), slot: Some(slot) };
        fs::write(directory.path().join(LOCK_FILE), serde_json::to_vec(&note).unwrap()).unwrap();
        let lock = DataDirLock::take(directory.path()).unwrap();
        assert_eq!((lock.last(), lock.proven_dead(), lock.slot()), (Some(id(1)), None, slot));
    }

    #[test]
    fn a_note_that_cannot_be_read_counts_as_none() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(LOCK_FILE), "{").unwrap();
        let lock = DataDirLock::take(directory.path()).unwrap();
        assert_eq!((lock.last(), lock.proven_dead()), (None, None));
    }

    #[test]
    fn a_directory_that_cannot_be_created_is_named_in_the_error() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let error = DataDirLock::take(&file.join("data")).unwrap_err();
        assert!(matches!(&error, DataDirError::Unusable { .. }));
        assert!(error.to_string().contains("file/data"), "{error}");
    }

    #[test]
    fn a_simulated_directory_without_a_boot_id_proves_nothing() {
        let slot = SlotId::new(uuid::Uuid::from_u128(7));
        let directory = SimulatedDataDir { last: Some(id(1)), slot, boot: String::new() };
        let mut lock = DataDirLock::dangerous_simulated(directory, |_| {});
        assert_eq!(lock.proven_dead(), None);
        lock.note(id(2));
        assert_eq!((lock.last(), lock.proven_dead()), (Some(id(2)), None));
    }
}
