//! Writes that happen together or not at all.

use etcd_client::{Compare, CompareOp, PutOptions, TxnOp};
use serde::Serialize;

use super::Versioned;
use crate::{Error, Key};

/// What a write expects to find. There is no way to write without saying so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing there.
    Absent,
    /// What was read at this revision.
    Revision(i64),
}

impl Expect {
    /// What was read, or nothing.
    #[must_use]
    pub fn same<V>(read: Option<&Versioned<V>>) -> Self {
        read.map_or(Self::Absent, |read| Self::Revision(read.revision))
    }
}

/// Writes that happen together or not at all.
#[derive(Debug, Default, Clone)]
pub struct Change {
    pub(super) compares: Vec<Compare>,
    pub(super) operations: Vec<TxnOp>,
    pub(super) octets: usize,
}

impl Change {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only if the key is as expected; it is not written.
    #[must_use]
    pub fn expect<V>(mut self, key: &Key<V>, expect: Expect) -> Self {
        let revision = match expect {
            Expect::Absent => 0,
            Expect::Revision(revision) => revision,
        };
        self.compares.push(Compare::mod_revision(key.path(), CompareOp::Equal, revision));
        self
    }

    /// Only if the key came to be at this revision and is still there.
    #[must_use]
    pub fn expect_created<V>(mut self, key: &Key<V>, created: i64) -> Self {
        self.compares.push(Compare::create_revision(key.path(), CompareOp::Equal, created));
        self
    }

    /// Writes the value.
    ///
    /// # Errors
    /// The value can not be written as JSON.
    pub fn put<V: Serialize>(self, key: &Key<V>, value: &V, expect: Expect) -> Result<Self, Error> {
        self.put_with(key, value, expect, None)
    }

    /// Writes the value under a lease.
    ///
    /// # Errors
    /// The value can not be written as JSON.
    pub fn put_leased<V: Serialize>(self, key: &Key<V>, value: &V, expect: Expect, lease: i64) -> Result<Self, Error> {
        self.put_with(key, value, expect, Some(PutOptions::new().with_lease(lease)))
    }

    fn put_with<V: Serialize>(
        self,
        key: &Key<V>,
        value: &V,
        expect: Expect,
        options: Option<PutOptions>,
    ) -> Result<Self, Error> {
        let json = serde_json::to_vec(value).map_err(|source| Error::Value { key: key.path().to_owned(), source })?;
        Ok(self.expect(key, expect).push(TxnOp::put(key.path(), json.clone(), options), json.len()))
    }

    /// Writes the value packed with zstd: for bulky ones.
    ///
    /// # Errors
    /// The value can not be written as JSON.
    pub fn put_packed<V: Serialize>(self, key: &Key<V>, value: &V, expect: Expect) -> Result<Self, Error> {
        let wrong = |source| Error::Value { key: key.path().to_owned(), source };
        let json = serde_json::to_vec(value).map_err(wrong)?;
        let packed = zstd::bulk::compress(&json, 0).map_err(|why| wrong(serde::ser::Error::custom(why)))?;
        let octets = packed.len();
        Ok(self.expect(key, expect).push(TxnOp::put(key.path(), packed, None), octets))
    }

    /// Deletes the key.
    #[must_use]
    pub fn delete<V>(self, key: &Key<V>, expect: Expect) -> Self {
        let operation = TxnOp::delete(key.path(), None);
        self.expect(key, expect).push(operation, 0)
    }

    /// Deletes the key if it is there, whatever its value: only for what nobody else writes while the rest of this
    /// change's expectations hold.
    #[must_use]
    pub fn clear<V>(self, key: &Key<V>) -> Self {
        self.push(TxnOp::delete(key.path(), None), 0)
    }

    /// This and another one together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.compares.extend(other.compares);
        self.operations.extend(other.operations);
        self.octets = self.octets.saturating_add(other.octets);
        self
    }

    fn push(mut self, operation: TxnOp, octets: usize) -> Self {
        self.operations.push(operation);
        self.octets = self.octets.saturating_add(octets);
        self
    }
}
