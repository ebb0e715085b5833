//! The steps of a write, which the tests interrupt.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// A disk with a cache that a power cut loses.
pub(crate) trait Disk {
    /// Writes a file that did not exist. A leftover with this name is replaced.
    fn write_new(&mut self, path: &Path, content: &[u8], mode: u32) -> io::Result<()>;
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
    fn write_new(&mut self, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
        // A file that exists would keep its mode.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?.write_all(content)
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
