//! Why a request to a server that others name failed. The texts are ours alone: they contain nothing that a server sent.

use std::{error::Error as StdError, fmt, io, time::Duration};

use rustls::CertificateError;

use super::resolver::LookupError;

/// The server of a request, as its URL names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Host and port of the URL that was requested.
    pub(super) host: String,
    /// Whether that server redirected to another one, which is not named: a user need not learn where it is.
    pub(super) is_redirected: bool,
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_redirected {
            write!(f, "the server that {} redirects to", self.host)
        } else {
            f.write_str(&self.host)
        }
    }
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The URL is none, or has another scheme.
    #[error("the URL must start with http:// or https:// and name a host")]
    Url,
    /// The URL has a character that a URL cannot have.
    #[error(transparent)]
    UrlText(#[from] domain::url_text::UrlTextError),
    /// The policy does not allow the destination. Nothing was sent.
    #[error("{0} is not an allowed destination; an administrator can allow its address in outbound.allow")]
    Refused(Destination),
    /// The server was sent too many requests at the word of users.
    #[error("{destination} is sent too many requests; repeat it in {} s", .wait.as_secs().max(1))]
    TooMany {
        /// The server.
        destination: Destination,
        /// How long another request would have to wait.
        wait: Duration,
    },
    /// The name of the host has no address.
    #[error("cannot resolve the name of {0}")]
    Unresolved(Destination),
    /// No connection was made.
    #[error("cannot connect to {destination}: {reason}")]
    Unreachable {
        /// The server.
        destination: Destination,
        /// The reason.
        reason: &'static str,
    },
    /// The certificate of the server is not valid, or TLS failed otherwise.
    #[error("TLS with {destination} failed: {reason}")]
    Tls {
        /// The server.
        destination: Destination,
        /// The reason.
        reason: &'static str,
    },
    /// The server did not answer in time.
    #[error("{destination} did not answer within {} s", limit.as_secs_f32())]
    Silent {
        /// The server.
        destination: Destination,
        /// The limit.
        limit: Duration,
    },
    /// The server sends too slowly.
    #[error("{destination} sent less than {min_bytes} bytes within {} s", window.as_secs_f32())]
    Slow {
        /// The server.
        destination: Destination,
        /// Minimum number of bytes in a window.
        min_bytes: u64,
        /// Length of a window.
        window: Duration,
    },
    /// The connection ended, or the response is not HTTP.
    #[error("the connection to {0} was interrupted")]
    Interrupted(Destination),
    /// The response is longer than allowed.
    #[error("{destination} sent more than {limit} bytes")]
    TooLarge {
        /// The server.
        destination: Destination,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The header of the response is longer than allowed.
    #[error("{destination} sent a response header of more than {limit} bytes")]
    HeaderTooLarge {
        /// The server.
        destination: Destination,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A redirect that is not followed.
    #[error("{0} redirects too often, or without a valid address")]
    Redirect(Destination),
    /// A redirect from HTTPS to HTTP.
    #[error("{0} redirects from https to http, which is not followed")]
    Downgrade(Destination),
    /// A header cannot be sent.
    #[error("a header of the request has characters that cannot be sent")]
    Header,
    /// The client cannot be created, for example because its CA certificates are invalid.
    #[error("cannot create the HTTP client")]
    Client(#[source] reqwest::Error),
}

impl OutboundError {
    /// Says in our words why a request failed.
    pub(super) fn of(error: &reqwest::Error, destination: Destination) -> Self {
        let mut kind = None;
        for cause in std::iter::successors(Some(error as &(dyn StdError + 'static)), |cause| inner(*cause)) {
            match cause.downcast_ref::<LookupError>() {
                Some(LookupError::Refused(_)) => return Self::Refused(destination),
                Some(LookupError::Unresolved) => return Self::Unresolved(destination),
                None => {}
            }
            if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
                return Self::Tls { destination, reason: tls_reason(tls) };
            }
            kind = cause.downcast_ref::<io::Error>().map(io::Error::kind).or(kind);
        }
        if error.is_connect() {
            let late = if error.is_timeout() { "no connection in time" } else { "no connection" };
            let reason = kind.map_or(late, connect_reason);
            return Self::Unreachable { destination, reason };
        }
        Self::Interrupted(destination)
    }

    /// Returns whether the policy refused the destination, which a repetition does not change.
    #[must_use]
    pub const fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(_))
    }

    /// Returns whether a repetition may succeed in a moment: the network or the server failed, and not what is configured here
    /// or there.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::TooMany { .. }
            | Self::Unresolved(_)
            | Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::Slow { .. }
            | Self::Interrupted(_) => true,
            Self::Url
            | Self::UrlText(_)
            | Self::Refused(_)
            | Self::Tls { .. }
            | Self::TooLarge { .. }
            | Self::HeaderTooLarge { .. }
            | Self::Redirect(_)
            | Self::Downgrade(_)
            | Self::Header
            | Self::Client(_) => false,
        }
    }

    /// Returns whether a repetition fails too, until the URL, the headers or the policy are changed.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        matches!(self, Self::Url | Self::UrlText(_) | Self::Header | Self::Refused(_))
    }
}

/// Returns the cause of an error. An I/O error has the error that it contains as its cause, and not that error's cause.
fn inner<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the list of kinds grows, and most say little to a user")]
const fn connect_reason(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "no route to it",
        io::ErrorKind::TimedOut => "no connection in time",
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => "connection closed",
        _ => "no connection",
    }
}

/// The texts of rustls contain names from the certificate of the server.
#[expect(clippy::wildcard_enum_match_arm, reason = "the list of errors grows, and most say little to a user")]
const fn tls_reason(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(wrong) => match wrong {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired",
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet"
            }
            CertificateError::Revoked => "its certificate is revoked",
            CertificateError::UnknownIssuer => "its certificate is not of a trusted CA",
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name"
            }
            _ => "its certificate is not valid",
        },
        rustls::Error::AlertReceived(_) => "it refused the handshake",
        rustls::Error::InvalidMessage(_) => "it does not speak TLS",
        _ => "the handshake failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_network_does_may_pass_and_what_is_configured_does_not() {
        let at = || Destination { host: "id.example:443".to_owned(), is_redirected: false };
        let second = Duration::from_secs(1);
        for (error, expected) in [
            (OutboundError::Unresolved(at()), true),
            (OutboundError::Unreachable { destination: at(), reason: "connection refused" }, true),
            (OutboundError::Silent { destination: at(), limit: second }, true),
            (OutboundError::Slow { destination: at(), min_bytes: 1, window: second }, true),
            (OutboundError::Interrupted(at()), true),
            (OutboundError::TooMany { destination: at(), wait: second }, true),
            (OutboundError::Tls { destination: at(), reason: "its certificate has expired" }, false),
            (OutboundError::Refused(at()), false),
            (OutboundError::Redirect(at()), false),
            (OutboundError::Downgrade(at()), false),
            (OutboundError::TooLarge { destination: at(), limit: 1 }, false),
            (OutboundError::Url, false),
        ] {
            assert_eq!(error.is_transient(), expected, "{error}");
        }
    }
}
