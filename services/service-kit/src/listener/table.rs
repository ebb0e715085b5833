//! The open connections of a listener: which one is admitted, and which one makes room for it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::limits::{AddressKey, Class, Limits};

/// A connection, as far as the table must know it.
pub(super) trait Evictable {
    /// Returns since when the connection has had no request in progress; a larger value is later. `None` if it has one.
    fn idle_since(&self) -> Option<u64>;
}

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// The listener's connections.
    Listener,
    /// The connections of the peer's address.
    Address,
    /// The connections with the peer's certificate.
    Identity,
}

/// An admitted connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Admitted<C> {
    /// Key of the connection in the table.
    pub(super) id: u64,
    /// The idle connection that was removed for it, to be closed, and which limit was reached.
    pub(super) evicted: Option<(C, Full)>,
    /// Whether only reserved room was left, so that the peer must prove that it is privileged.
    pub(super) is_on_probation: bool,
}

struct Entry<C> {
    address: AddressKey,
    identity: Option<Arc<str>>,
    class: Class,
    connection: C,
}

/// The open connections of a listener.
pub(super) struct Table<C> {
    limits: Limits,
    next: u64,
    entries: HashMap<u64, Entry<C>>,
    addresses: HashMap<AddressKey, HashSet<u64>>,
    identities: HashMap<Arc<str>, HashSet<u64>>,
}

impl<C: Evictable + Clone> Table<C> {
    pub(super) fn new(limits: Limits) -> Self {
        let (addresses, identities) = (HashMap::new(), HashMap::new());
        Self { limits, next: 0, entries: HashMap::new(), addresses, identities }
    }

    /// Admits a new connection. If a limit is reached, the connection that has been idle for the longest time makes
    /// room for it: of the same address, or of the address that has the most.
    ///
    /// # Errors
    /// [`Full`] if a limit is reached and no connection is idle. The reserved room is used before that.
    pub(super) fn admit(&mut self, address: AddressKey, connection: C) -> Result<Admitted<C>, Full> {
        let open = self.limits.connections.saturating_sub(self.limits.reserved);
        let of_address = self.addresses.get(&address).map_or(0, HashSet::len);
        let evicted = if of_address >= self.limits.of_address(&address) {
            let idle = self.addresses.get(&address).and_then(|ids| self.longest_idle(ids));
            Some((self.take(idle.ok_or(Full::Address)?).ok_or(Full::Address)?, Full::Address))
        } else if self.entries.len() >= open {
            let most = self.addresses.values().max_by_key(|ids| ids.len());
            let idle = most.and_then(|ids| self.longest_idle(ids)).or_else(|| self.longest_idle(self.entries.keys()));
            if idle.is_none() && self.entries.len() >= self.limits.connections {
                return Err(Full::Listener);
            }
            idle.and_then(|id| Some((self.take(id)?, Full::Listener)))
        } else {
            None
        };
        let is_on_probation = self.entries.len() >= open;
        let id = self.next;
        self.next += 1;
        self.addresses.entry(address).or_default().insert(id);
        self.entries.insert(id, Entry { address, identity: None, class: Class::Stranger, connection });
        Ok(Admitted { id, evicted, is_on_probation })
    }

    /// Counts a connection for the identity in its certificate. If that has its maximum, the connection of it that has
    /// been idle for the longest time makes room, and is returned to be closed.
    ///
    /// # Errors
    /// [`Full::Identity`] if the identity has its maximum and none of its connections is idle.
    pub(super) fn identify(&mut self, id: u64, identity: &Arc<str>, class: Class) -> Result<Option<C>, Full> {
        let held = self.identities.get(identity).map_or(0, HashSet::len);
        let evicted = if held >= self.limits.per_identity {
            let idle = self.identities.get(identity).and_then(|ids| self.longest_idle(ids));
            Some(self.take(idle.ok_or(Full::Identity)?).ok_or(Full::Identity)?)
        } else {
            None
        };
        if let Some(entry) = self.entries.get_mut(&id) {
            (entry.identity, entry.class) = (Some(Arc::clone(identity)), class);
            self.identities.entry(Arc::clone(identity)).or_default().insert(id);
        }
        Ok(evicted)
    }

    /// Notes that a request of a privileged caller came over a connection: it makes room only if no other is idle.
    pub(super) fn note_privileged(&mut self, id: u64) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.class = Class::Privileged;
        }
    }

    /// Returns whether more than the reserved room is left, so that a client need not prove any more that it is privileged.
    pub(super) fn has_open_room(&self) -> bool {
        self.entries.len() <= self.limits.connections.saturating_sub(self.limits.reserved)
    }

    /// Removes a connection that ended. Does nothing if it was evicted before.
    pub(super) fn remove(&mut self, id: u64) {
        self.take(id);
    }

    /// Removes and returns the connection that has been idle for the longest time, if any is idle.
    pub(super) fn evict_any(&mut self) -> Option<C> {
        let idle = self.longest_idle(self.entries.keys())?;
        self.take(idle)
    }

    /// Returns the number of open connections.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn longest_idle<'i>(&self, ids: impl IntoIterator<Item = &'i u64>) -> Option<u64> {
        let entries = ids.into_iter().filter_map(|id| Some((id, self.entries.get(id)?)));
        let idle = entries
            .filter_map(|(id, entry)| Some((entry.class == Class::Privileged, entry.connection.idle_since()?, *id)));
        idle.min().map(|(_, _, id)| id)
    }

    fn take(&mut self, id: u64) -> Option<C> {
        let entry = self.entries.remove(&id)?;
        forget(&mut self.addresses, &entry.address, id);
        if let Some(identity) = &entry.identity {
            forget(&mut self.identities, identity, id);
        }
        Some(entry.connection)
    }
}

fn forget<K: std::hash::Hash + Eq>(groups: &mut HashMap<K, HashSet<u64>>, key: &K, id: u64) {
    if let Some(ids) = groups.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            groups.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use super::*;
    use crate::listener::limits::{HttpLimits, ListenerKind};

    /// A connection with a name, and since when it is idle.
    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Fake(&'static str, Rc<Cell<Option<u64>>>);

    impl Evictable for Fake {
        fn idle_since(&self) -> Option<u64> {
            self.1.get()
        }
    }

    fn idle(name: &'static str, since: u64) -> Fake {
        Fake(name, Rc::new(Cell::new(Some(since))))
    }

    fn busy(name: &'static str) -> Fake {
        Fake(name, Rc::new(Cell::new(None)))
    }

    fn key(text: &str) -> AddressKey {
        AddressKey::of(text.parse().unwrap())
    }

    fn table(connections: usize, reserved: usize, per_address: usize, per_identity: usize) -> Table<Fake> {
        let limits = Limits::of(ListenerKind::Rest, &HttpLimits::default());
        let per_loopback_address = per_address;
        Table::new(Limits { connections, reserved, per_address, per_loopback_address, per_identity, ..limits })
    }

    #[test]
    fn the_connection_that_was_idle_for_the_longest_time_makes_room() {
        // Limits of the listener and of an address, the open connections, the address of the new one, who makes room.
        type Case<'c> = (usize, usize, &'c [(&'c str, Fake)], &'c str, Result<Option<&'c str>, Full>);
        let cases: &[Case<'_>] = &[
            (9, 2, &[("10.0.0.1", idle("a", 1))], "10.0.0.1", Ok(None)),
            (9, 2, &[("10.0.0.1", idle("a", 2)), ("10.0.0.1", idle("b", 1))], "10.0.0.1", Ok(Some("b"))),
            (9, 2, &[("10.0.0.1", idle("a", 2)), ("10.0.0.1", busy("b"))], "10.0.0.1", Ok(Some("a"))),
            (9, 2, &[("10.0.0.1", busy("a")), ("10.0.0.1", busy("b"))], "10.0.0.1", Err(Full::Address)),
            (9, 2, &[("10.0.0.1", busy("a")), ("10.0.0.1", busy("b"))], "10.0.0.2", Ok(None)),
            (9, 2, &[("2001:db8::1", busy("a")), ("2001:db8::2", busy("b"))], "2001:db8::3", Err(Full::Address)),
            // The address with the most connections gives one up, although another one was idle for longer.
            (
                3,
                3,
                &[("10.0.0.1", idle("a", 1)), ("10.0.0.2", idle("b", 2)), ("10.0.0.2", idle("c", 3))],
                "10.0.0.3",
                Ok(Some("b")),
            ),
            (2, 2, &[("10.0.0.1", busy("a")), ("10.0.0.2", busy("b"))], "10.0.0.3", Err(Full::Listener)),
            (2, 2, &[("10.0.0.1", idle("a", 1)), ("10.0.0.2", busy("b"))], "10.0.0.3", Ok(Some("a"))),
        ];
        for (connections, per_address, open, new, expected) in cases {
            let mut table = table(*connections, 0, *per_address, 9);
            for (address, connection) in *open {
                table.admit(key(address), connection.clone()).unwrap();
            }
            let outcome = table.admit(key(new), busy("new"));
            let evicted = outcome.map(|admitted| admitted.evicted.map(|(connection, _)| connection.0));
            assert_eq!(evicted, *expected, "{open:?} {new}");
        }
    }

    #[test]
    fn reserved_room_is_given_on_probation_only() {
        let mut table = table(4, 2, 9, 9);
        let probations: Vec<_> =
            (0..4).map(|_| table.admit(key("10.0.0.1"), busy("a")).unwrap().is_on_probation).collect();
        assert_eq!(probations, [false, false, true, true]);
        assert_eq!(table.admit(key("10.0.0.1"), busy("a")), Err(Full::Listener));
        table.remove(0);
        assert!(table.admit(key("10.0.0.1"), busy("a")).unwrap().is_on_probation);
        assert_eq!(table.len(), 4);
    }

    #[test]
    fn idle_connections_do_not_take_the_reserved_room() {
        let mut table = table(4, 2, 9, 9);
        for number in 0..9 {
            let admitted = table.admit(key("10.0.0.1"), idle("a", number)).unwrap();
            assert_eq!((admitted.is_on_probation, admitted.evicted.is_some()), (false, number >= 2), "{number}");
        }
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn a_certificate_has_its_maximum_of_connections() {
        let mut table = table(9, 0, 9, 2);
        let (ann, bob): (Arc<str>, Arc<str>) = ("ann".into(), "bob".into());
        let state = idle("a", 5);
        let mut connect = |connection: Fake, who: &Arc<str>| {
            let id = table.admit(key("10.0.0.1"), connection).unwrap().id;
            let outcome = table.identify(id, who, Class::Ordinary);
            if outcome.is_err() {
                table.remove(id);
            }
            outcome.map(|evicted| evicted.map(|connection| connection.0))
        };
        assert_eq!(connect(state.clone(), &ann), Ok(None));
        assert_eq!(connect(busy("b"), &ann), Ok(None));
        assert_eq!(connect(busy("c"), &bob), Ok(None));
        assert_eq!(connect(busy("d"), &ann), Ok(Some("a")));
        state.1.set(None);
        assert_eq!(connect(busy("e"), &ann), Err(Full::Identity));
        assert_eq!(connect(busy("f"), &bob), Ok(None));
    }

    #[test]
    fn a_connection_in_the_reserved_room_is_like_all_others_when_there_is_room_again() {
        let mut table = table(4, 1, 9, 9);
        let ids: Vec<_> = (0..3).map(|_| table.admit(key("10.0.0.1"), busy("old")).unwrap().id).collect();
        assert!(table.has_open_room());
        let last = table.admit(key("10.0.0.2"), busy("new")).unwrap();
        assert!(last.is_on_probation && !table.has_open_room());
        table.remove(ids[0]);
        assert!(table.has_open_room());
    }

    #[test]
    fn a_privileged_connection_makes_room_last() {
        let mut table = table(9, 0, 2, 9);
        let old = table.admit(key("10.0.0.1"), idle("admin", 1)).unwrap().id;
        table.admit(key("10.0.0.1"), idle("user", 2)).unwrap();
        table.note_privileged(old);
        for expected in ["user", "new", "new"] {
            let evicted = table.admit(key("10.0.0.1"), idle("new", 3)).unwrap().evicted.unwrap();
            assert_eq!((evicted.0.0, evicted.1), (expected, Full::Address));
        }
        assert_eq!(table.evict_any().map(|connection| connection.0), Some("new"));
        assert_eq!(table.evict_any().map(|connection| connection.0), Some("admin"));
        assert_eq!(table.evict_any(), None);
        assert!(table.addresses.is_empty());
    }
}
