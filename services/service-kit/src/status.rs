//! The one place where an error becomes a gRPC status.

use std::{collections::HashMap, error::Error as StdError};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The domain of every reason that we attach (google.rpc.ErrorInfo).
pub const DOMAIN: &str = "ironmesh";

/// What the caller can do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Fix the request.
    Invalid,
    /// The thing named does not exist.
    Missing,
    /// The name, address or id is taken.
    Taken,
    /// Change the thing's state first; repeating will not help.
    NotNow,
    /// Somebody else wrote first: read again, then retry.
    Conflict,
    /// Retry the same call after a pause.
    Unavailable,
    /// Another instance owns it: call that one.
    NotOwner,
    /// The rack is an island: reads go on, changes do not.
    Island,
    /// Not yours to ask.
    Denied,
    /// Our bug; details stay in our log.
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

/// Implemented by each service's `Error`.
pub trait Failure: StdError {
    /// What the caller can do.
    fn kind(&self) -> Kind;
    /// A stable word for programs and metrics, such as `BMC_SILENT`.
    fn reason(&self) -> &'static str;
    /// Facts that programs need, such as the owner's endpoint.
    fn facts(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

/// An error with all its causes, as one line.
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

/// The status of a failure. Logs the chain; what is internal does not leave.
pub fn status(service: &'static str, failure: &dyn Failure) -> Status {
    let (kind, reason, chain) = (failure.kind(), failure.reason(), chain(failure));
    let message = match kind {
        Kind::Internal => {
            tracing::error!(service, reason, error = chain, "an internal error");
            format!("an internal error of the {service}; its log has the details")
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
            tracing::debug!(service, reason, error = chain, "refused a call");
            chain
        }
    };
    let facts: HashMap<_, _> = failure.facts().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Status::with_error_details(kind.code(), message, ErrorDetails::with_error_info(reason, DOMAIN, facts))
}

/// The reason attached to a status, where there is one.
#[must_use]
pub fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

/// A fact attached to a status.
#[must_use]
pub fn fact(status: &Status, name: &str) -> Option<String> {
    status.get_details_error_info()?.metadata.remove(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the door")]
    struct Toy {
        kind: Kind,
        source: std::num::ParseIntError,
    }
    impl Failure for Toy {
        fn kind(&self) -> Kind {
            self.kind
        }
        fn reason(&self) -> &'static str {
            "DOOR"
        }
        fn facts(&self) -> Vec<(&'static str, String)> {
            vec![("door", "7".to_owned())]
        }
    }

    fn toy(kind: Kind) -> Status {
        status("toy", &Toy { kind, source: "x".parse::<u8>().unwrap_err() })
    }

    #[test]
    fn the_caller_sees_the_chain_the_reason_and_the_facts() {
        let status = toy(Kind::NotOwner);
        assert_eq!(status.code(), Code::Aborted);
        assert_eq!(status.message(), "cannot open the door: invalid digit found in string");
        assert_eq!(reason(&status).as_deref(), Some("DOOR"));
        assert_eq!(fact(&status, "door").as_deref(), Some("7"));
    }

    #[test]
    fn what_is_internal_does_not_leave() {
        assert!(!toy(Kind::Internal).message().contains("digit"));
    }
}
