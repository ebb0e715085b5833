//! Sends one file to one client.

use std::ops::Add;
use std::time::Duration;

use crate::options::{Limits, NegotiatedOptions, RequestedOptions};
use crate::packet::{ErrorCode, Malformed, Packet, Request};

/// Maximum number of times that the same packets are sent before the client counts as lost.
const MAX_TRIES: u32 = 6;
/// Maximum number of times that an OACK is sent to a client that has acknowledged nothing. The source address of its request
/// may be forged, so that what it is sent is a load on another host. A client repeats its request if it receives nothing.
const MAX_UNCONFIRMED_OFFERS: u32 = 3;
/// The same for the first block, which is twenty times as large as its request.
const MAX_UNCONFIRMED_BLOCKS: u32 = 2;
/// First timeout for an ACK if the client requested no `timeout`. It doubles with every try up to [`MAX_ACK_TIMEOUT`]: a client
/// is given up after 1 + 2 + 4 + 4 + 4 + 4 = 19 s. EDK2 repeats its ACK after 4 s.
const FIRST_ACK_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum timeout for an ACK if the client requested no `timeout`.
const MAX_ACK_TIMEOUT: Duration = Duration::from_secs(4);
/// Minimum time between two repeats of a window because of duplicate ACKs.
const MIN_REPEAT_INTERVAL: Duration = Duration::from_secs(1);
/// Time after a client's last ACK in which its own request can still arrive as a copy that the network delayed. Firmware
/// that starts again needs longer: it ends a transfer only after some seconds of silence (EDK2: 4 s), and a machine that was
/// reset needs longer still.
const LATE_COPY_TIMEOUT: Duration = Duration::from_secs(2);

/// Next action of the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send these bytes.
    Send(Vec<u8>),
    /// The transfer is over.
    Done(Outcome),
}

/// End of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client has acknowledged the last block.
    Delivered,
    /// The client sent an ERROR. After an OACK this is not a failure: firmware requests the size of a file so.
    Aborted(ErrorCode),
    /// The client did not respond to any try.
    Lost,
}

/// Result of a transfer, for the boot timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// How the transfer ended.
    pub end: End,
    /// Size of the file, in octets.
    pub size: u64,
    /// Octets of the file that were sent, including repeats.
    pub bytes_sent: u64,
    /// Octets of the file that the client acknowledged.
    pub bytes_acknowledged: u64,
    /// Last acknowledged block, without wrapping; 0 for none.
    pub last_acknowledged: u64,
    /// Whether the client requested the size of the file.
    pub size_requested: bool,
}

impl Outcome {
    /// Returns whether the client only requested the size, as PXE firmware does before it reads a file: it requested `tsize`,
    /// acknowledged no block, and sent an ERROR or nothing.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.size_requested && self.last_acknowledged == 0 && self.end != End::Delivered
    }
}

/// Meaning of a read request from the port of a client whose transfer still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FurtherRequest {
    /// The client repeats its request, because it has received nothing yet: the transfer sends its first packet again.
    Retransmission,
    /// A late copy of a request whose answer the client has acknowledged already. There is no answer (RFC 1350 §4).
    LateCopy,
    /// Another request, or the same from a client that starts again: it replaces this transfer.
    New,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The OACK is not acknowledged yet (by ACK 0).
    Offering,
    Sending,
    Over,
}

/// Sends one file, a window of blocks at a time.
///
/// `F` is the content of the file; with an `Arc<[u8]>`, transfers share it. `T` is any clock reading. If the first packet is
/// lost, the client repeats its request at the well-known port, and the driver passes it to
/// [`receive_request`](Self::receive_request).
#[derive(Debug)]
pub struct Transfer<F, T> {
    file: F,
    file_name: String,
    requested: RequestedOptions,
    agreed: NegotiatedOptions,
    phase: Phase,
    /// Last acknowledged block. Block numbers have 64 bits here and 16 on the wire.
    acknowledged: u64,
    /// Last sent block.
    sent: u64,
    /// Next block to send, `acknowledged + 1 ..= window_end`.
    next: u64,
    window_end: u64,
    bytes_sent: u64,
    offer_due: bool,
    tries: u32,
    wait: Duration,
    deadline: Option<T>,
    /// Earliest time of the next repeat because of a duplicate ACK.
    no_repeat_before: Option<T>,
    /// Until when the client's request may arrive once more as a late copy. `None` until its first ACK.
    late_copy_until: Option<T>,
    outcome: Option<Outcome>,
}

impl<F: AsRef<[u8]>, T: Copy + Add<Duration, Output = T> + PartialOrd> Transfer<F, T> {
    /// Starts the transfer of a file for a request that [`request`](crate::request) returned.
    pub fn new(file: F, request: &Request, limits: Limits, now: T) -> Self {
        let requested = RequestedOptions::read(&request.options);
        let agreed = NegotiatedOptions::answer(&requested, file.as_ref().len() as u64, limits);
        let offers = agreed.oack != RequestedOptions::default();
        let mut transfer = Self {
            file,
            file_name: request.file.clone(),
            requested,
            agreed,
            phase: if offers { Phase::Offering } else { Phase::Sending },
            acknowledged: 0,
            sent: 0,
            next: 1,
            window_end: 0,
            bytes_sent: 0,
            offer_due: offers,
            tries: 1,
            wait: agreed.timeout.unwrap_or(FIRST_ACK_TIMEOUT),
            deadline: None,
            no_repeat_before: None,
            late_copy_until: None,
            outcome: None,
        };
        transfer.deadline = Some(now + transfer.wait);
        if !offers {
            transfer.open_window(now);
        }
        transfer
    }

    /// Handles a datagram from the client.
    ///
    /// # Errors
    /// [`Malformed`] if it is not a packet that is expected here. Drop it; nothing has changed.
    pub fn receive(&mut self, now: T, bytes: &[u8]) -> Result<(), Malformed> {
        let packet = Packet::decode(bytes)?;
        match (self.phase, packet) {
            (Phase::Over, _) => {}
            (_, Packet::Error { code, .. }) => self.finish(End::Aborted(code)),
            (Phase::Offering, Packet::Ack(0)) => {
                self.phase = Phase::Sending;
                self.offer_due = false;
                self.late_copy_until = Some(now + LATE_COPY_TIMEOUT);
                self.open_window(now);
            }
            // The ACK belongs to an earlier transfer with the same ports: no block was sent yet.
            (Phase::Offering, Packet::Ack(_)) => {}
            (Phase::Sending, Packet::Ack(number)) => self.acknowledge(now, number),
            (_, Packet::Read(_) | Packet::Write(_) | Packet::Data { .. } | Packet::OptionAck(_)) => {
                return Err(Malformed::Unexpected);
            }
        }
        Ok(())
    }

    /// Handles a read request that arrived at the well-known port from the port of this client. The driver replaces the
    /// transfer only if the request is [`FurtherRequest::New`].
    ///
    /// A repeated request neither restarts the transfer nor prolongs it: a client that only repeats its request is lost after
    /// as many tries as a silent one.
    pub fn receive_request(&mut self, now: T, request: &Request) -> FurtherRequest {
        let is_same = request.file == self.file_name && RequestedOptions::read(&request.options) == self.requested;
        match (self.phase, self.late_copy_until) {
            (Phase::Offering | Phase::Sending, None) if is_same => self.repeat_first_packet(),
            (Phase::Offering | Phase::Sending, Some(until)) if is_same && now < until => FurtherRequest::LateCopy,
            (Phase::Offering | Phase::Sending | Phase::Over, _) => FurtherRequest::New,
        }
    }

    fn repeat_first_packet(&mut self) -> FurtherRequest {
        match self.phase {
            Phase::Offering => self.offer_due = true,
            Phase::Sending | Phase::Over => self.next = self.acknowledged.saturating_add(1),
        }
        FurtherRequest::Retransmission
    }

    /// Handles a passed deadline: repeats unacknowledged packets, or ends the transfer after too many tries.
    pub fn expire(&mut self, now: T) {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        if self.tries >= self.max_tries() {
            self.finish(End::Lost);
            return;
        }
        self.tries = self.tries.saturating_add(1);
        if self.agreed.timeout.is_none() {
            self.wait = self.wait.saturating_mul(2).min(MAX_ACK_TIMEOUT);
        }
        self.deadline = Some(now + self.wait);
        match self.phase {
            Phase::Offering => self.offer_due = true,
            Phase::Sending => self.next = self.acknowledged.saturating_add(1),
            Phase::Over => {}
        }
    }

    const fn max_tries(&self) -> u32 {
        match (self.is_confirmed(), self.phase) {
            (true, _) => MAX_TRIES,
            (false, Phase::Offering) => MAX_UNCONFIRMED_OFFERS,
            (false, Phase::Sending | Phase::Over) => MAX_UNCONFIRMED_BLOCKS,
        }
    }

    /// Returns whether the client has acknowledged a packet, which shows that it is at the address that its request came
    /// from.
    pub const fn is_confirmed(&self) -> bool {
        self.late_copy_until.is_some()
    }

    /// Takes the next output. Call it until `None` after every other call.
    pub fn poll(&mut self) -> Option<Output> {
        if self.phase == Phase::Over {
            return self.outcome.take().map(Output::Done);
        }
        if std::mem::take(&mut self.offer_due) {
            return Some(Output::Send(Packet::OptionAck(self.agreed.oack.list()).encode()));
        }
        if self.phase != Phase::Sending || self.next > self.window_end {
            return None;
        }
        let bytes = self.block(self.next);
        self.sent = self.sent.max(self.next);
        self.next = self.next.saturating_add(1);
        Some(Output::Send(bytes))
    }

    /// Returns when to call [`expire`](Self::expire), or `None` if the transfer is over.
    pub fn deadline(&self) -> Option<T> {
        self.deadline
    }

    /// Returns the negotiated options.
    pub fn negotiated(&self) -> &NegotiatedOptions {
        &self.agreed
    }

    /// Returns the number of acknowledged octets of the file, for a progress display.
    pub fn bytes_acknowledged(&self) -> u64 {
        self.acknowledged.saturating_mul(self.agreed.block_size.into()).min(self.size())
    }

    fn size(&self) -> u64 {
        self.file.as_ref().len() as u64
    }

    /// Returns the number of blocks of the file. The last block is shorter than the others, and may be empty (RFC 1350 §6).
    fn blocks(&self) -> u64 {
        let block_size = u64::from(self.agreed.block_size.max(1));
        (self.size() / block_size).saturating_add(1)
    }

    fn block(&mut self, number: u64) -> Vec<u8> {
        let block_size = usize::from(self.agreed.block_size);
        let start = usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX).saturating_mul(block_size);
        let rest = self.file.as_ref().get(start..).unwrap_or_default();
        let payload = rest.get(..block_size).unwrap_or(rest);
        self.bytes_sent = self.bytes_sent.saturating_add(payload.len() as u64);
        Packet::Data { block: wire_number(number), payload: payload.into() }.encode()
    }

    fn acknowledge(&mut self, now: T, number: u16) {
        // Distance to the last ACK. Wrapping is unambiguous, because a window has at most 65535 blocks.
        let ahead = u64::from(number.wrapping_sub(wire_number(self.acknowledged)));
        if ahead == 0 {
            self.repeat_for_gap(now);
        } else if ahead <= self.sent.saturating_sub(self.acknowledged) {
            self.acknowledged = self.acknowledged.saturating_add(ahead);
            self.late_copy_until = Some(now + LATE_COPY_TIMEOUT);
            if self.acknowledged == self.blocks() {
                self.finish(End::Delivered);
            } else {
                self.open_window(now);
            }
        }
        // Any other ACK was overtaken by a later one.
    }

    /// Handles a duplicate ACK.
    ///
    /// Without windows it must not trigger a repeat, or both sides double every packet for the rest of the file (the
    /// "Sorcerer's Apprentice", RFC 1123 §4.2.3.1). With windows it means that the first block of the window was lost
    /// (RFC 7440 §4). The window is repeated at most once per second, so that a client that doubles its ACKs for another
    /// reason does not double the traffic.
    fn repeat_for_gap(&mut self, now: T) {
        let too_soon = self.no_repeat_before.is_some_and(|until| now < until);
        if self.agreed.window > 1 && !too_soon && self.next > self.window_end {
            self.no_repeat_before = Some(now + MIN_REPEAT_INTERVAL);
            self.next = self.acknowledged.saturating_add(1);
        }
    }

    /// Starts a window at the block after the last acknowledged one (RFC 7440 §4: also after a gap).
    fn open_window(&mut self, now: T) {
        self.next = self.acknowledged.saturating_add(1);
        self.window_end = self.acknowledged.saturating_add(self.agreed.window.into()).min(self.blocks());
        self.tries = 1;
        self.wait = self.agreed.timeout.unwrap_or(FIRST_ACK_TIMEOUT);
        self.deadline = Some(now + self.wait);
    }

    fn finish(&mut self, end: End) {
        self.phase = Phase::Over;
        self.deadline = None;
        self.outcome = Some(Outcome {
            end,
            size: self.size(),
            bytes_sent: self.bytes_sent,
            bytes_acknowledged: self.bytes_acknowledged(),
            last_acknowledged: self.acknowledged,
            size_requested: self.agreed.oack.size.is_some(),
        });
    }
}

/// Returns the 16 bits of a block number on the wire, which wrap from 65535 to 0.
fn wire_number(block: u64) -> u16 {
    let [.., high, low] = block.to_be_bytes();
    u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests;
