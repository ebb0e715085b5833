//! Files that must survive a crash and a power cut: at any time they have their old or their new content, and never a part
//! of it.
//!
//! [`write()`], [`replace`] and [`publish`] write the content to a temporary file in the same folder, have it written to the disk (fsync),
//! rename it, and have the folder written to the disk. Without the first fsync, a file system may write the new name before
//! the content, and leave an empty file after a power cut; without the second one, the change may be lost after its success
//! was reported. See fsync(2) and rename(2).
//!
//! A crash may leave a temporary file, which [`remove_leftovers`] finds by its name.

mod disk;

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::disk::{Attributes, Disk, RealDisk};

/// Start and end of the names of temporary files.
const LEFTOVER: (&str, &str) = (".", ".unfinished");

/// Number of the next temporary file of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Why a file cannot be written, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum DurableFileError {
    /// The operating system reports an error.
    #[error("cannot {action} {path}")]
    Io {
        /// What was done, such as `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is empty or cut, as a power cut may leave it that interrupts another program.
    #[error("{path} is {state}; {mend}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, such as `empty`.
        state: String,
        /// What the operator can do.
        mend: String,
    },
}

impl DurableFileError {
    /// The error for a file whose content cannot be parsed. `mend` says what the operator can do.
    #[must_use]
    pub fn damaged(path: &Path, why: &dyn std::fmt::Display, mend: &str) -> Self {
        Self::Damaged { path: path.to_owned(), state: format!("damaged ({why})"), mend: mend.to_owned() }
    }

    /// Whether the file does not exist.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

impl From<DurableFileError> for io::Error {
    fn from(error: DurableFileError) -> Self {
        match error {
            DurableFileError::Io { source, .. } => source,
            damaged @ DurableFileError::Damaged { .. } => Self::new(io::ErrorKind::InvalidData, damaged),
        }
    }
}

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Its owner (mode 0600).
    Owner,
    /// Everyone whom the process's umask allows (mode 0644).
    Everyone,
}

impl Access {
    const fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Everyone => 0o644,
        }
    }

    /// Takes from the mode of an existing file what this does not give. A group that may read a file of an owner keeps that
    /// right.
    const fn restrict(self, mode: u32) -> u32 {
        match self {
            Self::Owner => mode & 0o640 | 0o400,
            Self::Everyone => mode & 0o664 | 0o400,
        }
    }
}

/// Writes or replaces a file. When this returns, the content is on the disk.
///
/// # Errors
/// [`DurableFileError::Io`]; the file has its old content then, unless the folder alone cannot be synchronized.
pub fn write(path: &Path, content: &[u8], access: Access) -> Result<(), DurableFileError> {
    write_as(path, content, Attributes::new(access)).map_err(DurableFileError::io("write", path))
}

/// Writes or replaces a file as [`write()`] does. A file that is replaced keeps its owner, its group and its mode, but not
/// more than a group's right to read with [`Access::Owner`].
///
/// # Errors
/// [`DurableFileError::Io`], also if this process may not give a file with [`Access::Owner`] to the owner that it had. The
/// file has its old content then, unless the folder alone cannot be synchronized.
pub fn replace(path: &Path, content: &[u8], access: Access) -> Result<(), DurableFileError> {
    let attributes = Attributes::like(path, access);
    attributes.and_then(|attributes| write_as(path, content, attributes)).map_err(DurableFileError::io("write", path))
}

fn write_as(path: &Path, content: &[u8], attributes: Attributes) -> io::Result<()> {
    let part = part_of(path);
    write_on(&mut RealDisk, path, &part, content, attributes).inspect_err(|_| drop(fs::remove_file(&part)))
}

/// Gives a complete file its name, which another file may have. Both must be in the same file system, and `part` must be
/// closed or flushed by the program. When this returns, content and name are on the disk.
///
/// # Errors
/// [`DurableFileError::Io`]; `part` is left unless it has its new name already.
pub fn publish(part: &Path, path: &Path) -> Result<(), DurableFileError> {
    publish_on(&mut RealDisk, part, path).map_err(DurableFileError::io("write", path))
}

/// Removes a file. When this returns, it cannot come back.
///
/// # Errors
/// [`DurableFileError::Io`], also if it does not exist.
pub fn remove(path: &Path) -> Result<(), DurableFileError> {
    let removed = fs::remove_file(path).and_then(|()| RealDisk.sync_folder(folder_of(path)));
    removed.map_err(DurableFileError::io("remove", path))
}

/// Has the names in the folder of a file written to the disk, after the file was renamed by other means.
///
/// # Errors
/// [`DurableFileError::Io`]
pub fn sync_folder_of(path: &Path) -> Result<(), DurableFileError> {
    let folder = folder_of(path);
    RealDisk.sync_folder(folder).map_err(DurableFileError::io("write", folder))
}

/// Reads a file that is never empty. `mend` says what the operator can do about an empty one.
///
/// # Errors
/// [`DurableFileError::Io`], also if it does not exist; [`DurableFileError::Damaged`] if it is empty.
pub fn read(path: &Path, mend: &str) -> Result<Vec<u8>, DurableFileError> {
    let content = fs::read(path).map_err(DurableFileError::io("read", path))?;
    if content.is_empty() {
        return Err(DurableFileError::Damaged {
            path: path.to_owned(),
            state: "empty".to_owned(),
            mend: mend.to_owned(),
        });
    }
    Ok(content)
}

/// Removes the temporary files that a crash left in a folder. Call it at the start, before anything is written there, and
/// with the lock of the folder if several processes may use it. Returns how many there were; 0 if there is no such folder.
///
/// # Errors
/// [`DurableFileError::Io`]
pub fn remove_leftovers(folder: &Path) -> Result<usize, DurableFileError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries.map_err(DurableFileError::io("read", folder))?,
    };
    let mut removed = 0;
    for entry in entries.flatten().filter(|entry| is_leftover(&entry.file_name())) {
        fs::remove_file(entry.path()).map_err(DurableFileError::io("remove", &entry.path()))?;
        removed += 1;
    }
    Ok(removed)
}

fn is_leftover(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with(LEFTOVER.0) && name.ends_with(LEFTOVER.1)
}

/// Returns a name beside a file that no other write has.
fn part_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!("{}{name}.{}-{number}{}", LEFTOVER.0, std::process::id(), LEFTOVER.1))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

fn write_on(disk: &mut impl Disk, path: &Path, part: &Path, content: &[u8], attributes: Attributes) -> io::Result<()> {
    disk.write_new(part, content, attributes)?;
    publish_on(disk, part, path)
}

fn publish_on(disk: &mut impl Disk, part: &Path, path: &Path) -> io::Result<()> {
    disk.sync_file(part)?;
    disk.rename(part, path)?;
    disk.sync_folder(folder_of(path))
}

#[cfg(test)]
mod tests;
