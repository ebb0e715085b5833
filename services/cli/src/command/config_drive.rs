//! Reads the files of a config drive.

use std::{collections::HashMap, path::PathBuf};

use anyhow::{Context as _, bail};

/// Path of cloud-init's user data in the drive (OpenStack's metadata layout).
const USER_DATA: &str = "openstack/latest/user_data";
/// Maximum size of all files of a config drive together, in bytes; the API's limit.
const MAX_DRIVE_BYTES: u64 = 512 << 10;

/// Reads cloud-init's user data and further files, each given with its path in the drive.
///
/// # Errors
/// A file cannot be read, a path is given twice, or the files are larger than [`MAX_DRIVE_BYTES`] together.
pub(super) fn config_drive(
    user: Option<PathBuf>,
    files: Vec<(String, PathBuf)>,
) -> anyhow::Result<HashMap<String, Vec<u8>>> {
    let user = user.map(|file| (USER_DATA.to_owned(), file));
    let (mut drive, mut octets) = (HashMap::new(), 0_u64);
    for (path, file) in user.into_iter().chain(files) {
        let told = || format!("cannot read {} for the config drive", file.display());
        octets = octets.saturating_add(file.metadata().with_context(told)?.len());
        if octets > MAX_DRIVE_BYTES {
            bail!(
                "the config drive's files are larger than {MAX_DRIVE_BYTES} bytes together; make them smaller, or \
                 download the rest from the deployed system"
            );
        }
        if drive.insert(path.clone(), std::fs::read(&file).with_context(told)?).is_some() {
            bail!("{path} is given twice for the config drive; give it once");
        }
    }
    Ok(drive)
}
