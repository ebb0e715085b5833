//! Client side for simulated machines and tests: reads one file, as firmware does.

use std::ops::Add;
use std::time::Duration;

use crate::options::{NegotiatedOptions, RequestedOptions};
use crate::packet::{ErrorCode, Malformed, Packet, Request};

/// Maximum number of times that a packet is sent before the server counts as lost.
const MAX_TRIES: u32 = 6;
/// Timeout for the next packet.
const PACKET_TIMEOUT: Duration = Duration::from_secs(1);

/// End of a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchEnd {
    /// The whole file was received.
    Complete,
    /// The size probe succeeded: the OACK was received and the ERROR that ends the transfer was sent.
    Probed,
    /// The server sent an ERROR.
    Refused(ErrorCode),
    /// The OACK exceeds the request, or the file is larger than allowed.
    Unfit,
    /// The server did not respond to any try.
    Lost,
}

/// Next action of the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// Send these bytes: the first ones to the well-known port, all others to the port that replied.
    Send(Vec<u8>),
    /// The fetch is over. The content is in [`Fetch::content`].
    Done(FetchEnd),
}

/// Reads one file.
#[derive(Debug)]
pub struct Fetch<T> {
    request: Request,
    requested: RequestedOptions,
    probe: bool,
    max_octets: usize,
    agreed: Option<NegotiatedOptions>,
    content: Vec<u8>,
    /// Number of blocks received in order.
    received: u64,
    /// Number of blocks received since the last ACK.
    unacknowledged: u16,
    /// Last sent packet, repeated after a timeout.
    last: Vec<u8>,
    ready: Vec<Fetched>,
    tries: u32,
    deadline: Option<T>,
}

impl<T: Copy + Add<Duration, Output = T> + PartialOrd> Fetch<T> {
    /// Starts to read a file of at max_octets `max_octets` octets.
    pub fn new(file: &str, requested: RequestedOptions, max_octets: usize, now: T) -> Self {
        let request = Request { file: file.to_owned(), mode: "octet".to_owned(), options: requested.list() };
        let mut fetch = Self {
            request,
            requested,
            probe: false,
            max_octets,
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

    /// Starts to request only the size of a file, as PXE firmware does: `tsize`, then ERROR 8.
    pub fn probe(file: &str, now: T) -> Self {
        Self {
            probe: true,
            ..Self::new(file, RequestedOptions { size: Some(0), ..RequestedOptions::default() }, 0, now)
        }
    }

    /// Handles a datagram from the server.
    ///
    /// # Errors
    /// [`Malformed`] if it is not a packet that is expected here. Nothing has changed.
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

    /// Handles a passed deadline: repeats the last packet, or ends the fetch after too many tries.
    pub fn expire(&mut self, now: T) {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        if self.tries >= MAX_TRIES {
            self.finish(FetchEnd::Lost);
            return;
        }
        self.tries = self.tries.saturating_add(1);
        self.deadline = Some(now + PACKET_TIMEOUT);
        self.ready.push(Fetched::Send(self.last.clone()));
    }

    /// Takes the next output. Call it until `None` after every other call.
    pub fn poll(&mut self) -> Option<Fetched> {
        (!self.ready.is_empty()).then(|| self.ready.remove(0))
    }

    /// Returns when to call [`expire`](Self::expire), or `None` if the fetch is over.
    pub fn deadline(&self) -> Option<T> {
        self.deadline
    }

    /// Returns the content that was received in order so far.
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// Returns the negotiated options once the server has replied. `oack.size` is the size of the file.
    pub fn negotiated(&self) -> Option<&NegotiatedOptions> {
        self.agreed.as_ref()
    }

    fn options(&mut self, now: T, oack: &RequestedOptions) {
        if self.received > 0 {
            return;
        }
        let Some(agreed) = NegotiatedOptions::accept(&self.requested, oack) else {
            return self.abort(FetchEnd::Unfit);
        };
        self.agreed = Some(agreed);
        if self.probe {
            return self.abort(FetchEnd::Probed);
        }
        self.send(now, &Packet::Ack(0));
    }

    fn block(&mut self, now: T, number: u16, payload: &[u8]) {
        // DATA in response to a request with options means that the server supports none of them (RFC 2347 §2).
        let agreed = *self.agreed.get_or_insert_with(|| {
            NegotiatedOptions::answer(&RequestedOptions::default(), 0, crate::Limits::default())
        });
        let ahead = number.wrapping_sub(wire_number(self.received));
        if ahead != 1 {
            // A gap: acknowledge the last block in order (RFC 7440 §4). A repeated block: the ACK was lost.
            if ahead == 0 || (ahead > 1 && ahead <= agreed.window) {
                self.send(now, &Packet::Ack(wire_number(self.received)));
                self.unacknowledged = 0;
            }
            return;
        }
        if payload.len() > agreed.block_size.into()
            || self.content.len().saturating_add(payload.len()) > self.max_octets
        {
            return self.abort(FetchEnd::Unfit);
        }
        self.content.extend_from_slice(payload);
        self.received = self.received.saturating_add(1);
        self.unacknowledged = self.unacknowledged.saturating_add(1);
        self.deadline = Some(now + PACKET_TIMEOUT);
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
        self.deadline = Some(now + PACKET_TIMEOUT);
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

/// Returns the 16 bits of a block number on the wire, which wrap from 65535 to 0.
fn wire_number(block: u64) -> u16 {
    let [.., high, low] = block.to_be_bytes();
    u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests;
