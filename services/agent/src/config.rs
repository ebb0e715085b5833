//! The boot file, which the ramdisk receives with each boot.

use std::{fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use domain::{generation::Generation, id::NodeId, secret::Secret};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::Error;

/// Path of the boot file in the ramdisk.
pub const BOOT_FILE: &str = "/etc/ironmesh/boot.json";
/// Size of a boot token, in bytes.
const TOKEN_BYTES: usize = 32;

/// The identity of this machine, and whom to call. JSON; unknown fields are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootFile {
    /// The node.
    pub node: NodeId,
    /// Generation of the boot.
    pub generation: Generation,
    /// Authenticates this boot, once.
    pub boot_token: BootToken,
    /// CA of the mesh (PEM).
    pub ca: String,
    /// Name of the rack, as in the certificates of its services.
    pub rack: String,
    /// Replicas of the rack's inventory-service, as `host:port`.
    pub inventory: Vec<String>,
}

impl BootFile {
    /// Reads and checks the boot file.
    ///
    /// # Errors
    /// [`Error::BootFile`] if it cannot be read, [`Error::InvalidBootFile`] if it is malformed, [`Error::NoInventory`]
    /// if it lists no inventory-service.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read(path).map_err(|source| Error::BootFile { path: path.to_owned(), source })?;
        let boot: Self =
            serde_json::from_slice(&text).map_err(|source| Error::InvalidBootFile { path: path.to_owned(), source })?;
        if boot.inventory.is_empty() { Err(Error::NoInventory { path: path.to_owned() }) } else { Ok(boot) }
    }
}

/// A boot token: 32 bytes, in JSON as base64 (RFC 4648 §4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootToken(Secret);

impl BootToken {
    /// Creates a token from its bytes.
    #[must_use]
    pub fn new(bytes: [u8; TOKEN_BYTES]) -> Self {
        Self(Secret::new(bytes.to_vec()))
    }

    /// Returns the bytes, for authentication only.
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
        let bytes = BASE64.decode(String::deserialize(deserializer)?).map_err(de::Error::custom)?;
        let bytes = <[u8; TOKEN_BYTES]>::try_from(bytes)
            .map_err(|bytes| de::Error::custom(format!("a boot token has {TOKEN_BYTES} bytes, not {}", bytes.len())))?;
        Ok(Self::new(bytes))
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
    fn a_boot_file_without_a_service_or_with_half_a_token_is_refused() {
        assert!(matches!(read(&TEXT.replace("\"10.0.0.1:7444\"", "")), Err(Error::NoInventory { .. })));
        assert!(matches!(read(&TEXT.replace("AAECAwQF", "")), Err(Error::InvalidBootFile { .. })));
    }

    #[test]
    fn a_boot_token_is_not_shown() {
        assert!(!format!("{:?}", read(TEXT).unwrap()).contains("AAECAwQF"));
    }
}
