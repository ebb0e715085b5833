//! Chooses which member of etcd to ask. All requests go to one member until it does not answer, and to the next one
//! from then on: a member that hangs costs one timeout, not every second request.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    connection::{Answer, Connection},
    etcd::{EtcdConnection, Pem},
};
use crate::Error;

/// All members that are known, and the one in use.
pub(crate) struct Endpoints {
    members: Vec<Member>,
    current: Arc<Current>,
}

/// A connection and the address that it leads to.
struct Member {
    address: Arc<str>,
    connection: Arc<dyn Connection>,
}

/// Which member is in use, by its address: the list of the members may change meanwhile. Connections that replace others
/// keep it.
#[derive(Debug)]
struct Current {
    at: Mutex<Arc<str>>,
    /// Leaves a member together with this one.
    follower: Option<Arc<Self>>,
    /// How often a member was left.
    left: watch::Sender<u64>,
}

impl Current {
    fn new(first: Arc<str>) -> Self {
        Self { at: Mutex::new(first), follower: None, left: watch::Sender::new(0) }
    }

    fn get(&self) -> Arc<str> {
        Arc::clone(&self.at.lock())
    }

    /// Puts a member in the place of another one, unless a third one is in use.
    fn replace(&self, member: &str, next: &Arc<str>) -> bool {
        let mut at = self.at.lock();
        let is_in_use = **at == *member;
        if is_in_use {
            *at = Arc::clone(next);
        }
        is_in_use
    }

    /// Switches from this member to the next one. Returns `false` if another request already did, or there is no other.
    fn leave(&self, member: &str, next: &Arc<str>) -> bool {
        let left = **next != *member && self.replace(member, next);
        if left {
            self.left.send_modify(|count| *count += 1);
            if let Some(follower) = &self.follower {
                follower.leave(member, next);
            }
        }
        left
    }
}

impl Endpoints {
    pub(crate) fn new(members: Vec<(String, Arc<dyn Connection>)>, first: usize) -> Self {
        let members: Vec<_> =
            members.into_iter().map(|(address, connection)| Member { address: address.into(), connection }).collect();
        let first = members.get(first % members.len().max(1)).map_or_else(|| "".into(), |at| Arc::clone(&at.address));
        Self { members, current: Arc::new(Current::new(first)) }
    }

    /// The same connections in the place of others: the member in use stays the same if it is still one, and so does what
    /// follows it.
    pub(super) fn in_place_of(self, replaced: &Self) -> Self {
        let in_use = replaced.current.get();
        if !self.members.iter().any(|member| member.address == in_use) {
            replaced.current.replace(&in_use, &self.current.get());
        }
        Self { current: Arc::clone(&replaced.current), ..self }
    }

    /// The same connections, of a store whose choice another one follows: when this one leaves a member that does not
    /// answer, so does `follower`, and not the other way around.
    pub(super) fn followed_by(self, follower: &Self) -> Self {
        let current = Current { follower: Some(Arc::clone(&follower.current)), ..Current::new(follower.current.get()) };
        Self { current: Arc::new(current), ..self }
    }

    /// Prepares connections to these addresses.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if an address or the certificates are invalid.
    pub(super) async fn prepare(addresses: &[String], pem: Pem<'_>) -> Result<Self, Error> {
        let mut members: Vec<(String, Arc<dyn Connection>)> = Vec::with_capacity(addresses.len());
        for address in addresses {
            members.push((address.clone(), Arc::new(EtcdConnection::prepare(address, pem).await?)));
        }
        // Processes start with different members, so that no member has all of them.
        Ok(Self::new(members, usize::try_from(std::process::id()).unwrap_or(0)))
    }

    /// The addresses of the members.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.members.iter().map(|member| member.address.to_string()).collect()
    }

    /// Number of members.
    pub(super) fn count(&self) -> usize {
        self.members.len()
    }

    /// Counts how often a member was left because it did not answer.
    pub(super) fn departures(&self) -> watch::Receiver<u64> {
        self.current.left.subscribe()
    }

    /// The member in use.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if no member is configured.
    pub(crate) fn endpoint(self: &Arc<Self>) -> Result<Endpoint, Error> {
        let in_use = self.current.get();
        let member = match self.members.iter().find(|member| member.address == in_use) {
            Some(member) => member,
            // A request that began before the members changed has switched to one that is gone.
            None => {
                let first = self.members.first().ok_or(Error::Unavailable { doing: "connecting", source: None })?;
                self.current.replace(&in_use, &first.address);
                first
            }
        };
        let (connection, address) = (Arc::clone(&member.connection), Arc::clone(&member.address));
        Ok(Endpoint { connection, address, endpoints: Arc::clone(self) })
    }

    /// The member after this one.
    fn after(&self, address: &str) -> Option<&Arc<str>> {
        let place = self.members.iter().position(|member| *member.address == *address)?;
        self.members.get((place + 1) % self.members.len()).map(|member| &member.address)
    }

    /// Sends one request to the member in use, and switches to the next one if it does not answer within `timeout`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if there was no answer; what the member answered otherwise.
    pub(crate) async fn ask<T>(
        self: &Arc<Self>,
        doing: &'static str,
        timeout: Duration,
        request: impl FnOnce(&dyn Connection) -> Answer<T>,
    ) -> Result<T, Error> {
        let endpoint = self.endpoint()?;
        let outcome = match tokio::time::timeout(timeout, request(&*endpoint.connection)).await {
            Err(_) => Err(Error::Unavailable { doing, source: None }),
            Ok(outcome) => outcome.map_err(|failure| failure.doing(doing)),
        };
        if matches!(outcome, Err(Error::Unavailable { .. })) {
            endpoint.leave();
        }
        outcome
    }
}

/// One member.
pub(crate) struct Endpoint {
    pub(crate) connection: Arc<dyn Connection>,
    address: Arc<str>,
    endpoints: Arc<Endpoints>,
}

impl Endpoint {
    /// Reports that the member does not answer: the next one is asked from now on.
    pub(crate) fn leave(&self) {
        let Some(next) = self.endpoints.after(&self.address) else { return };
        if self.endpoints.current.leave(&self.address, next) {
            metrics::counter!("keyspace_members_left_total").increment(1);
            tracing::info!(member = %self.address, %next, "etcd member does not answer, switching to the next one");
        }
    }

    /// Whether another member is in use by now.
    pub(crate) fn is_left(&self) -> bool {
        self.endpoints.current.get() != self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryEtcd;

    /// Leaves the member with this number of three for the next one.
    fn leave(current: &Current, member: usize) -> bool {
        current.leave(&member.to_string(), &((member + 1) % 3).to_string().into())
    }

    fn at(number: usize) -> Current {
        Current::new(number.to_string().into())
    }

    fn number(current: &Current) -> usize {
        current.get().parse().unwrap()
    }

    #[test]
    fn a_member_is_left_once_however_many_requests_found_it_silent() {
        let current = at(2);
        assert!(leave(&current, 2) && !leave(&current, 2));
        assert_eq!((number(&current), *current.left.borrow()), (0, 1));
    }

    #[test]
    fn the_only_member_is_never_left() {
        let alone = at(0);
        assert!(!alone.leave("0", &"0".into()));
        assert_eq!(number(&alone), 0);
    }

    #[test]
    fn a_follower_leaves_the_member_that_was_left_and_moves_no_other_store() {
        // The member that each uses, which one leaves which member, and what each uses then: of three members.
        let (followed, follower) = (true, false);
        let table = [
            ((0, 0), followed, 0, (1, 1)),
            ((2, 2), followed, 2, (0, 0)),
            ((0, 1), followed, 0, (1, 1)),
            ((0, 1), followed, 1, (0, 1)),
            ((0, 0), follower, 0, (0, 1)),
            ((1, 0), follower, 0, (1, 1)),
        ];
        for (before, by, member, after) in table {
            let other = Arc::new(at(before.1));
            let own = Current { follower: Some(Arc::clone(&other)), ..at(before.0) };
            if by == followed {
                leave(&own, member)
            } else {
                leave(&other, member)
            };
            assert_eq!((number(&own), number(&other)), after, "{before:?}, {member} left by the followed one: {by}");
        }
    }

    fn endpoints(addresses: &[&str], first: usize) -> Endpoints {
        let client = MemoryEtcd::new().client();
        Endpoints::new(addresses.iter().map(|address| ((*address).to_owned(), client.connection(0))).collect(), first)
    }

    #[test]
    fn connections_that_replace_others_keep_the_member_in_use_and_their_follower() {
        let three = ["0", "1", "2"];
        let shared = endpoints(&three, 0);
        let own = endpoints(&three, 0).followed_by(&shared);
        let renewed = endpoints(&three, 2).in_place_of(&own);
        assert!(leave(&own.current, 0) && number(&shared.current) == 1);
        assert_eq!(number(&renewed.current), 1);
        assert!(leave(&renewed.current, 1) && number(&shared.current) == 2);
    }

    #[test]
    fn a_changed_list_keeps_the_member_in_use_and_leaves_one_that_is_gone_at_once() {
        // The members and the one in use before; the members, the one that answered, and the one in use afterwards.
        type Case = (&'static [&'static str], usize, &'static [&'static str], usize, &'static str);
        let table: [Case; 7] = [
            (&["a"], 0, &["a", "b", "c"], 1, "a"),
            (&["a", "b", "c"], 2, &["c", "d"], 1, "c"),
            (&["a", "b", "c"], 0, &["b", "c"], 1, "c"),
            (&["a", "b", "c"], 1, &["a", "d", "c"], 0, "a"),
            (&["a"], 0, &["b"], 0, "b"),
            (&["a", "b"], 1, &["b", "a"], 1, "b"),
            (&["a", "b"], 0, &["a", "b"], 1, "a"),
        ];
        for (before, used, after, answered, expected) in table {
            let old = endpoints(before, used);
            let new = Arc::new(endpoints(after, answered).in_place_of(&old));
            assert_eq!(*new.endpoint().unwrap().address, *expected, "{before:?} {after:?}");
            let is_left = *old.current.get() != *before[used];
            assert_eq!(is_left, before[used] != expected, "{before:?} {after:?}");
        }
    }

    #[test]
    fn a_request_on_old_connections_cannot_bring_back_a_member_that_is_gone() {
        let old = Arc::new(endpoints(&["a", "gone"], 0));
        let in_flight = old.endpoint().unwrap();
        let new = Arc::new(endpoints(&["a", "b"], 0).in_place_of(&old));
        in_flight.leave();
        assert_eq!(*new.current.get(), *"gone");
        assert_eq!(*new.endpoint().unwrap().address, *"a");
        new.endpoint().unwrap().leave();
        assert_eq!(*new.endpoint().unwrap().address, *"b");
    }
}
