//! Requests an address by DHCP, as firmware, iPXE or a system does.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};
use wire_dhcp::{Kind, ServerReply, SimulatedClient};

/// Timeouts of the tries, as in iPXE.
const WAITS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
const SERVERS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::BROADCAST), 67);

/// Reaction to an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offers {
    /// Accept the first.
    Take,
    /// Ask again.
    Ignore,
}

/// Requests an address on the interface. `None`: no server offers one.
///
/// # Errors
/// The interface does not exist.
pub async fn lease(interface: &str, ask: &mut SimulatedClient, offers: Offers) -> Result<Option<ServerReply>> {
    let socket = socket(interface).with_context(|| format!("DHCP at {interface}"))?;
    let begun = Instant::now();
    for wait in WAITS {
        ask.secs = u16::try_from(begun.elapsed().as_secs()).unwrap_or(u16::MAX);
        let until = Instant::now() + wait;
        socket.send_to(&ask.discover(), SERVERS).await?;
        let Some(offer) = heard(&socket, ask, until, &[Kind::Offer]).await? else { continue };
        if offers == Offers::Ignore {
            tokio::time::sleep_until(until).await;
            continue;
        }
        socket.send_to(&ask.request(&offer), SERVERS).await?;
        let answer = heard(&socket, ask, Instant::now() + wait, &[Kind::Ack, Kind::Nak]).await?;
        if let Some(answer) = answer.filter(|answer| answer.kind == Kind::Ack) {
            return Ok(Some(answer));
        }
    }
    Ok(None)
}

/// A client's socket. It is bound to the interface, since it has no address yet that a route could lead through.
///
/// # Errors
/// The interface does not exist.
pub fn socket(interface: &str) -> Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_broadcast(true)?;
    socket.set_nonblocking(true)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 68)).into())?;
    Ok(UdpSocket::from_std(socket.into())?)
}

/// The next answer of these kinds to this request.
async fn heard(
    socket: &UdpSocket,
    ask: &SimulatedClient,
    until: Instant,
    kinds: &[Kind],
) -> Result<Option<ServerReply>> {
    let mut buffer = [0; 2048];
    while let Ok(got) = timeout_at(until, socket.recv(&mut buffer)).await {
        let answer = ServerReply::decode(buffer.get(..got?).unwrap_or_default());
        if let Ok(answer) = answer
            && (answer.xid, answer.mac) == (ask.xid, ask.mac)
            && kinds.contains(&answer.kind)
        {
            return Ok(Some(answer));
        }
    }
    Ok(None)
}
