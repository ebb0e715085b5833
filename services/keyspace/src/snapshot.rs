//! The view on disk, with which a service starts while etcd is unavailable. Secrets in it stay sealed.

use std::{fs, io::Write as _, path::Path};

use serde::{Deserialize, Serialize};

use domain::generation::Incarnation;

use crate::{Error, Known, store::Pair};

/// Name of the file beside the view that holds what is known of the store.
const KNOWN: &str = "store.json";

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
    if !file.exists() {
        return Ok(None);
    }
    let json = fs::read(&file).map_err(wrong)?;
    serde_json::from_slice(&json).map(Some).map_err(|error| wrong(error.into()))
}

fn write(file: &Path, content: &[u8]) -> Result<(), Error> {
    let wrong = |source| Error::File { path: file.to_owned(), source };
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(wrong)?;
    }
    let new = file.with_extension("new");
    let mut out = fs::File::create(&new).map_err(wrong)?;
    out.write_all(content).and_then(|()| out.sync_all()).map_err(wrong)?;
    fs::rename(&new, file).map_err(wrong)
}

/// Reads a snapshot. Returns `None` if there is no such file.
///
/// # Errors
/// [`Error::File`] if the file exists and cannot be read.
pub fn load(file: &Path) -> Result<Option<Snapshot>, Error> {
    let wrong = |source| Error::File { path: file.to_owned(), source };
    if !file.exists() {
        return Ok(None);
    }
    let packed = fs::read(file).map_err(wrong)?;
    let json = zstd::stream::decode_all(packed.as_slice()).map_err(wrong)?;
    serde_json::from_slice(&json).map(Some).map_err(|error| wrong(error.into()))
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
}
