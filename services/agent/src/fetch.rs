//! An image comes over HTTP: from any of its URLs, going on at the octet where a transfer broke.

use std::{collections::VecDeque, io, time::Duration};

use bytes::{Buf as _, Bytes};
use reqwest::{Client, Response, StatusCode, header};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use crate::error::Trouble;

/// Pieces of a transfer that wait to be written; each is at most what one read of a socket gives.
pub(crate) const WAITING: usize = 16;
/// A transfer that gained less than this since the last try does not count as progress.
const PROGRESS: u64 = 1 << 20;

/// How long we try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Without progress for this long, and no try is under way any more: the image's servers are gone.
    pub idle: Duration,
    /// The pause after the first try without progress; it doubles.
    pub pause: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// A server that says nothing for this long is left for the next one.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(120),
            pause: Duration::from_millis(200),
            longest: Duration::from_secs(5),
            silence: Duration::from_secs(15),
        }
    }
}

impl Patience {
    fn pause(&self, tries: u32) -> Duration {
        self.pause.saturating_mul(1 << tries.min(16)).min(self.longest)
    }
}

/// What goes from the transfer to the writer.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Octets, in order.
    Octets(Bytes),
    /// That was all.
    End,
    /// There will be no more.
    Broken(Trouble),
}

/// How far a transfer is, in octets; a total of zero where nobody knows.
pub(crate) type Far<'f> = &'f mut (dyn FnMut(u64, u64) + Send);

/// Fetches an image and hands it on. Ends early, without an error, when nobody takes it any more.
///
/// Dropping it breaks the transfer; the writer sees that it is not whole.
pub(crate) async fn fetch(client: &Client, urls: &[String], patience: Patience, to: mpsc::Sender<Piece>, far: Far<'_>) {
    let mut transfer = Transfer { at: 0, total: 0, to };
    let piece = match transfer.run(client, urls, patience, far).await {
        Ok(()) => Piece::End,
        Err(trouble) => Piece::Broken(trouble),
    };
    // Nobody listens: then the writer had its own reason to stop.
    drop(transfer.to.send(piece).await);
}

struct Transfer {
    at: u64,
    total: u64,
    to: mpsc::Sender<Piece>,
}

/// Why one try ended before the end.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("silent for {} s", .0.as_secs())]
    Silent(Duration),
    #[error("answered {0}")]
    Answered(StatusCode),
    #[error("answered with another part than was asked for")]
    AnotherPart,
    #[error("ended after {at} of {total} octets")]
    Short { at: u64, total: u64 },
    #[error("the transfer failed")]
    Transport(#[from] reqwest::Error),
    #[error("nobody takes it")]
    NotWanted,
}

impl Transfer {
    async fn run(&mut self, client: &Client, urls: &[String], patience: Patience, far: Far<'_>) -> Result<(), Trouble> {
        let mut turn: VecDeque<&String> = urls.iter().collect();
        let (mut tries, mut mark, mut since) = (0_u32, 0, Instant::now());
        loop {
            let url = turn.front().map(|url| (*url).clone()).unwrap_or_default();
            let broken = match self.once(client, &url, patience.silence, far).await {
                Ok(()) | Err(Broken::NotWanted) => return Ok(()),
                Err(broken) => broken,
            };
            if self.at >= mark + PROGRESS {
                (tries, mark, since) = (0, self.at, Instant::now());
            }
            tries = tries.saturating_add(1);
            if since.elapsed() >= patience.idle {
                let why = service_kit::status::chain(&broken);
                return Err(Trouble::ServerGone { at: self.at, tries, url, why });
            }
            turn.rotate_left(1.min(turn.len()));
            tokio::select! {
                () = sleep(patience.pause(tries - 1)) => {}
                () = self.to.closed() => return Ok(()),
            }
        }
    }

    async fn once(&mut self, client: &Client, url: &str, silence: Duration, far: Far<'_>) -> Result<(), Broken> {
        let mut request = client.get(url);
        if self.at > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", self.at));
        }
        let mut response = timeout(silence, request.send()).await.map_err(|_| Broken::Silent(silence))??;
        // A server that knows no ranges sends everything: what we have is passed over.
        let mut skip = self.begin(&response)?;
        loop {
            let chunk = timeout(silence, response.chunk()).await.map_err(|_| Broken::Silent(silence))??;
            let Some(mut chunk) = chunk else { break };
            let over = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            let new = chunk.split_off(over);
            skip = skip.saturating_sub(over as u64);
            if !new.is_empty() {
                self.at = self.at.saturating_add(new.len() as u64);
                self.to.send(Piece::Octets(new)).await.map_err(|_| Broken::NotWanted)?;
                far(self.at, self.total);
            }
        }
        let (at, total) = (self.at, self.total);
        if skip > 0 || total > 0 && at < total { Err(Broken::Short { at, total }) } else { Ok(()) }
    }

    /// How much of this answer we have already (RFC 9110 §14.4, §15.3.7).
    fn begin(&mut self, response: &Response) -> Result<u64, Broken> {
        match response.status() {
            StatusCode::OK => {
                self.total = response.content_length().unwrap_or(self.total);
                Ok(self.at)
            }
            StatusCode::PARTIAL_CONTENT if part(response) == Some(self.at) => Ok(0),
            StatusCode::PARTIAL_CONTENT => Err(Broken::AnotherPart),
            // All of it came, and the transfer broke at its very end.
            StatusCode::RANGE_NOT_SATISFIABLE if self.total > 0 && self.at == self.total => Ok(0),
            other => Err(Broken::Answered(other)),
        }
    }
}

/// The first octet of a part: "Content-Range: bytes 42-1233/1234".
fn part(response: &Response) -> Option<u64> {
    let range = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

/// The writer's end: the pieces as one stream, on a thread that may block.
pub(crate) struct Stream {
    from: mpsc::Receiver<Piece>,
    piece: Bytes,
    ended: bool,
}

impl Stream {
    pub(crate) const fn new(from: mpsc::Receiver<Piece>) -> Self {
        Self { from, piece: Bytes::new(), ended: false }
    }
}

impl io::Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.ended {
            match self.from.blocking_recv() {
                Some(Piece::Octets(piece)) => self.piece = piece,
                Some(Piece::End) => self.ended = true,
                Some(Piece::Broken(trouble)) => return Err(io::Error::other(trouble)),
                None => return Err(io::Error::other(Trouble::Stopped)),
            }
        }
        let got = self.piece.as_ref().read(buffer)?;
        self.piece.advance(got);
        Ok(got)
    }
}

#[cfg(test)]
mod tests;
