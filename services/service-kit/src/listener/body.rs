//! Request bodies, read as a whole within limits of size, time and memory.

use std::{
    fmt,
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
/// The same for a body that took its memory before it is read, which others wait for.
const MIN_RESERVED_BYTES_PER_SECOND: usize = 256 << 10;
/// Time in which such a body must begin to arrive, if [`super::Limits::body_timeout`] is not shorter. Its sender has waited,
/// and has it ready.
const RESERVED_BEGIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it waits for its memory. That its client has left is not noticed meanwhile.
const MAX_RESERVATION_WAIT: Duration = Duration::from_secs(60);
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

/// How fast a body must arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Time in which its first [`MIN_PROGRESS_BYTES`] must arrive.
    begin: Duration,
    /// Time in which it must progress by as many.
    progress: Duration,
    /// Rate on the whole.
    bytes_per_second: usize,
}

impl Pace {
    /// Returns the pace of a body that takes memory as it arrives.
    pub(super) const fn of_growing(timeout: Duration) -> Self {
        Self { begin: timeout, progress: timeout, bytes_per_second: MIN_BYTES_PER_SECOND }
    }

    /// Returns the pace of a body that took its memory before it is read.
    fn of_reserved(timeout: Duration) -> Self {
        let begin = RESERVED_BEGIN_TIMEOUT.min(timeout);
        Self { begin, progress: timeout, bytes_per_second: MIN_RESERVED_BYTES_PER_SECOND }
    }

    /// Returns until when a body may be incomplete that has `received` bytes, and began to arrive at `begun`.
    pub(super) fn allows_until(self, begun: Instant, received: usize) -> Instant {
        let seconds = u64::try_from(received / self.bytes_per_second).unwrap_or(u64::MAX);
        begun + self.progress + Duration::from_secs(seconds)
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (begin, progress, rate) = (self.begin.as_secs(), self.progress.as_secs(), self.bytes_per_second >> 10);
        write!(f, "it needs 1 KiB in the first {begin} s, 1 KiB in each {progress} s, and {rate} KiB/s on the whole")
    }
}

/// Whose a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodySender<'a> {
    /// How far its sender is trusted.
    pub class: Class,
    /// Account of its sender, of which one large body at a time takes its memory before it is read.
    pub account: &'a str,
}

impl BodySender<'_> {
    /// A sender without credentials.
    pub const STRANGER: Self = Self { class: Class::Stranger, account: "" };
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
    #[error("the request body arrives too slowly: {0}; repeat the request")]
    Slow(Pace),
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
            Self::Slow(_) => 408,
            Self::Busy(_) => 503,
            Self::Broken => 400,
        }
    }
}

impl Peer {
    /// Reads a request body of at most `limit` bytes, which counts as one of `sender`.
    ///
    /// # Errors
    /// [`BodyError`]. If the body is too large, the rest is thrown away for a short time, so that the client can read
    /// the response.
    pub async fn read_body<B>(&self, body: B, limit: usize, sender: BodySender<'_>) -> Result<ReceivedBody, BodyError>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut charge = self.budget().account(sender.class);
        if body.is_end_stream() {
            return Ok(ReceivedBody { bytes: Bytes::new(), charge });
        }
        let mut body = body;
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        let timeout = self.limits().body_timeout;
        let admitted = if announced > limit {
            Err(BodyError::TooLarge { limit })
        } else {
            admit(announced, timeout, sender, &mut charge).await
        };
        let outcome = match admitted {
            Ok(pace) => read(&mut body, limit, pace, charge).await,
            Err(error) => Err(error),
        };
        let Err(error) = outcome else { return outcome };
        let reason = match error {
            BodyError::TooLarge { .. } => Reason::BodySize,
            BodyError::Busy(_) => Reason::BodyBudget,
            BodyError::Slow(_) => {
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

/// Admits a body by its announced size. A large one waits for its memory. Returns how fast it must arrive.
async fn admit(
    announced: usize,
    timeout: Duration,
    sender: BodySender<'_>,
    charge: &mut Charge,
) -> Result<Pace, BodyError> {
    if sender.class == Class::Stranger || announced < LARGE_BODY_BYTES {
        return Ok(Pace::of_growing(timeout));
    }
    charge.reserve(sender.account, announced.saturating_add(PARSED_BYTES), MAX_RESERVATION_WAIT).await?;
    Ok(Pace::of_reserved(timeout))
}

async fn read<B>(body: &mut B, limit: usize, pace: Pace, mut charge: Charge) -> Result<ReceivedBody, BodyError>
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
                let first = if size == 0 { pace.begin } else { pace.progress };
                let (_, timer) = timer.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(first))));
                tokio::select! {
                    biased;
                    frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)) => frame,
                    () = timer.as_mut() => return Err(BodyError::Slow(pace)),
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
            timer.as_mut().reset(pace.allows_until(*begun, size).min(Instant::now() + pace.progress));
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
    use std::{
        collections::BTreeSet,
        task::{Context, Poll},
    };

    use axum::body::Body as AxumBody;
    use futures::{
        StreamExt as _,
        stream::{self, BoxStream},
    };
    use hyper::body::{Frame, SizeHint};

    use super::*;
    use crate::listener::{BodyBudget, HttpLimits, Listener, ListenerKind};

    const MIB: usize = 1 << 20;

    #[tokio::test]
    async fn large_bodies_that_fit_one_after_the_other_are_all_read_and_parsed() {
        // Class, sizes of bodies that come at once, in MiB. 112 MiB are for each of the classes.
        for (class, sizes) in [
            (Class::Ordinary, &[56, 56][..]),
            (Class::Ordinary, &[64, 64, 64]),
            (Class::Ordinary, &[20, 40, 60]),
            (Class::Ordinary, &[50, 50, 1, 50]),
            (Class::Ordinary, &[30, 30, 30, 30, 30]),
            (Class::Privileged, &[64, 64, 64, 64]),
        ] {
            let peer = peer();
            let bodies = sizes.iter().zip(["a", "b", "c", "c", "d"]).map(async |(size, account)| {
                let body = AxumBody::from(vec![0; size * MIB]);
                let sender = BodySender { class, account };
                let received = peer.read_body(body, 64 * MIB, sender).await.unwrap();
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
        let (growing, reserved) = (Pace::of_growing(timeout), Pace::of_reserved(timeout));
        // Bytes that have arrived, and how long the body may be incomplete, in seconds.
        for (pace, received, seconds) in [
            (growing, 0, 15),
            (growing, 1 << 10, 15),
            (growing, 32 << 10, 16),
            (growing, 1 << 20, 47),
            (growing, 64 << 20, 2063),
            (reserved, 1 << 10, 15),
            (reserved, 1 << 20, 19),
            (reserved, 64 << 20, 271),
        ] {
            assert_eq!((pace.allows_until(begun, received) - begun).as_secs(), seconds, "{pace:?} {received}");
        }
    }

    /// Chunks of a body of an announced size, in bytes.
    struct Announced(usize, BoxStream<'static, Bytes>);

    impl Announced {
        /// Sends a chunk in each interval.
        fn of(bytes: usize, chunk: usize, interval: Duration) -> Self {
            let chunks = stream::iter(vec![chunk; bytes / chunk]);
            let chunks = chunks.then(move |chunk| sleep(interval).map(move |()| Bytes::from(vec![0; chunk])));
            Self(bytes, chunks.boxed())
        }

        fn silent(bytes: usize) -> Self {
            Self(bytes, stream::pending().boxed())
        }
    }

    impl Body for Announced {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            self.1.poll_next_unpin(cx).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(u64::try_from(self.0).unwrap())
        }
    }

    fn peer() -> Peer {
        let settings = HttpLimits::default();
        Peer::without_connection(Listener::new(ListenerKind::Rest, &settings, BodyBudget::new(&settings)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_took_its_memory_first_must_begin_soon_and_arrive_fast() {
        let second = Duration::from_secs(1);
        let ann = BodySender { class: Class::Ordinary, account: "ann" };
        // Sender, body, and whether it is read.
        for (sender, body, is_read) in [
            (ann, Announced::of(16 * MIB, 2 * MIB, second), true),
            (ann, Announced::of(16 * MIB, MIB, second), true),
            (ann, Announced::of(64 * MIB, MIB / 8, second), false),
            (ann, Announced::of(16 * MIB, 16 * MIB, 4 * second), true),
            (ann, Announced::of(16 * MIB, 16 * MIB, 6 * second), false),
            (ann, Announced::silent(64 * MIB), false),
            // Others take memory as they arrive.
            (ann, Announced::of(2 * MIB, MIB, 14 * second), true),
            (ann, Announced::of(MIB, 40 << 10, second), true),
            (BodySender::STRANGER, Announced::of(8 * MIB, 64 << 10, second), true),
        ] {
            let (size, peer) = (body.0, peer());
            let outcome = peer.read_body(body, 64 * MIB, sender).await.map(|received| received.bytes.len());
            match outcome {
                Ok(length) => assert!(is_read && length > size - (40 << 10), "{size} {length}"),
                Err(error) => assert!(!is_read && error.status() == 408, "{size}: {error}"),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_who_announces_many_large_bodies_and_sends_none_keeps_none_from_others() {
        let (peer, begun) = (peer(), Instant::now());
        let ann = BodySender { class: Class::Ordinary, account: "ann" };
        let silent = (0..256).map(|_| peer.read_body(Announced::silent(64 * MIB), 64 * MIB, ann));
        let other = async {
            // After the requests of the other user.
            tokio::task::yield_now().await;
            let body = Announced::of(56 * MIB, 4 * MIB, Duration::from_millis(100));
            let bob = BodySender { class: Class::Ordinary, account: "bob" };
            let received = peer.read_body(body, 64 * MIB, bob).await;
            received.map(|received| (received.bytes.len(), begun.elapsed()))
        };
        let (silent, other) = futures::future::join(futures::future::join_all(silent), other).await;
        let (length, took) = other.unwrap();
        assert!(length == 56 * MIB && took < 2 * RESERVED_BEGIN_TIMEOUT, "{took:?}");
        let statuses: BTreeSet<_> = silent.iter().map(|outcome| outcome.as_ref().unwrap_err().status()).collect();
        assert_eq!(statuses, BTreeSet::from([408, 503]));
        let busy = silent.iter().find_map(|outcome| outcome.as_ref().err().filter(|error| error.status() == 503));
        assert!(busy.is_some_and(|error| error.to_string().contains("repeat the request")));
        assert!(begun.elapsed() < MAX_RESERVATION_WAIT + 2 * RESERVED_BEGIN_TIMEOUT, "{:?}", begun.elapsed());
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
