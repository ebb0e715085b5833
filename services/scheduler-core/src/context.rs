//! What a use case knows of the request that it carries out.

use std::{collections::HashMap, time::Duration};

use domain::id::OperationId;
use keyspace::{Change, Expect, key, value};
use prost::Message;
use service_kit::{clock, telemetry, tls::Identity};
use tokio::time::Instant;
use tonic::{Request, metadata::MetadataMap};
use uuid::Uuid;

use crate::{Error, request_id::RequestId};

/// Metadata key with the time that a caller of gRPC waits
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
const TIMEOUT: &str = "grpc-timeout";

/// What a use case knows of the request that it carries out.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// The id that the client gave the request, by which a repeated one is recognized. `None` if it gave none.
    pub request_id: Option<RequestId>,
    /// Trace of the request (`traceparent` of W3C Trace Context), which the work continues. Empty if there is none.
    pub trace: String,
    /// Who sent the request, for logs.
    pub actor: String,
    /// When the caller stops waiting. `None` if it waits forever.
    pub deadline: Option<Instant>,
}

impl RequestContext {
    /// The context of what the scheduler does by itself.
    #[must_use]
    pub fn internal() -> Self {
        Self { request_id: None, trace: String::new(), actor: "scheduler-service".to_owned(), deadline: None }
    }

    /// The context of a request of `actor` that has no id.
    #[must_use]
    pub fn of(actor: String) -> Self {
        Self { request_id: None, trace: telemetry::current_traceparent(), actor, deadline: None }
    }

    /// The context of a request that the scheduler makes by itself under an id.
    #[must_use]
    pub fn with_id(request_id: RequestId) -> Self {
        Self { request_id: Some(request_id), ..Self::internal() }
    }

    /// Reads the context of a call of gRPC. `public` is its message without secrets.
    ///
    /// # Errors
    /// [`Error::Request`] if the id of the request is none.
    pub fn read<T>(request: &Request<T>, call: &str, public: &impl Message) -> Result<Self, Error> {
        Self::read_with(request, call, public, &HashMap::new())
    }

    /// Reads the context of a call of gRPC with files, which are not part of `public` as maps have no order.
    ///
    /// # Errors
    /// As for [`Self::read`].
    pub fn read_with<T>(
        request: &Request<T>,
        call: &str,
        public: &impl Message,
        files: &HashMap<String, Vec<u8>>,
    ) -> Result<Self, Error> {
        let request_id = RequestId::read_with(request.metadata(), call, public, files)?;
        let actor = request.extensions().get::<Identity>().map(Identity::to_string).unwrap_or_default();
        let deadline = timeout(request.metadata()).and_then(|timeout| Instant::now().checked_add(timeout));
        Ok(Self { request_id, trace: telemetry::current_traceparent(), actor, deadline })
    }

    /// The id of what the request creates: that of the request, which finds it again if the answer is lost, or a new one.
    #[must_use]
    pub fn new_id(&self) -> Uuid {
        self.request_id.as_ref().map_or_else(Uuid::new_v4, RequestId::id)
    }

    /// Adds the record of the request to its change, with the operation that it begins. Does nothing if it has no id.
    ///
    /// # Errors
    /// [`keyspace::Error::Value`]
    pub(crate) fn mark(&self, change: Change, begins: Option<OperationId>) -> Result<Change, keyspace::Error> {
        let Some(request_id) = &self.request_id else { return Ok(change) };
        let digest = request_id.digest().to_owned();
        let record = value::Request { digest, at: clock::now(), operation: begins, answer: String::new() };
        change.put(&key::request(request_id.id()), &record, Expect::Absent)
    }
}

/// The time that the caller waits: at most 8 digits and a unit. `None` if it is not given, or not so.
fn timeout(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get(TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_number = (1..=8).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| is_number)?;
    Some(match unit {
        "H" => Duration::from_secs(number.saturating_mul(3600)),
        "M" => Duration::from_secs(number.saturating_mul(60)),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}
