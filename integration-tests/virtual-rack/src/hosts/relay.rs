//! A link between two networks with delay, loss and a limited rate: it relays frames between two interfaces.
//!
//! The kernel's own emulation (`sch_netem`) is not in every kernel.
#![expect(clippy::disallowed_types, reason = "a program of its own, without tokio and without a paused clock")]

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvfrom, sendto, setsockopt, socket, sockopt,
};

use super::plan::Wan;

/// Maximum size of a frame: with headers, and with segmentation that was left to the device.
const MAX_FRAME_BYTES: usize = 65_536 + 64;
/// Room for frames that were not read yet.
const RECEIVE_BUFFER_BYTES: usize = 16 << 20;
/// Maximum time that a frame waits because of the rate; a longer queue is cut off, as a router does.
const MAX_WAIT: Duration = Duration::from_millis(400);
/// `sll_pkttype` of a frame that this host sends (packet(7)).
const OUTGOING: u8 = 4;

/// Decides about each frame of one direction.
#[derive(Clone, Debug)]
pub struct Shaper {
    wan: Wan,
    /// When the last frame is sent in full, since the start.
    busy_until: Duration,
    /// State of the random numbers.
    seed: u64,
}

impl Shaper {
    /// One direction of a link. The same seed loses the same frames.
    #[must_use]
    pub const fn new(wan: Wan, seed: u64) -> Self {
        Self { wan, busy_until: Duration::ZERO, seed }
    }

    /// When a frame of this size arrives at the other side; `None`: it is lost. Times are since the start. Frames arrive
    /// in the order in which they were sent.
    pub fn admit(&mut self, now: Duration, bytes: usize) -> Option<Duration> {
        if self.draw() % 100 < self.wan.loss_percent.into() {
            return None;
        }
        let begins = self.busy_until.max(now);
        if begins - now > MAX_WAIT {
            return None;
        }
        let bits = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(8);
        // kbit/s are bits per millisecond.
        let sending = bits.saturating_mul(1_000_000).checked_div(self.wan.rate_kbit.into()).unwrap_or(0);
        self.busy_until = begins + Duration::from_nanos(sending);
        Some(self.busy_until + Duration::from_millis(self.wan.delay_ms.into()))
    }

    /// splitmix64 (Steele, Lea and Flood 2014).
    const fn draw(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// A frame, and when it is sent on.
type Delayed = (Instant, Vec<u8>);

/// Relays frames between two interfaces of this namespace until it is killed.
///
/// # Errors
/// There is no such interface, or we are not root.
pub fn run(left: &str, right: &str, wan: Wan) -> Result<()> {
    let raw = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll);
    let frames = Arc::new(raw.context("opening a packet socket")?);
    setsockopt(&*frames, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES).context("enlarging its buffer")?;
    let ends = [interface(left)?, interface(right)?];
    let mut ways = Vec::new();
    for (seed, (from, to)) in (1..).zip([(ends[0], ends[1]), (ends[1], ends[0])]) {
        let (queue, queued) = channel();
        let sends = Arc::clone(&frames);
        thread::Builder::new().name("relay".to_owned()).spawn(move || send(&sends, &to, &queued))?;
        ways.push((from.ifindex(), Shaper::new(wan, seed), queue));
    }
    receive(&frames, &mut ways)
}

fn receive(frames: &OwnedFd, ways: &mut [(usize, Shaper, Sender<Delayed>)]) -> Result<()> {
    let begun = Instant::now();
    let mut buffer = vec![0; MAX_FRAME_BYTES];
    loop {
        let (bytes, from) = match recvfrom::<LinkAddr>(frames.as_raw_fd(), &mut buffer) {
            Ok((bytes, Some(from))) if from.pkttype() != OUTGOING => (bytes, from),
            Ok(_) | Err(Errno::EINTR | Errno::ENETDOWN) => continue,
            Err(error) => return Err(error).context("receiving frames"),
        };
        let Some((_, shaper, queue)) = ways.iter_mut().find(|(index, _, _)| *index == from.ifindex()) else { continue };
        let (Some(at), Some(frame)) = (shaper.admit(begun.elapsed(), bytes), buffer.get(..bytes)) else { continue };
        queue.send((begun + at, frame.to_vec())).context("the sender ended")?;
    }
}

fn send(frames: &OwnedFd, to: &LinkAddr, queued: &Receiver<Delayed>) {
    while let Ok((at, frame)) = queued.recv() {
        let early = at.saturating_duration_since(Instant::now());
        if !early.is_zero() {
            sleep(early);
        }
        // A frame that cannot be sent is lost, as on a link that is down.
        let _ = sendto(frames.as_raw_fd(), &frame, to, MsgFlags::empty());
    }
}

fn interface(name: &str) -> Result<LinkAddr> {
    let mut all = getifaddrs().context("listing interfaces")?.filter(|one| one.interface_name == name);
    let found = all.find_map(|one| one.address.and_then(|address| address.as_link_addr().copied()));
    found.with_context(|| format!("there is no interface {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    #[test]
    fn a_frame_arrives_after_the_delay_and_after_those_before_it() {
        // Delay, rate, frames as (time, bytes), and when each arrives; all in ms.
        type Case = (u32, u32, &'static [(u64, usize)], &'static [Option<u64>]);
        let cases: [Case; 6] = [
            (0, 0, &[(5, 1500)], &[Some(5)]),
            (50, 0, &[(0, 1500), (1, 60)], &[Some(50), Some(51)]),
            // 1,000 bytes at 1 Mbit/s take 8 ms.
            (0, 1000, &[(0, 1000), (0, 1000), (30, 1000)], &[Some(8), Some(16), Some(38)]),
            (50, 1000, &[(0, 1000), (4, 500)], &[Some(58), Some(62)]),
            // What would wait longer than the queue is lost, and the queue goes on.
            (0, 8, &[(0, 500), (0, 60), (200, 500)], &[Some(500), None, Some(1000)]),
            (200, 0, &[(0, 0)], &[Some(200)]),
        ];
        for (delay_ms, rate_kbit, frames, wanted) in cases {
            let mut shaper = Shaper::new(Wan { delay_ms, loss_percent: 0, rate_kbit }, 1);
            let arrives: Vec<_> = frames.iter().map(|(now, bytes)| shaper.admit(ms(*now), *bytes)).collect();
            let wanted: Vec<_> = wanted.iter().map(|at| at.map(ms)).collect();
            assert_eq!(arrives, wanted, "{delay_ms} ms, {rate_kbit} kbit/s, {frames:?}");
        }
    }

    #[test]
    fn the_share_that_is_lost_is_the_one_that_was_asked_for() {
        for percent in [0, 1, 5, 20, 50, 100] {
            let mut shaper = Shaper::new(Wan { loss_percent: percent, ..Wan::default() }, 7);
            let lost = (0..10_000).filter(|_| shaper.admit(Duration::ZERO, 60).is_none()).count();
            let wanted = usize::from(percent) * 100;
            assert!(lost.abs_diff(wanted) <= 150, "{percent} %: {lost} of 10,000");
        }
    }
}
