//! One file to one client, from its read request to the last acknowledgement.

use std::ops::Add;
use std::time::Duration;

use crate::options::{Limits, NegotiatedOptions, RequestedOptions};
use crate::packet::{ErrorCode, Malformed, Packet, Request};

/// How often the same packets are sent before the client counts as lost.
const MAX_TRIES: u32 = 6;
/// The first wait for an ACK when the client named no `timeout`. It doubles with every try up to
/// [`MAX_WAIT`]: 1 + 2 + 4 + 4 + 4 + 4 = 19 s until a client is given up. EDK2 repeats its ACK after 4 s.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const MAX_WAIT: Duration = Duration::from_secs(4);
/// The least time between two repeats that a client's doubled ACK may cause in windowed mode.
const REPEAT_PAUSE: Duration = Duration::from_secs(1);

/// What the driver must do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Put these bytes on the wire.
    Send(Vec<u8>),
    /// The transfer is over; nothing follows.
    Done(Outcome),
}

/// How a transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client has acknowledged the last block.
    Delivered,
    /// The client sent an ERROR. After a mere OACK that is how firmware asks for a file's size: no fault.
    Aborted(ErrorCode),
    /// The client went silent; every packet was repeated as often as we do.
    Lost,
}

/// What a boot timeline wants to know about a transfer that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// The file's size, octets.
    pub size: u64,
    /// File octets put on the wire, repeats included.
    pub bytes_sent: u64,
    /// File octets the client acknowledged.
    pub bytes_acknowledged: u64,
    /// The last block acknowledged, counted without wrap; 0 is none.
    pub last_acknowledged: u64,
    /// Whether the client asked for the file's size.
    pub size_asked: bool,
}

impl Outcome {
    /// Whether the client only wanted to know the size, as PXE firmware does before the real read: it asked for
    /// `tsize`, took no block, and left with an ERROR or in silence.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.size_asked && self.last_acknowledged == 0 && self.end != End::Delivered
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The OACK is out, its acknowledgement (ACK 0) is not in.
    Offering,
    Sending,
    Over,
}

/// Sends one file, a window of blocks at a time.
///
/// `F` is the file's content; an `Arc<[u8]>` lets many transfers share it. `T` is any clock reading. A client whose
/// first packet was lost repeats its *request*, to the well-known port: the driver then starts a new transfer in
/// the place of this one.
#[derive(Debug)]
pub struct Transfer<F, T> {
    file: F,
    agreed: NegotiatedOptions,
    phase: Phase,
    /// Blocks acknowledged so far. Block numbers are counted in 64 bits and cut to 16 on the wire.
    acknowledged: u64,
    /// The last block sent so far.
    sent: u64,
    /// The next block to hand out, `acknowledged + 1 ..= window_end`.
    next: u64,
    window_end: u64,
    bytes_sent: u64,
    offer_due: bool,
    tries: u32,
    wait: Duration,
    deadline: Option<T>,
    /// No repeat because of a doubled ACK before this time.
    no_repeat_before: Option<T>,
    outcome: Option<Outcome>,
}

impl<F: AsRef<[u8]>, T: Copy + Add<Duration, Output = T> + PartialOrd> Transfer<F, T> {
    /// Begins to answer a request with a file. Requests of other modes than `octet` were refused by
    /// [`request`](crate::request) already.
    pub fn new(file: F, asked: &Request, limits: Limits, now: T) -> Self {
        let agreed =
            NegotiatedOptions::answer(&RequestedOptions::read(&asked.options), file.as_ref().len() as u64, limits);
        let offers = agreed.said != RequestedOptions::default();
        let mut transfer = Self {
            file,
            agreed,
            phase: if offers { Phase::Offering } else { Phase::Sending },
            acknowledged: 0,
            sent: 0,
            next: 1,
            window_end: 0,
            bytes_sent: 0,
            offer_due: offers,
            tries: 1,
            wait: agreed.timeout.unwrap_or(FIRST_WAIT),
            deadline: None,
            no_repeat_before: None,
            outcome: None,
        };
        transfer.deadline = Some(now + transfer.wait);
        if !offers {
            transfer.open_window(now);
        }
        transfer
    }

    /// The client spoke.
    ///
    /// # Errors
    /// [`Malformed`]: the datagram makes no sense here and changed nothing; drop it.
    pub fn receive(&mut self, now: T, bytes: &[u8]) -> Result<(), Malformed> {
        let packet = Packet::decode(bytes)?;
        match (self.phase, packet) {
            (Phase::Over, _) => {}
            (_, Packet::Error { code, .. }) => self.finish(End::Aborted(code)),
            (Phase::Offering, Packet::Ack(0)) => {
                self.phase = Phase::Sending;
                self.offer_due = false;
                self.open_window(now);
            }
            // An ACK of a block we have not sent yet, left from an earlier transfer of the same ports.
            (Phase::Offering, Packet::Ack(_)) => {}
            (Phase::Sending, Packet::Ack(number)) => self.acknowledge(now, number),
            (_, Packet::Read(_) | Packet::Write(_) | Packet::Data { .. } | Packet::OptionAck(_)) => {
                return Err(Malformed::Unexpected);
            }
        }
        Ok(())
    }

    /// A deadline passed: what is unacknowledged is sent again, until the client counts as lost.
    pub fn expire(&mut self, now: T) {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        if self.tries >= MAX_TRIES {
            self.finish(End::Lost);
            return;
        }
        self.tries = self.tries.saturating_add(1);
        if self.agreed.timeout.is_none() {
            self.wait = self.wait.saturating_mul(2).min(MAX_WAIT);
        }
        self.deadline = Some(now + self.wait);
        match self.phase {
            Phase::Offering => self.offer_due = true,
            Phase::Sending => self.next = self.acknowledged.saturating_add(1),
            Phase::Over => {}
        }
    }

    /// The next thing to do; ask until `None` after every other call.
    pub fn poll(&mut self) -> Option<Output> {
        if self.phase == Phase::Over {
            return self.outcome.take().map(Output::Done);
        }
        if std::mem::take(&mut self.offer_due) {
            return Some(Output::Send(Packet::OptionAck(self.agreed.said.list()).encode()));
        }
        if self.phase != Phase::Sending || self.next > self.window_end {
            return None;
        }
        let bytes = self.block(self.next);
        self.sent = self.sent.max(self.next);
        self.next = self.next.saturating_add(1);
        Some(Output::Send(bytes))
    }

    /// When to call [`expire`](Self::expire); `None` when the transfer is over.
    pub fn deadline(&self) -> Option<T> {
        self.deadline
    }

    /// What both sides agreed to.
    pub fn negotiated(&self) -> &NegotiatedOptions {
        &self.agreed
    }

    /// File octets acknowledged so far, for a progress display.
    pub fn bytes_acknowledged(&self) -> u64 {
        self.acknowledged.saturating_mul(self.agreed.block_size.into()).min(self.size())
    }

    fn size(&self) -> u64 {
        self.file.as_ref().len() as u64
    }

    /// Blocks in the file. The last one is shorter than the others, hence empty if need be (RFC 1350 §6).
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
        // How far this ACK is ahead of the last one; the wrap at 65536 cancels out, because a window is at
        // most 65535 blocks.
        let ahead = u64::from(number.wrapping_sub(wire_number(self.acknowledged)));
        if ahead == 0 {
            self.repeat_for_gap(now);
        } else if ahead <= self.sent.saturating_sub(self.acknowledged) {
            self.acknowledged = self.acknowledged.saturating_add(ahead);
            if self.acknowledged == self.blocks() {
                self.finish(End::Delivered);
            } else {
                self.open_window(now);
            }
        }
        // Anything else is an ACK that was overtaken, and says nothing new.
    }

    /// The client says again what it said last.
    ///
    /// With one block at a time that must cause nothing, or both sides double every packet for the rest of
    /// the file (the "Sorcerer's Apprentice", RFC 1123 §4.2.3.1). With windows it is how a client reports that
    /// the first block of the window was lost (RFC 7440 §4), so there it may cause a repeat, but not more often than
    /// once a second: a client that doubles its ACKs for another reason cannot make us double the file.
    fn repeat_for_gap(&mut self, now: T) {
        let too_soon = self.no_repeat_before.is_some_and(|until| now < until);
        if self.agreed.window > 1 && !too_soon && self.next > self.window_end {
            self.no_repeat_before = Some(now + REPEAT_PAUSE);
            self.next = self.acknowledged.saturating_add(1);
        }
    }

    /// Sends on from the block after the last acknowledged one (RFC 7440 §4: also after a gap).
    fn open_window(&mut self, now: T) {
        self.next = self.acknowledged.saturating_add(1);
        self.window_end = self.acknowledged.saturating_add(self.agreed.window.into()).min(self.blocks());
        self.tries = 1;
        self.wait = self.agreed.timeout.unwrap_or(FIRST_WAIT);
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
            size_asked: self.agreed.said.size.is_some(),
        });
    }
}

/// Block numbers are 16 bits wide and go on at 0 after 65535.
fn wire_number(block: u64) -> u16 {
    let [.., high, low] = block.to_be_bytes();
    u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests;
