//! The boot file: what the ramdisk was told about itself. It travels beside the ramdisk and is read once.

use std::{fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use domain::{generation::Generation, id::NodeId, secret::Secret};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::Error;

/// Where the ramdisk has it.
pub const BOOT_FILE: &str = "/etc/ironmesh/boot.json";
/// Octets of a boot token.
const TOKEN: usize = 32;

/// Who we are, and whom to call. JSON; unknown fields are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootFile {
    /// The node that this machine is.
    pub node: NodeId,
    /// The boot that it is.
    pub generation: Generation,
    /// Proves, once, that it is.
    pub boot_token: BootToken,
    /// The CA of the mesh (PEM).
    pub ca: String,
    /// The rack's name, as in its services' certificates.
    pub rack: String,
    /// The rack's inventory-service, each replica as `host:port`.
    pub inventory: Vec<String>,
}

impl BootFile {
    /// Reads the boot file.
    ///
    /// # Errors
    /// [`Error::BootFile`] where it is not there, [`Error::BootFileForm`] where it is not what it should be: boot
    /// again by the mesh.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read(path).map_err(|source| Error::BootFile { path: path.to_owned(), source })?;
        let boot: Self =
            serde_json::from_slice(&text).map_err(|source| Error::BootFileForm { path: path.to_owned(), source })?;
        if boot.inventory.is_empty() { Err(Error::NobodyToCall { path: path.to_owned() }) } else { Ok(boot) }
    }
}

/// The boot token: 32 octets, in JSON as base64 (RFC 4648 §4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootToken(Secret);

impl BootToken {
    /// From its octets.
    #[must_use]
    pub fn new(octets: [u8; TOKEN]) -> Self {
        Self(Secret::new(octets.to_vec()))
    }

    /// The octets, for the one place that needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

impl Serialize for BootToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(self.expose()))
    }
}

impl<'de> Deserialize<'de> for BootToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let octets = BASE64.decode(String::deserialize(deserializer)?).map_err(de::Error::custom)?;
        let octets = <[u8; TOKEN]>::try_from(octets)
            .map_err(|octets| de::Error::custom(format!("a boot token has {TOKEN} octets, not {}", octets.len())))?;
        Ok(Self::new(octets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"node":"00000000-0000-0000-0000-000000000007","generation":12,
        "boot_token":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=","ca":"-----BEGIN CERTIFICATE-----\n",
        "rack":"r1","inventory":["10.0.0.1:7444"],"of_a_later_release":true}"#;

    fn read(text: &str) -> Result<BootFile, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("boot.json");
        fs::write(&path, text).unwrap();
        BootFile::read(&path)
    }

    #[test]
    fn a_boot_file_reads_back_and_what_is_not_known_is_ignored() {
        let boot = read(TEXT).unwrap();
        assert_eq!(boot.boot_token.expose().last(), Some(&31));
        assert_eq!(read(&serde_json::to_string(&boot).unwrap()).unwrap(), boot);
    }

    #[test]
    fn a_boot_file_that_names_nobody_or_has_half_a_token_is_refused() {
        assert!(matches!(read(&TEXT.replace("\"10.0.0.1:7444\"", "")), Err(Error::NobodyToCall { .. })));
        assert!(matches!(read(&TEXT.replace("AAECAwQF", "")), Err(Error::BootFileForm { .. })));
    }

    #[test]
    fn a_boot_token_is_not_shown() {
        assert!(!format!("{:?}", read(TEXT).unwrap()).contains("AAECAwQF"));
    }
}
