//! A [`Connection`] to a member of a real etcd.

mod access;
mod members;

use std::time::Duration;

use etcd_client::{
    Certificate, Client, CompareOp, ConnectOptions, EventType, GetOptions, Identity, KeyValue, PutOptions,
    ResponseHeader, TlsOptions, Txn, TxnOp, TxnOpResponse, WatchOptions,
};
use futures::future::BoxFuture;
use tonic::Code;

use super::{
    Pair,
    connection::{
        Answer, ClusterMember, Compare, Connection, Content, Event, Failure, Header, Keys, LeasedPair, MemberChange,
        MemberState, Operation, RaisedAlarm, Range, RangeAnswer, SnapshotPiece, SnapshotStream, Transaction,
        TransactionAnswer, WatchMessage, WatchStream, Watcher,
    },
};
use crate::{
    Error,
    access::{Present, Step, end_of_prefix},
};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Interval of HTTP/2 pings. etcd closes connections that ping more often than every 5 s.
const PING_INTERVAL: Duration = Duration::from_secs(6);
/// Maximum size of one page of a list, in bytes. The gRPC library's default of 4 MiB is less than a page may be.
const MAX_PAGE_BYTES: usize = 1 << 30;
/// The text of etcd's NOSPACE alarm, and of the error for a write that would raise it.
const NO_SPACE: &str = "database space exceeded";
/// etcd's text for a refused maintenance call, whose code is `Unknown` up to etcd 3.5.
const NO_PERMISSION: &str = "auth: permission denied";

/// Texts of the errors of etcd, of its gRPC library and of ours for a request that is too large. None was carried out.
const TOO_LARGE: [&str; 4] = [
    "request is too large",
    "too many operations in txn request",
    "received message larger than max",
    "encoded message length too large",
];

/// The certificates for connections to etcd, in PEM.
#[derive(Debug, Clone, Copy)]
pub struct Pem<'a> {
    /// The certificate authority.
    pub ca: &'a [u8],
    /// Our certificate.
    pub certificate: &'a [u8],
    /// The private key of our certificate.
    pub key: &'a [u8],
}

/// A connection to one member.
#[derive(Clone)]
pub(super) struct EtcdConnection {
    client: Client,
}

impl EtcdConnection {
    /// Prepares a connection. The member need not answer yet.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the address or the certificates are invalid.
    pub(super) async fn prepare(address: &str, pem: Pem<'_>) -> Result<Self, Error> {
        let tls = TlsOptions::new()
            .ca_certificate(Certificate::from_pem(pem.ca))
            .identity(Identity::from_pem(pem.certificate, pem.key));
        let options = ConnectOptions::new()
            .with_tls(tls)
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_keep_alive(PING_INTERVAL, PING_INTERVAL)
            .with_keep_alive_while_idle(true);
        // The client's own future takes some 18 KiB.
        let client = Box::pin(Client::connect([address], Some(options))).await;
        let invalid = |source| Error::Unavailable { doing: "connecting", source: Some(Box::new(source)) };
        Ok(Self { client: client.map_err(invalid)? })
    }
}

impl Connection for EtcdConnection {
    fn range(&self, range: Range) -> Answer<RangeAnswer> {
        let client = self.client.kv_client();
        Box::pin(async move {
            let (key, mut options) = match range.keys {
                Keys::One(path) => (path.into_bytes(), GetOptions::new()),
                Keys::Under { prefix, after } => {
                    let options = GetOptions::new().with_range(end_of_prefix(&prefix));
                    // The next key is the smallest one after the last.
                    let first = after.map_or_else(|| prefix.into_bytes(), |after| [after.as_bytes(), &[0]].concat());
                    (first, options)
                }
            };
            if let Some(revision) = range.revision {
                options = options.with_revision(revision);
            }
            if range.content == Content::Nothing {
                options = options.with_count_only();
            }
            let mut client = client.max_decoding_message_size(MAX_PAGE_BYTES);
            let answer = client.get(key, Some(options.with_limit(range.limit))).await?;
            let pairs = answer.kvs().iter().map(leased_pair).collect();
            Ok(RangeAnswer { header: header(answer.header()), pairs, more: answer.more() })
        })
    }

    fn transact(&self, transaction: Transaction) -> Answer<TransactionAnswer> {
        let mut client = self.client.kv_client();
        Box::pin(async move {
            let compares: Vec<_> = transaction.compares.into_iter().map(compare).collect();
            let then: Vec<_> = transaction.then.into_iter().map(operation).collect();
            let otherwise: Vec<_> = transaction.otherwise.into_iter().map(operation).collect();
            let transaction = Txn::new().when(compares).and_then(then).or_else(otherwise);
            let mut attempts = 0;
            let answer = loop {
                attempts += 1;
                match client.txn(transaction.clone()).await {
                    // It was not carried out, so that it can be sent again.
                    Err(error) if access::is_outdated(&error) && attempts < access::ATTEMPTS => {}
                    outcome => break outcome?,
                }
            };
            let found = answer.op_responses().into_iter().filter_map(|answer| match answer {
                TxnOpResponse::Get(got) => Some(got.kvs().first().map(pair)),
                TxnOpResponse::Put(_) | TxnOpResponse::Delete(_) | TxnOpResponse::Txn(_) => None,
            });
            let found = found.collect();
            Ok(TransactionAnswer { header: header(answer.header()), succeeded: answer.succeeded(), found })
        })
    }

    fn grant(&self, seconds: i64) -> Answer<i64> {
        let mut client = self.client.lease_client();
        Box::pin(async move { Ok(client.grant(seconds, None).await?.id()) })
    }

    fn revoke(&self, lease: i64) -> Answer<()> {
        let mut client = self.client.lease_client();
        Box::pin(async move { Ok(client.revoke(lease).await.map(drop)?) })
    }

    fn keep_alive(&self, lease: i64) -> Answer<bool> {
        let mut client = self.client.lease_client();
        // The client opens a stream with a first keep-alive and returns when that is answered: one round trip.
        Box::pin(async move {
            match client.keep_alive(lease).await {
                // The client's error for an answer without a time to live: the lease does not exist.
                Err(etcd_client::Error::LeaseKeepAliveError(why)) if why == "lease not found" => Ok(false),
                Err(etcd_client::Error::GRpcStatus(status)) if status.code() == Code::NotFound => Ok(false),
                outcome => Ok(outcome.map(|_| true)?),
            }
        })
    }

    fn watch(&self, watchers: Vec<Watcher>) -> Answer<Box<dyn WatchStream>> {
        let mut client = self.client.watch_client();
        Box::pin(async move {
            let mut opened: Option<etcd_client::WatchStream> = None;
            for Watcher { prefix, from } in watchers {
                let options = Some(WatchOptions::new().with_prefix().with_start_revision(from));
                if let Some(stream) = &mut opened {
                    stream.watch(prefix, options).await?;
                } else {
                    opened = Some(client.watch(prefix, options).await?);
                }
            }
            let stream = opened.ok_or(Failure::Unavailable(None))?;
            Ok(Box::new(EtcdWatch { stream, ids: Vec::new() }) as Box<dyn WatchStream>)
        })
    }

    fn status(&self) -> Answer<MemberState> {
        Box::pin(members::status(self.client.maintenance_client()))
    }

    fn members(&self) -> Answer<Vec<ClusterMember>> {
        Box::pin(members::list(self.client.cluster_client()))
    }

    fn change_members(&self, change: MemberChange) -> Answer<u64> {
        Box::pin(members::change(self.client.clone(), change))
    }

    fn alarms(&self) -> Answer<Vec<RaisedAlarm>> {
        Box::pin(members::alarms(self.client.maintenance_client()))
    }

    fn snapshot(&self) -> Answer<Box<dyn SnapshotStream>> {
        let mut client = self.client.maintenance_client();
        Box::pin(async move { Ok(Box::new(EtcdSnapshot(client.snapshot().await?)) as Box<dyn SnapshotStream>) })
    }

    fn access(&self) -> Answer<Present> {
        Box::pin(access::present(self.client.auth_client()))
    }

    fn change_access(&self, step: Step) -> Answer<()> {
        Box::pin(access::change(self.client.auth_client(), step))
    }

    fn defragment(&self) -> Answer<()> {
        let mut client = self.client.maintenance_client();
        Box::pin(async move { Ok(client.defragment().await.map(drop)?) })
    }
}

struct EtcdWatch {
    stream: etcd_client::WatchStream,
    /// etcd's ids of the watchers, in the order of their creation.
    ids: Vec<i64>,
}

impl WatchStream for EtcdWatch {
    fn message(&mut self) -> BoxFuture<'_, Result<WatchMessage, Failure>> {
        Box::pin(async {
            loop {
                let message = self.stream.message().await?.ok_or(Failure::Unavailable(None))?;
                if message.canceled() {
                    return Ok(WatchMessage::Canceled);
                }
                if message.created() {
                    self.ids.push(message.watch_id());
                    continue;
                }
                let watcher = self.ids.iter().position(|id| *id == message.watch_id());
                let changes = message.events().iter().filter_map(event).collect();
                let revision = message.header().map(ResponseHeader::revision);
                return Ok(WatchMessage::Changes { watcher, revision, changes });
            }
        })
    }

    fn request_progress(&mut self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async { Ok(self.stream.request_progress().await?) })
    }
}

struct EtcdSnapshot(etcd_client::SnapshotStreaming);

impl SnapshotStream for EtcdSnapshot {
    fn piece(&mut self) -> BoxFuture<'_, Result<Option<SnapshotPiece>, Failure>> {
        Box::pin(async {
            let piece = self.0.message().await?;
            Ok(piece.map(|piece| SnapshotPiece { bytes: piece.blob().to_vec(), remaining: piece.remaining_bytes() }))
        })
    }
}

impl From<etcd_client::Error> for Failure {
    fn from(error: etcd_client::Error) -> Self {
        let etcd_client::Error::GRpcStatus(status) = &error else { return Self::Unavailable(Some(Box::new(error))) };
        let away = [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled, Code::Unknown, Code::ResourceExhausted];
        if status.code() == Code::ResourceExhausted && status.message().contains(NO_SPACE) {
            Self::NoSpace
        } else if TOO_LARGE.iter().any(|text| status.message().contains(text)) {
            Self::TooLarge(Box::new(error))
        } else if status.code() == Code::OutOfRange {
            Self::OutOfRange(Box::new(error))
        } else if status.code() == Code::PermissionDenied || status.message().contains(NO_PERMISSION) {
            Self::Forbidden(Box::new(error))
        } else if away.contains(&status.code()) {
            Self::Unavailable(Some(Box::new(error)))
        } else {
            Self::Refused(Box::new(error))
        }
    }
}

fn header(header: Option<&ResponseHeader>) -> Header {
    header.map_or_else(Header::default, |header| Header { cluster: header.cluster_id(), revision: header.revision() })
}

fn pair(pair: &KeyValue) -> Pair {
    Pair {
        path: String::from_utf8_lossy(pair.key()).into_owned(),
        value: pair.value().to_vec(),
        revision: pair.mod_revision(),
        created: pair.create_revision(),
    }
}

fn leased_pair(found: &KeyValue) -> LeasedPair {
    LeasedPair { pair: pair(found), lease: found.lease() }
}

fn event(event: &etcd_client::Event) -> Option<Event> {
    let pair = pair(event.kv()?);
    Some(match event.event_type() {
        EventType::Put => Event::Put(pair),
        EventType::Delete => Event::Delete { path: pair.path, revision: pair.revision },
    })
}

fn compare(compare: Compare) -> etcd_client::Compare {
    match compare {
        Compare::ModRevision(path, revision) => etcd_client::Compare::mod_revision(path, CompareOp::Equal, revision),
        Compare::CreateRevision(path, revision) => {
            etcd_client::Compare::create_revision(path, CompareOp::Equal, revision)
        }
        // A range without keys is compared as a key that does not exist.
        Compare::NoneUnder(prefix) => etcd_client::Compare::create_revision(prefix, CompareOp::Equal, 0).with_prefix(),
    }
}

fn operation(operation: Operation) -> TxnOp {
    match operation {
        Operation::Put { path, value, lease: 0 } => TxnOp::put(path, value, None),
        Operation::Put { path, value, lease } => TxnOp::put(path, value, Some(PutOptions::new().with_lease(lease))),
        Operation::Delete(path) => TxnOp::delete(path, None),
        Operation::Get(path) => TxnOp::get(path, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: Code, message: &str) -> Failure {
        etcd_client::Error::GRpcStatus(tonic::Status::new(code, message)).into()
    }

    #[test]
    fn only_codes_that_leave_the_outcome_open_count_as_no_answer() {
        for code in [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled, Code::Unknown, Code::ResourceExhausted]
        {
            assert!(matches!(failure(code, "x"), Failure::Unavailable(Some(_))), "{code:?}");
        }
        for code in [Code::NotFound, Code::InvalidArgument, Code::FailedPrecondition] {
            assert!(matches!(failure(code, "x"), Failure::Refused(_)), "{code:?}");
        }
        assert!(matches!(failure(Code::PermissionDenied, "x"), Failure::Forbidden(_)));
        assert!(matches!(failure(Code::Unknown, "auth: permission denied"), Failure::Forbidden(_)));
        let lost = etcd_client::Error::WatchError("closed".to_owned());
        assert!(matches!(lost.into(), Failure::Unavailable(Some(_))));
    }

    #[test]
    fn a_full_database_is_told_from_a_busy_member() {
        assert!(matches!(
            failure(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"),
            Failure::NoSpace
        ));
        assert!(matches!(failure(Code::ResourceExhausted, "too many requests"), Failure::Unavailable(_)));
    }

    #[test]
    fn a_request_that_is_too_large_is_told_from_a_store_that_does_not_answer() {
        for (code, text, source) in [
            (Code::InvalidArgument, "etcdserver: request is too large", "etcd rpctypes ErrRequestTooLarge"),
            (Code::InvalidArgument, "etcdserver: too many operations in txn request", "etcd rpctypes ErrTooManyOps"),
            (Code::ResourceExhausted, "grpc: received message larger than max (2097683 vs. 2097152)", "grpc-go"),
            (Code::ResourceExhausted, "grpc: received message larger than max (2 vs. 1)", "grpc-go"),
            (Code::OutOfRange, "Error, encoded message length too large: found 9 bytes", "tonic"),
            (Code::ResourceExhausted, "Error, encoded message length too large: found 9 bytes", "tonic"),
        ] {
            let error = failure(code, text).doing("writing");
            assert!(error.is_too_large() && !error.is_away() && error.reason() == "TOO_LARGE", "{source}: {error}");
        }
        assert!(failure(Code::ResourceExhausted, "etcdserver: too many requests").doing("writing").is_away());
    }

    #[test]
    fn a_compacted_revision_is_out_of_range() {
        let compacted = failure(Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted");
        let error = compacted.doing("reading");
        assert!(matches!(error, Error::OutOfRange { doing: "reading", .. }) && !error.is_away());
    }

    #[test]
    fn the_end_of_a_prefix_is_the_next_key_that_has_it_not() {
        assert_eq!(end_of_prefix("/a/"), "/a0");
        assert_eq!(end_of_prefix("/a/node"), "/a/nodf");
    }
}
