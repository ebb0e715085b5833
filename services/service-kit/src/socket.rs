//! UDP that knows when a datagram reached the kernel, at which address, and through which interface.
//!
//! A server on many addresses must answer from the one that was asked, and a BMC's answer that waited long in our
//! socket must not count as fresh; the plain socket interface tells neither.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::{AsFd as _, AsRawFd as _},
    time::Duration,
};

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt,
    sockopt::{Ipv4PacketInfo, ReceiveTimestampns},
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{io::Interest, net::UdpSocket};

/// A datagram that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Its size in octets.
    pub size: usize,
    /// Who sent it.
    pub from: SocketAddrV4,
    /// The local address that it was sent to; a broadcast's is the interface's own.
    pub to: Ipv4Addr,
    /// It was sent to that address, and not to everybody.
    pub is_unicast: bool,
    /// The interface that it came through.
    pub interface: u32,
    /// How long it waited in the kernel, where the kernel says so.
    pub waited: Option<Duration>,
}

/// A UDP socket over IPv4 with all that.
#[derive(Debug)]
pub struct Datagrams {
    socket: UdpSocket,
}

impl Datagrams {
    /// Binds. `device` restricts it to one interface, whatever the address, so that broadcasts are received there.
    ///
    /// # Errors
    /// Those of the operating system; port numbers below 1024 and `device` need privileges.
    pub fn bind(address: SocketAddrV4, device: Option<&str>) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(device.is_some())?;
        socket.set_broadcast(true)?;
        socket.set_nonblocking(true)?;
        if let Some(device) = device {
            socket.bind_device(Some(device.as_bytes()))?;
        }
        socket.bind(&SocketAddr::V4(address).into())?;
        setsockopt(&socket.as_fd(), Ipv4PacketInfo, &true)?;
        setsockopt(&socket.as_fd(), ReceiveTimestampns, &true)?;
        Ok(Self { socket: UdpSocket::from_std(socket.into())? })
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The next datagram. Safe to drop at any await and call again.
    ///
    /// # Errors
    /// Those of the operating system.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<Arrival> {
        self.socket.async_io(Interest::READABLE, || self.try_receive(buffer)).await
    }

    fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Arrival> {
        let mut control = nix::cmsg_space!(nix::libc::in_pktinfo, nix::sys::time::TimeSpec);
        let mut slices = [IoSliceMut::new(buffer)];
        let message =
            recvmsg::<SockaddrIn>(self.socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
        let from = message.address.ok_or(io::ErrorKind::InvalidData)?;
        let mut arrival = Arrival {
            size: message.bytes,
            from: SocketAddrV4::new(from.ip(), from.port()),
            to: Ipv4Addr::UNSPECIFIED,
            is_unicast: false,
            interface: 0,
            waited: None,
        };
        for part in message.cmsgs()? {
            if let ControlMessageOwned::Ipv4PacketInfo(place) = part {
                arrival.to = Ipv4Addr::from_bits(u32::from_be(place.ipi_spec_dst.s_addr));
                arrival.is_unicast = place.ipi_addr.s_addr == place.ipi_spec_dst.s_addr;
                arrival.interface = u32::try_from(place.ipi_ifindex).unwrap_or(0);
            } else if let ControlMessageOwned::ScmTimestampns(at) = part {
                let now = crate::clock::now().millis();
                let at = at.tv_sec().saturating_mul(1000).saturating_add(at.tv_nsec() / 1_000_000);
                arrival.waited = u64::try_from(now.saturating_sub(at)).ok().map(Duration::from_millis);
            }
        }
        Ok(arrival)
    }

    /// Sends from `source`, an address of ours, through `interface` (0: as routing has it).
    ///
    /// # Errors
    /// Those of the operating system.
    pub async fn send(&self, bytes: &[u8], to: SocketAddrV4, source: Ipv4Addr, interface: u32) -> io::Result<()> {
        let place = nix::libc::in_pktinfo {
            ipi_ifindex: i32::try_from(interface).unwrap_or(0),
            ipi_spec_dst: nix::libc::in_addr { s_addr: source.to_bits().to_be() },
            ipi_addr: nix::libc::in_addr { s_addr: 0 },
        };
        let to = SockaddrIn::from(to);
        self.socket
            .async_io(Interest::WRITABLE, || {
                let control = [ControlMessage::Ipv4PacketInfo(&place)];
                let slices = [IoSlice::new(bytes)];
                sendmsg(self.socket.as_raw_fd(), &slices, &control, MsgFlags::MSG_DONTWAIT, Some(&to))?;
                Ok(())
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_arrival_says_where_it_came_to_and_is_answered_from_there() {
        let server = Datagrams::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), None).unwrap();
        let port = server.local_addr().unwrap().port();
        let asked = Ipv4Addr::new(127, 0, 0, 7);
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect((asked, port)).await.unwrap();
        client.send(b"hello").await.unwrap();
        let mut buffer = [0; 64];
        let arrival = server.receive(&mut buffer).await.unwrap();
        assert_eq!((arrival.size, arrival.to, arrival.is_unicast), (5, asked, true));
        assert!(arrival.waited.is_some_and(|waited| waited < Duration::from_secs(5)));
        server.send(b"hi", arrival.from, arrival.to, 0).await.unwrap();
        // The client is connected: an answer from another address would never reach it.
        let got = tokio::time::timeout(Duration::from_secs(5), client.recv(&mut buffer)).await.unwrap().unwrap();
        assert_eq!(&buffer[..got], b"hi");
    }
}
