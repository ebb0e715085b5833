//! Conditional writes that are carried out together or not at all.

use serde::Serialize;

use super::{
    Versioned,
    connection::{Compare, Operation},
};
use crate::{
    Error, Key,
    error::{MAX_CHANGE_BYTES, MAX_CHANGE_OPERATIONS},
};

/// Returns the size of a value as it is stored without compression, in bytes; 0 for a value that has no JSON.
#[must_use]
pub fn stored_size(value: &impl Serialize) -> usize {
    serde_json::to_vec(value).map_or(0, |json| json.len())
}

/// What a write expects to find. No value can be written without an expectation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The key does not exist.
    Absent,
    /// The key was last written at this revision.
    Revision(i64),
}

impl Expect {
    /// Expects what was read: the same revision, or still no key.
    #[must_use]
    pub fn same<V>(read: Option<&Versioned<V>>) -> Self {
        read.map_or(Self::Absent, |read| Self::Revision(read.revision))
    }
}

/// A transaction: all of its writes are carried out if all of its expectations hold, and none otherwise.
#[derive(Debug, Default, Clone)]
pub struct Change {
    pub(super) compares: Vec<Compare>,
    pub(super) operations: Vec<Operation>,
    pub(super) bytes: usize,
}

impl Change {
    /// Maximum number of operations; etcd's own limit is 128.
    pub const MAX_OPERATIONS: usize = MAX_CHANGE_OPERATIONS;
    /// Maximum size of all values, in bytes. etcd's own limit of a request is 1.5 MiB, with keys and expectations.
    pub const MAX_BYTES: usize = MAX_CHANGE_BYTES;

    /// An empty change.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Expects something of a key that this change does not write.
    #[must_use]
    pub fn expect<V>(mut self, key: &Key<V>, expect: Expect) -> Self {
        let revision = match expect {
            Expect::Absent => 0,
            Expect::Revision(revision) => revision,
        };
        self.compares.push(Compare::ModRevision(key.path().to_owned(), revision));
        self
    }

    /// Expects that the key was created at this revision and was not deleted since.
    #[must_use]
    pub fn expect_created<V>(mut self, key: &Key<V>, created: i64) -> Self {
        self.compares.push(Compare::CreateRevision(key.path().to_owned(), created));
        self
    }

    /// Expects that no key begins with this prefix.
    #[must_use]
    pub fn expect_none_under(mut self, prefix: &str) -> Self {
        self.compares.push(Compare::NoneUnder(prefix.to_owned()));
        self
    }

    /// Writes the value.
    ///
    /// # Errors
    /// [`Error::Value`] if the value cannot be encoded as JSON.
    pub fn put<V: Serialize>(self, key: &Key<V>, value: &V, expect: Expect) -> Result<Self, Error> {
        self.put_leased(key, value, expect, 0)
    }

    /// Writes the value under a lease; 0 for none.
    ///
    /// # Errors
    /// [`Error::Value`] if the value cannot be encoded as JSON.
    pub fn put_leased<V: Serialize>(self, key: &Key<V>, value: &V, expect: Expect, lease: i64) -> Result<Self, Error> {
        let json = serde_json::to_vec(value).map_err(|source| Error::Value { key: key.path().to_owned(), source })?;
        Ok(self.expect(key, expect).write(key.path(), json, lease))
    }

    /// Writes the value compressed with zstd: for large values.
    ///
    /// # Errors
    /// [`Error::Value`] if the value cannot be encoded as JSON.
    pub fn put_packed<V: Serialize>(self, key: &Key<V>, value: &V, expect: Expect) -> Result<Self, Error> {
        let invalid = |source| Error::Value { key: key.path().to_owned(), source };
        let json = serde_json::to_vec(value).map_err(invalid)?;
        let packed = zstd::bulk::compress(&json, 0).map_err(|why| invalid(serde::ser::Error::custom(why)))?;
        Ok(self.expect(key, expect).write(key.path(), packed, 0))
    }

    /// Deletes the key.
    #[must_use]
    pub fn delete<V>(self, key: &Key<V>, expect: Expect) -> Self {
        self.expect(key, expect).clear(key)
    }

    /// Deletes the key if it exists, whatever its value is. Only for keys that no other process writes while this
    /// change's other expectations hold.
    #[must_use]
    pub fn clear<V>(mut self, key: &Key<V>) -> Self {
        self.operations.push(Operation::Delete(key.path().to_owned()));
        self
    }

    /// Checks that etcd takes the change.
    ///
    /// # Errors
    /// [`Error::TooLarge`]
    pub(super) const fn check_size(&self) -> Result<(), Error> {
        let (operations, bytes) = (self.operations.len(), self.bytes);
        if operations > Self::MAX_OPERATIONS || bytes > Self::MAX_BYTES {
            return Err(Error::TooLarge { operations, bytes });
        }
        Ok(())
    }

    /// Adds everything of another change.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.compares.extend(other.compares);
        self.operations.extend(other.operations);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self
    }

    /// Returns the number of operations.
    #[must_use]
    pub const fn operations(&self) -> usize {
        self.operations.len()
    }

    fn write(mut self, path: &str, value: Vec<u8>, lease: i64) -> Self {
        self.bytes = self.bytes.saturating_add(value.len());
        self.operations.push(Operation::Put { path: path.to_owned(), value, lease });
        self
    }
}
