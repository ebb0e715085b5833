//! The incarnation of the store that a membership belongs to.
//!
//! Restoring a backup does not by itself end a membership: the backup holds leases, members and claims. So every write of a
//! membership is conditional on the incarnation's key, which is written when a restored backup is noticed and when it is
//! adopted.

use domain::generation::Incarnation;
use keyspace::{Change, Expect, View, key};

/// The incarnation's key as it was when a membership began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoreIncarnation {
    /// The first part of every token.
    pub(crate) number: Incarnation,
    /// The key's mod-revision; 0 in the first incarnation, which has no key.
    revision: i64,
}

impl StoreIncarnation {
    /// Reads it from the view.
    pub(crate) fn of(view: &View) -> Self {
        let read = view.get(&key::incarnation());
        let (number, revision) = read.map_or_else(Default::default, |read| (read.value.number, read.revision));
        Self { number, revision }
    }

    /// Begins a change that is carried out in this incarnation only.
    pub(crate) fn change(self) -> Change {
        let expect = if self.revision == 0 { Expect::Absent } else { Expect::Revision(self.revision) };
        Change::new().expect(&key::incarnation(), expect)
    }
}
