//! UDP sockets that report when, at which address and through which interface a datagram arrived.
//!
//! A server with several addresses must reply from the address that was called, and a BMC's reply that waited long in
//! the socket buffer must not count as current. The standard socket interface reports neither.

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
    /// Size in bytes.
    pub size: usize,
    /// Address of the sender.
    pub from: SocketAddrV4,
    /// Local address that it was sent to; for a broadcast, the address of the interface.
    pub to: Ipv4Addr,
    /// Whether it was sent to that address, not broadcast.
    pub is_unicast: bool,
    /// Index of the interface.
    pub interface: u32,
    /// How long it waited in the socket buffer, if the kernel reports it.
    pub waited: Option<Duration>,
}

/// An IPv4 UDP socket that reports an [`Arrival`] for each datagram.
#[derive(Debug)]
pub struct Datagrams {
    socket: UdpSocket,
}

impl Datagrams {
    /// Binds a socket. `device` restricts it to one interface, whatever the address, so that it receives broadcasts
    /// there.
    ///
    /// # Errors
    /// I/O errors of the operating system. Ports below 1024 and `device` require privileges.
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

    /// Returns the local address.
    ///
    /// # Errors
    /// I/O errors of the operating system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Receives a datagram. Cancel safe.
    ///
    /// # Errors
    /// I/O errors of the operating system.
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

    /// Sends a datagram from the local address `source` through `interface` (0: the routing table decides).
    ///
    /// # Errors
    /// I/O errors of the operating system.
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
        // The client socket is connected: it would not receive a reply from another address.
        let got = tokio::time::timeout(Duration::from_secs(5), client.recv(&mut buffer)).await.unwrap().unwrap();
        assert_eq!(&buffer[..got], b"hi");
    }
}
