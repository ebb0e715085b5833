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
    current: Current,
}

/// Index of the member in use.
#[derive(Debug)]
struct Current {
    at: AtomicUsize,
    members: usize,
}

impl Current {
    fn get(&self) -> usize {
        self.at.load(Ordering::Acquire)
    }

    /// Switches from this member to the next one. Returns `false` if another request already did, or there is no other.
    fn leave(&self, member: usize) -> bool {
        let next = (member + 1) % self.members.max(1);
        next != member && self.at.compare_exchange(member, next, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Endpoints {
    pub(crate) fn new(members: Vec<Arc<dyn Connection>>, first: usize) -> Self {
        let current = Current { at: AtomicUsize::new(first % members.len().max(1)), members: members.len() };
        Self { members, current }
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
        if self.endpoints.current.leave(self.member) {
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
        let current = Current { at: AtomicUsize::new(2), members: 3 };
        assert!(current.leave(2) && !current.leave(2));
        assert_eq!(current.get(), 0);
    }

    #[test]
    fn the_only_member_is_never_left() {
        let alone = Current { at: AtomicUsize::new(0), members: 1 };
        assert!(!alone.leave(0));
        assert_eq!(alone.get(), 0);
    }
}
