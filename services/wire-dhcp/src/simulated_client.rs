//! Client side for simulated machines: requests of firmware, iPXE and systems, and parsing of replies.

use std::net::Ipv4Addr;

use crate::client::{Client, MessageType};
use crate::hardware::Mac;
use crate::malformed::{MAX_MESSAGE, Malformed};
use crate::message::{Direction, Message};
use crate::options::{Options, code};
use crate::reply::Kind;

/// NIC of a simulated machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulatedClient {
    /// Kind of client.
    pub client: Client,
    /// MAC address.
    pub mac: Mac,
    /// Transaction id, chosen by the caller.
    pub xid: u32,
    /// Seconds since it started to request an address.
    pub secs: u16,
    /// SMBIOS UUID; a system does not send it.
    pub uuid: Option<[u8; 16]>,
    /// Relay that forwards its messages.
    pub relay: Option<Ipv4Addr>,
}

impl SimulatedClient {
    /// Encodes a DHCPDISCOVER.
    #[must_use]
    pub fn discover(&self) -> Vec<u8> {
        encode(&self.message(MessageType::Discover))
    }

    /// Encodes a DHCPREQUEST that takes an offer (RFC 2131 §4.3.2, SELECTING).
    #[must_use]
    pub fn request(&self, offer: &ServerReply) -> Vec<u8> {
        encode(&self.message_for_offer(MessageType::Request, offer))
    }

    /// Encodes a DHCPREQUEST for an earlier address (INIT-REBOOT).
    #[must_use]
    pub fn reboot(&self, address: Ipv4Addr) -> Vec<u8> {
        let mut message = self.message(MessageType::Request);
        message.options.add_address(code::REQUESTED_ADDRESS, address);
        encode(&message)
    }

    /// Encodes a DHCPREQUEST that continues to use an address (RENEWING, REBINDING).
    #[must_use]
    pub fn renew(&self, address: Ipv4Addr) -> Vec<u8> {
        let mut message = self.message(MessageType::Request);
        message.ciaddr = address;
        message.broadcast = false;
        encode(&message)
    }

    /// Encodes a DHCPINFORM for an address that was configured otherwise.
    #[must_use]
    pub fn inform(&self, address: Ipv4Addr) -> Vec<u8> {
        let mut message = self.message(MessageType::Inform);
        message.ciaddr = address;
        encode(&message)
    }

    /// Encodes a DHCPDECLINE: the address is in use by another machine.
    #[must_use]
    pub fn decline(&self, ack: &ServerReply) -> Vec<u8> {
        encode(&self.message_for_offer(MessageType::Decline, ack))
    }

    /// Encodes a DHCPRELEASE.
    #[must_use]
    pub fn release(&self, ack: &ServerReply) -> Vec<u8> {
        let mut message = self.message(MessageType::Release);
        message.ciaddr = ack.address;
        message.options.add_address(code::SERVER_IDENTIFIER, ack.server_identifier);
        encode(&message)
    }

    fn message_for_offer(&self, message_type: MessageType, reply: &ServerReply) -> Message {
        let mut message = self.message(message_type);
        message.options.add_address(code::SERVER_IDENTIFIER, reply.server_identifier);
        message.options.add_address(code::REQUESTED_ADDRESS, reply.address);
        message
    }

    fn message(&self, message_type: MessageType) -> Message {
        let mut message = Message::new(Direction::Request, self.xid, self.mac);
        message.secs = self.secs;
        message.giaddr = self.relay.unwrap_or(Ipv4Addr::UNSPECIFIED);
        // The IP stack of firmware cannot receive unicast before it has an address.
        message.broadcast = self.client != Client::System;
        let options = &mut message.options;
        options.add(code::MESSAGE_TYPE, [message_type.number()]);
        options.add(code::MAX_SIZE, 1472u16.to_be_bytes());
        options.add(
            code::PARAMETER_LIST,
            [code::NETMASK, code::ROUTER, code::DNS, code::VENDOR, code::VENDOR_CLASS, code::BOOT_FILE],
        );
        match self.client {
            Client::Pxe(machine) => self.firmware(options, "PXEClient", machine.number(false)),
            Client::Http(machine) => self.firmware(options, "HTTPClient", machine.number(true)),
            Client::Ipxe(machine) => {
                self.firmware(options, "PXEClient", machine.number(false));
                options.add(code::USER_CLASS, "iPXE");
                // 177: bus type and PCI ids; 19: HTTP is built in.
                options.add(code::IPXE, [177, 5, 1, 0x1a, 0xf4, 0x10, 0, 19, 1, 1]);
            }
            Client::System => {
                let Mac(mac) = self.mac;
                options.add(code::CLIENT_IDENTIFIER, [&[1], mac.as_slice()].concat());
            }
        }
        message
    }

    fn firmware(&self, options: &mut Options, class: &str, architecture: u16) {
        options.add(code::VENDOR_CLASS, format!("{class}:Arch:{architecture:05}:UNDI:003016"));
        options.add(code::ARCHITECTURE, architecture.to_be_bytes());
        options.add(code::INTERFACE, [1, 3, 16]);
        let uuid = self.uuid.unwrap_or_default();
        options.add(code::MACHINE_IDENTIFIER, [&[0], uuid.as_slice()].concat());
    }
}

/// Encodes a message. Encoding fails only on overflow, which messages of this size do not reach.
fn encode(message: &Message) -> Vec<u8> {
    message.encode().unwrap_or_default()
}

/// Parsed reply of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerReply {
    /// Type of the reply.
    pub kind: Kind,
    /// MAC address of the receiving NIC; zero for InfiniBand without an address.
    pub mac: Mac,
    /// Transaction id.
    pub xid: u32,
    /// Assigned address (`yiaddr`); 0.0.0.0 in a NAK.
    pub address: Ipv4Addr,
    /// Server identifier (option 54).
    pub server_identifier: Ipv4Addr,
    /// Server of the boot file (`siaddr`, otherwise the DHCP server).
    pub next_server: Ipv4Addr,
    /// Name or URL of the boot file (option 67, otherwise the header field).
    pub file: Option<String>,
    /// Netmask (option 1).
    pub netmask: Option<Ipv4Addr>,
    /// First router (option 3).
    pub router: Option<Ipv4Addr>,
    /// Lease time in seconds (option 51).
    pub lease_seconds: Option<u32>,
    /// Host name (option 12).
    pub host_name: Option<String>,
    /// Vendor class (option 60).
    pub vendor_class: Option<String>,
    /// PXE discovery control (option 43 tag 6).
    pub discovery_control: Option<u8>,
    /// Whether iPXE does not wait for a ProxyDHCP server (option 175 tag 176).
    pub no_proxy: bool,
    /// Text of a NAK (option 56).
    pub message: Option<String>,
}

impl ServerReply {
    /// Parses a reply.
    ///
    /// # Errors
    /// [`Malformed`] if the datagram is not a valid reply. Drop it.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let message = Message::decode(bytes, Direction::Reply)?;
        let options = &message.options;
        let [kind] = options.exact(code::MESSAGE_TYPE).ok_or(Malformed::Type)?;
        let kinds = [Kind::Offer, Kind::Ack, Kind::Nak];
        let server_identifier = options.address(code::SERVER_IDENTIFIER).ok_or(Malformed::Type)?;
        Ok(Self {
            kind: kinds.into_iter().find(|known| known.number() == kind).ok_or(Malformed::Type)?,
            mac: message.hardware.mac().unwrap_or(Mac([0; 6])),
            xid: message.xid,
            address: message.yiaddr,
            server_identifier,
            next_server: if message.siaddr.is_unspecified() { server_identifier } else { message.siaddr },
            file: options.text(code::BOOT_FILE).or_else(|| field(&message.file)),
            netmask: options.address(code::NETMASK),
            router: options.get(code::ROUTER).and_then(|list| list.first_chunk::<4>()).map(|first| (*first).into()),
            lease_seconds: options.number(code::LEASE_TIME),
            host_name: options.text(code::HOST_NAME),
            vendor_class: options.text(code::VENDOR_CLASS),
            discovery_control: encapsulated_octet(options, code::VENDOR, 6),
            no_proxy: encapsulated_octet(options, code::IPXE, 176) == Some(1),
            message: options.text(code::MESSAGE),
        })
    }
}

fn field(octets: &[u8]) -> Option<String> {
    std::str::from_utf8(octets).ok().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Returns the value of an encapsulated option of one octet (RFC 2132 §8.4).
fn encapsulated_octet(options: &Options, code: u8, tag: u8) -> Option<u8> {
    let inner = Options::decode(options.get(code)?).ok()?;
    inner.exact::<1>(tag).map(|[octet]| octet)
}

const _: () = assert!(MAX_MESSAGE == 1472, "the size that `SimulatedClient` announces");
