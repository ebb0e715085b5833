//! Streams that note their progress in the state of their connection.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::Response;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{RequestSlot, state::ConnectionState};

/// A byte stream that notes how much the operating system accepts.
#[derive(Debug)]
pub(crate) struct ProgressIo<I> {
    inner: I,
    state: Arc<ConnectionState>,
}

impl<I> ProgressIo<I> {
    pub(super) const fn new(inner: I, state: Arc<ConnectionState>) -> Self {
        Self { inner, state }
    }

    fn note(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &outcome {
            Poll::Ready(Ok(bytes)) => self.state.wrote(*bytes),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.state.write_is_blocked(),
        }
        outcome
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for ProgressIo<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for ProgressIo<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.note(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.note(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// A request in progress: from its head to the end of its response. Ends when it is dropped.
#[derive(Debug)]
pub(super) struct RequestInProgress {
    state: Arc<ConnectionState>,
    is_waiting: bool,
}

impl RequestInProgress {
    pub(super) fn start(state: &Arc<ConnectionState>) -> Self {
        state.request_started();
        Self { state: Arc::clone(state), is_waiting: false }
    }

    fn waits(&mut self, is_waiting: bool) {
        if self.is_waiting != is_waiting {
            self.is_waiting = is_waiting;
            self.state.body_waits(is_waiting);
        }
    }
}

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        self.waits(false);
        self.state.request_ended();
    }
}

/// Response body that notes whether the client takes what is ready.
#[derive(Debug)]
pub(super) struct TrackedBody<B> {
    inner: B,
    request: RequestInProgress,
    _slot: Option<Arc<RequestSlot>>,
}

impl<B> TrackedBody<B> {
    /// Wraps the body of a response, whose request ends with it.
    pub(super) fn of(mut response: Response<B>, request: RequestInProgress) -> Response<Self> {
        let slot = response.extensions_mut().remove();
        response.map(|inner| Self { inner, request, _slot: slot })
    }
}

impl<B: Body + Unpin> Body for TrackedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        // The connection asks for a chunk when the client has taken the last one.
        self.request.waits(false);
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        self.request.waits(matches!(frame, Some(Ok(_))));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
