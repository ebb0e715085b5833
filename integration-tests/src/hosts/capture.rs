//! Captures all frames on the switch of a site.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::traffic::{Network, Traffic};
use crate::rack::hosts::Site;

/// Maximum size of what is received at once: segmentation may be left to a device that does not exist.
const MAX_FRAME_BYTES: usize = 65_536 + 64;
/// Room for frames that were not read yet: seconds of a busy mesh.
const RECEIVE_BUFFER_BYTES: usize = 64 << 20;
/// How often the end is noticed.
const PAUSE_MILLIS: i64 = 100;
/// `sll_pkttype` of a frame that a port sends: the bridge had it from another port (packet(7)).
const OUTGOING: u8 = 4;
/// Maximum time to open the capture.
const START: Duration = Duration::from_secs(10);

/// A running capture. It ends when it is dropped.
#[derive(Debug)]
pub struct Capture {
    traffic: Arc<Mutex<Traffic>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Capture {
    /// Begins to capture; begun before the hosts' services, it sees their connections from the first byte.
    ///
    /// # Errors
    /// The site does not exist, or we are not root.
    pub fn begin(site: &Site) -> Result<Self> {
        let (traffic, ends) = (Arc::new(Mutex::new(Traffic::default())), Arc::new(AtomicBool::new(false)));
        let (begun, has_begun) = channel();
        let (seen, stop) = (Arc::clone(&traffic), Arc::clone(&ends));
        // Its runtime has nothing else to do.
        let thread = site.switch().inhabit("capture", async move || receive(&seen, &stop, &begun))?;
        let capture = Self { traffic, ends, thread: Some(thread) };
        match has_begun.recv_timeout(START) {
            Ok(()) => Ok(capture),
            Err(_) => capture.end().and_then(|_| bail!("the capture does not begin")),
        }
    }

    /// Looks at what was captured so far.
    pub fn look<T>(&self, look: impl FnOnce(&Traffic) -> T) -> T {
        look(&self.traffic.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends it, and returns what was captured.
    ///
    /// # Errors
    /// Frames could not be received.
    pub fn end(mut self) -> Result<Traffic> {
        self.stop()?;
        Ok(std::mem::take(&mut *self.traffic.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    fn stop(&mut self) -> Result<()> {
        self.ends.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(ended) => ended.map_err(|_| anyhow::anyhow!("the capture panicked"))?,
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        drop(self.stop());
    }
}

fn receive(traffic: &Mutex<Traffic>, ends: &AtomicBool, begun: &Sender<()>) -> Result<()> {
    let raw = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll);
    let frames = raw.context("opening a packet socket")?;
    setsockopt(&frames, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES).context("enlarging its buffer")?;
    setsockopt(&frames, sockopt::ReceiveTimeout, &TimeVal::milliseconds(PAUSE_MILLIS))?;
    let networks = networks()?;
    // The capture may have been given up.
    let _ = begun.send(());
    let mut buffer = vec![0; MAX_FRAME_BYTES];
    while !ends.load(Ordering::Relaxed) {
        match recvfrom::<LinkAddr>(frames.as_raw_fd(), &mut buffer) {
            Ok((bytes, Some(from))) if from.pkttype() != OUTGOING => {
                if let (Some(network), Some(frame)) = (networks.get(&from.ifindex()), buffer.get(..bytes)) {
                    traffic.lock().unwrap_or_else(PoisonError::into_inner).frame(*network, frame);
                }
            }
            Ok(_) | Err(Errno::EINTR | Errno::ENETDOWN | Errno::EAGAIN) => {}
            Err(error) => return Err(error).context("receiving frames"),
        }
    }
    Ok(())
}

/// The switch's ports by their numbers. Its bridges receive the same frames again, and are not among them.
fn networks() -> Result<BTreeMap<usize, Network>> {
    let mut ports = BTreeMap::new();
    for interface in getifaddrs().context("listing interfaces")? {
        let Some(link) = interface.address.as_ref().and_then(|address| address.as_link_addr()) else { continue };
        let name = interface.interface_name;
        if name.starts_with("e0-") || name.starts_with("wan") {
            ports.insert(link.ifindex(), Network::Datacenter);
        } else if name.starts_with('e') {
            ports.insert(link.ifindex(), Network::Provisioning);
        }
    }
    Ok(ports)
}
