//! What can happen to requests, answers and watch messages between a client and the store.

use std::time::Duration;

/// A request that a client is about to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What it does.
    pub kind: CallKind,
    /// The first key or prefix that it is about; empty if it is about none.
    pub path: String,
    /// Index of the member that it is sent to.
    pub member: usize,
}

/// Kind of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallKind {
    /// Reads keys.
    Read,
    /// A transaction that may write.
    Write,
    /// Grants a lease.
    Grant,
    /// Renews a lease.
    KeepAlive,
    /// Revokes a lease.
    Revoke,
    /// Opens watches.
    Watch,
    /// Anything else.
    Maintenance,
}

/// What happens on one way between a client and the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leg {
    /// It arrives after this time.
    Arrives(Duration),
    /// It never arrives, and the sender is not told.
    Lost,
    /// It never arrives, and the client gets an error at once.
    Broken,
}

/// What happens to a request and to its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// The way to the store.
    pub request: Leg,
    /// The way back. Only matters if the request arrives.
    pub answer: Leg,
}

impl Delivery {
    /// Both arrive at once.
    pub const PROMPT: Self = Self { request: Leg::Arrives(Duration::ZERO), answer: Leg::Arrives(Duration::ZERO) };
    /// The request is lost: it is not carried out.
    pub const LOST: Self = Self { request: Leg::Lost, ..Self::PROMPT };
    /// The request is carried out, and the answer is lost.
    pub const UNANSWERED: Self = Self { answer: Leg::Lost, ..Self::PROMPT };
    /// The connection is refused.
    pub const REFUSED: Self = Self { request: Leg::Broken, ..Self::PROMPT };

    /// Both arrive, after these times.
    #[must_use]
    pub const fn delayed(request: Duration, answer: Duration) -> Self {
        Self { request: Leg::Arrives(request), answer: Leg::Arrives(answer) }
    }
}

/// What happens to watch messages on their way to a client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WatchDelivery {
    /// They arrive at once.
    #[default]
    Prompt,
    /// They arrive in order, each after this time.
    Delayed(Duration),
    /// Nothing arrives, not even answers to requests for progress. What is held back arrives afterwards.
    Stalled,
    /// No changes arrive, but requests for progress are answered: the member is cut off from the others.
    Deaf,
}
