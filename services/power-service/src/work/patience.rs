//! Repeats requests to a BMC as [`crate::retry`] decides.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    bmc::BmcError,
    retry::{Next, Retries, Verdict},
};

/// Where a request is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// In the same session.
    Here,
    /// In a new session.
    InNewSession,
}

/// The repeats of one instruction or query, and when it started.
#[derive(Debug)]
pub(super) struct Patience {
    /// Of reads, which follow each command.
    reads: Retries,
    /// Of commands and logins. A read between two refusals of a command is no success of it.
    acts: Retries,
    begun: Instant,
}

impl Patience {
    /// Starts now. Requests are repeated for `budget`.
    pub(super) fn new(budget: Duration) -> Self {
        Self { reads: Retries::new(budget), acts: Retries::new(budget), begun: Instant::now() }
    }

    /// Waits until a login or command may be repeated.
    ///
    /// # Errors
    /// The failure, if it is not to be repeated.
    pub(super) async fn pause(&mut self, failure: BmcError) -> Result<Again, BmcError> {
        pause(&mut self.acts, self.begun, failure).await
    }

    /// Records that the BMC carried a command out.
    pub(super) const fn succeeded(&mut self) {
        self.acts.succeeded();
    }

    /// Waits until a read may be repeated in its session.
    ///
    /// # Errors
    /// The failure, if it is not to be repeated, or only in a new session.
    pub(super) async fn pause_read(&mut self, failure: BmcError) -> Result<(), BmcError> {
        if failure.verdict() == Verdict::NewSession {
            return Err(failure);
        }
        pause(&mut self.reads, self.begun, failure).await.map(drop)
    }

    /// Records that the BMC answered a read.
    pub(super) const fn answered(&mut self) {
        self.reads.succeeded();
    }
}

/// Reads, and repeats the read in its session. A macro, because a future that a closure returns is not known to be `Send`.
macro_rules! repeat_read {
    ($patience:expr, $read:expr) => {
        loop {
            match $read.await {
                Ok(read) => {
                    $patience.answered();
                    break Ok(read);
                }
                Err(failure) => {
                    if let Err(failure) = $patience.pause_read(failure).await {
                        break Err(failure);
                    }
                }
            }
        }
    };
}

pub(super) use repeat_read;

async fn pause(retries: &mut Retries, begun: Instant, failure: BmcError) -> Result<Again, BmcError> {
    let (after, again) = match retries.next(begun.elapsed(), failure.verdict()) {
        Next::Ask(after) => (after, Again::Here),
        Next::Login(after) => (after, Again::InNewSession),
        Next::Fail => return Err(failure.believed()),
        Next::GiveUp => return Err(failure),
    };
    tracing::info!(error = %failure, ?after, "BMC request failed, will retry");
    sleep(after).await;
    Ok(again)
}
