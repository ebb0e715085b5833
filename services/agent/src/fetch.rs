//! Downloads an image over HTTP from any of its URLs, resuming where a transfer broke.

use std::{collections::VecDeque, io, time::Duration};

use bytes::{Buf as _, Bytes};
use reqwest::{Client, Response, StatusCode, header};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use crate::error::WorkError;

/// Maximum number of chunks queued for writing; a chunk is at most one read of a socket.
pub(crate) const MAX_QUEUED_CHUNKS: usize = 16;
/// Minimum number of bytes since the last attempt that count as progress.
const MIN_PROGRESS_BYTES: u64 = 1 << 20;

/// How long and how often to retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Time without progress after which the download fails.
    pub idle: Duration,
    /// Delay after the first attempt without progress; it doubles with each further one.
    pub pause: Duration,
    /// Maximum delay.
    pub longest: Duration,
    /// How long a server may send nothing before the next one is tried.
    pub silence: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(120),
            pause: Duration::from_millis(200),
            longest: Duration::from_secs(5),
            silence: Duration::from_secs(15),
        }
    }
}

impl RetryPolicy {
    fn pause(&self, attempts: u32) -> Duration {
        self.pause.saturating_mul(1 << attempts.min(16)).min(self.longest)
    }
}

/// An item of the stream from the download to the writer.
#[derive(Debug)]
pub(crate) enum Chunk {
    /// Content, in order.
    Data(Bytes),
    /// The end of the content.
    End,
    /// The download failed.
    Broken(WorkError),
}

/// Called with the bytes received and the total; the total is 0 if unknown.
pub(crate) type OnProgress<'f> = &'f mut (dyn FnMut(u64, u64) + Send);

/// Downloads an image and sends it to the writer. Ends early, without an error, if the writer stops receiving.
///
/// Dropping the future breaks the transfer; the writer notices that it is incomplete.
pub(crate) async fn fetch(
    client: &Client,
    urls: &[String],
    retry: RetryPolicy,
    to: mpsc::Sender<Chunk>,
    on_progress: OnProgress<'_>,
) {
    let mut transfer = Transfer { at: 0, total: 0, to };
    let chunk = match transfer.run(client, urls, retry, on_progress).await {
        Ok(()) => Chunk::End,
        Err(error) => Chunk::Broken(error),
    };
    // Sending fails only if the writer has stopped for its own reason.
    drop(transfer.to.send(chunk).await);
}

struct Transfer {
    at: u64,
    total: u64,
    to: mpsc::Sender<Chunk>,
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("no data for {} s", .0.as_secs())]
    Silent(Duration),
    #[error("responded with {0}")]
    Status(StatusCode),
    #[error("responded with a different range than requested")]
    WrongRange,
    #[error("ended after {at} of {total} bytes")]
    Short { at: u64, total: u64 },
    #[error("the transfer failed")]
    Transport(#[from] reqwest::Error),
    #[error("the writer stopped")]
    WriterStopped,
}

impl Transfer {
    async fn run(
        &mut self,
        client: &Client,
        urls: &[String],
        retry: RetryPolicy,
        on_progress: OnProgress<'_>,
    ) -> Result<(), WorkError> {
        let mut urls_in_turn: VecDeque<&String> = urls.iter().collect();
        let (mut attempts, mut progress_at, mut since) = (0_u32, 0, Instant::now());
        loop {
            let url = urls_in_turn.front().map(|url| (*url).clone()).unwrap_or_default();
            let broken = match self.attempt(client, &url, retry.silence, on_progress).await {
                Ok(()) | Err(Broken::WriterStopped) => return Ok(()),
                Err(broken) => broken,
            };
            if self.at >= progress_at + MIN_PROGRESS_BYTES {
                (attempts, progress_at, since) = (0, self.at, Instant::now());
            }
            attempts = attempts.saturating_add(1);
            if since.elapsed() >= retry.idle {
                let why = service_kit::status::chain(&broken);
                return Err(WorkError::ServerGone { at: self.at, tries: attempts, url, why });
            }
            urls_in_turn.rotate_left(1.min(urls_in_turn.len()));
            tokio::select! {
                () = sleep(retry.pause(attempts - 1)) => {}
                () = self.to.closed() => return Ok(()),
            }
        }
    }

    async fn attempt(
        &mut self,
        client: &Client,
        url: &str,
        silence: Duration,
        on_progress: OnProgress<'_>,
    ) -> Result<(), Broken> {
        let mut request = client.get(url);
        if self.at > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", self.at));
        }
        let mut response = timeout(silence, request.send()).await.map_err(|_| Broken::Silent(silence))??;
        // A server without range support sends everything: skip what we have.
        let mut skip = self.begin(&response)?;
        loop {
            let chunk = timeout(silence, response.chunk()).await.map_err(|_| Broken::Silent(silence))??;
            let Some(mut chunk) = chunk else { break };
            let over = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            let new = chunk.split_off(over);
            skip = skip.saturating_sub(over as u64);
            if !new.is_empty() {
                self.at = self.at.saturating_add(new.len() as u64);
                self.to.send(Chunk::Data(new)).await.map_err(|_| Broken::WriterStopped)?;
                on_progress(self.at, self.total);
            }
        }
        let (at, total) = (self.at, self.total);
        if skip > 0 || total > 0 && at < total { Err(Broken::Short { at, total }) } else { Ok(()) }
    }

    /// Returns how many bytes of this response we already have (RFC 9110 §14.4, §15.3.7).
    fn begin(&mut self, response: &Response) -> Result<u64, Broken> {
        match response.status() {
            StatusCode::OK => {
                self.total = response.content_length().unwrap_or(self.total);
                Ok(self.at)
            }
            StatusCode::PARTIAL_CONTENT if range_start(response) == Some(self.at) => Ok(0),
            StatusCode::PARTIAL_CONTENT => Err(Broken::WrongRange),
            // The transfer broke after the last byte.
            StatusCode::RANGE_NOT_SATISFIABLE if self.total > 0 && self.at == self.total => Ok(0),
            other => Err(Broken::Status(other)),
        }
    }
}

/// Returns the first byte of a partial response: "Content-Range: bytes 42-1233/1234".
fn range_start(response: &Response) -> Option<u64> {
    let range = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

/// The writer's end: the chunks as a blocking reader.
pub(crate) struct Stream {
    from: mpsc::Receiver<Chunk>,
    chunk: Bytes,
    ended: bool,
}

impl Stream {
    pub(crate) const fn new(from: mpsc::Receiver<Chunk>) -> Self {
        Self { from, chunk: Bytes::new(), ended: false }
    }
}

impl io::Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() && !self.ended {
            match self.from.blocking_recv() {
                Some(Chunk::Data(chunk)) => self.chunk = chunk,
                Some(Chunk::End) => self.ended = true,
                Some(Chunk::Broken(error)) => return Err(io::Error::other(error)),
                None => return Err(io::Error::other(WorkError::Stopped)),
            }
        }
        let got = self.chunk.as_ref().read(buffer)?;
        self.chunk.advance(got);
        Ok(got)
    }
}

#[cfg(test)]
mod tests;
