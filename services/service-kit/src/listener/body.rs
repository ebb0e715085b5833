//! Request bodies, read as a whole within limits of size, time and memory.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::atomic::Ordering,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use hyper::body::Body;
use tokio::time::{Instant, Sleep, sleep};

use super::{
    Peer,
    body_budget::{BudgetExhausted, Charge},
    limits::Class,
    metrics::Reason,
    offload::{OFFLOAD_BYTES, offload},
};

/// Number of bytes by which a body must progress in each [`super::Limits::body_timeout`].
pub(super) const MIN_PROGRESS_BYTES: usize = 1 << 10;
/// Rate that a body must reach on the whole, in bytes per second, in addition to one [`super::Limits::body_timeout`]. It
/// bounds how long a peer can hold memory of the budget.
const MIN_BYTES_PER_SECOND: usize = 32 << 10;
/// How long the rest of a refused body is read and thrown away. A client that is still sending when the connection is
/// closed may lose the response.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// Size below which chunks of a body are put together, in bytes.
const SMALL_CHUNK_BYTES: usize = 8 << 10;

/// Announced size from which a body of an authenticated request takes its memory before it is read, in bytes. Requests without
/// credentials would take it without sending anything.
const LARGE_BODY_BYTES: usize = 4 << 20;
/// Memory that is taken with it for what is parsed from it, in bytes: the values that Ironic's API accepts at most.
const PARSED_BYTES: usize = 20 << 20;

/// A whole request body.
#[derive(Debug)]
pub struct ReceivedBody {
    /// The content.
    pub bytes: Bytes,
    /// The memory that it takes. Keep it as long as the content, or what was parsed from it.
    pub charge: Charge,
}

/// Estimated size of one parsed value, in bytes.
const PARSED_VALUE_BYTES: usize = 96;

impl ReceivedBody {
    /// Parses the body, if it is large off the threads that serve. `check` returns the number of values that it has, for
    /// which memory is taken before `parse` makes them. Returns the memory that the result takes, too: keep it as long.
    ///
    /// # Errors
    /// [`ParseError::Shape`] with the error of `check`, [`ParseError::Busy`] if there is no memory for the values.
    pub async fn parse<T: Send + 'static, E: Send + 'static>(
        self,
        check: fn(&[u8]) -> Result<usize, E>,
        parse: fn(&[u8]) -> T,
    ) -> Result<(T, Charge), ParseError<E>> {
        let Self { bytes, mut charge } = self;
        let is_large = bytes.len() > OFFLOAD_BYTES;
        let stopped = || ParseError::Busy(BudgetExhausted);
        let checking = bytes.clone();
        let count = move || check(&checking);
        let values = if is_large { offload(count).await.ok_or_else(stopped)? } else { count() };
        let size = values.map_err(ParseError::Shape)?.saturating_mul(PARSED_VALUE_BYTES);
        charge.grow(size).await.map_err(ParseError::Busy)?;
        charge.give_back_unused();
        let work = move || parse(&bytes);
        let parsed = if is_large { offload(work).await.ok_or_else(stopped)? } else { work() };
        Ok((parsed, charge))
    }
}

/// Why a request body was not parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParseError<E> {
    /// Its shape is not accepted.
    Shape(E),
    /// There is no memory for what would be parsed from it.
    Busy(BudgetExhausted),
}

/// Why a request body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It has more bytes than its route allows (413).
    #[error("the request body has more than {limit} bytes")]
    TooLarge {
        /// The maximum, in bytes.
        limit: usize,
    },
    /// It did not progress, or too slowly on the whole (408).
    #[error(
        "the request body arrives too slowly: it needs 1 KiB in each {} s, and 32 KiB/s on the whole; repeat the request",
        .timeout.as_secs()
    )]
    Slow {
        /// The time in which it has to progress.
        timeout: Duration,
    },
    /// Other requests take the memory for bodies (503).
    #[error(transparent)]
    Busy(#[from] BudgetExhausted),
    /// The connection failed, or the encoding is invalid (400).
    #[error("the request body ends early or is encoded incorrectly")]
    Broken,
}

impl BodyError {
    /// Returns the HTTP status of the response (RFC 9110 §15).
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::TooLarge { .. } => 413,
            Self::Slow { .. } => 408,
            Self::Busy(_) => 503,
            Self::Broken => 400,
        }
    }
}

impl Peer {
    /// Reads a request body of at most `limit` bytes, which counts as a body of `class`.
    ///
    /// # Errors
    /// [`BodyError`]. If the body is too large, the rest is thrown away for a short time, so that the client can read
    /// the response.
    pub async fn read_body<B>(&self, body: B, limit: usize, class: Class) -> Result<ReceivedBody, BodyError>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut charge = self.budget().account(class);
        if body.is_end_stream() {
            return Ok(ReceivedBody { bytes: Bytes::new(), charge });
        }
        let mut body = body;
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        let timeout = self.limits().body_timeout;
        let admitted = admit(announced, limit, timeout, class, &mut charge).await;
        let outcome = match admitted {
            Ok(()) => read(&mut body, limit, timeout, charge).await,
            Err(error) => Err(error),
        };
        let Err(error) = outcome else { return outcome };
        let reason = match error {
            BodyError::TooLarge { .. } => Reason::BodySize,
            BodyError::Busy(_) => Reason::BodyBudget,
            BodyError::Slow { .. } => {
                self.refused(Reason::BodyTimeout);
                return Err(error);
            }
            BodyError::Broken => return Err(error),
        };
        self.refused(reason);
        // To read a body would invite a client to send it that waits for the invitation.
        if admitted.is_ok() || !self.0.expects_continue.load(Ordering::Relaxed) {
            drain(&mut body).await;
        }
        Err(error)
    }
}

/// Admits a body by its announced size. A large one waits for its memory for as long as it may take to arrive.
async fn admit(
    announced: usize,
    limit: usize,
    timeout: Duration,
    class: Class,
    charge: &mut Charge,
) -> Result<(), BodyError> {
    if announced > limit {
        return Err(BodyError::TooLarge { limit });
    }
    if class == Class::Stranger || announced < LARGE_BODY_BYTES {
        return Ok(());
    }
    let now = Instant::now();
    let wait = allowed_until(now, timeout, announced) - now;
    Ok(charge.reserve(announced.saturating_add(PARSED_BYTES), wait).await?)
}

/// Returns until when a body may be incomplete that has `received` bytes, and began to arrive at `begun`.
pub(super) fn allowed_until(begun: Instant, timeout: Duration, received: usize) -> Instant {
    let seconds = u64::try_from(received / MIN_BYTES_PER_SECOND).unwrap_or(u64::MAX);
    begun + timeout + Duration::from_secs(seconds)
}

async fn read<B>(body: &mut B, limit: usize, timeout: Duration, mut charge: Charge) -> Result<ReceivedBody, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let (mut chunks, mut size) = (Chunks::default(), 0_usize);
    // Most bodies are here at once: no timer is needed for them.
    let mut timer = None::<(Instant, Pin<Box<Sleep>>)>;
    let mut progress = 0;
    loop {
        let next = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
        let frame = match next.now_or_never() {
            Some(frame) => frame,
            None => {
                let (_, timer) = timer.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(timeout))));
                tokio::select! {
                    biased;
                    frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)) => frame,
                    () = timer.as_mut() => return Err(BodyError::Slow { timeout }),
                }
            }
        };
        let Some(frame) = frame else { break };
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        size += data.len();
        if size > limit {
            return Err(BodyError::TooLarge { limit });
        }
        charge.grow(data.len()).await?;
        progress += data.len();
        if let Some((begun, timer)) = timer.as_mut().filter(|_| progress >= MIN_PROGRESS_BYTES) {
            timer.as_mut().reset(allowed_until(*begun, timeout, size).min(Instant::now() + timeout));
            progress = 0;
        }
        chunks.push(data);
    }
    Ok(ReceivedBody { bytes: chunks.join(size), charge })
}

/// The chunks of a body, which is put together only when it is complete: a buffer that grows would take twice the memory
/// while it is copied.
#[derive(Debug, Default)]
struct Chunks {
    large: Vec<Bytes>,
    /// Small chunks after the large ones, put together: each chunk takes memory besides its content.
    tail: BytesMut,
}

impl Chunks {
    fn push(&mut self, data: Bytes) {
        if self.tail.is_empty() && (self.large.is_empty() || data.len() >= SMALL_CHUNK_BYTES) {
            self.large.push(data);
            return;
        }
        self.tail.extend_from_slice(&data);
        if self.tail.len() >= SMALL_CHUNK_BYTES {
            self.large.push(self.tail.split().freeze());
        }
    }

    /// Returns the body, whose size is known. Each chunk is freed when it was copied.
    fn join(mut self, size: usize) -> Bytes {
        if self.tail.is_empty() && self.large.len() <= 1 {
            return self.large.pop().unwrap_or_default();
        }
        let mut whole = BytesMut::with_capacity(size);
        self.large.into_iter().for_each(|chunk| whole.extend_from_slice(&chunk));
        whole.extend_from_slice(&self.tail);
        whole.freeze()
    }
}

/// Reads and throws away the rest of a body.
async fn drain<B: Body<Data = Bytes> + Unpin>(body: &mut B) {
    let rest = async { while let Some(Ok(_)) = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {} };
    // A client that sends for longer may lose the response; it sent what it must not.
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, pin!(rest)).await;
}

#[cfg(test)]
mod tests {
    use axum::body::Body as AxumBody;

    use super::*;
    use crate::listener::{BodyBudget, HttpLimits, Listener, ListenerKind};

    #[tokio::test]
    async fn large_bodies_that_fit_one_after_the_other_are_all_read_and_parsed() {
        const MIB: usize = 1 << 20;
        // Class, sizes of bodies that come at once, in MiB. 112 MiB are for each of the classes.
        for (class, sizes) in [
            (Class::Ordinary, &[56, 56][..]),
            (Class::Ordinary, &[64, 64, 64]),
            (Class::Ordinary, &[20, 40, 60]),
            (Class::Ordinary, &[50, 50, 1, 50]),
            (Class::Ordinary, &[30, 30, 30, 30, 30]),
            (Class::Privileged, &[64, 64, 64, 64]),
        ] {
            let settings = HttpLimits::default();
            let listener = Listener::new(ListenerKind::Rest, &settings, BodyBudget::new(&settings));
            let peer = Peer::without_connection(listener);
            let bodies = sizes.iter().map(async |size| {
                let body = AxumBody::from(vec![0; size * MIB]);
                let received = peer.read_body(body, 64 * MIB, class).await.unwrap();
                // As many values as Ironic's API accepts.
                received.parse(|_| Ok::<_, ()>(200_000), <[u8]>::len).await.map(|(length, _)| length / MIB)
            });
            let read: Result<Vec<usize>, _> = futures::future::join_all(bodies).await.into_iter().collect();
            assert_eq!(read.as_deref(), Ok(sizes), "{class:?}");
        }
    }

    #[tokio::test]
    async fn a_body_may_take_as_long_as_its_size_needs_and_no_longer() {
        let (begun, timeout) = (Instant::now(), Duration::from_secs(15));
        // Bytes that have arrived, and how long the body may be incomplete, in seconds.
        for (received, seconds) in [(0, 15), (1 << 10, 15), (32 << 10, 16), (1 << 20, 47), (64 << 20, 2063)] {
            assert_eq!((allowed_until(begun, timeout, received) - begun).as_secs(), seconds, "{received}");
        }
    }

    #[test]
    fn a_body_is_the_same_however_it_is_cut() {
        let content: Vec<u8> = (0..100_000_u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
        // Sizes of chunks, which are repeated.
        for sizes in [&[100_000][..], &[1], &[8192], &[8191], &[20_000, 1], &[1, 20_000], &[7, 9000, 3, 3, 30_000]] {
            let (mut chunks, mut rest) = (Chunks::default(), content.as_slice());
            for size in sizes.iter().cycle() {
                let (chunk, more) = rest.split_at((*size).min(rest.len()));
                chunks.push(Bytes::copy_from_slice(chunk));
                rest = more;
                if rest.is_empty() {
                    break;
                }
            }
            assert!(chunks.large.len() <= 2 + content.len() / 4096, "{sizes:?}: {}", chunks.large.len());
            assert!(chunks.join(content.len()) == content, "{sizes:?}");
        }
        assert!(Chunks::default().join(0).is_empty());
    }
}
