//! DHCP messages: the fixed header of RFC 2131 §2 and the options.
#![deny(clippy::arithmetic_side_effects)]

use std::fmt;
use std::net::Ipv4Addr;

use dhcproto::v4::{self, HType, Opcode};
use dhcproto::{Decodable, Decoder, Encodable, error::EncodeError};

use crate::malformed::{MAX_MESSAGE, Malformed};
use crate::options::Options;

/// Minimum size of an encoded message, in octets. BOOTP messages have 300, and some boot ROMs drop shorter ones.
pub(crate) const MIN_MESSAGE_OCTETS: usize = 300;
/// Size of the fixed header without the magic cookie, in octets.
const HEADER_OCTETS: usize = 236;
/// Magic cookie between header and options (RFC 2131 §3).
const MAGIC_COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Size of the `file` field with its NUL, in octets.
const FILE_FIELD_OCTETS: usize = 128;

/// Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

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
    pub(crate) mac: Mac,
    pub(crate) file: Vec<u8>,
    pub(crate) options: Options,
}

impl Message {
    /// Creates a message without options.
    pub(crate) fn new(direction: Direction, xid: u32, mac: Mac) -> Self {
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
            mac,
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
        Ok(Self {
            direction,
            xid: header.xid(),
            secs: header.secs(),
            broadcast: header.flags().broadcast(),
            ciaddr: header.ciaddr(),
            yiaddr: header.yiaddr(),
            siaddr: header.siaddr(),
            giaddr: header.giaddr(),
            mac: hardware_address(&header)?,
            file: header.fname().unwrap_or_default().to_vec(),
            options: Options::decode(options)?,
        })
    }

    /// Encodes the message, padded to [`MIN_MESSAGE_OCTETS`]. A `file` that does not fit into its field is left out.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let Mac(mac) = self.mac;
        let mut header = v4::Message::new_with_id(self.xid, self.ciaddr, self.yiaddr, self.siaddr, self.giaddr, &mac);
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

/// Returns the hardware address. `chaddr()` panics on invalid lengths, so the length is checked first.
fn hardware_address(header: &v4::Message) -> Result<Mac, Malformed> {
    if header.htype() != HType::Eth || header.hlen() != 6 {
        return Err(Malformed::Hardware);
    }
    let mac: [u8; 6] = header.chaddr().try_into().map_err(|_| Malformed::Hardware)?;
    let [first, ..] = mac;
    if first & 1 == 1 || mac == [0; 6] {
        return Err(Malformed::Hardware);
    }
    Ok(Mac(mac))
}
