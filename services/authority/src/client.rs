//! The host's side of the authority's API.

use std::time::Duration;

use domain::time::Timestamp;
use proto::{
    authority::v1::{
        GetJoinTokenRequest, JoinRequest, JoinResponse, RenewCertificatesRequest, SignedCertificate,
        WatchHostFilesRequest, WatchHostFilesResponse, authority_service_client::AuthorityServiceClient,
    },
    convert::time::{time, wire_time},
};
use service_kit::{
    client::{InvalidEndpoint, MeshChannel, authority_channel, joining_channel},
    clock,
    join_token::JoinToken,
    ports::AUTHORITY_PORT,
    status,
    tls::{PinnedTrust, Tls},
};
use tonic::{Code, Status, Streaming};

use crate::{
    keys::Requested,
    purpose::{Roles, UnknownService},
};

/// What the authority's answer to a host that was removed begins with.
pub(crate) const REMOVED: &str = "removed by ";
/// How long an answer may take. Joining a store waits for etcd.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Difference of the clocks above which a host cannot join: certificates and leases depend on the time.
pub const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(60);

/// The authority did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address cannot be parsed.
    #[error(transparent)]
    Endpoint(#[from] InvalidEndpoint),
    /// It cannot be reached, or is not the one that the token names.
    #[error(
        "the authority does not answer at {address}: {why}; check that the host runs there and that firewalls let TCP port \
         {AUTHORITY_PORT} through (ironmesh host ports), and that the token is of this datacenter"
    )]
    Unreachable {
        /// Its address.
        address: String,
        /// The cause.
        why: String,
    },
    /// It refused.
    #[error("{0}")]
    Refused(String),
    /// This host was removed from the datacenter.
    #[error("this host was removed from the datacenter: {0}")]
    Removed(String),
    /// It cannot do it now.
    #[error("{0}")]
    Later(String),
    /// Its answer is not understood.
    #[error("cannot use the answer of the authority: {0}; use the same version of ironmesh on both hosts")]
    Answer(String),
    /// The clocks differ.
    #[error(
        "the clock of this host is {} s {} that of the authority ({here}, {there}); set it, for instance with: systemctl \
         restart systemd-timesyncd", .difference.as_secs(), if .here > .there { "ahead of" } else { "behind" }
    )]
    Clock {
        /// The time of this host.
        here: Timestamp,
        /// The time of the authority.
        there: Timestamp,
        /// By how much they differ.
        difference: Duration,
    },
}

impl ClientError {
    /// Returns what a failed call means.
    #[must_use]
    pub fn of(address: &str, status: &Status) -> Self {
        // A status that the authority sent has no source.
        let is_of_transport = std::error::Error::source(status).is_some();
        let is_of_network =
            matches!(status.code(), Code::Unavailable | Code::Unknown | Code::DeadlineExceeded | Code::Cancelled);
        let why = status::chain(status);
        if status.code() == Code::FailedPrecondition && status.message().starts_with(REMOVED) {
            Self::Removed(status.message().to_owned())
        } else if is_of_transport && why.contains("CertificateRevoked") {
            Self::Removed("its certificate was revoked".to_owned())
        } else if is_of_transport && is_of_network {
            Self::Unreachable { address: address.to_owned(), why }
        } else if status.code() == Code::Unavailable {
            Self::Later(status.message().to_owned())
        } else {
            Self::Refused(status.message().to_owned())
        }
    }
}

impl From<UnknownService> for ClientError {
    fn from(error: UnknownService) -> Self {
        Self::Answer(error.to_string())
    }
}

/// What a join token allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// Name of the datacenter.
    pub datacenter: String,
    /// Trust domain of its identities.
    pub trust_domain: String,
    /// What hosts may run.
    pub roles: Roles,
}

/// Joins a datacenter with a token.
#[derive(Debug)]
pub struct JoinClient {
    client: AuthorityServiceClient<MeshChannel>,
    address: String,
    token: JoinToken,
}

impl JoinClient {
    /// Prepares a connection to an authority (`host:port`), which must have the CA that the token names.
    ///
    /// # Errors
    /// [`ClientError::Endpoint`]
    pub fn new(address: &str, token: JoinToken) -> Result<Self, ClientError> {
        let trust = PinnedTrust::new(token.ca_digest(), token.datacenter());
        let channel = joining_channel(&trust, address, Some(TIMEOUT))?;
        Ok(Self { client: AuthorityServiceClient::new(channel), address: address.to_owned(), token })
    }

    /// Asks what the token allows, and compares the clocks.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn describe(&mut self) -> Result<Allowed, ClientError> {
        let request = GetJoinTokenRequest { id: self.token.id().to_string(), secret: self.token.secret().to_vec() };
        let answer = self.client.get_join_token(request).await;
        let answer = answer.map_err(|status| ClientError::of(&self.address, &status))?.into_inner();
        if let Some(there) = answer.time {
            let there = time("time", there).map_err(|error| ClientError::Answer(error.to_string()))?;
            check_clock(clock::now(), there)?;
        }
        let roles = Roles::from_wire(&answer.allowed.unwrap_or_default())?;
        Ok(Allowed { datacenter: answer.datacenter, trust_domain: answer.trust_domain, roles })
    }

    /// Joins. The request's token and time are filled in.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn join(&mut self, request: JoinRequest) -> Result<JoinResponse, ClientError> {
        let (id, secret) = (self.token.id().to_string(), self.token.secret().to_vec());
        let request = JoinRequest { id, secret, time: Some(wire_time(clock::now())), ..request };
        let answer = self.client.join(request).await;
        Ok(answer.map_err(|status| ClientError::of(&self.address, &status))?.into_inner())
    }
}

/// Keeps what a host needs up to date, with the host's certificate.
#[derive(Debug, Clone)]
pub struct HostClient {
    calls: AuthorityServiceClient<MeshChannel>,
    streams: AuthorityServiceClient<MeshChannel>,
    address: String,
}

impl HostClient {
    /// Prepares a connection to the authority (`host:port`).
    ///
    /// # Errors
    /// [`ClientError::Endpoint`]
    pub fn new(address: &str, tls: &Tls) -> Result<Self, ClientError> {
        let client =
            |deadline| Ok::<_, ClientError>(AuthorityServiceClient::new(authority_channel(tls, address, deadline)?));
        Ok(Self { calls: client(Some(TIMEOUT))?, streams: client(None)?, address: address.to_owned() })
    }

    /// Has certificates signed again.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn renew(&mut self, requests: &[Requested]) -> Result<Vec<SignedCertificate>, ClientError> {
        let request = RenewCertificatesRequest { certificates: requests.iter().map(Requested::to_wire).collect() };
        let answer = self.calls.renew_certificates(request).await;
        Ok(answer.map_err(|status| ClientError::of(&self.address, &status))?.into_inner().certificates)
    }

    /// Follows what the host needs.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn watch_files(&mut self) -> Result<Streaming<WatchHostFilesResponse>, ClientError> {
        let answer = self.streams.watch_host_files(WatchHostFilesRequest {}).await;
        Ok(answer.map_err(|status| ClientError::of(&self.address, &status))?.into_inner())
    }
}

/// Compares the clocks of a host and of the authority.
///
/// # Errors
/// [`ClientError::Clock`] if they differ by more than [`MAX_CLOCK_DIFFERENCE`].
pub fn check_clock(here: Timestamp, there: Timestamp) -> Result<(), ClientError> {
    let difference = here.since(there).max(there.since(here));
    if difference > MAX_CLOCK_DIFFERENCE { Err(ClientError::Clock { here, there, difference }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_differ_are_named_with_the_difference() {
        let at = |seconds: i64| Timestamp::from_millis(1_800_000_000_000 + seconds * 1000);
        for (here, there, words) in [
            (0, 0, None),
            (60, 0, None),
            (0, 60, None),
            (61, 0, Some("61 s ahead of")),
            (0, 61, Some("61 s behind")),
            (0, 86_400, Some("86400 s behind")),
            (3_600, 0, Some("3600 s ahead of")),
        ] {
            let outcome = check_clock(at(here), at(there)).map_err(|error| error.to_string());
            match words {
                None => assert_eq!(outcome, Ok(())),
                Some(words) => assert!(outcome.as_ref().unwrap_err().contains(words), "{outcome:?}"),
            }
        }
    }
}
