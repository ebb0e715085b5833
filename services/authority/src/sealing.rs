//! The files with sealing keys in the data directory of `ironmesh up`: the root keys, which the schedulers use, and the keys
//! of each leaf service, which are derived from them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use domain::service::Service;
use keyspace::seal::{KeyFile, has_keys};
use service_kit::clock;

/// What the names of the leaf services' files end with.
const SUFFIX: &str = ".sealing.keys";

/// Returns the path of the root keys.
pub fn root(data: &Path) -> PathBuf {
    data.join("certs/sealing.keys")
}

/// Returns the path of the keys of a service of a rack.
pub fn file(data: &Path, service: Service, rack: &str) -> PathBuf {
    if service == Service::Scheduler {
        return root(data);
    }
    let rack = if rack.is_empty() { "default" } else { rack };
    data.join("certs").join(format!("{rack}-{service}{SUFFIX}"))
}

/// Creates the root keys if there are none, and the files of a rack's services.
///
/// # Errors
/// As [`prepare_all`].
pub fn prepare(data: &Path, rack: &str) -> Result<()> {
    prepare_all(data, &[rack])
}

/// Creates the root keys if there are none, and the files of the services of these racks.
///
/// # Errors
/// The keys are missing although there were some, or cannot be read or written.
pub fn prepare_all(data: &Path, racks: &[&str]) -> Result<()> {
    let folder = open_folder(data)?;
    folder.lock().context("cannot lock the folder of the sealing keys")?;
    let root = root(data);
    if !root.exists() {
        let single = data.join("certs/sealing.key");
        if single.exists() {
            bail!(
                "{} is the key of an earlier release, whose stores cannot be read: use an empty data directory, or remove \
                 {} with the store",
                single.display(),
                single.display()
            );
        }
        if let Some(sign) = sign_of_use(data)? {
            bail!(
                "{} is missing, but {} shows that there were root keys: restore {} from a backup. Without it, what the store \
                 has sealed with them is lost: the passwords of BMCs, config drives and other secrets",
                root.display(),
                sign.display(),
                root.display()
            );
        }
        KeyFile::create(clock::now())?.save(&root)?;
    }
    racks.iter().try_for_each(|rack| distribute(data, rack))
}

/// Returns a file that shows that a data directory has had root keys: keys of a service, or a store.
fn sign_of_use(data: &Path) -> Result<Option<PathBuf>> {
    let list = |folder: &Path| {
        let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        anyhow::Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).collect::<Vec<_>>())
    };
    let mut signs = list(&data.join("certs"))?;
    signs.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(SUFFIX)));
    signs.push(data.join("etcd/member"));
    signs.extend(list(data)?.iter().map(|folder| folder.join("store.json")));
    Ok(signs.into_iter().find(|path| path.exists()))
}

/// Writes the files of a rack's services that differ from the root keys. The caller has locked their folder.
pub fn distribute(data: &Path, rack: &str) -> Result<()> {
    let root = KeyFile::of_service(&root(data), Service::Scheduler, "")?;
    for service in Service::ALL.into_iter().filter(|service| *service != Service::Scheduler && has_keys(*service)) {
        let (path, keys) = (file(data, service, rack), root.for_service(service, rack)?);
        if !KeyFile::load(&path).is_ok_and(|present| present == keys) {
            keys.save(&path)?;
        }
    }
    Ok(())
}

/// Does the same, unless a command is changing the keys and will do it.
pub fn distribute_if_free(data: &Path, rack: &str) -> Result<()> {
    let folder = open_folder(data)?;
    if folder.try_lock().is_ok() { distribute(data, rack) } else { Ok(()) }
}

/// Opens the folder of the files, whose lock prevents that two processes write them at the same time.
fn open_folder(data: &Path) -> Result<fs::File> {
    let folder = data.join("certs");
    fs::File::open(&folder).with_context(|| format!("cannot open {}", folder.display()))
}

/// Returns the names of the racks whose services have files in a data directory.
pub fn racks(data: &Path) -> Result<Vec<String>> {
    let folder = data.join("certs");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let files = files.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(SUFFIX)));
    let mut racks: Vec<_> = files.filter_map(|path| KeyFile::load(&path).ok()?.rack).collect();
    racks.sort();
    racks.dedup();
    Ok(racks)
}

#[cfg(test)]
mod tests {
    use keyspace::seal::Purpose;

    use super::*;

    #[test]
    fn each_service_of_a_rack_has_a_file_of_its_own_that_follows_the_root_keys() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        fs::create_dir(data.join("certs")).unwrap();
        prepare(data, "r1").unwrap();
        prepare(data, "").unwrap();
        let before = KeyFile::load(&root(data)).unwrap();
        let path = file(data, Service::Power, "r1");
        KeyFile::of_service(&path, Service::Power, "r1").unwrap();
        assert!(!file(data, Service::Storage, "r1").exists());
        assert_eq!(racks(data).unwrap(), ["", "r1"]);
        let mut after = before.clone();
        let next = after.add_next(Purpose::Bmc, None, clock::now()).unwrap();
        after.save(&root(data)).unwrap();
        prepare(data, "r1").unwrap();
        assert!(KeyFile::load(&path).unwrap().key(&next).is_some());
        assert!(KeyFile::load(&file(data, Service::Power, "")).unwrap().key(&next).is_none(), "not its rack");
        // A damaged file of a leaf is written again, the root keys never are.
        fs::write(&path, "x").unwrap();
        distribute(data, "r1").unwrap();
        KeyFile::load(&path).unwrap();
        fs::write(root(data), "x").unwrap();
        let text = prepare(data, "r1").unwrap_err().to_string();
        assert!(text.contains("sealing.keys") && text.contains("backup"), "{text}");
    }

    #[test]
    fn missing_root_keys_are_not_replaced_where_they_were_used() {
        for (sign, is_refused) in [
            ("certs/r1-power-service.sealing.keys", true),
            ("certs/default-pxe-service.sealing.keys", true),
            ("etcd/member", true),
            ("power-service-1/store.json", true),
            ("certs/ca.pem", false),
            ("up/lock", false),
            ("power-service-1/lock", false),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(sign);
            fs::create_dir_all(folder.path().join("certs")).unwrap();
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "x").unwrap();
            let prepared = prepare(folder.path(), "r1");
            assert_eq!(prepared.is_err(), is_refused, "{sign}: {prepared:?}");
            if let Err(error) = prepared {
                let text = error.to_string();
                assert!(text.contains(sign) && text.contains("restore"), "{text}");
                assert!(!root(folder.path()).exists() && fs::read(&path).unwrap() == b"x", "{sign}");
            }
        }
    }

    #[test]
    fn the_key_of_an_earlier_release_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("certs")).unwrap();
        fs::write(folder.path().join("certs/sealing.key"), "5a").unwrap();
        let text = prepare(folder.path(), "r1").unwrap_err().to_string();
        assert!(text.contains("certs/sealing.key is the key of an earlier release"), "{text}");
    }
}
