//! ARP for one address (RFC 826, RFC 5227): probes whether it is in use, and announces it.

use std::{io, net::Ipv4Addr, os::fd::AsRawFd as _, time::Duration};

use domain::net::MacAddr;
use nix::{
    ifaddrs::getifaddrs,
    sys::socket::{LinkAddr, bind},
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::UdpSocket, time::timeout};

/// The EtherType of ARP.
const ETHERTYPE: u16 = 0x0806;
/// Size of an Ethernet header and an ARP message for IPv4, in bytes.
const FRAME_BYTES: usize = 42;
/// Start of a message: Ethernet, IPv4, address lengths 6 and 4, operation request.
const REQUEST: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];
/// Number of probes (RFC 5227 §1.1, `PROBE_NUM`).
const PROBE_COUNT: usize = 3;
/// How long to wait for a reply to each probe; on one link it takes less than a millisecond.
const REPLY_TIMEOUT: Duration = Duration::from_millis(200);

/// A raw socket on one link. Requires CAP_NET_RAW.
#[derive(Debug)]
pub(crate) struct Arp {
    /// tokio's `UdpSocket` works with any socket that is connected or, like this packet socket, needs no addresses.
    socket: UdpSocket,
    own: MacAddr,
    /// Index of the interface.
    pub(crate) index: u32,
}

impl Arp {
    /// Opens the socket on this interface.
    pub(crate) fn open(device: &str) -> io::Result<Self> {
        let link = link(device)?;
        let own = link.addr().ok_or_else(|| io::Error::other("the interface has no MAC address"))?;
        let protocol = Protocol::from(i32::from(ETHERTYPE.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
        socket.set_nonblocking(true)?;
        bind(socket.as_raw_fd(), &link)?;
        let index = u32::try_from(link.ifindex()).map_err(io::Error::other)?;
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, own: MacAddr::new(own), index })
    }

    /// Returns the MAC address of another host that has this IP address, or `None` if there is none.
    pub(crate) async fn other_holder(&self, address: Ipv4Addr) -> io::Result<Option<MacAddr>> {
        self.discard_pending()?;
        for _ in 0..PROBE_COUNT {
            self.socket.send(&request(self.own, Ipv4Addr::UNSPECIFIED, address)).await?;
            if let Ok(holder) = timeout(REPLY_TIMEOUT, self.receive_holder(address)).await {
                return holder.map(Some);
            }
        }
        Ok(None)
    }

    /// Announces on the link that we have this address (RFC 5227 §2.3).
    pub(crate) async fn announce(&self, address: Ipv4Addr) -> io::Result<()> {
        self.socket.send(&request(self.own, address, address)).await.map(drop)
    }

    /// Discards pending frames: they may be older than the probe.
    fn discard_pending(&self) -> io::Result<()> {
        let mut buffer = [0; FRAME_BYTES];
        loop {
            match self.socket.try_recv(&mut buffer) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    async fn receive_holder(&self, address: Ipv4Addr) -> io::Result<MacAddr> {
        let mut buffer = [0; FRAME_BYTES];
        loop {
            let size = self.socket.recv(&mut buffer).await?;
            let holder = buffer.get(..size).and_then(|frame| holder(frame, address));
            if let Some(holder) = holder.filter(|holder| *holder != self.own) {
                return Ok(holder);
            }
        }
    }
}

fn link(device: &str) -> io::Result<LinkAddr> {
    getifaddrs()?
        .filter(|found| found.interface_name == device)
        .find_map(|found| found.address?.as_link_addr().copied())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("interface {device} does not exist")))
}

/// Builds a broadcast request: a probe if `sender` is unspecified, an announcement if it is `address`.
fn request(own: MacAddr, sender: Ipv4Addr, address: Ipv4Addr) -> Vec<u8> {
    let own = own.octets();
    let parts: [&[u8]; 8] =
        [&[0xff; 6], &own, &ETHERTYPE.to_be_bytes(), &REQUEST, &own, &sender.octets(), &[0; 6], &address.octets()];
    parts.concat()
}

/// Returns the MAC address that this frame claims for `address`.
fn holder(frame: &[u8], address: Ipv4Addr) -> Option<MacAddr> {
    let message = frame.get(12..FRAME_BYTES)?.strip_prefix(&ETHERTYPE.to_be_bytes())?;
    // Requests and replies both name their sender (RFC 826).
    let (format, rest) = (message.strip_prefix(REQUEST.get(..6)?)?, address.octets());
    let (mac, sender) = (format.get(2..8)?, format.get(8..12)?);
    if sender != rest {
        return None;
    }
    mac.try_into().ok().map(MacAddr::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 3);

    #[test]
    fn an_announcement_names_its_sender_and_a_probe_does_not() {
        let announced = request(OWN, ADDRESS, ADDRESS);
        assert_eq!(
            hex::encode(&announced),
            "ffffffffffff0200000000010806\
            0001080006040001020000000001\
            0a4d0103\
            0000000000000a4d0103"
        );
        assert_eq!(holder(&announced, ADDRESS), Some(OWN));
        assert_eq!(holder(&request(OWN, Ipv4Addr::UNSPECIFIED, ADDRESS), ADDRESS), None);
    }

    #[test]
    fn a_frame_that_is_not_arp_for_the_address_names_no_holder() {
        let announced = request(OWN, ADDRESS, ADDRESS);
        assert_eq!(holder(&announced, Ipv4Addr::new(10, 77, 1, 4)), None);
        for size in 0..FRAME_BYTES {
            assert_eq!(holder(&announced[..size], ADDRESS), None, "{size} octets");
        }
        for at in 12..20 {
            let mut other = announced.clone();
            other[at] ^= 0x40;
            assert_eq!(holder(&other, ADDRESS), None, "octet {at}");
        }
    }
}
