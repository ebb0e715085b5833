//! The trust domain and the datacenter of the identities that a folder's CA issues.

use std::{fs, io, path::Path};

use anyhow::{Context as _, Result, ensure};
use durable_file::Access;
use serde::{Deserialize, Serialize};
use service_kit::tls::Realm;

/// Name of the file. Without it, the realm is the default, as in folders of earlier releases.
const FILE: &str = "realm.json";

/// The content of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    trust_domain: String,
    datacenter: String,
}

/// Reads the realm of a folder of certificates.
///
/// # Errors
/// The file cannot be read, or its names are invalid.
pub fn load(folder: &Path) -> Result<Realm> {
    let path = folder.join(FILE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Realm::default()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let damaged = || format!("{} is damaged: restore it from a backup", path.display());
    let content: Content = serde_json::from_slice(&text).with_context(damaged)?;
    Realm::new(&content.trust_domain, &content.datacenter).with_context(damaged)
}

/// Gives a folder of certificates its realm, before its CAs are created. It can be repeated.
///
/// # Errors
/// The folder has CAs of another realm, or cannot be written.
pub fn create(folder: &Path, realm: &Realm) -> Result<()> {
    let present = load(folder)?;
    if present == *realm {
        return Ok(());
    }
    ensure!(
        !folder.join(FILE).exists() && !folder.join("ca.pem").exists(),
        "{} has certificates of {present}, not of {realm}: use an empty data directory for another datacenter",
        folder.display()
    );
    let content = Content { trust_domain: realm.trust_domain().to_owned(), datacenter: realm.datacenter().to_owned() };
    let text = serde_json::to_vec_pretty(&content).context("cannot encode the realm")?;
    Ok(durable_file::write(&folder.join(FILE), &text, Access::Everyone)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_its_realm() {
        let folder = tempfile::tempdir().unwrap();
        let fra = Realm::new("example.org", "fra1").unwrap();
        assert_eq!(load(folder.path()).unwrap(), Realm::default());
        create(folder.path(), &fra).unwrap();
        create(folder.path(), &fra).unwrap();
        assert_eq!(load(folder.path()).unwrap(), fra);
        let text = create(folder.path(), &Realm::default()).unwrap_err().to_string();
        assert!(text.contains("fra1") && text.contains("empty data directory"), "{text}");
        for damaged in ["", "{}", "{\"trust_domain\":\"A\",\"datacenter\":\"b\"}", "[", "null", "{\"x\":1}"] {
            fs::write(folder.path().join(FILE), damaged).unwrap();
            let text = load(folder.path()).unwrap_err().to_string();
            assert!(text.contains("realm.json is damaged"), "{damaged}: {text}");
        }
    }
}
