//! The errors of commands, their messages and their exit codes.

use std::{error::Error as _, process::ExitCode};

use serde_json::{Value, json};
use service_kit::status::reason;
use tonic::{Code, Status};

use crate::{human::clean, login};

/// Reason that a command failed.
#[derive(Debug)]
pub(crate) enum Error {
    /// The API returned an error, or was not reached.
    Call(Status),
    /// The arguments, a file or the context are invalid.
    Usage(anyhow::Error),
    /// The command failed, and the message was written already.
    Told,
    /// No scheduler-service was reached, and the message was written already.
    Unreachable,
    /// The reader of standard output closed it.
    Closed,
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::Call(status)
    }
}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        Self::Usage(error)
    }
}

impl Error {
    /// Returns the message for people, with the next step; `None` if it was written already.
    pub(crate) fn told(&self, endpoint: &str) -> Option<String> {
        match self {
            Self::Call(status) => Some(of_status(status, endpoint)),
            Self::Usage(error) => Some(format!("error: {error:#}")),
            Self::Told | Self::Unreachable | Self::Closed => None,
        }
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        match self {
            Self::Call(status) => json!({
                "code": format!("{:?}", status.code()), "reason": reason(status), "text": status.message(),
            }),
            Self::Usage(error) => json!({ "code": "Usage", "reason": null, "text": format!("{error:#}") }),
            Self::Told | Self::Unreachable | Self::Closed => Value::Null,
        }
    }

    /// 1: the command failed; 2: the usage is invalid, or no scheduler-service was reached.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Call(status) if is_unreachable(status) => ExitCode::from(2),
            Self::Usage(_) | Self::Unreachable => ExitCode::from(2),
            Self::Call(_) | Self::Told => ExitCode::from(1),
            Self::Closed => ExitCode::SUCCESS,
        }
    }
}

/// Whether no scheduler-service answered: its own errors carry a reason.
pub(crate) fn is_unreachable(status: &Status) -> bool {
    let is_transport = match status.code() {
        // A connection that ends under a call is Internal as far as tonic is concerned.
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Internal => true,
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::DataLoss
        | Code::Unauthenticated => false,
    };
    is_transport && reason(status).is_none()
}

/// Whether a command that watches goes on with a new call: it broke off, another replica may take it, or the access token
/// ended, which the next call renews.
pub(crate) fn may_continue(status: &Status) -> bool {
    is_unreachable(status) || status.code() == Code::Unavailable || is_token_expired(status)
}

/// Returns what a command that watches says before it goes on; `None` for the renewal of an access token, which is ordinary.
pub(crate) fn interruption(status: &Status) -> Option<String> {
    if is_token_expired(status) {
        None
    } else if is_of_login(status) {
        Some(format!("{}; trying again", clean(status.message())))
    } else {
        Some("the scheduler-service went away; trying to reach it again".to_owned())
    }
}

/// Whether a call was not sent, because there is no token for it.
pub(crate) fn is_of_login(status: &Status) -> bool {
    reason(status).as_deref() == Some(login::channel::REASON)
}

/// Whether a stream ended because the access token of its call did.
pub(crate) fn is_token_expired(status: &Status) -> bool {
    status.code() == Code::Unauthenticated && reason(status).as_deref() == Some("TOKEN_EXPIRED")
}

/// The innermost cause: what is around it only says that a call failed.
fn root(status: &Status) -> String {
    let mut innermost = status.source();
    while let Some(deeper) = innermost.and_then(|cause| cause.source()) {
        innermost = Some(deeper);
    }
    innermost.map_or_else(|| status.message().to_owned(), ToString::to_string)
}

/// Describes a rejected certificate. h2 keeps only the text of rustls's error.
fn of_certificates(why: &str, endpoint: &str) -> Option<String> {
    let why = clean(why);
    if why.starts_with("received fatal alert") && why.contains("CertificateRequired") {
        return Some(format!(
            "error: the scheduler-service at {endpoint} takes no logins: {why}\nnext: use a context with the certificate of an \
             operator, or have scheduler.rest_jwt.grpc set there"
        ));
    }
    if why.starts_with("received fatal alert") {
        let next = if why.contains("CertificateExpired") {
            "it has expired; have it renewed where the CA is: ironmesh certificate renew NAME --data DIR"
        } else if why.contains("CertificateRevoked") {
            "it was revoked; ask an administrator for another context: --context FILE"
        } else {
            "use one that is valid now and that the site's own CA signed: --context FILE"
        };
        return Some(format!(
            "error: the scheduler-service at {endpoint} does not take this context's certificate: {why}\nnext: {next}"
        ));
    }
    why.starts_with("invalid peer certificate").then(|| {
        format!(
            "error: this context's CA does not vouch for what answers at {endpoint}: {why}\nnext: see that endpoint and ca \
             in the context are of one site, or name another with --context FILE"
        )
    })
}

fn of_status(status: &Status, endpoint: &str) -> String {
    if is_unreachable(status) {
        let why = root(status);
        if let Some(text) = of_certificates(&why, endpoint) {
            return text;
        }
        return format!(
            "error: cannot reach the scheduler-service at {endpoint}: {}\nnext: check that it runs there (ironmesh up \
             starts a whole rack), or name another context with --context FILE",
            clean(&why)
        );
    }
    let mut text = format!("error: {}", clean(status.message()));
    if let Some(reason) = reason(status) {
        text.push_str(&format!("\nreason: {}", clean(&reason)));
    }
    // The message of an island and that of a login contain the next step.
    let has_next = reason(status).is_some_and(|reason| ["ISLAND", login::channel::REASON].contains(&&*reason));
    let next = if is_without_role(status) { Some(ASK_FOR_ROLE) } else { next_step(status.code()) };
    if let Some(next) = next.filter(|_| !has_next) {
        text.push_str(&format!("\nnext: {next}"));
    }
    text
}

/// Next step of a user with a login, who has no certificate.
const ASK_FOR_ROLE: &str =
    "ask an administrator of the OpenID provider for the role, then log in again with ironmesh login";

/// Whether the user of a valid token has no rights.
fn is_without_role(status: &Status) -> bool {
    status.code() == Code::PermissionDenied && reason(status).as_deref() == Some("NO_ROLE")
}

/// Next step for a code whose messages do not contain one.
fn next_step(code: Code) -> Option<&'static str> {
    match code {
        Code::Unavailable => {
            Some("the same command may work in a moment; check the rack's replicas: ironmesh rack show")
        }
        Code::Aborted => Some("another client changed it at the same time; check its state, then repeat the command"),
        Code::PermissionDenied => Some(
            "use a context with the certificate of an operator who has the permission: --context FILE (ironmesh certificate makes \
             one)",
        ),
        Code::Unimplemented => {
            Some("the scheduler-service there is older than this program; use the same version of both")
        }
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use service_kit::{bearer_token::TokenError, status::DOMAIN};
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    fn with_reason(code: Code, reason: &str) -> Status {
        let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
        Status::with_error_details(code, "the words", details)
    }

    #[test]
    fn a_watch_that_goes_on_says_why_it_stopped_unless_that_is_ordinary() {
        let away = Some("the scheduler-service went away; trying to reach it again");
        for (status, said) in [
            (TokenError::Expired.status(), None),
            (with_reason(Code::Unavailable, login::channel::REASON), Some("the words; trying again")),
            (with_reason(Code::Unavailable, "LIMIT"), away),
            (with_reason(Code::Unavailable, "IDENTITY_PROVIDER"), away),
            (Status::unavailable("the stream ended"), away),
            (Status::internal("h2 protocol error"), away),
        ] {
            assert_eq!(interruption(&status).as_deref(), said, "{status:?}");
        }
    }

    #[test]
    fn a_user_without_a_role_is_not_told_to_make_a_certificate() {
        let told = of_status(&TokenError::Forbidden("user ann has no role".to_owned()).status(), "h:1");
        assert!(told.contains("OpenID provider") && !told.contains("certificate"), "{told}");
        let told = of_status(&Status::permission_denied("operator ann may not call it"), "h:1");
        assert!(told.contains("ironmesh certificate makes"), "{told}");
    }
}
