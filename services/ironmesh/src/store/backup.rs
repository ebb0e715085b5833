//! A copy of the store in a file, and whether such a copy is whole.

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
use crate::up::say;

/// Octets of the checksum that etcd puts behind a snapshot (SHA-256).
const CHECKSUM: usize = 32;
/// Octets of a page of etcd's database: a snapshot is whole pages, and the checksum.
const PAGE: u64 = 512;
/// How often it is said how far it is.
const PROGRESS: Duration = Duration::from_secs(2);

pub(super) async fn run(command: &Backup) -> Result<()> {
    let (file, store) = (&command.file, command.reach.store().await?);
    ensure!(!file.exists(), "{} is there already; name a new file, or move it away", file.display());
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
        if said.elapsed() > PROGRESS {
            said = Instant::now();
            say(&format!("{} of {}", size(written), size(written + remaining)));
        }
        Ok(())
    });
    copying.await.context("the copy is not whole")?;
    out.sync_all().with_context(|| format!("cannot write {}", new.display()))?;
    let whole = verify(&new)?;
    renameat_with(CWD, &new, CWD, file, RenameFlags::NOREPLACE)
        .with_context(|| format!("cannot name {} {}", new.display(), file.display()))?;
    sync_folder(file)?;
    answer(&format!("{}: {} octets, revision {}, sha256 {}", file.display(), whole.octets, at.revision, whole.digest));
    Ok(())
}

/// A file beside this one, with `.new` after its name.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

fn sync_folder(file: &Path) -> Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let synced = fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.with_context(|| format!("cannot write {}", folder.display()))
}

/// What was found of a whole copy.
#[derive(Debug)]
pub(super) struct Whole {
    /// Octets of the file.
    pub(super) octets: u64,
    /// The checksum that it ends with and that its content has.
    pub(super) digest: String,
}

/// Reads a copy and compares it with the checksum at its end.
pub(super) fn verify(file: &Path) -> Result<Whole> {
    let shown = file.display();
    let read = || format!("cannot read {shown}");
    let mut input = fs::File::open(file).with_context(read)?;
    let octets = input.metadata().with_context(read)?.len();
    let checksum = u64::try_from(CHECKSUM).unwrap_or(0);
    if octets <= checksum || octets % PAGE != checksum {
        bail!("{shown} is no whole snapshot of etcd: it does not end with a checksum");
    }
    let mut sha = Sha256::new();
    io::copy(&mut (&mut input).take(octets - checksum), &mut Sink(&mut sha)).with_context(read)?;
    let mut end = [0; CHECKSUM];
    input.read_exact(&mut end).with_context(read)?;
    let content: [u8; CHECKSUM] = sha.finalize().into();
    ensure!(content == end, "{shown} is damaged: its content does not have the checksum that it ends with");
    Ok(Whole { octets, digest: hex::encode(end) })
}

struct Sink<'s>(&'s mut Sha256);

impl io::Write for Sink<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.update(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Octets for people.
pub(super) fn size(octets: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let steps = (0_u32..3).rev().find(|step| octets >> (10 * (step + 1)) > 0).map_or(0, |step| step + 1);
    let unit = UNITS.get(usize::try_from(steps).unwrap_or(0)).unwrap_or(&"B");
    let tenths = (octets.saturating_mul(10)) >> (10 * steps);
    if steps == 0 { format!("{octets} {unit}") } else { format!("{}.{} {unit}", tenths / 10, tenths % 10) }
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
        assert_eq!(verify(&file).unwrap().octets, 1056);
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
