//! The view on disk, with which a service starts while etcd is unavailable. Secrets in it stay sealed.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use domain::generation::Incarnation;
use durable_file::{Access, DurableFileError};

use crate::{Error, Known, store::Pair};

/// Name of the file beside the view that holds what is known of the store.
const KNOWN: &str = "store.json";
/// What an operator can do about a damaged view.
const MEND_VIEW: &str = "remove it: it is read from etcd again. Until then the service cannot start while etcd is away";
/// What an operator can do about a damaged note.
const MEND_KNOWN: &str = "if etcd was not restored from a backup since, remove it: it is written again";

/// A view at a revision.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// Everything up to this revision is included.
    pub revision: i64,
    /// The incarnation of the store that it was read from.
    #[serde(default)]
    pub incarnation: Incarnation,
    /// All pairs.
    pub pairs: Vec<Pair>,
}

impl Snapshot {
    /// The pair that was written last.
    #[must_use]
    pub fn last(&self) -> Option<&Pair> {
        self.pairs.iter().max_by_key(|pair| pair.revision)
    }
}

/// Writes a snapshot atomically.
///
/// # Errors
/// [`Error::File`]
pub fn save(file: &Path, snapshot: &Snapshot) -> Result<(), Error> {
    let wrong = |source| Error::File { path: file.to_owned(), source };
    let json = serde_json::to_vec(snapshot).map_err(|error| wrong(error.into()))?;
    write(file, &zstd::bulk::compress(&json, 0).map_err(wrong)?)
}

/// Writes what is known of the store to a service's folder, atomically.
///
/// # Errors
/// [`Error::File`]
pub fn note(folder: &Path, known: &Known) -> Result<(), Error> {
    let file = folder.join(KNOWN);
    let json = serde_json::to_vec(known).map_err(|error| Error::File { path: file.clone(), source: error.into() })?;
    write(&file, &json)
}

/// Reads what was known of the store from a service's folder. Returns `None` if there is no such file.
///
/// # Errors
/// [`Error::File`] if the file exists and cannot be read.
pub fn noted(folder: &Path) -> Result<Option<Known>, Error> {
    let file = folder.join(KNOWN);
    let wrong = |source| Error::File { path: file.clone(), source };
    let Some(json) = read(&file, MEND_KNOWN).map_err(wrong)? else { return Ok(None) };
    serde_json::from_slice(&json).map(Some).map_err(|error| wrong(damaged(&file, &error, MEND_KNOWN)))
}

fn write(file: &Path, content: &[u8]) -> Result<(), Error> {
    let wrong = |source| Error::File { path: file.to_owned(), source };
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(wrong)?;
    }
    durable_file::write(file, content, Access::Owner).map_err(|error| wrong(error.into()))
}

fn read(file: &Path, mend: &str) -> std::io::Result<Option<Vec<u8>>> {
    match durable_file::read(file, mend) {
        Err(error) if error.is_missing() => Ok(None),
        read => Ok(Some(read?)),
    }
}

fn damaged(file: &Path, why: &dyn std::fmt::Display, mend: &str) -> std::io::Error {
    DurableFileError::damaged(file, why, mend).into()
}

/// Reads a snapshot. Returns `None` if there is no such file.
///
/// # Errors
/// [`Error::File`] if the file exists and cannot be read.
pub fn load(file: &Path) -> Result<Option<Snapshot>, Error> {
    let wrong = |source| Error::File { path: file.to_owned(), source };
    let Some(packed) = read(file, MEND_VIEW).map_err(wrong)? else { return Ok(None) };
    let unusable = |why: &dyn std::fmt::Display| wrong(damaged(file, why, MEND_VIEW));
    let json = zstd::stream::decode_all(packed.as_slice()).map_err(|error| unusable(&error))?;
    serde_json::from_slice(&json).map(Some).map_err(|error| unusable(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_reads_back_as_it_was_saved_and_none_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/view.zst");
        assert_eq!(load(&file).unwrap(), None);
        let pairs = vec![Pair { path: "/a".to_owned(), value: b"{}".to_vec(), revision: 3, created: 2 }];
        let snapshot = Snapshot { revision: 9, incarnation: Incarnation::from_number(1), pairs };
        save(&file, &snapshot).unwrap();
        assert_eq!(load(&file).unwrap(), Some(snapshot));
    }

    #[test]
    fn a_cut_file_is_named_with_the_way_to_mend_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("view.zst");
        save(&file, &Snapshot { revision: 9, ..Snapshot::default() }).unwrap();
        let whole = fs::read(&file).unwrap();
        for (content, source) in [
            (Vec::new(), "a power cut before the data was written"),
            (whole[..whole.len() - 3].to_vec(), "a full disk"),
            (vec![0; whole.len()], "XFS and ext4 after a power cut: zeros"),
            (whole[3..].to_vec(), "the start is missing"),
            (zstd::bulk::compress(b"{", 0).unwrap(), "cut before it was packed"),
            (b"{}".to_vec(), "not packed"),
        ] {
            fs::write(&file, &content).unwrap();
            let text = crate::error::chain(&load(&file).unwrap_err());
            assert!(text.contains("view.zst is ") && text.contains("remove it"), "{source}: {text}");
        }
        for (content, source) in [("", "a power cut"), ("{", "a full disk"), ("\0\0", "zeros")] {
            fs::write(folder.path().join(KNOWN), content).unwrap();
            let text = crate::error::chain(&noted(folder.path()).unwrap_err());
            assert!(text.contains("store.json is ") && text.contains("remove it"), "{source}: {text}");
        }
    }
}
