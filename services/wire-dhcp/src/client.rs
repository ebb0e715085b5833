//! Messages of clients.

use std::net::Ipv4Addr;

use crate::hardware::Hardware;
use crate::malformed::Malformed;
use crate::message::{Direction, Message};
use crate::options::{Options, code};
use crate::relay::{self, Relay};

/// Maximum length of a host name or class that is kept for display, in octets.
const MAX_TEXT_OCTETS: usize = 128;

/// Type of a client's message (RFC 2131 §3.1, option 53).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// 1, DHCPDISCOVER: requests offers.
    Discover,
    /// 3, DHCPREQUEST: takes an offered address, or continues to use an address.
    Request,
    /// 4, DHCPDECLINE: the address is in use by another machine. There is no reply.
    Decline,
    /// 7, DHCPRELEASE: the address is no longer used. There is no reply.
    Release,
    /// 8, DHCPINFORM: requests options for an address that was configured otherwise.
    Inform,
}

impl MessageType {
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
            .find(|message_type| message_type.number() == number)
    }
}

/// Architecture of the firmware (option 93, RFC 4578 §2.1 and IANA's list).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// 0 and 20: x86 with a BIOS. Also assumed if a PXE client has no option 93.
    Bios,
    /// 7, 9 and 16: x86-64 with UEFI.
    UefiX64,
    /// 11 and 19: 64-bit ARM with UEFI.
    UefiArm64,
    /// Any other number, such as 6 for 32-bit UEFI. There is no boot loader for it.
    Other(u16),
}

impl Architecture {
    fn from_number(number: u16) -> Self {
        match number {
            0 | 20 => Self::Bios,
            // RFC 4578 calls 9 "EFI x86-64" and 7 "EFI BC"; IANA lists them the other way round. Firmware of x86-64
            // sends 7 (OVMF, iPXE) or, rarely, 9.
            7 | 9 | 16 => Self::UefiX64,
            11 | 19 => Self::UefiArm64,
            other => Self::Other(other),
        }
    }

    /// Returns the number that the firmware sends. HTTP boot has its own numbers.
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
    /// PXE firmware. It loads a boot loader by TFTP.
    Pxe(Architecture),
    /// UEFI HTTP boot. It loads a boot loader from a URL.
    Http(Architecture),
    /// iPXE, from a ROM or loaded by an earlier reply. It loads a script.
    Ipxe(Architecture),
    /// An operating system or ramdisk. It boots nothing; its message shows that it runs.
    System,
}

impl Client {
    /// Returns the same kind of client with another architecture. A system has none.
    #[must_use]
    pub fn with_architecture(self, architecture: Architecture) -> Self {
        match self {
            Self::Pxe(_) => Self::Pxe(architecture),
            Self::Http(_) => Self::Http(architecture),
            Self::Ipxe(_) => Self::Ipxe(architecture),
            Self::System => Self::System,
        }
    }
}

/// Parsed message of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Message type.
    pub message_type: MessageType,
    /// Kind of client, with the first of its architectures.
    pub client: Client,
    /// Every architecture that the client can boot, the one that it prefers first. Firmware may name several (RFC 4578 §2.1).
    pub architectures: Vec<Architecture>,
    /// Its interface.
    pub hardware: Hardware,
    /// Client identifier (option 61). It identifies an InfiniBand interface (RFC 4390 §2.1).
    pub client_identifier: Option<Vec<u8>>,
    /// Transaction id; the reply repeats it.
    pub xid: u32,
    /// Seconds since the client started to request an address.
    pub secs: u16,
    /// Whether the client cannot receive unicast yet (RFC 2131 §4.1, broadcast bit).
    pub wants_broadcast: bool,
    /// Address that the client uses already (`ciaddr`).
    pub current: Option<Ipv4Addr>,
    /// Address that it requests or declines (option 50).
    pub requested: Option<Ipv4Addr>,
    /// Server whose offer it takes (option 54).
    pub server_identifier: Option<Ipv4Addr>,
    /// Relay that forwarded the message.
    pub relay: Option<Relay>,
    /// Subnet in which the client asks for an address (option 118, RFC 3011).
    pub subnet: Option<Ipv4Addr>,
    /// SMBIOS UUID (option 97, RFC 4578 §2.3), as sent: the first three fields are little endian.
    pub uuid: Option<[u8; 16]>,
    /// Vendor class (option 60), such as `PXEClient:Arch:00007:UNDI:003016`, truncated for display.
    pub vendor_class: Option<String>,
    /// User class (option 77) as one text, truncated for display.
    pub user_class: Option<String>,
    /// Host name (option 12), truncated for display.
    pub host_name: Option<String>,
    /// Maximum size of a message that the client accepts, in octets (option 57 without the IP and UDP headers).
    pub(crate) max_octets: usize,
    /// Options that the reply repeats unchanged.
    pub(crate) echoed_options: Options,
}

impl Request {
    /// Parses a datagram that was received at the server's port.
    ///
    /// # Errors
    /// [`Malformed`] if it is not a valid message of a client. Drop it without a reply.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let message = Message::decode(bytes, Direction::Request)?;
        let options = &message.options;
        let [message_type] = options.exact(code::MESSAGE_TYPE).ok_or(Malformed::Type)?;
        let client_identifier = options.get(code::CLIENT_IDENTIFIER).filter(|octets| !octets.is_empty());
        if client_identifier.is_none() && message.hardware.mac().is_none() {
            return Err(Malformed::ClientIdentifier);
        }
        let architectures = architectures(options);
        Ok(Self {
            message_type: MessageType::from_number(message_type).ok_or(Malformed::Type)?,
            client: client(options, architectures.first().copied()),
            architectures,
            hardware: message.hardware,
            client_identifier: client_identifier.map(<[u8]>::to_vec),
            xid: message.xid,
            secs: message.secs,
            // RFC 4390 §2.1: `chaddr` is of no use for unicast. Clients must set the bit, and a relay needs it.
            wants_broadcast: message.broadcast || matches!(message.hardware, Hardware::Infiniband(_)),
            current: specified(message.ciaddr),
            requested: options.address(code::REQUESTED_ADDRESS).and_then(specified),
            server_identifier: options.address(code::SERVER_IDENTIFIER).and_then(specified),
            relay: Relay::of(message.giaddr, options)?,
            subnet: relay::selected_subnet(options),
            uuid: uuid(options),
            vendor_class: display_text(options.get(code::VENDOR_CLASS)),
            user_class: display_text(options.get(code::USER_CLASS)),
            host_name: display_text(options.get(code::HOST_NAME)),
            max_octets: max_octets(options),
            echoed_options: echoed_options(options),
        })
    }
}

fn specified(address: Ipv4Addr) -> Option<Ipv4Addr> {
    (!address.is_unspecified()).then_some(address)
}

/// Determines the kind of a client from its options.
///
/// iPXE is checked first, because it has the vendor class of a PXE client too. It is identified by its user class, with or
/// without a length octet (RFC 3004 §4 requires one, iPXE sends none), or by its own option 175.
fn client(options: &Options, first: Option<Architecture>) -> Client {
    let architecture = first.unwrap_or(Architecture::Bios);
    let user_class = options.get(code::USER_CLASS).unwrap_or_default();
    let vendor_class = options.get(code::VENDOR_CLASS).unwrap_or_default();
    if user_class.windows(4).any(|word| word == b"iPXE") || options.get(code::IPXE).is_some() {
        Client::Ipxe(architecture)
    } else if vendor_class.starts_with(b"HTTPClient") {
        Client::Http(architecture)
    } else if vendor_class.starts_with(b"PXEClient") || first.is_some() {
        // RFC 4578 §2.1: option 93 "MUST be present in all DHCP and PXE packets sent by PXE-compliant clients".
        // No operating system sends it, so a boot loader without a vendor class is not mistaken for one.
        Client::Pxe(architecture)
    } else {
        Client::System
    }
}

/// Returns the architectures of option 93, in their order. If the vendor class names one of them, it is the one in which the
/// firmware runs, and becomes the first (PXE 2.1 §2.2: `PXEClient:Arch:00007:UNDI:003016`); it also stands in for a list
/// that is missing.
fn architectures(options: &Options) -> Vec<Architecture> {
    let list = options.get(code::ARCHITECTURE).unwrap_or_default();
    let mut numbers: Vec<u16> =
        list.chunks_exact(2).filter_map(|pair| pair.try_into().ok()).map(u16::from_be_bytes).collect();
    let running = running_architecture(options.get(code::VENDOR_CLASS).unwrap_or_default());
    if numbers.is_empty() {
        numbers.extend(running);
    }
    numbers.sort_by_key(|number| Some(*number) != running);
    numbers.into_iter().map(Architecture::from_number).collect()
}

fn running_architecture(vendor_class: &[u8]) -> Option<u16> {
    let (_, rest) = std::str::from_utf8(vendor_class).ok()?.split_once(":Arch:")?;
    rest.split(':').next()?.parse().ok()
}

/// Parses option 97: a type octet, 0, and 16 octets (RFC 4578 §2.3). Firmware without a UUID sends only zeros or only ones.
fn uuid(options: &Options) -> Option<[u8; 16]> {
    let [kind, uuid @ ..] = options.exact::<17>(code::MACHINE_IDENTIFIER)?;
    (kind == 0 && uuid != [0; 16] && uuid != [0xff; 16]).then_some(uuid)
}

/// Returns the maximum size of a message that a client accepts. Every client must accept IP packets of 576 octets
/// (RFC 2131 §2), so smaller values are ignored.
fn max_octets(options: &Options) -> usize {
    const HEADERS: usize = 20 + 8;
    let announced = options.exact(code::MAX_SIZE).map_or(0, u16::from_be_bytes);
    usize::from(announced.max(576)).saturating_sub(HEADERS).min(crate::malformed::MAX_MESSAGE)
}

/// Returns the options that the reply repeats unchanged: the client identifier (RFC 6842 §3), the subnet (RFC 3011 §2), option 82
/// of the relay (RFC 3046 §2.2, which requires it to be the last one), and the machine identifier (PXE 2.1 §2.2; clients with
/// several NICs distinguish replies by it).
fn echoed_options(options: &Options) -> Options {
    let mut echoed = Options::default();
    for code in [code::CLIENT_IDENTIFIER, code::MACHINE_IDENTIFIER, code::SUBNET_SELECTION] {
        // A split identifier can have 1,400 octets. Only those that fit into one option are repeated.
        if let Some(octets) = options.get(code).filter(|octets| octets.len() <= 255) {
            echoed.add(code, octets);
        }
    }
    // RFC 3046 §2.2: the whole option is repeated, whatever its length.
    if let Some(octets) = options.get(code::RELAY) {
        echoed.add(code::RELAY, octets);
    }
    echoed
}

/// Returns an option as text for display.
fn display_text(octets: Option<&[u8]>) -> Option<String> {
    let octets = octets?;
    let octets = octets.get(..MAX_TEXT_OCTETS).unwrap_or(octets);
    let text: String = String::from_utf8_lossy(octets).chars().filter(|letter| !letter.is_control()).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests;
