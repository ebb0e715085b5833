//! Request bodies: read as a whole within limits of size, time and memory, or metered as a stream of gRPC messages.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::atomic::Ordering,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use tonic::Status;

use super::{
    Peer,
    body_budget::{BudgetExhausted, Charge},
    limits::Class,
    metrics::Reason,
    offload::{OFFLOAD_BYTES, offload},
};

/// Number of bytes by which a body must progress in each [`super::Limits::body_timeout`].
const MIN_PROGRESS_BYTES: usize = 1 << 10;
/// Rate that a body must reach on the whole, in bytes per second, in addition to one [`super::Limits::body_timeout`]. It
/// bounds how long a peer can hold memory of the budget.
const MIN_BYTES_PER_SECOND: usize = 32 << 10;
/// How long the rest of a refused body is read and thrown away. A client that is still sending when the connection is
/// closed may lose the response.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// Size below which chunks of a body are put together, in bytes.
const SMALL_CHUNK_BYTES: usize = 8 << 10;

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
        let charge = self.budget().account(class);
        if body.is_end_stream() {
            return Ok(ReceivedBody { bytes: Bytes::new(), charge });
        }
        let mut body = body;
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > limit {
            self.refused(Reason::BodySize);
            // To read the body would invite a client to send it that waits for the invitation.
            if !self.0.expects_continue.load(Ordering::Relaxed) {
                drain(&mut body).await;
            }
            return Err(BodyError::TooLarge { limit });
        }
        let timeout = self.limits().body_timeout;
        let outcome = read(&mut body, limit, timeout, charge).await;
        if let Err(error) = &outcome {
            match error {
                BodyError::TooLarge { .. } => {
                    self.refused(Reason::BodySize);
                    drain(&mut body).await;
                }
                BodyError::Slow { .. } => self.refused(Reason::BodyTimeout),
                BodyError::Busy(_) => {
                    self.refused(Reason::BodyBudget);
                    drain(&mut body).await;
                }
                BodyError::Broken => {}
            }
        }
        outcome
    }
}

/// Returns until when a body may be incomplete that has `received` bytes, and began to arrive at `begun`.
fn allowed_until(begun: Instant, timeout: Duration, received: usize) -> Instant {
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

/// Finds the messages in a gRPC body: each has a prefix of five bytes, the last four of which are its length (gRPC over
/// HTTP/2, "Length-Prefixed-Message").
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct MessageMeter {
    /// Bytes of the prefix so far.
    prefix: [u8; PREFIX_BYTES],
    have: usize,
    /// Bytes of the message that are still to come.
    left: usize,
    /// Bytes of the incomplete message, with its prefix.
    pending: usize,
}

const PREFIX_BYTES: usize = 5;

impl MessageMeter {
    /// Notes a chunk. Returns whether a message ended in it.
    fn note(&mut self, mut chunk: &[u8]) -> bool {
        let mut has_ended = false;
        while !chunk.is_empty() {
            let in_prefix = self.have < PREFIX_BYTES;
            let count = chunk.len().min(if in_prefix { PREFIX_BYTES - self.have } else { self.left });
            let (taken, rest) = chunk.split_at(count);
            chunk = rest;
            self.pending += count;
            if in_prefix {
                if let Some(to) = self.prefix.get_mut(self.have..self.have + count) {
                    to.copy_from_slice(taken);
                }
                self.have += count;
                if self.have == PREFIX_BYTES {
                    let [_, length @ ..] = self.prefix;
                    self.left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                }
            } else {
                self.left -= count;
            }
            if self.left == 0 && self.have == PREFIX_BYTES {
                (self.have, self.pending, has_ended) = (0, 0, true);
            }
        }
        has_ended
    }
}

/// Body of a gRPC request, whose incomplete message takes memory of the budget and must progress.
///
/// Between messages a stream may be silent, and takes no memory.
#[derive(Debug)]
pub(crate) struct GrpcBody<B> {
    inner: B,
    peer: Peer,
    meter: MessageMeter,
    charge: Charge,
    /// When the incomplete message was first waited for, and until when the next bytes have to come.
    timer: Option<(Instant, Pin<Box<Sleep>>)>,
    /// Bytes since the timer was set.
    progress: usize,
}

impl<B> GrpcBody<B> {
    pub(crate) fn new(inner: B, peer: Peer) -> Self {
        let charge = peer.budget().account(peer.class());
        Self { inner, peer, meter: MessageMeter::default(), charge, timer: None, progress: 0 }
    }
}

impl<B> Body for GrpcBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        let timeout = this.peer.limits().body_timeout;
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
            if this.meter.pending > 0 {
                let (_, timer) = this.timer.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(timeout))));
                ready!(timer.as_mut().poll(cx));
                this.peer.refused(Reason::BodyTimeout);
                let status = Status::deadline_exceeded(BodyError::Slow { timeout }.to_string());
                return Poll::Ready(Some(Err(status.into())));
            }
            return Poll::Pending;
        };
        let Some(Ok(frame)) = frame else { return Poll::Ready(frame.map(|frame| frame.map_err(Into::into))) };
        if let Some(data) = frame.data_ref() {
            this.progress += data.len();
            let has_ended = this.meter.note(data);
            if has_ended {
                (this.timer, this.progress) = (None, 0);
            } else if this.progress >= MIN_PROGRESS_BYTES {
                this.progress = 0;
                if let Some((begun, timer)) = &mut this.timer {
                    let until = allowed_until(*begun, timeout, this.meter.pending);
                    timer.as_mut().reset(until.min(Instant::now() + timeout));
                }
            }
            if has_ended {
                // The message is passed on.
                this.charge.release();
            }
            let grown = if has_ended { this.meter.pending } else { data.len() };
            if let Err(exhausted) = this.charge.try_grow(grown) {
                this.peer.refused(Reason::BodyBudget);
                return Poll::Ready(Some(Err(Status::resource_exhausted(exhausted.to_string()).into())));
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn the_messages_of_a_grpc_body_are_found_however_it_is_cut() {
        let message = |length: u8| [&[0, 0, 0, 0, length][..], &vec![7; usize::from(length)]].concat();
        // Bodies, how many messages end in them, and the bytes of the incomplete one.
        for (body, ended, pending) in [
            (vec![], 0, 0),
            (message(0), 1, 0),
            (message(3), 1, 0),
            ([message(0), message(200), message(1)].concat(), 3, 0),
            (vec![0, 0, 0], 0, 3),
            (vec![0, 0, 0, 0, 1], 0, 5),
            ([message(4), vec![1, 0, 0, 0, 9, 1, 2]].concat(), 1, 7),
            ([vec![0, 255, 255, 255, 255], vec![0; 999]].concat(), 0, 1004),
        ] {
            for step in 1..=body.len().max(1) {
                let mut meter = MessageMeter::default();
                let chunks: Vec<bool> = body.chunks(step).map(|chunk| meter.note(chunk)).collect();
                assert_eq!(meter.pending, pending, "{body:?} in steps of {step}");
                assert_eq!(chunks.contains(&true), ended > 0, "{body:?} in steps of {step}");
                if step == 1 {
                    assert_eq!(chunks.iter().filter(|has_ended| **has_ended).count(), ended, "{body:?}");
                }
            }
        }
    }
}
