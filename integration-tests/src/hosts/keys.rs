//! A search for private keys: no host may have the private key of another.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{KeyPair, PublicKeyData as _};

/// What a private key's label ends with, whatever its format (RFC 7468 §10, §11, RFC 5915 §4).
const LABEL: &str = "PRIVATE KEY-----";

/// Files with the same private key, by the public half of it.
pub type Keys = BTreeMap<Vec<u8>, Vec<PathBuf>>;

/// Every private key below a folder (PEM), in files of any name.
///
/// # Errors
/// A file cannot be read, or has a key that is of no kind that we make.
pub fn private_keys(folder: &Path) -> Result<Keys> {
    let mut keys = Keys::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let kind = fs::symlink_metadata(&path)?.file_type();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let content = fs::read(&path).with_context(|| path.display().to_string())?;
                for key in keys_in(&content).with_context(|| path.display().to_string())? {
                    keys.entry(key).or_default().push(path.clone());
                }
            }
        }
    }
    Ok(keys)
}

/// The public halves of the private keys in a file's content.
fn keys_in(content: &[u8]) -> Result<Vec<Vec<u8>>> {
    let text = String::from_utf8_lossy(content);
    let mut keys = Vec::new();
    let mut rest = &*text;
    // A database may have them between other bytes.
    while let Some(begin) = rest.find("-----BEGIN ") {
        let block = rest.get(begin..).unwrap_or_default();
        let label = block.lines().next().unwrap_or_default();
        let end = block.find("-----END ").and_then(|end| block.get(end..)?.find('\n').map(|line| end + line + 1));
        let end = end.unwrap_or(block.len());
        if label.ends_with(LABEL) {
            let pem = block.get(..end).unwrap_or_default();
            let pair = KeyPair::from_pem(pem).with_context(|| format!("a key with the label {label}"))?;
            keys.push(pair.der_bytes().to_vec());
        }
        rest = block.get(end..).unwrap_or_default();
    }
    Ok(keys)
}

/// Private keys that more than one of these folders has: their files.
///
/// # Errors
/// The errors of [`private_keys`].
pub fn shared_keys(folders: &[&Path]) -> Result<Vec<Vec<PathBuf>>> {
    let mut all: BTreeMap<Vec<u8>, BTreeMap<PathBuf, Vec<PathBuf>>> = BTreeMap::new();
    for folder in folders {
        for (key, files) in private_keys(folder)? {
            all.entry(key).or_default().insert((*folder).to_owned(), files);
        }
    }
    let shared = all.into_values().filter(|folders| folders.len() > 1);
    Ok(shared.map(|folders| folders.into_values().flatten().collect()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_two_folders_is_found_whatever_its_file_is_called() {
        let [one, two] = [KeyPair::generate().unwrap(), KeyPair::generate().unwrap()];
        let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let both = format!("{certificate}{}{}", one.serialize_pem(), two.serialize_pem());
        let database = [b"\x00\xff\x01".as_slice(), one.serialize_pem().as_bytes(), b"\xfe"].concat();
        // Content of the two folders' files, and the number of shared keys.
        for (left, right, shared) in [
            (one.serialize_pem().into_bytes(), two.serialize_pem().into_bytes(), 0),
            (one.serialize_pem().into_bytes(), one.serialize_pem().into_bytes(), 1),
            (both.clone().into_bytes(), one.serialize_pem().into_bytes(), 1),
            (both.clone().into_bytes(), both.into_bytes(), 2),
            (database, one.serialize_pem().into_bytes(), 1),
            (certificate.as_bytes().to_vec(), certificate.as_bytes().to_vec(), 0),
            (one.public_key_pem().into_bytes(), one.serialize_pem().into_bytes(), 0),
        ] {
            let [a, b] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
            fs::create_dir(a.path().join("certs")).unwrap();
            fs::write(a.path().join("certs/host.pem"), &left).unwrap();
            fs::write(b.path().join("anything"), &right).unwrap();
            let found = shared_keys(&[a.path(), b.path()]).unwrap();
            assert_eq!(found.len(), shared, "{}", String::from_utf8_lossy(&left));
            assert!(found.iter().all(|files| files.len() == 2), "{found:?}");
        }
    }

    #[test]
    fn a_key_that_cannot_be_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("odd.key"), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
            .unwrap();
        private_keys(folder.path()).unwrap_err();
    }
}
