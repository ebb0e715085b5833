//! Pairs as they are read.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::Error;

/// A value with the revisions that conditional writes need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<V> {
    /// The value.
    pub value: V,
    /// The revision at which it was last written (etcd's mod revision).
    pub revision: i64,
    /// The revision at which the key was created.
    pub created: i64,
}

/// A key and its value as they are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The key's path.
    pub path: String,
    /// The encoded value: JSON, for some keys compressed with zstd.
    pub value: Vec<u8>,
    /// The revision at which it was last written (etcd's mod revision).
    pub revision: i64,
    /// The revision at which the key was created.
    pub created: i64,
}

impl Pair {
    /// Decodes the value as JSON.
    ///
    /// # Errors
    /// [`Error::Value`] if it is not a `V`.
    pub fn read<V: DeserializeOwned>(&self) -> Result<Versioned<V>, Error> {
        let value =
            serde_json::from_slice(&self.value).map_err(|source| Error::Value { key: self.path.clone(), source })?;
        Ok(Versioned { value, revision: self.revision, created: self.created })
    }

    /// Decompresses the value and decodes it as JSON.
    pub(crate) fn read_packed<V: DeserializeOwned>(mut self) -> Result<Versioned<V>, Error> {
        self.value = zstd::stream::decode_all(self.value.as_slice())
            .map_err(|source| Error::Value { key: self.path.clone(), source: serde::de::Error::custom(source) })?;
        self.read()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(value: &[u8]) -> Pair {
        Pair { path: "/a".to_owned(), value: value.to_vec(), revision: 7, created: 3 }
    }

    #[test]
    fn a_value_is_read_with_its_revisions() {
        let read = pair(b"[1,2]").read::<Vec<u8>>().unwrap();
        assert_eq!((read.value, read.revision, read.created), (vec![1, 2], 7, 3));
    }

    #[test]
    fn a_value_that_is_not_what_its_key_says_names_the_key() {
        let error = pair(b"{").read::<Vec<u8>>().unwrap_err();
        assert!(matches!(&error, Error::Value { key, .. } if key == "/a"), "{error}");
    }

    #[test]
    fn a_packed_value_is_unpacked_and_a_damaged_one_is_an_error() {
        let packed = zstd::bulk::compress(b"[1]", 0).unwrap();
        assert_eq!(pair(&packed).read_packed::<Vec<u8>>().unwrap().value, [1]);
        assert!(pair(&packed[..packed.len() - 2]).read_packed::<Vec<u8>>().is_err());
        assert!(pair(b"[1]").read_packed::<Vec<u8>>().is_err(), "not packed at all");
    }
}
