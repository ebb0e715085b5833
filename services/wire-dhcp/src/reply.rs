//! What a client is answered: one pure function from a request and a reservation to a reply.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::client::{Client, Request, Verb};
use crate::message::{Direction, Message};
use crate::options::{Options, code};
use crate::reservation::{Boot, Reservation};

/// Where servers and relays listen (RFC 2131 §4.1).
const SERVER_PORT: u16 = 67;
/// Where clients listen.
const CLIENT_PORT: u16 = 68;
/// The most name servers we hand out; resolvers look at three.
const MAX_DNS: usize = 3;
/// The longest host name (RFC 1035 §2.3.4, one label).
const MAX_HOST_NAME: usize = 63;
/// PXE discovery control (PXE 2.1 §2.2, option 43 tag 6). Bit 3: no boot-server discovery, no menu; boot the file
/// named in this very reply.
const DISCOVERY_CONTROL: [u8; 2] = [6, 1];
const BOOT_THE_FILE: u8 = 8;
/// iPXE's `no-pxedhcp` (option 175 tag 176): do not wait two seconds for a ProxyDHCP server.
const NO_PROXY: [u8; 3] = [176, 1, 1];
/// Options that may be left out, the first one first, when a reply does not fit the client.
const EXPENDABLE: [u8; 5] =
    [code::HOST_NAME, code::BROADCAST_ADDRESS, code::TFTP_SERVER, code::DNS, code::MACHINE_IDENTIFIER];

/// The server that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replica {
    /// Option 54: one per rack, the same for all replicas, so that each may answer what was begun by another.
    pub server_identifier: Ipv4Addr,
    /// This replica's own address, from which its boot files come.
    pub address: Ipv4Addr,
}

/// What a reply is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// DHCPOFFER
    Offer,
    /// DHCPACK
    Ack,
    /// DHCPNAK
    Nak,
}

impl Kind {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Offer => 2,
            Self::Ack => 5,
            Self::Nak => 6,
        }
    }
}

/// Where a reply goes (RFC 2131 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// To the relay, at the server's port.
    Relay(Ipv4Addr),
    /// To everybody on the link the request came from.
    Broadcast,
    /// To a client that has this address already.
    Unicast(Ipv4Addr),
}

impl Destination {
    /// Address and port.
    #[must_use]
    pub fn socket(self) -> SocketAddrV4 {
        match self {
            Self::Relay(address) => SocketAddrV4::new(address, SERVER_PORT),
            Self::Broadcast => SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT),
            Self::Unicast(address) => SocketAddrV4::new(address, CLIENT_PORT),
        }
    }
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What it is, for the timeline.
    pub kind: Kind,
    /// Where it goes.
    pub destination: Destination,
    /// 300 octets or more.
    pub bytes: Vec<u8>,
}

/// What a client is answered, or `None`: silence.
///
/// The same request and reservation always give the same bytes, whichever replica answers, save its own address.
#[must_use]
pub fn answer(request: &Request, reservation: &Reservation, replica: &Replica) -> Option<Reply> {
    let kind = match request.verb {
        Verb::Discover => Kind::Offer,
        Verb::Request => judge(request, reservation, replica)?,
        Verb::Inform => {
            // RFC 2131 §4.3.5 answers to `ciaddr`; a made-up one elsewhere would have us write to strangers.
            let current = request.current?;
            reservation.contains(current).then_some(Kind::Ack)?
        }
        // RFC 2131 §4.3.3, §4.3.4: no reply exists. That a DECLINE came is for the caller to tell.
        Verb::Decline | Verb::Release => return None,
    };
    let message = match kind {
        Kind::Offer | Kind::Ack => grant(kind, request, reservation, replica),
        Kind::Nak => refuse(request, replica),
    };
    let bytes = fit(message, request.room)?;
    Some(Reply { kind, destination: destination(kind, request), bytes })
}

/// ACK, NAK or silence for a REQUEST (RFC 2131 §4.3.2). We know the machine, so we may refuse with authority.
fn judge(request: &Request, reservation: &Reservation, replica: &Replica) -> Option<Kind> {
    // SELECTING: it took the offer of the server it names; another server's offer is not our business.
    if request.server_identifier.is_some_and(|named| named != replica.server_identifier) {
        return None;
    }
    // SELECTING and INIT-REBOOT name the address in option 50, RENEWING and REBINDING in `ciaddr`. Where both are
    // given `ciaddr` counts: an ACK goes there, and may only go to the reserved address.
    let wanted = request.current.or(request.requested)?;
    Some(if wanted == reservation.address { Kind::Ack } else { Kind::Nak })
}

fn grant(kind: Kind, request: &Request, reservation: &Reservation, replica: &Replica) -> Message {
    let mut message = begin(kind, request, replica);
    message.ciaddr = match kind {
        Kind::Ack => request.current.unwrap_or(Ipv4Addr::UNSPECIFIED),
        Kind::Offer | Kind::Nak => Ipv4Addr::UNSPECIFIED,
    };
    // RFC 2131 §4.3.5: an INFORM is told neither an address nor a lease.
    if request.verb != Verb::Inform {
        message.yiaddr = reservation.address;
        lease(&mut message.options, reservation.lease_seconds);
    }
    network(&mut message.options, reservation);
    if let Some(boot) = &reservation.boot {
        add_boot(&mut message, request.client, boot, replica);
    }
    echo(&mut message.options, request, &[code::CLIENT_IDENTIFIER, code::MACHINE_IDENTIFIER, code::RELAY]);
    message
}

fn refuse(request: &Request, replica: &Replica) -> Message {
    let mut message = begin(Kind::Nak, request, replica);
    // RFC 2131 §4.3.2: a relay must broadcast a NAK, because the client has no valid address.
    message.broadcast = request.wants_broadcast || request.relay.is_some();
    message.options.add(code::MESSAGE, "another address is reserved for this machine");
    // RFC 2131 §4.3.1 table 3 allows no other options in a NAK; RFC 6842 and RFC 3046 add these.
    echo(&mut message.options, request, &[code::CLIENT_IDENTIFIER, code::RELAY]);
    message
}

fn begin(kind: Kind, request: &Request, replica: &Replica) -> Message {
    let mut message = Message::new(Direction::Reply, request.xid, request.mac);
    message.broadcast = request.wants_broadcast;
    message.giaddr = request.relay.unwrap_or(Ipv4Addr::UNSPECIFIED);
    // First of all options: some boot ROMs look for the message type there and nowhere else.
    message.options.add(code::MESSAGE_TYPE, [kind.number()]);
    message.options.add_address(code::SERVER_IDENTIFIER, replica.server_identifier);
    message
}

/// Lease, renewal at a half, rebinding at seven eighths (RFC 2131 §4.4.5).
fn lease(options: &mut Options, seconds: u32) {
    options.add_number(code::LEASE_TIME, seconds);
    options.add_number(code::RENEWAL_TIME, seconds / 2);
    options.add_number(code::REBINDING_TIME, seconds.saturating_sub(seconds / 8));
}

fn network(options: &mut Options, reservation: &Reservation) {
    // RFC 2132 §3.3: the netmask before the router.
    options.add_address(code::NETMASK, reservation.netmask());
    if let Some(router) = reservation.router {
        options.add_address(code::ROUTER, router);
    }
    let dns: Vec<u8> = reservation.dns.iter().take(MAX_DNS).flat_map(Ipv4Addr::octets).collect();
    if !dns.is_empty() {
        options.add(code::DNS, dns);
    }
    options.add_address(code::BROADCAST_ADDRESS, reservation.broadcast_address());
    let fits = |name: &&String| (1..=MAX_HOST_NAME).contains(&name.len());
    if let Some(name) = reservation.host_name.as_ref().filter(fits) {
        options.add(code::HOST_NAME, name);
    }
}

/// The file both as a header field and as an option, since each has firmware that looks only there: a `file` without
/// option 67 is what old ROMs know, an option alone is all that fits a long URL.
fn add_boot(message: &mut Message, client: Client, boot: &Boot, replica: &Replica) {
    let next_server = boot.next_server.unwrap_or(replica.address);
    match client {
        Client::System => return,
        Client::Pxe(_) => {
            let [tag, length] = DISCOVERY_CONTROL;
            message.options.add(code::VENDOR_CLASS, "PXEClient");
            message.options.add(code::VENDOR, [tag, length, BOOT_THE_FILE, 255]);
        }
        // UEFI 2.10 §24.7.3.1: without this class the offer is not one for HTTP boot.
        Client::Http(_) => {
            message.options.add(code::VENDOR_CLASS, "HTTPClient");
        }
        Client::Ipxe(_) => {
            message.options.add(code::IPXE, NO_PROXY);
        }
    }
    message.siaddr = next_server;
    message.options.add(code::TFTP_SERVER, next_server.to_string());
    message.options.add(code::BOOT_FILE, boot.file.as_str());
    message.file = boot.file.as_str().as_bytes().to_vec();
}

/// Gives back what the client or its relay sent; the relay's option goes last (RFC 3046 §2.1).
fn echo(options: &mut Options, request: &Request, codes: &[u8]) {
    for code in codes {
        if let Some(octets) = request.echoes.get(*code) {
            options.add(*code, octets);
        }
    }
}

/// Leaves out what matters least until the message fits. `None` when even the rest does not fit, which takes a
/// relay and a client that both fill their options to the brim.
fn fit(mut message: Message, room: usize) -> Option<Vec<u8>> {
    let mut expendable = EXPENDABLE.into_iter();
    loop {
        // Writing to memory does not fail; if it should, silence is the answer.
        let bytes = message.encode().ok()?;
        if bytes.len() <= room {
            return Some(bytes);
        }
        message.options.remove(expendable.next()?);
    }
}

fn destination(kind: Kind, request: &Request) -> Destination {
    match (request.relay, kind, request.current) {
        (Some(relay), _, _) => Destination::Relay(relay),
        // RFC 2131 §4.1: NAKs are broadcast. An OFFER's client has no address that could be trusted.
        (None, Kind::Nak | Kind::Offer, _) => Destination::Broadcast,
        // It has the address (we compared it, or its network) and answers ARP.
        (None, Kind::Ack, Some(current)) => Destination::Unicast(current),
        // Unicast to an address that is not configured yet needs a made-up ARP entry; broadcast reaches everybody.
        (None, Kind::Ack, None) => Destination::Broadcast,
    }
}

#[cfg(test)]
mod tests;
