//! Requests of clients.

use std::net::Ipv4Addr;

use crate::malformed::Malformed;
use crate::message::{Direction, Mac, Message};
use crate::options::{Options, code};

/// The longest host name or class we keep for display, in octets.
const MAX_TEXT: usize = 128;

/// What a client wants (RFC 2131 §3.1, option 53).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// 1: who can give me an address?
    Discover,
    /// 3: give me this address, or let me keep it.
    Request,
    /// 4: the address I was given is in use by another. Never answered; worth an event.
    Decline,
    /// 7: I am done with the address. Never answered.
    Release,
    /// 8: I have an address; tell me the rest.
    Inform,
}

impl Verb {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Discover => 1,
            Self::Request => 3,
            Self::Decline => 4,
            Self::Release => 7,
            Self::Inform => 8,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        [Self::Discover, Self::Request, Self::Decline, Self::Release, Self::Inform]
            .into_iter()
            .find(|verb| verb.number() == number)
    }
}

/// What the firmware runs on, by the first architecture of option 93 (RFC 4578 §2.1 and IANA's list).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Machine {
    /// 0 and 20: x86 with a BIOS. Also assumed when a PXE client names none.
    Bios,
    /// 7, 9 and 16: x86-64 with UEFI.
    UefiX64,
    /// 11 and 19: 64-bit ARM with UEFI.
    UefiArm64,
    /// Any other number, such as 6 for 32-bit UEFI: we have no loader for it.
    Other(u16),
}

impl Machine {
    fn from_number(number: u16) -> Self {
        match number {
            0 | 20 => Self::Bios,
            // RFC 4578 calls 9 "EFI x86-64" and 7 "EFI BC"; IANA has them the other way round, and firmware
            // of x86-64 sends 7 (OVMF, iPXE) or, rarely, 9.
            7 | 9 | 16 => Self::UefiX64,
            11 | 19 => Self::UefiArm64,
            other => Self::Other(other),
        }
    }

    /// The number that firmware of this kind sends; HTTP boot has its own.
    pub(crate) fn number(self, http: bool) -> u16 {
        match (self, http) {
            (Self::Bios, false) => 0,
            (Self::Bios, true) => 20,
            (Self::UefiX64, false) => 7,
            (Self::UefiX64, true) => 16,
            (Self::UefiArm64, false) => 11,
            (Self::UefiArm64, true) => 19,
            (Self::Other(number), _) => number,
        }
    }
}

/// Kind of client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Client {
    /// PXE firmware: wants a loader by TFTP.
    Pxe(Machine),
    /// UEFI HTTP boot: wants a loader by URL.
    Http(Machine),
    /// iPXE, from a ROM or already loaded by us: wants a script.
    Ipxe(Machine),
    /// An operating system or ramdisk: a sign of life, with nothing to boot.
    System,
}

/// One message of a client, read and judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Message type.
    pub verb: Verb,
    /// Kind of client.
    pub client: Client,
    /// Its network card.
    pub mac: Mac,
    /// Its transaction; our reply repeats it.
    pub xid: u32,
    /// Seconds since the client began to ask.
    pub secs: u16,
    /// Whether the client cannot receive unicast yet (RFC 2131 §4.1, broadcast bit).
    pub wants_broadcast: bool,
    /// The address it uses already (`ciaddr`).
    pub current: Option<Ipv4Addr>,
    /// The address it asks for, or declines (option 50).
    pub requested: Option<Ipv4Addr>,
    /// The server whose offer it takes (option 54).
    pub server_identifier: Option<Ipv4Addr>,
    /// The relay that forwarded the message (`giaddr`). Whether that relay is ours is for the caller to judge.
    pub relay: Option<Ipv4Addr>,
    /// The SMBIOS UUID (option 97, RFC 4578 §2.3), octets as sent: the first three fields are little endian.
    pub uuid: Option<[u8; 16]>,
    /// Its vendor class (option 60), such as `PXEClient:Arch:00007:UNDI:003016`, cut for display.
    pub vendor_class: Option<String>,
    /// Its user class (option 77), as one text, cut for display.
    pub user_class: Option<String>,
    /// The name it gives itself (option 12), cut for display.
    pub host_name: Option<String>,
    /// The most octets of a message it takes (option 57); at least 576 less IP and UDP.
    pub(crate) room: usize,
    /// What is given back unchanged.
    pub(crate) echoes: Options,
}

impl Request {
    /// Reads a datagram that came to the server's port.
    ///
    /// # Errors
    /// [`Malformed`]: nothing we may answer; drop it.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let message = Message::decode(bytes, Direction::Request)?;
        let options = &message.options;
        let [verb] = options.exact(code::MESSAGE_TYPE).ok_or(Malformed::Type)?;
        Ok(Self {
            verb: Verb::from_number(verb).ok_or(Malformed::Type)?,
            client: client(options),
            mac: message.mac,
            xid: message.xid,
            secs: message.secs,
            wants_broadcast: message.broadcast,
            current: set(message.ciaddr),
            requested: options.address(code::REQUESTED_ADDRESS).and_then(set),
            server_identifier: options.address(code::SERVER_IDENTIFIER).and_then(set),
            relay: relay(message.giaddr)?,
            uuid: uuid(options),
            vendor_class: shown(options.get(code::VENDOR_CLASS)),
            user_class: shown(options.get(code::USER_CLASS)),
            host_name: shown(options.get(code::HOST_NAME)),
            room: room(options),
            echoes: echoes(options),
        })
    }
}

fn set(address: Ipv4Addr) -> Option<Ipv4Addr> {
    (!address.is_unspecified()).then_some(address)
}

/// A relay at a broadcast, multicast or loopback address would turn our reply against our own network.
fn relay(giaddr: Ipv4Addr) -> Result<Option<Ipv4Addr>, Malformed> {
    if giaddr.is_broadcast() || giaddr.is_multicast() || giaddr.is_loopback() {
        return Err(Malformed::Relay(giaddr));
    }
    Ok(set(giaddr))
}

/// Who sent these options.
///
/// iPXE calls itself a PXE client too, so it is looked for first: by its user class (with a length octet before it as
/// RFC 3004 §4 wants, or without as it really sends it), or by its own option 175.
fn client(options: &Options) -> Client {
    let architecture = options.get(code::ARCHITECTURE).and_then(|list| list.first_chunk::<2>());
    let machine = Machine::from_number(architecture.map_or(0, |first| u16::from_be_bytes(*first)));
    let user_class = options.get(code::USER_CLASS).unwrap_or_default();
    let vendor_class = options.get(code::VENDOR_CLASS).unwrap_or_default();
    if user_class.windows(4).any(|word| word == b"iPXE") || options.get(code::IPXE).is_some() {
        Client::Ipxe(machine)
    } else if vendor_class.starts_with(b"HTTPClient") {
        Client::Http(machine)
    } else if vendor_class.starts_with(b"PXEClient") || architecture.is_some() {
        // RFC 4578 §2.1: option 93 "MUST be present in all DHCP and PXE packets sent by PXE-compliant clients".
        // No operating system sends it, so that a loader without a vendor class is not taken for a sign of life.
        Client::Pxe(machine)
    } else {
        Client::System
    }
}

/// Option 97 is a type octet, 0, and 16 octets (RFC 4578 §2.3). All zero or all ones is firmware without a UUID.
fn uuid(options: &Options) -> Option<[u8; 16]> {
    let [kind, uuid @ ..] = options.exact::<17>(code::MACHINE_IDENTIFIER)?;
    (kind == 0 && uuid != [0; 16] && uuid != [0xff; 16]).then_some(uuid)
}

/// A client must take 576 octets of IP (RFC 2131 §2); it may say more. Less is not believed.
fn room(options: &Options) -> usize {
    const HEADERS: usize = 20 + 8;
    let said = options.exact(code::MAX_SIZE).map_or(0, u16::from_be_bytes);
    usize::from(said.max(576)).saturating_sub(HEADERS).min(crate::malformed::MAX_MESSAGE)
}

/// What a server gives back unchanged: the client identifier (RFC 6842 §3), the relay's option 82 (RFC 3046 §2.2, which
/// wants it last), and the machine identifier (PXE 2.1 §2.2; clients with several cards tell replies apart by it).
fn echoes(options: &Options) -> Options {
    let mut echoes = Options::default();
    for code in [code::CLIENT_IDENTIFIER, code::MACHINE_IDENTIFIER, code::RELAY] {
        // An identifier that was split can be 1,400 octets long; one option's worth is all we give back.
        if let Some(octets) = options.get(code).filter(|octets| octets.len() <= 255) {
            echoes.add(code, octets);
        }
    }
    echoes
}

fn shown(octets: Option<&[u8]>) -> Option<String> {
    let octets = octets?;
    let octets = octets.get(..MAX_TEXT).unwrap_or(octets);
    let text: String = String::from_utf8_lossy(octets).chars().filter(|letter| !letter.is_control()).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests;
