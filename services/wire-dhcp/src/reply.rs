//! Replies: a pure function from a request and a reservation.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::client::{Client, MessageType, Request};
use crate::message::{Direction, Message};
use crate::options::{Options, code};
use crate::relay::Relay;
use crate::reservation::{Boot, Reservation};

/// UDP port of servers and relays (RFC 2131 §4.1).
const SERVER_PORT: u16 = 67;
/// UDP port of clients.
const CLIENT_PORT: u16 = 68;
/// Maximum number of name servers in a reply; resolvers use three.
const MAX_DNS_SERVERS: usize = 3;
/// Maximum length of a host name, in octets (RFC 1035 §2.3.4, one label).
const MAX_HOST_NAME_OCTETS: usize = 63;
/// Tag and length of PXE discovery control (PXE 2.1 §2.2, option 43 tag 6).
const DISCOVERY_CONTROL: [u8; 2] = [6, 1];
/// Value of PXE discovery control, bit 3: boot the file in this reply, without boot-server discovery or a menu.
const BOOT_FILE_OF_REPLY: u8 = 8;
/// iPXE's `no-pxedhcp` (option 175 tag 176): iPXE does not wait two seconds for a ProxyDHCP server.
const NO_PROXY: [u8; 3] = [176, 1, 1];
/// Options that are left out, in this order, until a reply fits the client's maximum size.
const OPTIONAL_OPTIONS: [u8; 5] =
    [code::HOST_NAME, code::BROADCAST_ADDRESS, code::TFTP_SERVER, code::DNS, code::MACHINE_IDENTIFIER];

/// Options of the request that an OFFER or ACK repeats, the relay's last (RFC 3046 §2.1).
const ECHOED_IN_AN_OFFER: [u8; 4] =
    [code::CLIENT_IDENTIFIER, code::MACHINE_IDENTIFIER, code::SUBNET_SELECTION, code::RELAY];

/// DHCP server of a rack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replica {
    /// Server identifier (option 54). All replicas of a rack have the same one, so that each can continue an exchange of
    /// another.
    pub server_identifier: Ipv4Addr,
    /// Address of this replica, from which it serves boot files.
    pub address: Ipv4Addr,
}

/// Type of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// DHCPOFFER.
    Offer,
    /// DHCPACK.
    Ack,
    /// DHCPNAK.
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

/// Destination of a reply (RFC 2131 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// The relay, at the server's port.
    Relay(Ipv4Addr),
    /// All machines on the link of the request.
    Broadcast,
    /// A client that has this address already.
    Unicast(Ipv4Addr),
}

impl Destination {
    /// Returns address and port.
    #[must_use]
    pub fn socket(self) -> SocketAddrV4 {
        match self {
            Self::Relay(address) => SocketAddrV4::new(address, SERVER_PORT),
            Self::Broadcast => SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT),
            Self::Unicast(address) => SocketAddrV4::new(address, CLIENT_PORT),
        }
    }
}

/// Message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Type, for the timeline.
    pub kind: Kind,
    /// Destination.
    pub destination: Destination,
    /// Encoded message of at least 300 octets.
    pub bytes: Vec<u8>,
}

/// Reason why there must be no reply to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoReply {
    /// A DHCPDECLINE or DHCPRELEASE (RFC 2131 §4.3.3, §4.3.4).
    #[error("the message needs no reply")]
    NotDue,
    /// The client takes the offer of another server.
    #[error("the client takes the offer of the server {0}")]
    OtherServer(Ipv4Addr),
    /// The request names no address.
    #[error("the request names no address: ciaddr and option 50 are missing")]
    NoAddress,
    /// The client asks for options for an address outside the network.
    #[error("the client has the address {0}, which is outside the network")]
    OtherNetwork(Ipv4Addr),
    /// The relay forwards for a link where the reserved address is useless (RFC 2131 §4.3.1).
    #[error("the relay {relay} forwards for the link of {link}, which is outside the network", relay = .0.address, link = .0.link)]
    OtherLink(Relay),
    /// The client asks for an address in a subnet in which none is reserved for it (RFC 3011 §2).
    #[error("the client asks for an address in the subnet {0}, which is outside the network")]
    OtherSubnet(Ipv4Addr),
    /// The options of client and relay leave no space.
    #[error("the reply does not fit into {0} octets, because the options of client or relay are too long")]
    TooLong(usize),
}

/// Computes the reply to a request.
///
/// All replicas compute the same bytes, except for their own address.
///
/// # Errors
/// [`NoReply`] if there must be no reply.
pub fn answer(request: &Request, reservation: &Reservation, replica: &Replica) -> Result<Reply, NoReply> {
    let kind = match request.message_type {
        MessageType::Discover => Kind::Offer,
        MessageType::Request => answer_request(request, reservation, replica)?,
        MessageType::Inform => {
            // RFC 2131 §4.3.5: the reply goes to `ciaddr`, so a forged one must not be outside the network.
            let current = request.current.ok_or(NoReply::NoAddress)?;
            if !reservation.contains(current) {
                return Err(NoReply::OtherNetwork(current));
            }
            Kind::Ack
        }
        MessageType::Decline | MessageType::Release => return Err(NoReply::NotDue),
    };
    if let Some(relay) = request.relay.filter(|relay| !reservation.contains(relay.link)) {
        return Err(NoReply::OtherLink(relay));
    }
    // RFC 3011 §2: an address of another subnet must not be assigned.
    if let Some(subnet) = request.subnet.filter(|subnet| request.relay.is_none() && !reservation.contains(*subnet)) {
        return Err(NoReply::OtherSubnet(subnet));
    }
    let message = match kind {
        Kind::Offer | Kind::Ack => offer_or_ack(kind, request, reservation, replica),
        Kind::Nak => nak(request, replica),
    };
    let bytes = encode_to_fit(message, request.max_octets).ok_or(NoReply::TooLong(request.max_octets))?;
    Ok(Reply { kind, destination: destination(kind, request), bytes })
}

/// Returns the type of the reply to a DHCPREQUEST (RFC 2131 §4.3.2). A NAK is possible, because the machine is known.
fn answer_request(request: &Request, reservation: &Reservation, replica: &Replica) -> Result<Kind, NoReply> {
    // SELECTING: the client takes the offer of another server.
    let is_ours = |server| server == replica.server_identifier || server == visible_identifier(request, replica);
    if let Some(server) = request.server_identifier.filter(|server| !is_ours(*server)) {
        return Err(NoReply::OtherServer(server));
    }
    // SELECTING and INIT-REBOOT have the address in option 50, RENEWING and REBINDING in `ciaddr`. If both are present,
    // `ciaddr` is used, because an ACK goes there and must only go to the reserved address.
    let address = request.current.or(request.requested).ok_or(NoReply::NoAddress)?;
    Ok(if address == reservation.address { Kind::Ack } else { Kind::Nak })
}

fn offer_or_ack(kind: Kind, request: &Request, reservation: &Reservation, replica: &Replica) -> Message {
    let mut message = new_message(kind, request, replica);
    message.ciaddr = match kind {
        Kind::Ack => request.current.unwrap_or(Ipv4Addr::UNSPECIFIED),
        Kind::Offer | Kind::Nak => Ipv4Addr::UNSPECIFIED,
    };
    // RFC 2131 §4.3.5: the reply to an INFORM has neither an address nor a lease.
    if request.message_type != MessageType::Inform {
        message.yiaddr = reservation.address;
        add_lease(&mut message.options, reservation.lease_seconds);
    }
    add_network(&mut message.options, reservation);
    if let Some(boot) = &reservation.boot {
        add_boot(&mut message, request.client, boot, replica);
    }
    add_echoed(&mut message.options, request, &ECHOED_IN_AN_OFFER);
    message
}

fn nak(request: &Request, replica: &Replica) -> Message {
    let mut message = new_message(Kind::Nak, request, replica);
    // RFC 2131 §4.3.2: a relay must broadcast a NAK, because the client has no valid address.
    message.broadcast = request.wants_broadcast || request.relay.is_some();
    message.options.add(code::MESSAGE, "another address is reserved for this machine");
    // RFC 2131 §4.3.1 table 3 allows no other options in a NAK, except for those of RFC 6842 and RFC 3046.
    add_echoed(&mut message.options, request, &[code::CLIENT_IDENTIFIER, code::RELAY]);
    message
}

fn new_message(kind: Kind, request: &Request, replica: &Replica) -> Message {
    let mut message = Message::new(Direction::Reply, request.xid, request.hardware);
    message.broadcast = request.wants_broadcast;
    message.giaddr = request.relay.map_or(Ipv4Addr::UNSPECIFIED, |relay| relay.address);
    // The message type must be the first option: some boot ROMs expect it there.
    message.options.add(code::MESSAGE_TYPE, [kind.number()]);
    message.options.add_address(code::SERVER_IDENTIFIER, visible_identifier(request, replica));
    message
}

/// Returns the server identifier that the client sees. A relay may name another one than ours, so that the client renews
/// its lease through the relay (RFC 5107).
fn visible_identifier(request: &Request, replica: &Replica) -> Ipv4Addr {
    request.relay.and_then(|relay| relay.server_identifier).unwrap_or(replica.server_identifier)
}

/// Adds lease time, renewal time (one half) and rebinding time (seven eighths, RFC 2131 §4.4.5).
fn add_lease(options: &mut Options, seconds: u32) {
    options.add_number(code::LEASE_TIME, seconds);
    options.add_number(code::RENEWAL_TIME, seconds / 2);
    options.add_number(code::REBINDING_TIME, seconds.saturating_sub(seconds / 8));
}

/// Adds the options of the network.
fn add_network(options: &mut Options, reservation: &Reservation) {
    // RFC 2132 §3.3: the netmask must precede the router.
    options.add_address(code::NETMASK, reservation.netmask());
    if let Some(router) = reservation.router {
        options.add_address(code::ROUTER, router);
    }
    let dns: Vec<u8> = reservation.dns.iter().take(MAX_DNS_SERVERS).flat_map(Ipv4Addr::octets).collect();
    if !dns.is_empty() {
        options.add(code::DNS, dns);
    }
    options.add_address(code::BROADCAST_ADDRESS, reservation.broadcast_address());
    let is_valid = |name: &&String| (1..=MAX_HOST_NAME_OCTETS).contains(&name.len());
    if let Some(name) = reservation.host_name.as_ref().filter(is_valid) {
        options.add(code::HOST_NAME, name);
    }
}

/// Adds the boot file, both as a header field and as an option: old ROMs read only the field, and a long URL fits only into
/// the option.
fn add_boot(message: &mut Message, client: Client, boot: &Boot, replica: &Replica) {
    let next_server = boot.next_server.unwrap_or(replica.address);
    match client {
        Client::System => return,
        Client::Pxe(_) => {
            let [tag, length] = DISCOVERY_CONTROL;
            message.options.add(code::VENDOR_CLASS, "PXEClient");
            message.options.add(code::VENDOR, [tag, length, BOOT_FILE_OF_REPLY, 255]);
        }
        // UEFI 2.10 §24.7.3.1: an offer for HTTP boot must have this class.
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

/// Adds options of the request unchanged. The option of the relay must be the last one (RFC 3046 §2.1).
fn add_echoed(options: &mut Options, request: &Request, codes: &[u8]) {
    for code in codes {
        if let Some(octets) = request.echoed_options.get(*code) {
            options.add(*code, octets);
        }
    }
}

/// Encodes a message and leaves out optional options until it fits. Returns `None` if it does not fit without them, which
/// requires a relay and a client with very long options.
fn encode_to_fit(mut message: Message, max_octets: usize) -> Option<Vec<u8>> {
    let mut optional = OPTIONAL_OPTIONS.into_iter();
    loop {
        // Encoding to memory does not fail; if it did, there would be no reply.
        let bytes = message.encode().ok()?;
        if bytes.len() <= max_octets {
            return Some(bytes);
        }
        message.options.remove(optional.next()?);
    }
}

fn destination(kind: Kind, request: &Request) -> Destination {
    match (request.relay, kind, request.current) {
        (Some(relay), _, _) => Destination::Relay(relay.address),
        // RFC 2131 §4.1: NAKs are broadcast. A client that receives an OFFER has no valid address yet.
        (None, Kind::Nak | Kind::Offer, _) => Destination::Broadcast,
        // The client has this address, which was checked, and answers ARP.
        (None, Kind::Ack, Some(current)) => Destination::Unicast(current),
        // The address is not configured yet, so the client does not answer ARP for it.
        (None, Kind::Ack, None) => Destination::Broadcast,
    }
}

#[cfg(test)]
mod tests;
