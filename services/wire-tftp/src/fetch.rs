//! The client's half: reads one file, as firmware does, for simulated machines and for tests.

use std::ops::Add;
use std::time::Duration;

use crate::options::{NegotiatedOptions, RequestedOptions};
use crate::packet::{ErrorCode, Malformed, Packet, Request};

/// How often a packet is sent before the server counts as lost.
const MAX_TRIES: u32 = 6;
/// How long to wait for the next packet.
const WAIT: Duration = Duration::from_secs(1);

/// How a fetch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchEnd {
    /// The whole file is here.
    Complete,
    /// It was a size probe; the server's OACK has come and the ERROR that ends the transfer is out.
    Probed,
    /// The server sent an ERROR.
    Refused(ErrorCode),
    /// The server's OACK says more than it was asked, or the file is larger than allowed.
    Unfit,
    /// The server went silent.
    Lost,
}

/// What the driver must do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// Put these bytes on the wire: the first to the well-known port, all others to the port that answered.
    Send(Vec<u8>),
    /// The fetch is over; the content is in [`Fetch::content`].
    Done(FetchEnd),
}

/// Reads one file.
#[derive(Debug)]
pub struct Fetch<T> {
    request: Request,
    wish: RequestedOptions,
    probe: bool,
    most: usize,
    agreed: Option<NegotiatedOptions>,
    content: Vec<u8>,
    /// Blocks received in order.
    received: u64,
    /// Blocks received since our last ACK.
    unacknowledged: u16,
    /// What was sent last; repeated when the server is silent.
    last: Vec<u8>,
    ready: Vec<Fetched>,
    tries: u32,
    deadline: Option<T>,
}

impl<T: Copy + Add<Duration, Output = T> + PartialOrd> Fetch<T> {
    /// Asks for a file of at most `most` octets.
    pub fn new(file: &str, wish: RequestedOptions, most: usize, now: T) -> Self {
        let request = Request { file: file.to_owned(), mode: "octet".to_owned(), options: wish.list() };
        let mut fetch = Self {
            request,
            wish,
            probe: false,
            most,
            agreed: None,
            content: Vec::new(),
            received: 0,
            unacknowledged: 0,
            last: Vec::new(),
            ready: Vec::new(),
            tries: 1,
            deadline: None,
        };
        fetch.send(now, &Packet::Read(fetch.request.clone()));
        fetch
    }

    /// Asks for a file's size only, as PXE firmware does: `tsize`, then ERROR 8.
    pub fn probe(file: &str, now: T) -> Self {
        Self {
            probe: true,
            ..Self::new(file, RequestedOptions { size: Some(0), ..RequestedOptions::default() }, 0, now)
        }
    }

    /// The server spoke.
    ///
    /// # Errors
    /// [`Malformed`]: the datagram makes no sense here and changed nothing.
    pub fn receive(&mut self, now: T, bytes: &[u8]) -> Result<(), Malformed> {
        let packet = Packet::decode(bytes)?;
        if self.deadline.is_none() {
            return Ok(());
        }
        match packet {
            Packet::OptionAck(options) => self.options(now, &RequestedOptions::read(&options)),
            Packet::Data { block, payload } => self.block(now, block, &payload),
            Packet::Error { code, .. } => self.finish(FetchEnd::Refused(code)),
            Packet::Read(_) | Packet::Write(_) | Packet::Ack(_) => return Err(Malformed::Unexpected),
        }
        Ok(())
    }

    /// A deadline passed: what was said last is said again.
    pub fn expire(&mut self, now: T) {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        if self.tries >= MAX_TRIES {
            self.finish(FetchEnd::Lost);
            return;
        }
        self.tries = self.tries.saturating_add(1);
        self.deadline = Some(now + WAIT);
        self.ready.push(Fetched::Send(self.last.clone()));
    }

    /// The next thing to do; ask until `None` after every other call.
    pub fn poll(&mut self) -> Option<Fetched> {
        (!self.ready.is_empty()).then(|| self.ready.remove(0))
    }

    /// When to call [`expire`](Self::expire); `None` when the fetch is over.
    pub fn deadline(&self) -> Option<T> {
        self.deadline
    }

    /// What has arrived in order so far.
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// What the server agreed to, as soon as it has answered; its `said.size` is the file's size.
    pub fn negotiated(&self) -> Option<&NegotiatedOptions> {
        self.agreed.as_ref()
    }

    fn options(&mut self, now: T, said: &RequestedOptions) {
        if self.received > 0 {
            return;
        }
        let Some(agreed) = NegotiatedOptions::accept(&self.wish, said) else {
            return self.abort(FetchEnd::Unfit);
        };
        self.agreed = Some(agreed);
        if self.probe {
            return self.abort(FetchEnd::Probed);
        }
        self.send(now, &Packet::Ack(0));
    }

    fn block(&mut self, now: T, number: u16, payload: &[u8]) {
        // DATA in answer to a request with options means that the server knows none of them (RFC 2347 §2).
        let agreed = *self.agreed.get_or_insert_with(|| {
            NegotiatedOptions::answer(&RequestedOptions::default(), 0, crate::Limits::default())
        });
        let ahead = number.wrapping_sub(wire_number(self.received));
        if ahead != 1 {
            // A gap: say where we are (RFC 7440 §4). A repeat of the last block: our ACK was lost.
            if ahead == 0 || (ahead > 1 && ahead <= agreed.window) {
                self.send(now, &Packet::Ack(wire_number(self.received)));
                self.unacknowledged = 0;
            }
            return;
        }
        if payload.len() > agreed.block_size.into() || self.content.len().saturating_add(payload.len()) > self.most {
            return self.abort(FetchEnd::Unfit);
        }
        self.content.extend_from_slice(payload);
        self.received = self.received.saturating_add(1);
        self.unacknowledged = self.unacknowledged.saturating_add(1);
        self.deadline = Some(now + WAIT);
        let last = payload.len() < agreed.block_size.into();
        if last || self.unacknowledged >= agreed.window {
            self.send(now, &Packet::Ack(wire_number(self.received)));
            self.unacknowledged = 0;
        }
        if last {
            self.finish(FetchEnd::Complete);
        }
    }

    fn send(&mut self, now: T, packet: &Packet<'_>) {
        self.last = packet.encode();
        self.tries = 1;
        self.deadline = Some(now + WAIT);
        self.ready.push(Fetched::Send(self.last.clone()));
    }

    fn abort(&mut self, end: FetchEnd) {
        let packet = Packet::Error { code: ErrorCode::OptionsRefused, message: "aborted".to_owned() };
        self.ready.push(Fetched::Send(packet.encode()));
        self.finish(end);
    }

    fn finish(&mut self, end: FetchEnd) {
        self.deadline = None;
        self.ready.push(Fetched::Done(end));
    }
}

/// Block numbers are 16 bits wide and go on at 0 after 65535.
fn wire_number(block: u64) -> u16 {
    let [.., high, low] = block.to_be_bytes();
    u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests;
