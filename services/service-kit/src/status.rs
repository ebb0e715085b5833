//! Converts errors to gRPC statuses.

use std::{collections::HashMap, error::Error as StdError};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The `domain` of every `google.rpc.ErrorInfo` that we attach.
pub const DOMAIN: &str = "ironmesh";

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Correct the request.
    Invalid,
    /// The named object does not exist.
    Missing,
    /// The name, address or id is already in use.
    Taken,
    /// Change the state of the object first; a retry alone does not help.
    NotNow,
    /// A concurrent change was made: read again, then retry.
    Conflict,
    /// Retry the same call later.
    Unavailable,
    /// Another instance owns the object: call that one.
    NotOwner,
    /// The rack is an island: reads succeed, changes are refused.
    Island,
    /// The caller is not authorized.
    Denied,
    /// A bug or a local fault; the details are logged and not returned.
    Internal,
}

impl Kind {
    const fn code(self) -> Code {
        match self {
            Self::Invalid => Code::InvalidArgument,
            Self::Missing => Code::NotFound,
            Self::Taken => Code::AlreadyExists,
            Self::NotNow => Code::FailedPrecondition,
            Self::Conflict | Self::NotOwner => Code::Aborted,
            Self::Unavailable | Self::Island => Code::Unavailable,
            Self::Denied => Code::PermissionDenied,
            Self::Internal => Code::Internal,
        }
    }
}

/// Implemented by the `Error` of each service.
pub trait Failure: StdError {
    /// Returns what the caller can do.
    fn kind(&self) -> Kind;
    /// Returns a stable identifier for programs and metrics, such as `BMC_SILENT`.
    fn reason(&self) -> &'static str;
    /// Returns facts for programs, such as the owner's endpoint.
    fn facts(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

/// Formats an error and all of its sources on one line.
#[must_use]
pub fn chain(error: &dyn StdError) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}

/// Converts an error to a status and logs it with its sources. The text of internal errors is not returned to the
/// caller.
pub fn status(service: &'static str, failure: &dyn Failure) -> Status {
    let (kind, reason, chain) = (failure.kind(), failure.reason(), chain(failure));
    let message = match kind {
        Kind::Internal => {
            tracing::error!(service, reason, error = chain, "internal error");
            format!("internal error of {service}; see its log")
        }
        Kind::Invalid
        | Kind::Missing
        | Kind::Taken
        | Kind::NotNow
        | Kind::Conflict
        | Kind::Unavailable
        | Kind::NotOwner
        | Kind::Island
        | Kind::Denied => {
            tracing::debug!(service, reason, error = chain, "call refused");
            chain
        }
    };
    let facts: HashMap<_, _> = failure.facts().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Status::with_error_details(kind.code(), message, ErrorDetails::with_error_info(reason, DOMAIN, facts))
}

/// Returns the reason attached to a status, if any.
#[must_use]
pub fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

/// Returns a fact attached to a status, if any.
#[must_use]
pub fn fact(status: &Status, name: &str) -> Option<String> {
    status.get_details_error_info()?.metadata.remove(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the file")]
    struct Toy {
        kind: Kind,
        source: std::num::ParseIntError,
    }
    impl Failure for Toy {
        fn kind(&self) -> Kind {
            self.kind
        }
        fn reason(&self) -> &'static str {
            "FILE"
        }
        fn facts(&self) -> Vec<(&'static str, String)> {
            vec![("file", "7".to_owned())]
        }
    }

    fn toy(kind: Kind) -> Status {
        status("toy", &Toy { kind, source: "x".parse::<u8>().unwrap_err() })
    }

    #[test]
    fn the_caller_sees_the_chain_the_reason_and_the_facts() {
        let status = toy(Kind::NotOwner);
        assert_eq!(status.code(), Code::Aborted);
        assert_eq!(status.message(), "cannot open the file: invalid digit found in string");
        assert_eq!(reason(&status).as_deref(), Some("FILE"));
        assert_eq!(fact(&status, "file").as_deref(), Some("7"));
    }

    #[test]
    fn what_is_internal_does_not_leave() {
        assert!(!toy(Kind::Internal).message().contains("digit"));
    }
}
