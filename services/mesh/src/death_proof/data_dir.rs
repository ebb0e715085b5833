//! The lock of a data directory, and the note of the instance that last held it.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use domain::id::{InstanceId, SlotId};
use durable_file::{Access, DurableFileError};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use service_kit::status;

/// The file that is locked. It is never replaced, because a lock belongs to the file and not to its name.
const LOCK_FILE: &str = "lock";
/// Holds the note of the last instance. It survives a power cut, because it has the slot of the directory.
const NOTE_FILE: &str = "instance.json";
/// What an operator can do about a damaged note.
const MEND_NOTE: &str = "it is written again; until then this replica waits for the lease of its last run to end, and its \
                         place in the ring is a new one";
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
    /// A directory, with its locked file.
    Directory {
        directory: PathBuf,
        _lock: fs::File,
    },
    Simulated(Box<dyn FnMut(InstanceId) + Send + Sync>),
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Directory { .. } => "Directory",
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
        let lock =
            fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(unusable)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| DataDirError::Taken { path: directory.to_owned(), holder: holder(directory) })?;
        fs::write(directory.join(PID_FILE), format!("{}\n", std::process::id())).map_err(unusable)?;
        durable_file::remove_leftovers(directory).map_err(|error| unusable(error.into()))?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        let last = read(directory);
        let slot = last.as_ref().and_then(|last| last.slot).unwrap_or_else(|| SlotId::new(uuid::Uuid::new_v4()));
        Ok(Self { keeper: Keeper::Directory { directory: directory.to_owned(), _lock: lock }, last, boot, slot })
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
            Keeper::Directory { directory, .. } => write(directory, &note),
            Keeper::Simulated(keep) => {
                keep(instance);
                Ok(())
            }
        };
        if let Err(error) = written {
            tracing::warn!(error = %status::chain(&error), "cannot note the instance in the data directory");
        }
    }
}

fn write(directory: &Path, note: &Note) -> Result<(), DurableFileError> {
    let text = serde_json::to_vec(note).unwrap_or_default();
    durable_file::write(&directory.join(NOTE_FILE), &text, Access::Everyone)
}

fn read(directory: &Path) -> Option<Note> {
    let file = directory.join(NOTE_FILE);
    let note = durable_file::read(&file, MEND_NOTE).and_then(|text| {
        serde_json::from_slice(&text).map_err(|error| DurableFileError::damaged(&file, &error, MEND_NOTE))
    });
    note.map_err(|error| {
        if !error.is_missing() {
            tracing::warn!(error = %status::chain(&error), "ignoring the note of the last instance");
        }
    })
    .ok()
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
        fs::write(directory.path().join(NOTE_FILE), serde_json::to_vec(&note).unwrap()).unwrap();
        let lock = DataDirLock::take(directory.path()).unwrap();
        assert_eq!((lock.last(), lock.proven_dead(), lock.slot()), (Some(id(1)), None, slot));
    }

    #[test]
    fn a_note_that_is_cut_counts_as_none_and_what_a_crash_left_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        for (content, source) in [
            ("", "a power cut"),
            ("{", "a full disk"),
            ("\0\0\0", "zeros after a power cut"),
            ("{}", "another program"),
            ("null", "another program"),
            (r#"{"instance":"x","boot":"y"}"#, "no instance"),
        ] {
            fs::write(directory.path().join(NOTE_FILE), content).unwrap();
            fs::write(directory.path().join(".instance.json.1-0.unfinished"), "{").unwrap();
            let lock = DataDirLock::take(directory.path()).unwrap();
            assert_eq!((lock.last(), lock.proven_dead()), (None, None), "{source}");
            assert!(!directory.path().join(".instance.json.1-0.unfinished").exists(), "{source}");
        }
    }

    #[test]
    fn a_directory_is_still_locked_after_its_instance_was_noted() {
        let directory = tempfile::tempdir().unwrap();
        let mut lock = DataDirLock::take(directory.path()).unwrap();
        lock.note(id(1));
        lock.note(id(2));
        assert!(matches!(DataDirLock::take(directory.path()), Err(DataDirError::Taken { .. })));
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
