//! Reads certificate files that clients name, from one folder only.
//!
//! A name from a record is untrusted: it must be a bare file name, is opened without following links, and a file that
//! is not regular (a device, a pipe) or is too large is never read.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use keyspace::value::Trust;
use rustix::fs::{Mode, OFlags};

/// Maximum size of a certificate file, in bytes; a bundle of all public CAs has a quarter of it.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The folder with the certificates that records may name.
#[derive(Debug, Clone)]
pub(super) struct CertificateFolder(Option<PathBuf>);

impl CertificateFolder {
    /// Creates it. An empty path stands for no folder.
    pub(super) fn new(path: &Path) -> Self {
        Self((!path.as_os_str().is_empty()).then(|| path.to_owned()))
    }

    /// Reads a file. Returns `None` if it cannot be used, for whatever reason: the reason is logged for the operator and
    /// not shown to clients.
    pub(super) async fn read(&self, name: &str) -> Option<Vec<u8>> {
        let folder = self.0.clone();
        let owned = name.to_owned();
        let read = tokio::task::spawn_blocking(move || read(folder.as_deref(), &owned)).await;
        let error = match read {
            Ok(Ok(content)) => return Some(content),
            Ok(Err(error)) => error,
            Err(error) => io::Error::other(error),
        };
        tracing::warn!(file = ?name, %error, "cannot read a certificate file that a node names");
        None
    }
}

fn read(folder: Option<&Path>, name: &str) -> io::Result<Vec<u8>> {
    let folder = folder.ok_or_else(|| io::Error::other("power.ca_folder is not set"))?;
    if !Trust::is_file_name(name) {
        return Err(io::Error::other("it is not a bare file name"));
    }
    // NONBLOCK: opening a pipe must not wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(folder.join(name), flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut content = Vec::new();
    // The size may change after it was read.
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("it is larger than {MAX_FILE_BYTES} bytes")));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[tokio::test]
    async fn only_a_small_regular_file_of_the_folder_is_read() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("ca");
        fs::create_dir_all(folder.join("sub")).unwrap();
        fs::write(folder.join("ca.pem"), "certificates").unwrap();
        fs::write(folder.join("sub/ca.pem"), "x").unwrap();
        fs::write(folder.join(".hidden"), "x").unwrap();
        fs::write(root.path().join("secret"), "x").unwrap();
        fs::write(folder.join("large"), vec![b'x'; usize::try_from(MAX_FILE_BYTES).unwrap() + 1]).unwrap();
        fs::write(folder.join("largest"), vec![b'x'; usize::try_from(MAX_FILE_BYTES).unwrap()]).unwrap();
        symlink(root.path().join("secret"), folder.join("link")).unwrap();
        symlink("/dev/zero", folder.join("zero")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, folder.join("pipe"), rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        let ca = CertificateFolder::new(&folder);
        assert_eq!(ca.read("ca.pem").await.as_deref(), Some(&b"certificates"[..]));
        assert!(ca.read("largest").await.is_some());
        for wrong in [
            "missing",
            "sub",
            "sub/ca.pem",
            ".hidden",
            "../secret",
            "/dev/zero",
            "zero",
            "link",
            "pipe",
            "large",
            "",
            ".",
            "..",
        ] {
            assert_eq!(ca.read(wrong).await, None, "{wrong:?}");
        }
        assert_eq!(CertificateFolder::new(Path::new("")).read("ca.pem").await, None);
    }
}
