//! Router advertisements (RFC 4861 §4.2), which spare every iPXE machine thirteen seconds of waiting.
//!
//! iPXE asks for IPv6 and IPv4 configuration side by side and goes on when both have ended. Without a router on the
//! link IPv6 ends by running out of tries; any advertisement ends it at once, unless it promises DHCPv6 and nobody
//! speaks that. Measured with Debian 12's iPXE, from power on to the script: SeaBIOS 18.6 s without and 3.3 s with one,
//! OVMF and snponly.efi 26.9 s and 11.8 s. What is advertised is a host that is no router (lifetime 0), without a
//! prefix: it changes nothing on any machine.

use std::{
    fs, io,
    net::{Ipv6Addr, SocketAddr, SocketAddrV6},
};

use service_kit::Host;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use crate::{Error, rack::Doors};

/// RFC 4861 §4.1.
const SOLICITATION: u8 = 133;
/// What may have come from another link is thrown away (RFC 4861 §6.1.1, §6.1.2).
const HOPS: u32 = 255;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// Type 134, code, checksum (the kernel fills it in, RFC 3542 §3.1), hop limit 64, no flags, router lifetime 0,
/// reachable time, retransmission timer.
const ADVERTISEMENT: [u8; 16] = [134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// The socket on the provisioning network.
#[derive(Debug)]
pub(crate) struct Advertiser {
    socket: UdpSocket,
    everyone: SocketAddr,
}

impl Advertiser {
    /// Binds; none where the link has no IPv6, and machines wait as they would without us.
    pub(crate) fn bind(doors: &Doors) -> Result<Option<Self>, Error> {
        let refused = |source| Error::Socket { what: "router advertisements", source };
        let device = &doors.pxe.device;
        let index = index_of(device).map_err(refused)?;
        match socket(device, index) {
            Ok(socket) => {
                let socket = UdpSocket::from_std(socket.into()).map_err(refused)?;
                Ok(Some(Self { socket, everyone: SocketAddrV6::new(ALL_NODES, 0, 0, index).into() }))
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(refused(error)),
            Err(error) => {
                tracing::warn!(device, %error, "no router advertisements: iPXE waits 13 s longer");
                Ok(None)
            }
        }
    }

    /// Advertises once, then answers whoever asks, until the host stops.
    pub(crate) async fn serve(self, host: Host) {
        self.send(self.everyone).await;
        let mut buffer = [0; 1500];
        loop {
            let from = tokio::select! {
                () = host.stopping() => return,
                received = self.socket.recv_from(&mut buffer) => match received {
                    Ok((_, from)) => from,
                    Err(error) => {
                        tracing::debug!(%error, "cannot receive ICMPv6");
                        continue;
                    }
                },
            };
            // The kernel gives a raw ICMPv6 socket the message without its IPv6 header.
            if buffer.first() == Some(&SOLICITATION) {
                // One without an address yet hears what all hear (RFC 4861 §6.2.6).
                self.send(if from.ip().is_unspecified() { self.everyone } else { from }).await;
            }
        }
    }

    async fn send(&self, to: SocketAddr) {
        if let Err(error) = self.socket.send_to(&ADVERTISEMENT, to).await {
            tracing::debug!(%to, %error, "cannot advertise");
        }
    }
}

fn index_of(device: &str) -> io::Result<u32> {
    let text = fs::read_to_string(format!("/sys/class/net/{device}/ifindex"))?;
    text.trim().parse().map_err(io::Error::other)
}

/// A raw socket bound to one link; it needs CAP_NET_RAW. (To the runtime a raw socket and a UDP socket are alike.)
fn socket(device: &str, index: u32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    socket.bind_device(Some(device.as_bytes()))?;
    socket.set_unicast_hops_v6(HOPS)?;
    socket.set_multicast_hops_v6(HOPS)?;
    socket.set_multicast_if_v6(index)?;
    socket.set_multicast_loop_v6(false)?;
    // Otherwise a bridge that snoops keeps solicitations from us.
    socket.join_multicast_v6(&ALL_ROUTERS, index)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
