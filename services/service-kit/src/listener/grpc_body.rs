//! Bodies of gRPC requests, metered as streams of messages.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use tonic::Status;

use super::{
    Class, Peer,
    body::{BodyError, MIN_PROGRESS_BYTES, Pace},
    body_budget::Charge,
    metrics::Reason,
};

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
    /// `class` is that of the sender of the request.
    pub(crate) fn new(inner: B, peer: Peer, class: Class) -> Self {
        let charge = peer.budget().account(class);
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
                let status = Status::deadline_exceeded(BodyError::Slow(Pace::of_growing(timeout)).to_string());
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
                    let until = Pace::of_growing(timeout).allows_until(*begun, this.meter.pending);
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
