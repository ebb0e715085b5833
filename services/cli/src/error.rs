//! Everything that can go wrong here, how it is told, and what the process's exit code says about it.

use std::{error::Error as _, process::ExitCode};

use serde_json::{Value, json};
use service_kit::status::reason;
use tonic::{Code, Status};

use crate::human::clean;

/// Why a command came to nothing.
#[derive(Debug)]
pub(crate) enum Error {
    /// The API answered so, or nobody answered.
    Call(Status),
    /// It can not be asked that way.
    Usage(anyhow::Error),
    /// It failed, and that was told already.
    Told,
    /// Nobody could be reached, and that was told already.
    Unreachable,
    /// Nobody reads what is written any more.
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
    /// What the person is told, where anything is left to tell: what, why, and what next.
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

    /// 1: it failed; 2: it can not be asked, or nobody could be reached.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Call(status) if is_unreachable(status) => ExitCode::from(2),
            Self::Usage(_) | Self::Unreachable => ExitCode::from(2),
            Self::Call(_) | Self::Told => ExitCode::from(1),
            Self::Closed => ExitCode::SUCCESS,
        }
    }
}

/// Whether nobody answered: what a service of ours says itself carries a reason.
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

/// The innermost cause: what is around it only says that a call failed.
fn root(status: &Status) -> String {
    let mut innermost = status.source();
    while let Some(deeper) = innermost.and_then(|cause| cause.source()) {
        innermost = Some(deeper);
    }
    innermost.map_or_else(|| status.message().to_owned(), ToString::to_string)
}

/// Somebody is there, and one end does not take the other's certificate. h2 keeps nothing but the words of rustls.
fn of_certificates(why: &str, endpoint: &str) -> Option<String> {
    let why = clean(why);
    if why.starts_with("received fatal alert") {
        return Some(format!(
            "error: the scheduler-service at {endpoint} does not take this context's certificate: {why}\nnext: use one \
             that is valid now and that the site's own CA signed: --context FILE"
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
            "error: cannot reach the scheduler-service at {endpoint}: {}\nnext: see that it runs there (ironmesh up \
             starts a whole rack), or name another context with --context FILE",
            clean(&why)
        );
    }
    let mut text = format!("error: {}", clean(status.message()));
    if let Some(reason) = reason(status) {
        text.push_str(&format!("\nreason: {}", clean(&reason)));
    }
    // An island says itself what is to be done.
    let is_island = reason(status).as_deref() == Some("ISLAND");
    if let Some(next) = next_step(status.code()).filter(|_| !is_island) {
        text.push_str(&format!("\nnext: {next}"));
    }
    text
}

/// What helps for a code, where the message itself does not say.
fn next_step(code: Code) -> Option<&'static str> {
    match code {
        Code::Unavailable => Some("the same command may work in a moment; see who serves the rack: ironmesh rack show"),
        Code::Aborted => Some("somebody else changed it at the same time; look again, then repeat the command"),
        Code::PermissionDenied => Some(
            "use a context whose certificate is an operator's who may do it: --context FILE (ironmesh certificate makes one)",
        ),
        Code::Unimplemented => {
            Some("the scheduler-service there is older than this program; bring both to one version")
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
