//! DHCP messages: the fixed header of RFC 2131 §2 and the options.
#![deny(clippy::arithmetic_side_effects)]

use std::net::Ipv4Addr;

use dhcproto::v4::{self, HType, Opcode};
use dhcproto::{Decodable, Decoder, Encodable, error::EncodeError};

use crate::hardware::{Hardware, InfinibandAddress, Mac};
use crate::malformed::{MAX_MESSAGE, Malformed};
use crate::options::{Options, code};

/// Minimum size of an encoded message, in octets. BOOTP messages have 300, and some boot ROMs drop shorter ones.
pub(crate) const MIN_MESSAGE_OCTETS: usize = 300;
/// Size of the fixed header without the magic cookie, in octets.
const HEADER_OCTETS: usize = 236;
/// Magic cookie between header and options (RFC 2131 §3).
const MAGIC_COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Size of the `file` field with its NUL, in octets.
const FILE_FIELD_OCTETS: usize = 128;
/// Where `sname` and `file` are in the header.
const SNAME_FIELD: std::ops::Range<usize> = 44..108;
const FILE_FIELD: std::ops::Range<usize> = 108..236;

/// Direction of a message (RFC 2131 §2, `op`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Request,
    Reply,
}

/// Message with a valid header. Its options are not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) direction: Direction,
    pub(crate) xid: u32,
    pub(crate) secs: u16,
    pub(crate) broadcast: bool,
    pub(crate) ciaddr: Ipv4Addr,
    pub(crate) yiaddr: Ipv4Addr,
    pub(crate) siaddr: Ipv4Addr,
    pub(crate) giaddr: Ipv4Addr,
    pub(crate) hardware: Hardware,
    pub(crate) file: Vec<u8>,
    pub(crate) options: Options,
}

impl Message {
    /// Creates a message without options.
    pub(crate) fn new(direction: Direction, xid: u32, hardware: impl Into<Hardware>) -> Self {
        let none = Ipv4Addr::UNSPECIFIED;
        Self {
            direction,
            xid,
            secs: 0,
            broadcast: false,
            ciaddr: none,
            yiaddr: none,
            siaddr: none,
            giaddr: none,
            hardware: hardware.into(),
            file: Vec::new(),
            options: Options::default(),
        }
    }

    pub(crate) fn decode(bytes: &[u8], expected: Direction) -> Result<Self, Malformed> {
        if bytes.len() > MAX_MESSAGE {
            return Err(Malformed::Long);
        }
        let (head, rest) = bytes.split_at_checked(HEADER_OCTETS).ok_or(Malformed::Short)?;
        let options = rest.strip_prefix(&MAGIC_COOKIE).ok_or(Malformed::Magic)?;
        // dhcproto expects a cookie and options after the header; it gets an empty list.
        let header =
            v4::Message::decode(&mut Decoder::new(&[head, &MAGIC_COOKIE].concat())).map_err(|_| Malformed::Short)?;
        let direction = match header.opcode() {
            Opcode::BootRequest => Direction::Request,
            Opcode::BootReply => Direction::Reply,
            Opcode::Unknown(_) => return Err(Malformed::Direction),
        };
        if direction != expected {
            return Err(Malformed::Direction);
        }
        let mut options = Options::decode(options)?;
        let overloaded = decode_overloaded(head, &mut options)?;
        Ok(Self {
            direction,
            xid: header.xid(),
            secs: header.secs(),
            broadcast: header.flags().broadcast(),
            ciaddr: header.ciaddr(),
            yiaddr: header.yiaddr(),
            siaddr: header.siaddr(),
            giaddr: header.giaddr(),
            hardware: hardware(&header)?,
            file: if overloaded.file { Vec::new() } else { header.fname().unwrap_or_default().to_vec() },
            options,
        })
    }

    /// Encodes the message, padded to [`MIN_MESSAGE_OCTETS`]. A `file` that does not fit into its field is left out.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut header = v4::Message::new_with_id(self.xid, self.ciaddr, self.yiaddr, self.siaddr, self.giaddr, &[]);
        match &self.hardware {
            Hardware::Ethernet(Mac(mac)) => header.set_chaddr(mac),
            Hardware::Infiniband(address) => header.set_htype(HType::Infiniband).set_chaddr(address.octets()),
        };
        header.set_secs(self.secs);
        header.set_opcode(match self.direction {
            Direction::Request => Opcode::BootRequest,
            Direction::Reply => Opcode::BootReply,
        });
        if self.broadcast {
            header.set_flags(v4::Flags::default().set_broadcast());
        }
        if !self.file.is_empty() && self.file.len() < FILE_FIELD_OCTETS {
            header.set_fname(&self.file);
        }
        let mut bytes = header.to_vec()?;
        bytes.extend(self.options.encode()?);
        if bytes.len() < MIN_MESSAGE_OCTETS {
            bytes.resize(MIN_MESSAGE_OCTETS, 0);
        }
        Ok(bytes)
    }
}

/// Header fields that hold options instead of their own content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Overloaded {
    file: bool,
    sname: bool,
}

/// Parses the options in `file` and `sname`, if option 52 says that some are there (RFC 2131 §4.1, RFC 2132 §9.3): first those
/// of `file`, then those of `sname`. Values other than 1 to 3 have no meaning.
fn decode_overloaded(head: &[u8], options: &mut Options) -> Result<Overloaded, Malformed> {
    let overloaded = match options.exact(code::OVERLOAD) {
        Some([1]) => Overloaded { file: true, sname: false },
        Some([2]) => Overloaded { file: false, sname: true },
        Some([3]) => Overloaded { file: true, sname: true },
        Some(_) | None => Overloaded { file: false, sname: false },
    };
    if overloaded.file {
        options.decode_more(head.get(FILE_FIELD).unwrap_or_default())?;
    }
    if overloaded.sname {
        options.decode_more(head.get(SNAME_FIELD).unwrap_or_default())?;
    }
    Ok(overloaded)
}

/// Returns the hardware address. `chaddr()` panics on invalid lengths, so the length is checked first.
fn hardware(header: &v4::Message) -> Result<Hardware, Malformed> {
    if usize::from(header.hlen()) > InfinibandAddress::MAX_OCTETS {
        return Err(Malformed::Hardware);
    }
    if header.htype() == HType::Infiniband {
        return Ok(Hardware::Infiniband(InfinibandAddress::new(header.chaddr())));
    }
    let mac = Mac(header.chaddr().try_into().map_err(|_| Malformed::Hardware)?);
    if header.htype() == HType::Eth && mac.is_unicast() {
        Ok(Hardware::Ethernet(mac))
    } else {
        Err(Malformed::Hardware)
    }
}
