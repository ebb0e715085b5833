//! Chooses which member of etcd to ask. All requests go to one member until it does not answer, and to the next one
//! from then on: a member that hangs costs one timeout, not every second request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    connection::{Answer, Connection},
    etcd::{EtcdConnection, Pem},
};
use crate::Error;

/// All members that were configured, and the one in use.
pub(crate) struct Endpoints {
    members: Vec<Arc<dyn Connection>>,
    current: Arc<Current>,
}

/// Which member is in use. Connections that replace others keep it.
#[derive(Debug)]
struct Current {
    at: AtomicUsize,
    /// Leaves a member together with this one.
    follower: Option<Arc<Self>>,
}

impl Current {
    fn new(first: usize) -> Self {
        Self { at: AtomicUsize::new(first), follower: None }
    }

    fn get(&self) -> usize {
        self.at.load(Ordering::Acquire)
    }

    /// Switches from this member to the next one of so many. Returns `false` if another request already did, or there is
    /// no other.
    fn leave(&self, member: usize, members: usize) -> bool {
        let next = (member + 1) % members.max(1);
        let left =
            next != member && self.at.compare_exchange(member, next, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if left && let Some(follower) = &self.follower {
            follower.leave(member, members);
        }
        left
    }
}

impl Endpoints {
    pub(crate) fn new(members: Vec<Arc<dyn Connection>>, first: usize) -> Self {
        let first = first % members.len().max(1);
        Self { members, current: Arc::new(Current::new(first)) }
    }

    /// The same connections in the place of others: the member in use stays the same, and so does what follows it.
    pub(super) fn in_place_of(&self, replaced: &Self) -> Self {
        if self.members.len() == replaced.members.len() {
            Self { members: self.members.clone(), current: Arc::clone(&replaced.current) }
        } else {
            Self::new(self.members.clone(), self.current.get())
        }
    }

    /// The same connections, of a store whose choice another one follows: when this one leaves a member that does not
    /// answer, so does `follower`, and not the other way around.
    pub(super) fn followed_by(self, follower: &Self) -> Self {
        let current =
            Current { at: AtomicUsize::new(follower.current.get()), follower: Some(Arc::clone(&follower.current)) };
        Self { current: Arc::new(current), ..self }
    }

    /// Prepares connections to these addresses.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if an address or the certificates are invalid.
    pub(super) async fn prepare(addresses: &[String], pem: Pem<'_>) -> Result<Self, Error> {
        let mut members: Vec<Arc<dyn Connection>> = Vec::with_capacity(addresses.len());
        for address in addresses {
            members.push(Arc::new(EtcdConnection::prepare(address, pem).await?));
        }
        // Processes start with different members, so that no member has all of them.
        Ok(Self::new(members, usize::try_from(std::process::id()).unwrap_or(0)))
    }

    /// The member in use.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if no member is configured.
    pub(crate) fn endpoint(self: &Arc<Self>) -> Result<Endpoint, Error> {
        let member = self.current.get();
        let connection =
            self.members.get(member).cloned().ok_or(Error::Unavailable { doing: "connecting", source: None })?;
        Ok(Endpoint { connection, member, endpoints: Arc::clone(self) })
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
    member: usize,
    endpoints: Arc<Endpoints>,
}

impl Endpoint {
    /// Reports that the member does not answer: the next one is asked from now on.
    pub(crate) fn leave(&self) {
        if self.endpoints.current.leave(self.member, self.endpoints.members.len()) {
            metrics::counter!("keyspace_members_left_total").increment(1);
            tracing::info!(member = self.member, "etcd member does not answer, switching to the next one");
        }
    }

    /// Whether another member is in use by now.
    pub(crate) fn is_left(&self) -> bool {
        self.endpoints.current.get() != self.member
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_left_once_however_many_requests_found_it_silent() {
        let current = Current::new(2);
        assert!(current.leave(2, 3) && !current.leave(2, 3));
        assert_eq!(current.get(), 0);
    }

    #[test]
    fn the_only_member_is_never_left() {
        let alone = Current::new(0);
        assert!(!alone.leave(0, 1));
        assert_eq!(alone.get(), 0);
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
            let other = Arc::new(Current::new(before.1));
            let own = Current { at: AtomicUsize::new(before.0), follower: Some(Arc::clone(&other)) };
            if by == followed {
                own.leave(member, 3)
            } else {
                other.leave(member, 3)
            };
            assert_eq!((own.get(), other.get()), after, "{before:?}, {member} left by the followed one: {by}");
        }
    }

    #[test]
    fn connections_that_replace_others_keep_the_member_in_use_and_their_follower() {
        let (first, shared) = (Endpoints::new(Vec::new(), 0), Endpoints::new(Vec::new(), 0));
        let own = Endpoints::new(Vec::new(), 0).followed_by(&shared);
        let renewed = first.in_place_of(&own);
        assert!(own.current.leave(0, 3) && shared.current.get() == 1);
        assert_eq!(renewed.current.get(), 1);
        assert!(renewed.current.leave(1, 3) && shared.current.get() == 2);
    }
}
