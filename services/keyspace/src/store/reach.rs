//! Which member of etcd is asked. One at a time, and the next one as soon as it does not answer: a member that hangs
//! costs one deadline, not every second request.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};

use super::{Pem, judge};
use crate::Error;

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(2);
/// etcd cuts connections that ask more often than every 5 s whether the other side lives.
const PING: Duration = Duration::from_secs(6);

/// All members that were named, and whose turn it is.
pub(crate) struct Reach {
    members: Vec<Client>,
    turn: Turn,
}

/// Whose turn it is.
#[derive(Debug)]
struct Turn {
    at: AtomicUsize,
    members: usize,
}

impl Turn {
    fn now(&self) -> usize {
        self.at.load(Ordering::Acquire)
    }

    /// Passes it on from this member; whoever else found the same has done it already.
    fn pass(&self, from: usize) -> bool {
        let next = (from + 1) % self.members.max(1);
        next != from && self.at.compare_exchange(from, next, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Reach {
    pub(super) async fn prepare(members: &[String], pem: Pem<'_>) -> Result<Self, Error> {
        let wrong = |source| Error::Unavailable { doing: "connecting", source: Some(Box::new(source)) };
        let mut clients = Vec::with_capacity(members.len());
        for member in members {
            let tls = TlsOptions::new()
                .ca_certificate(Certificate::from_pem(pem.ca))
                .identity(Identity::from_pem(pem.certificate, pem.key));
            let options = ConnectOptions::new()
                .with_tls(tls)
                .with_connect_timeout(CONNECT)
                .with_keep_alive(PING, PING)
                .with_keep_alive_while_idle(true);
            // The client's own future is some 18 KiB.
            clients.push(Box::pin(Client::connect([member], Some(options))).await.map_err(wrong)?);
        }
        // Processes begin at different members, so that none has all of them.
        let first = usize::try_from(std::process::id()).unwrap_or(0) % clients.len().max(1);
        let turn = Turn { at: AtomicUsize::new(first), members: clients.len() };
        Ok(Self { members: clients, turn })
    }

    /// The member whose turn it is; none where none was named.
    pub(super) fn line(self: &Arc<Self>) -> Result<Line, Error> {
        let member = self.turn.now();
        let client =
            self.members.get(member).cloned().ok_or(Error::Unavailable { doing: "connecting", source: None })?;
        Ok(Line { client, member, reach: Arc::clone(self) })
    }

    /// Asks one request of the member whose turn it is.
    pub(crate) async fn ask<T, F>(
        self: &Arc<Self>,
        doing: &'static str,
        patience: Duration,
        request: impl FnOnce(Client) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let line = self.line()?;
        // The client's futures are some 18 KiB each; everything above would carry them.
        let outcome = match tokio::time::timeout(patience, Box::pin(request(line.client.clone()))).await {
            Err(_) => Err(Error::Unavailable { doing, source: None }),
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(source)) => Err(judge(doing, source)),
        };
        if matches!(outcome, Err(Error::Unavailable { .. })) {
            line.hangs();
        }
        outcome
    }
}

/// A member, and where to say that it does not answer.
pub(crate) struct Line {
    pub(crate) client: Client,
    member: usize,
    reach: Arc<Reach>,
}

impl Line {
    /// It does not answer: the next one is asked from now on.
    pub(crate) fn hangs(&self) {
        if self.reach.turn.pass(self.member) {
            metrics::counter!("keyspace_members_left_total").increment(1);
            tracing::info!(member = self.member, "a member of etcd does not answer: asking the next one");
        }
    }

    /// Whether another member is asked by now: this one was found to hang.
    pub(crate) fn is_left(&self) -> bool {
        self.reach.turn.now() != self.member
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_turn_is_passed_once_by_however_many_found_a_member_to_hang() {
        let turn = Turn { at: AtomicUsize::new(2), members: 3 };
        assert!(turn.pass(2) && !turn.pass(2));
        assert_eq!(turn.now(), 0);
        let alone = Turn { at: AtomicUsize::new(0), members: 1 };
        assert!(!alone.pass(0));
        assert_eq!(alone.now(), 0);
    }
}
