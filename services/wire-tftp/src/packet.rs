//! Encodes and decodes the six packets of TFTP.
#![deny(clippy::arithmetic_side_effects)]

use std::borrow::Cow;

/// Maximum size of a request, in octets (RFC 2347 §2: "The maximum size of a request packet is 512 octets").
pub const MAX_REQUEST_OCTETS: usize = 512;
/// Maximum length of a file name, in octets: that of DHCP option 67.
pub const MAX_FILE_NAME_OCTETS: usize = 255;
/// Maximum number of options kept of one request. Four are defined; others are ignored.
pub const MAX_OPTIONS: usize = 16;
/// Maximum payload of a DATA packet, in octets (RFC 2348: "blksize" is at most 65464).
pub const MAX_PAYLOAD_OCTETS: usize = 65464;
/// Maximum length of the message of an ERROR that is kept, in octets.
const MAX_MESSAGE_OCTETS: usize = 128;

/// Code that ends the options of a DHCP message (RFC 2132 §3.2).
const OPTIONS_END: u8 = 255;

const READ: u16 = 1;
const WRITE: u16 = 2;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OPTION_ACK: u16 = 6;

/// Datagram that is not a TFTP packet. The receiver drops it; no state changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It ends before its fields do, or a string has no terminating NUL.
    #[error("packet is cut short")]
    Short,
    /// The first two octets are not a packet type (RFC 1350 §5, RFC 2347 §2).
    #[error("packet type {0} does not exist")]
    Kind(u16),
    /// A name, a value, a list or a payload is longer than this crate's limits.
    #[error("packet exceeds a limit")]
    Long,
    /// A string is not printable text.
    #[error("packet holds text that is not printable")]
    Text,
    /// The packet is valid but not expected here, such as DATA sent to a server.
    #[error("packet is out of place")]
    Unexpected,
}

/// Error code (RFC 1350 §5 and RFC 2347 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// 0: see the message.
    NotDefined,
    /// 1
    FileNotFound,
    /// 2
    AccessViolation,
    /// 3
    DiskFull,
    /// 4
    IllegalOperation,
    /// 5
    UnknownTransfer,
    /// 6
    FileExists,
    /// 7
    NoSuchUser,
    /// 8: the client rejects the options. Firmware also ends a `tsize` probe with it.
    OptionsRefused,
    /// A number that no RFC defines.
    Other(u16),
}

impl ErrorCode {
    /// Returns the number on the wire.
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            Self::NotDefined => 0,
            Self::FileNotFound => 1,
            Self::AccessViolation => 2,
            Self::DiskFull => 3,
            Self::IllegalOperation => 4,
            Self::UnknownTransfer => 5,
            Self::FileExists => 6,
            Self::NoSuchUser => 7,
            Self::OptionsRefused => 8,
            Self::Other(number) => number,
        }
    }

    fn from_number(number: u16) -> Self {
        match number {
            0 => Self::NotDefined,
            1 => Self::FileNotFound,
            2 => Self::AccessViolation,
            3 => Self::DiskFull,
            4 => Self::IllegalOperation,
            5 => Self::UnknownTransfer,
            6 => Self::FileExists,
            7 => Self::NoSuchUser,
            8 => Self::OptionsRefused,
            other => Self::Other(other),
        }
    }
}

/// Request of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// File name as sent: printable, 1 to [`MAX_FILE_NAME_OCTETS`] octets. It may contain `..`, a leading `/` or backslashes; the
    /// caller decides which file it means.
    pub file: String,
    /// Transfer mode as sent, in any case (RFC 1350 §5).
    pub mode: String,
    /// Names and values of the options as sent, at most [`MAX_OPTIONS`].
    pub options: Vec<(String, String)>,
}

/// TFTP packet (RFC 1350 §5, RFC 2347 §2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<'p> {
    /// RRQ: the client wants to read a file.
    Read(Request),
    /// WRQ: the client wants to write a file.
    Write(Request),
    /// DATA: one block of the file.
    Data {
        /// Number of the block. The first one is 1; 0 follows 65535.
        block: u16,
        /// At most [`MAX_PAYLOAD_OCTETS`] octets.
        payload: Cow<'p, [u8]>,
    },
    /// ACK: all blocks up to this one were received. 0 acknowledges an OACK.
    Ack(u16),
    /// ERROR: the transfer is over. It is neither acknowledged nor repeated (RFC 1350 §7).
    Error {
        /// Error code.
        code: ErrorCode,
        /// Text for people: truncated, with unprintable characters replaced.
        message: String,
    },
    /// OACK: the options that the server accepts.
    OptionAck(Vec<(String, String)>),
}

impl<'p> Packet<'p> {
    /// Decodes a datagram.
    ///
    /// # Errors
    /// [`Malformed`] if it is not a TFTP packet. Drop it.
    pub fn decode(bytes: &'p [u8]) -> Result<Self, Malformed> {
        let (kind, rest) = number(bytes)?;
        match kind {
            READ => decode_request(rest).map(Self::Read),
            WRITE => decode_request(rest).map(Self::Write),
            DATA => {
                let (block, payload) = number(rest)?;
                if payload.len() > MAX_PAYLOAD_OCTETS {
                    return Err(Malformed::Long);
                }
                Ok(Self::Data { block, payload: Cow::Borrowed(payload) })
            }
            // Octets after the block number are ignored: some firmware pads ACKs to the minimum Ethernet frame.
            ACK => number(rest).map(|(block, _)| Self::Ack(block)),
            ERROR => number(rest)
                .map(|(code, text)| Self::Error { code: ErrorCode::from_number(code), message: message(text) }),
            OPTION_ACK => decode_options(rest).map(Self::OptionAck),
            other => Err(Malformed::Kind(other)),
        }
    }

    /// Encodes the packet. A string with a NUL is truncated there, so that it cannot forge a field.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Read(asked) => encode_request(&mut out, READ, asked),
            Self::Write(asked) => encode_request(&mut out, WRITE, asked),
            Self::Data { block, payload } => {
                out.reserve_exact(payload.len().saturating_add(4));
                put_numbers(&mut out, DATA, *block);
                out.extend_from_slice(payload);
            }
            Self::Ack(block) => put_numbers(&mut out, ACK, *block),
            Self::Error { code, message } => {
                put_numbers(&mut out, ERROR, code.number());
                put_text(&mut out, message);
            }
            Self::OptionAck(options) => {
                out.extend_from_slice(&OPTION_ACK.to_be_bytes());
                put_options(&mut out, options);
            }
        }
        out
    }
}

/// Reason why a request is rejected. Send the ERROR packet of [`encode`](Refusal::encode) once; there is no transfer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is a write request.
    #[error("writing is not possible here")]
    Write,
    /// The mode is not `octet`.
    #[error("only mode octet is served")]
    Mode,
    /// The request is malformed.
    #[error("the request cannot be read")]
    Unreadable,
    /// The file does not exist, or the client is not allowed to read it.
    #[error("no such file")]
    NotFound,
    /// The server has too many transfers. The client may try again.
    #[error("too many transfers, ask again")]
    Busy,
}

impl Refusal {
    /// Returns the error code (RFC 1350 §5).
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Write => ErrorCode::AccessViolation,
            Self::Mode | Self::Unreadable => ErrorCode::IllegalOperation,
            Self::NotFound => ErrorCode::FileNotFound,
            Self::Busy => ErrorCode::NotDefined,
        }
    }

    /// Encodes the ERROR packet to send.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        Packet::Error { code: self.code(), message: self.to_string() }.encode()
    }
}

/// Parses a datagram that was received at the well-known port.
///
/// # Errors
/// `Some(refusal)` if the request cannot be served: send its ERROR packet once. `None` if the datagram is not a request: send
/// nothing, because two servers that reply to stray ERRORs with ERRORs would never stop.
pub fn request(bytes: &[u8]) -> Result<Request, Option<Refusal>> {
    if bytes.len() > MAX_REQUEST_OCTETS {
        return Err(None);
    }
    match Packet::decode(bytes) {
        Ok(Packet::Read(asked)) if asked.mode.eq_ignore_ascii_case("octet") => Ok(asked),
        Ok(Packet::Read(_)) => Err(Some(Refusal::Mode)),
        Ok(Packet::Write(_)) => Err(Some(Refusal::Write)),
        Ok(Packet::Data { .. } | Packet::Ack(_) | Packet::Error { .. } | Packet::OptionAck(_)) => Err(None),
        Err(_) if bytes.starts_with(&READ.to_be_bytes()) => Err(Some(Refusal::Unreadable)),
        Err(_) if bytes.starts_with(&WRITE.to_be_bytes()) => Err(Some(Refusal::Write)),
        Err(_) => Err(None),
    }
}

fn number(bytes: &[u8]) -> Result<(u16, &[u8]), Malformed> {
    let (head, rest) = bytes.split_first_chunk::<2>().ok_or(Malformed::Short)?;
    Ok((u16::from_be_bytes(*head), rest))
}

/// Splits off a string that ends with a NUL.
fn text(bytes: &[u8]) -> Result<(&str, &[u8]), Malformed> {
    let end = bytes.iter().position(|octet| *octet == 0).ok_or(Malformed::Short)?;
    let (head, rest) = bytes.split_at_checked(end).ok_or(Malformed::Short)?;
    Ok((printable(head)?, rest.get(1..).unwrap_or_default()))
}

fn printable(octets: &[u8]) -> Result<&str, Malformed> {
    if octets.len() > MAX_FILE_NAME_OCTETS {
        return Err(Malformed::Long);
    }
    let text = std::str::from_utf8(octets).map_err(|_| Malformed::Text)?;
    if text.chars().any(char::is_control) {
        return Err(Malformed::Text);
    }
    Ok(text)
}

fn decode_request(bytes: &[u8]) -> Result<Request, Malformed> {
    let (file, rest) = file_name(bytes)?;
    if file.is_empty() {
        return Err(Malformed::Text);
    }
    let (mode, rest) = text(rest)?;
    Ok(Request { file: file.to_owned(), mode: mode.to_owned(), options: decode_options(rest)? })
}

/// A file name up to its NUL, and what follows.
///
/// Firmware copies it from DHCP's option 67. If that ends in a NUL, as dnsmasq's does, the request holds a second one
/// where the mode would be empty. Firmware that reads one octet too many copies the end of the options, 0xFF, which is no
/// character of UTF-8 (github.com/netbootxyz/netboot.xyz/issues/1198). Neither is part of the name.
fn file_name(bytes: &[u8]) -> Result<(&str, &[u8]), Malformed> {
    let end = bytes.iter().position(|octet| *octet == 0).ok_or(Malformed::Short)?;
    let (name, mut rest) = bytes.split_at_checked(end).ok_or(Malformed::Short)?;
    while let [0, after @ ..] = rest {
        rest = after;
    }
    let length = name.iter().rposition(|octet| *octet != OPTIONS_END).map_or(0, |last| last.saturating_add(1));
    Ok((printable(name.get(..length).unwrap_or_default())?, rest))
}

fn decode_options(mut bytes: &[u8]) -> Result<Vec<(String, String)>, Malformed> {
    let mut options = Vec::new();
    // A name without a NUL ends the list: some firmware pads its requests with NULs or arbitrary octets.
    while let Ok((name, rest)) = text(bytes) {
        if name.is_empty() {
            break;
        }
        let (value, rest) = text(rest)?;
        if options.len() == MAX_OPTIONS {
            return Err(Malformed::Long);
        }
        options.push((name.to_owned(), value.to_owned()));
        bytes = rest;
    }
    Ok(options)
}

fn message(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|octet| *octet == 0).unwrap_or(bytes.len()).min(MAX_MESSAGE_OCTETS);
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default())
        .chars()
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .collect()
}

fn put_numbers(out: &mut Vec<u8>, kind: u16, value: u16) {
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend(text.bytes().take_while(|octet| *octet != 0));
    out.push(0);
}

fn put_options(out: &mut Vec<u8>, options: &[(String, String)]) {
    for (name, value) in options {
        put_text(out, name);
        put_text(out, value);
    }
}

fn encode_request(out: &mut Vec<u8>, kind: u16, asked: &Request) {
    out.extend_from_slice(&kind.to_be_bytes());
    put_text(out, &asked.file);
    put_text(out, &asked.mode);
    put_options(out, &asked.options);
}

#[cfg(test)]
mod tests;
