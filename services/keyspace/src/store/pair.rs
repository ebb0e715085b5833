//! What is read.

use serde::{Serialize, de::DeserializeOwned};

use crate::Error;

/// A value with what conditional writes need to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<V> {
    /// The value.
    pub value: V,
    /// The revision at which it was last written.
    pub revision: i64,
    /// The revision at which it came to be.
    pub created: i64,
}

/// A pair as etcd has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Pair {
    /// The key's path.
    pub path: String,
    /// JSON, usually.
    pub value: Vec<u8>,
    /// The revision at which it was last written.
    pub revision: i64,
    /// The revision at which it came to be.
    pub created: i64,
}

impl Pair {
    /// Reads the value as what its key says.
    ///
    /// # Errors
    /// [`Error::Value`]
    pub fn read<V: DeserializeOwned>(&self) -> Result<Versioned<V>, Error> {
        let value =
            serde_json::from_slice(&self.value).map_err(|source| Error::Value { key: self.path.clone(), source })?;
        Ok(Versioned { value, revision: self.revision, created: self.created })
    }

    pub(crate) fn read_packed<V: DeserializeOwned>(mut self) -> Result<Versioned<V>, Error> {
        self.value = zstd::stream::decode_all(self.value.as_slice())
            .map_err(|source| Error::Value { key: self.path.clone(), source: serde::de::Error::custom(source) })?;
        self.read()
    }

    pub(crate) fn from_etcd(pair: &etcd_client::KeyValue) -> Self {
        Self {
            path: String::from_utf8_lossy(pair.key()).into_owned(),
            value: pair.value().to_vec(),
            revision: pair.mod_revision(),
            created: pair.create_revision(),
        }
    }
}
