//! Writes files that must survive a crash of the host.

use std::{
    ffi::OsString,
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::{Context as _, Result};

/// Mode of a file that all users may read.
pub(super) const PUBLIC: u32 = 0o644;
/// Mode of a file that only its owner may read.
pub(super) const SECRET: u32 = 0o600;

/// Replaces a file as a whole: after a crash it has the old content or the new one.
pub(super) fn replace(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    write(path, content, mode).with_context(|| format!("cannot write {}", path.display()))
}

fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut temporary = OsString::from(path);
    temporary.push(".new");
    // What a crash left behind may have another mode.
    if let Err(error) = fs::remove_file(&temporary)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}
