//! Sends requests that change something under an id of their own, and repeats one whose connection broke under the same
//! id, so that it is carried out once.

use std::{error::Error as _, time::Duration};

use service_kit::status::reason;
use tokio::time::{Instant, sleep};
use tonic::{Code, Request, Response, Status, metadata::AsciiMetadataValue};
use uuid::Uuid;

use crate::{error::is_unreachable, login, refusal::is_refused};

/// The metadata that names a request.
const HEADER: &str = "ironmesh-request-id";
/// How long a request is repeated: longer than the lease of a scheduler-service that died.
const RETRY_TIMEOUT: Duration = Duration::from_secs(10);
/// Delay between two tries.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// Sends a request until it is answered. Safe to drop at any await: it may have been carried out then.
///
/// # Errors
/// The error that the API returned, or the last transport error.
pub(crate) async fn once<Q: Clone, A>(
    message: Q,
    call: impl AsyncFn(Request<Q>) -> Result<Response<A>, Status>,
) -> Result<A, Status> {
    let (id, begun, mut was_reached) = (name(), Instant::now(), false);
    loop {
        let mut request = Request::new(message.clone());
        if let Some(id) = &id {
            request.metadata_mut().insert(HEADER, id.clone());
        }
        let status = match call(request).await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) => status,
        };
        was_reached |= !is_refused(status.source());
        // Without an id it might be carried out twice.
        if id.is_none() || !was_reached || !may_be_repeated(&status) || begun.elapsed() > RETRY_TIMEOUT {
            return Err(status);
        }
        sleep(RETRY_DELAY).await;
    }
}

fn name() -> Option<AsciiMetadataValue> {
    Uuid::new_v4().to_string().parse().ok()
}

/// Whether it broke off, or may be taken by another replica or in a moment.
fn may_be_repeated(status: &Status) -> bool {
    is_unreachable(status) || status.code() == Code::Unavailable && !is_lasting(status)
}

/// Whether the same would be answered for longer. A login is renewed with a patience of its own.
fn is_lasting(status: &Status) -> bool {
    reason(status).is_some_and(|reason| ["ISLAND", login::channel::REASON].contains(&&*reason))
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::HashMap};

    use service_kit::status::DOMAIN;
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    fn sent(request: &Request<&'static str>) -> String {
        request.metadata().get(HEADER).unwrap().to_str().unwrap().to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_broke_off_is_sent_again_under_the_same_id() {
        let ids = RefCell::new(Vec::new());
        let answer = once("do it", async |request| {
            ids.borrow_mut().push(sent(&request));
            if ids.borrow().len() < 3 { Err(Status::unavailable("it stops")) } else { Ok(Response::new(7)) }
        });
        assert_eq!(answer.await.unwrap(), 7);
        let ids = ids.borrow();
        assert!(ids.len() == 3 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_lasts_is_not_sent_again() {
        let of = |reason: &str| {
            let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
            Status::with_error_details(Code::Unavailable, "it is away", details)
        };
        for (reason, sent) in [("ISLAND", 1), (login::channel::REASON, 1), ("IDENTITY_PROVIDER", 2), ("LIMIT", 2)] {
            let count = RefCell::new(0);
            let answer = once("do it", async |_| {
                *count.borrow_mut() += 1;
                if *count.borrow() < 2 { Err(of(reason)) } else { Ok(Response::new(())) }
            });
            assert_eq!((answer.await.is_ok(), *count.borrow()), (sent == 2, sent), "{reason}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_is_not_sent_again_and_two_requests_are_two() {
        let ids = RefCell::new(Vec::new());
        for _ in 0..2 {
            let answer = once("do it", async |request| {
                ids.borrow_mut().push(sent(&request));
                Err::<Response<()>, _>(Status::failed_precondition("not now"))
            });
            assert_eq!(answer.await.unwrap_err().code(), Code::FailedPrecondition);
        }
        assert!(ids.borrow().len() == 2 && ids.borrow()[0] != ids.borrow()[1]);
    }
}
