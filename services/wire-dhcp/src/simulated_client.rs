//! The client's half: what firmware, iPXE or a system sends, and what it reads from a reply. For simulated machines.

use std::net::Ipv4Addr;

use crate::client::{Client, Verb};
use crate::malformed::{MAX_MESSAGE, Malformed};
use crate::message::{Direction, Mac, Message};
use crate::options::{Options, code};
use crate::reply::Kind;

/// A simulated network card that wants an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulatedClient {
    /// What it plays.
    pub client: Client,
    /// Its address on Ethernet.
    pub mac: Mac,
    /// Its transaction, chosen by the caller.
    pub xid: u32,
    /// Seconds since it began to ask.
    pub secs: u16,
    /// Its SMBIOS UUID; a system does not tell it.
    pub uuid: Option<[u8; 16]>,
    /// The relay it sits behind; then the message looks as that relay would forward it.
    pub relay: Option<Ipv4Addr>,
}

impl SimulatedClient {
    /// DHCPDISCOVER: the first message.
    #[must_use]
    pub fn discover(&self) -> Vec<u8> {
        write(&self.message(Verb::Discover))
    }

    /// DHCPREQUEST that takes an offer (RFC 2131 §4.3.2, SELECTING).
    #[must_use]
    pub fn request(&self, offer: &ServerReply) -> Vec<u8> {
        write(&self.naming(Verb::Request, offer))
    }

    /// DHCPREQUEST for an address remembered from before (INIT-REBOOT).
    #[must_use]
    pub fn reboot(&self, address: Ipv4Addr) -> Vec<u8> {
        let mut message = self.message(Verb::Request);
        message.options.add_address(code::REQUESTED_ADDRESS, address);
        write(&message)
    }

    /// DHCPREQUEST to go on using an address (RENEWING, REBINDING).
    #[must_use]
    pub fn renew(&self, address: Ipv4Addr) -> Vec<u8> {
        let mut message = self.message(Verb::Request);
        message.ciaddr = address;
        message.broadcast = false;
        write(&message)
    }

    /// DHCPINFORM from a machine with an address of its own.
    #[must_use]
    pub fn inform(&self, address: Ipv4Addr) -> Vec<u8> {
        let mut message = self.message(Verb::Inform);
        message.ciaddr = address;
        write(&message)
    }

    /// DHCPDECLINE: the address is in use by another.
    #[must_use]
    pub fn decline(&self, ack: &ServerReply) -> Vec<u8> {
        write(&self.naming(Verb::Decline, ack))
    }

    /// DHCPRELEASE: the address is no longer needed.
    #[must_use]
    pub fn release(&self, ack: &ServerReply) -> Vec<u8> {
        let mut message = self.message(Verb::Release);
        message.ciaddr = ack.address;
        message.options.add_address(code::SERVER_IDENTIFIER, ack.server_identifier);
        write(&message)
    }

    fn naming(&self, verb: Verb, answer: &ServerReply) -> Message {
        let mut message = self.message(verb);
        message.options.add_address(code::SERVER_IDENTIFIER, answer.server_identifier);
        message.options.add_address(code::REQUESTED_ADDRESS, answer.address);
        message
    }

    fn message(&self, verb: Verb) -> Message {
        let mut message = Message::new(Direction::Request, self.xid, self.mac);
        message.secs = self.secs;
        message.giaddr = self.relay.unwrap_or(Ipv4Addr::UNSPECIFIED);
        // Firmware has no IP stack yet that could take unicast.
        message.broadcast = self.client != Client::System;
        let options = &mut message.options;
        options.add(code::MESSAGE_TYPE, [verb.number()]);
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

/// Writing to memory fails on overflow only, which messages this small do not reach.
fn write(message: &Message) -> Vec<u8> {
    message.encode().unwrap_or_default()
}

/// What a client reads from a server's reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerReply {
    /// OFFER, ACK or NAK.
    pub kind: Kind,
    /// The card it is for.
    pub mac: Mac,
    /// The transaction it belongs to.
    pub xid: u32,
    /// The address given (`yiaddr`); 0.0.0.0 in a NAK.
    pub address: Ipv4Addr,
    /// The server that gives it.
    pub server_identifier: Ipv4Addr,
    /// Where the boot file is (`siaddr`, else the server itself).
    pub next_server: Ipv4Addr,
    /// The boot file's name or URL (option 67, else the header's field).
    pub file: Option<String>,
    /// Option 1.
    pub netmask: Option<Ipv4Addr>,
    /// Option 3, the first.
    pub router: Option<Ipv4Addr>,
    /// Option 51, seconds.
    pub lease_seconds: Option<u32>,
    /// Option 12.
    pub host_name: Option<String>,
    /// Option 60.
    pub vendor_class: Option<String>,
    /// Option 43 tag 6: how PXE firmware goes on.
    pub discovery_control: Option<u8>,
    /// Option 175 tag 176: iPXE need not wait for a ProxyDHCP server.
    pub no_proxy: bool,
    /// Option 56: why not.
    pub message: Option<String>,
}

impl ServerReply {
    /// Reads a server's reply.
    ///
    /// # Errors
    /// [`Malformed`]: drop the datagram.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let message = Message::decode(bytes, Direction::Reply)?;
        let options = &message.options;
        let [kind] = options.exact(code::MESSAGE_TYPE).ok_or(Malformed::Type)?;
        let kinds = [Kind::Offer, Kind::Ack, Kind::Nak];
        let server_identifier = options.address(code::SERVER_IDENTIFIER).ok_or(Malformed::Type)?;
        Ok(Self {
            kind: kinds.into_iter().find(|known| known.number() == kind).ok_or(Malformed::Type)?,
            mac: message.mac,
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
            discovery_control: within(options, code::VENDOR, 6),
            no_proxy: within(options, code::IPXE, 176) == Some(1),
            message: options.text(code::MESSAGE),
        })
    }
}

fn field(octets: &[u8]) -> Option<String> {
    std::str::from_utf8(octets).ok().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The single octet of an encapsulated option (RFC 2132 §8.4).
fn within(options: &Options, code: u8, tag: u8) -> Option<u8> {
    let inner = Options::decode(options.get(code)?).ok()?;
    inner.exact::<1>(tag).map(|[octet]| octet)
}

const _: () = assert!(MAX_MESSAGE == 1472, "the size that `Ask` announces");
