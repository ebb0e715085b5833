//! The steps of a write, which the tests interrupt.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::Path,
};

use crate::Access;

/// Mode and owner that a new file gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attributes {
    access: Access,
    /// User, group and mode of the file that is replaced; `None` for those of a new file of this process.
    kept: Option<(u32, u32, u32)>,
}

impl Attributes {
    /// Those of a file that has never existed.
    pub(crate) const fn new(access: Access) -> Self {
        Self { access, kept: None }
    }

    /// Those of the file at this path, but without rights that `access` does not give. If there is none, those of a new one.
    pub(crate) fn like(path: &Path, access: Access) -> io::Result<Self> {
        match fs::metadata(path) {
            Ok(before) => {
                let mode = access.restrict(before.permissions().mode());
                Ok(Self { access, kept: Some((before.uid(), before.gid(), mode)) })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::new(access)),
            Err(error) => Err(error),
        }
    }

    /// Gives them to a file that only its owner can read so far.
    fn set(self, file: &fs::File) -> io::Result<()> {
        let Some((user, group, mode)) = self.kept else { return Ok(()) };
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (user, group) {
            match fchown(file, Some(user), Some(group)) {
                // Another user can read it nevertheless.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied && self.access == Access::Everyone => {}
                changed => changed?,
            }
        }
        file.set_permissions(fs::Permissions::from_mode(mode))
    }
}

/// A disk with a cache that a power cut loses.
pub(crate) trait Disk {
    /// Writes a file that did not exist. A leftover with this name is replaced.
    fn write_new(&mut self, path: &Path, content: &[u8], attributes: Attributes) -> io::Result<()>;
    /// Has the content of a file written to the disk.
    fn sync_file(&mut self, path: &Path) -> io::Result<()>;
    /// Renames a file.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// Has the names in a folder written to the disk.
    fn sync_folder(&mut self, folder: &Path) -> io::Result<()>;
}

/// The disk of this machine.
pub(crate) struct RealDisk;

impl Disk for RealDisk {
    fn write_new(&mut self, path: &Path, content: &[u8], attributes: Attributes) -> io::Result<()> {
        // A file that exists would keep its mode.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mode = if attributes.kept.is_some() { Access::Owner.mode() } else { attributes.access.mode() };
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        attributes.set(&file)?;
        file.write_all(content)
    }

    fn sync_file(&mut self, path: &Path) -> io::Result<()> {
        // fsync(2) writes all data of the file, whichever descriptor it was written by.
        fs::File::open(path)?.sync_all()
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_folder(&mut self, folder: &Path) -> io::Result<()> {
        fs::File::open(folder)?.sync_all()
    }
}
