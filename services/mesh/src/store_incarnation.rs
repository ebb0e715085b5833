//! The life of the store that a membership belongs to. A backup that is restored makes nobody's membership end by
//! itself: its leases, members and claims are there again. So every write of a membership is conditional on the
//! incarnation's own key, which is written when a restored backup is noticed and when it is adopted.

use domain::generation::Incarnation;
use keyspace::{Change, Expect, View, key};

use crate::member::{MemberConfig, Membership};

/// The incarnation's key as a membership began with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoreIncarnation {
    /// What tokens begin with.
    pub(crate) number: Incarnation,
    /// Its mod-revision; 0: there is none, it is the first.
    revision: i64,
}

impl StoreIncarnation {
    /// As the view has it.
    pub(crate) fn of(view: &View) -> Self {
        let read = view.get(&key::incarnation());
        let (number, revision) = read.map_or_else(Default::default, |read| (read.value.number, read.revision));
        Self { number, revision }
    }

    /// Begins a write that happens in this life of the store alone.
    pub(crate) fn change(self) -> Change {
        let expect = if self.revision == 0 { Expect::Absent } else { Expect::Revision(self.revision) };
        Change::new().expect(&key::incarnation(), expect)
    }
}

impl Membership {
    /// Begins a write that happens only while this membership is in the store.
    pub(crate) fn change(&self, config: &MemberConfig) -> Change {
        let member = key::member(config.scope, config.service, self.instance);
        self.incarnation.change().expect_created(&member, self.created)
    }
}
