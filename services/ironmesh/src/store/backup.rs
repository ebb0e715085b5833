//! Backs up the store to a file and verifies backups.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::{Backup, answer};
use crate::console::say;

/// Size of the checksum at the end of a snapshot, in bytes (SHA-256).
const CHECKSUM_BYTES: usize = 32;
/// Page size of etcd's database, in bytes: a snapshot consists of whole pages and the checksum.
const PAGE_BYTES: u64 = 512;
/// How often progress is printed.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

pub(super) async fn run(command: &Backup) -> Result<()> {
    let (file, store) = (&command.file, command.location.store().await?);
    ensure!(!file.exists(), "{} already exists; choose another name or remove it", file.display());
    let at = store.standing().await.context("cannot read the store")?;
    let new = beside(file);
    let mut out = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .with_context(|| format!("cannot write {}", new.display()))?;
    let (mut written, mut said) = (0_u64, Instant::now());
    let copying = store.snapshot(|piece, remaining| -> Result<()> {
        out.write_all(piece).with_context(|| format!("cannot write {}", new.display()))?;
        written += u64::try_from(piece.len()).unwrap_or(0);
        if said.elapsed() > PROGRESS_INTERVAL {
            said = Instant::now();
            say(&format!("{} of {}", size(written), size(written + remaining)));
        }
        Ok(())
    });
    copying.await.context("the backup is incomplete")?;
    out.sync_all().with_context(|| format!("cannot write {}", new.display()))?;
    let whole = verify(&new)?;
    renameat_with(CWD, &new, CWD, file, RenameFlags::NOREPLACE)
        .with_context(|| format!("cannot rename {} to {}", new.display(), file.display()))?;
    durable_file::sync_folder_of(file)?;
    answer(&format!("{}: {} bytes, revision {}, sha256 {}", file.display(), whole.bytes, at.revision, whole.digest));
    Ok(())
}

/// Returns the path of the temporary file: the name with `.new` appended.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

/// A verified backup.
#[derive(Debug)]
pub(super) struct Whole {
    /// Size of the file, in bytes.
    pub(super) bytes: u64,
    /// Its checksum.
    pub(super) digest: String,
}

/// Reads a backup and verifies the checksum at its end.
pub(super) fn verify(file: &Path) -> Result<Whole> {
    let shown = file.display();
    let read = || format!("cannot read {shown}");
    let mut input = fs::File::open(file).with_context(read)?;
    let bytes = input.metadata().with_context(read)?.len();
    let checksum = u64::try_from(CHECKSUM_BYTES).unwrap_or(0);
    if bytes <= checksum || bytes % PAGE_BYTES != checksum {
        bail!("{shown} is not a complete etcd snapshot: it does not end with a checksum");
    }
    let mut sha = Sha256::new();
    io::copy(&mut (&mut input).take(bytes - checksum), &mut Sink(&mut sha)).with_context(read)?;
    let mut end = [0; CHECKSUM_BYTES];
    input.read_exact(&mut end).with_context(read)?;
    let content: [u8; CHECKSUM_BYTES] = sha.finalize().into();
    ensure!(content == end, "{shown} is damaged: its checksum does not match");
    Ok(Whole { bytes, digest: hex::encode(end) })
}

struct Sink<'s>(&'s mut Sha256);

impl io::Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Formats a size in bytes with a binary unit.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let steps = (0_u32..3).rev().find(|step| bytes >> (10 * (step + 1)) > 0).map_or(0, |step| step + 1);
    let unit = UNITS.get(usize::try_from(steps).unwrap_or(0)).unwrap_or(&"B");
    let tenths = (bytes.saturating_mul(10)) >> (10 * steps);
    if steps == 0 { format!("{bytes} {unit}") } else { format!("{}.{} {unit}", tenths / 10, tenths % 10) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_was_cut_or_changed_is_not_taken_for_a_whole_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("copy");
        let content = [7; 1024];
        let whole = [&content[..], &Sha256::digest(content)[..]].concat();
        fs::write(&file, &whole).unwrap();
        assert_eq!(verify(&file).unwrap().bytes, 1056);
        fs::write(&file, &whole[..1024]).unwrap();
        assert!(verify(&file).unwrap_err().to_string().contains("checksum"));
        let mut damaged = whole;
        damaged[3] = 8;
        fs::write(&file, &damaged).unwrap();
        assert!(verify(&file).unwrap_err().to_string().contains("damaged"));
    }

    #[test]
    fn octets_are_told_in_the_largest_unit_that_they_fill() {
        assert_eq!([0, 1023, 1024, 1536, 8 << 30].map(size), ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "8.0 GiB"]);
    }
}
