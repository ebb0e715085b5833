//! Errors of the authentication methods.

use std::{io, path::PathBuf};

use reqwest::StatusCode;
use service_kit::outbound_http::OutboundError;

/// Reason why an authentication method cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration of a method is invalid.
    #[error("scheduler.{key}: {cause}")]
    Config {
        /// Configuration key of the method.
        key: &'static str,
        /// What is wrong.
        cause: Box<Self>,
    },
    /// A file or a URL has unusable content.
    #[error("{place}: {cause}")]
    Content {
        /// Path or URL.
        place: String,
        /// What is wrong.
        cause: Box<Self>,
    },
    /// A file cannot be read.
    #[error("{cause}")]
    Read {
        /// Reason.
        cause: io::Error,
    },
    /// The file with the password of our Keystone user cannot be read.
    #[error("the password file {}: {cause}", path.display())]
    PasswordFile {
        /// Path of the file.
        path: PathBuf,
        /// Reason.
        cause: io::Error,
    },
    /// A line of the users file is invalid.
    #[error("{}, line {line}: must be NAME:HASH, the hash made with htpasswd -nB NAME", path.display())]
    UsersLine {
        /// Path of the file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
    },
    /// A CA file is invalid.
    #[error("{cause}")]
    Certificates {
        /// Reason.
        cause: reqwest::Error,
    },
    /// Text is not the expected JSON.
    #[error("{cause}")]
    Json {
        /// Reason.
        cause: serde_json::Error,
    },
    /// A key set has no key for a supported algorithm.
    #[error("it has no key for RS256, ES256 or EdDSA in \"keys\" (a JSON Web Key Set, RFC 7517 §5)")]
    NoUsableKey,
    /// The provider's keys cannot be fetched, and the known ones are too old.
    #[error("The keys of the token issuer are not available.")]
    KeysUnavailable,
    /// A token has no subject.
    #[error("it has no sub")]
    NoSubject,
    /// A call of an identity server failed.
    #[error(transparent)]
    Call(#[from] OutboundError),
    /// An identity server sent an unexpected status.
    #[error("the server answered {0}")]
    Status(StatusCode),
    /// A response of an identity server is not JSON.
    #[error("the response is not JSON: {cause}")]
    ResponseNotJson {
        /// Reason.
        cause: serde_json::Error,
    },
    /// Keystone sent an unexpected status.
    #[error("Keystone answered {0}")]
    KeystoneStatus(StatusCode),
    /// Keystone rejected our login.
    #[error("Keystone rejected the login of user {user}: {status}{}", login_hint(*status))]
    LoginRejected {
        /// Our user.
        user: String,
        /// Status of the response.
        status: StatusCode,
    },
    /// Keystone rejected our own token twice.
    #[error("Keystone rejects our own token, although it is new")]
    OwnTokenRejected,
    /// Our Keystone user lacks a role.
    #[error("user {user} may not validate tokens: give it the role service")]
    NotPermitted {
        /// Our user.
        user: String,
    },
    /// The process stops.
    #[error("no more tokens are validated, because the process stops")]
    Closed,
}

impl Error {
    /// Adds the path or URL that the error is about.
    pub(crate) fn at(self, place: impl ToString) -> Self {
        Self::Content { place: place.to_string(), cause: Box::new(self) }
    }

    /// Adds the configuration key that the error is about.
    pub(crate) fn in_key(self, key: &'static str) -> Self {
        Self::Config { key, cause: Box::new(self) }
    }
}

/// Returns what to check after a rejected login.
fn login_hint(status: StatusCode) -> &'static str {
    if status == StatusCode::UNAUTHORIZED {
        "; check user, password, project and domain in scheduler.rest_keystone"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_the_configuration_key_and_the_place() {
        let error = Error::NoUsableKey.at("/etc/keys.json").in_key("rest_jwt");
        assert!(error.to_string().starts_with("scheduler.rest_jwt: /etc/keys.json: it has no key"));
    }

    #[test]
    fn a_rejected_login_says_what_to_check() {
        let text = |status| Error::LoginRejected { user: "ann".to_owned(), status }.to_string();
        assert!(text(StatusCode::UNAUTHORIZED).contains("check user, password"));
        assert_eq!(text(StatusCode::BAD_GATEWAY), "Keystone rejected the login of user ann: 502 Bad Gateway");
    }
}
