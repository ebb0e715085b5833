//! An IPMI message as it travels over LAN (IPMI 2.0 Table 13-8, "IPMI LAN Message"; §13.8).

#![deny(clippy::arithmetic_side_effects)]

use crate::Malformed;
use crate::read::Reader;

/// The BMC's address.
const BMC: u8 = 0x20;
/// A remote console's software id.
const CONSOLE: u8 = 0x81;
/// More than any command of ours needs; keeps a datagram far below [`crate::MAX_DATAGRAM`].
pub const MAX_DATA: usize = 255;

/// A network function (IPMI 2.0 Table 5-1): the family of a command. Requests are even.
pub mod netfn {
    /// Power, boot options.
    pub const CHASSIS: u8 = 0x00;
    /// The BMC itself and its sessions.
    pub const APP: u8 = 0x06;
}

/// A request without its envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The family, even; see [`netfn`].
    pub netfn: u8,
    /// The command's number within the family (IPMI 2.0 Appendix G).
    pub command: u8,
    /// At most [`MAX_DATA`] octets.
    pub data: Vec<u8>,
}

impl Command {
    pub(crate) fn new(netfn: u8, command: u8, data: impl Into<Vec<u8>>) -> Self {
        Self { netfn, command, data: data.into() }
    }

    /// The message with its two checksums. `sequence` has six bits.
    pub(crate) fn encode(&self, sequence: u8) -> Vec<u8> {
        envelope(BMC, self.netfn << 2, CONSOLE, sequence << 2, self.command, &self.data)
    }
}

/// How a command ended (IPMI 2.0 Table 5-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion(pub u8);

impl Completion {
    /// Done.
    pub const OK: Self = Self(0x00);
    /// Busy: ask again later.
    pub const BUSY: Self = Self(0xc0);
    /// The BMC does not know the command.
    pub const UNKNOWN_COMMAND: Self = Self(0xc1);
    /// Too few or too many octets.
    pub const BAD_LENGTH: Self = Self(0xc7);
    /// A value is not allowed.
    pub const BAD_FIELD: Self = Self(0xcc);
    /// The session's privilege does not suffice.
    pub const NO_PRIVILEGE: Self = Self(0xd4);
    /// Not possible in the present state, such as a reset of a machine that is off.
    pub const NOT_NOW: Self = Self(0xd5);
    /// *Close Session*: there is no session of that id (Table 22-24).
    pub const NO_SUCH_SESSION: Self = Self(0x87);

    /// Whether the command was carried out.
    #[must_use]
    pub fn is_ok(self) -> bool {
        self == Self::OK
    }
}

/// A message to a BMC.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) command: Command,
    /// The addresses and the sequence number, to be turned round in the answer.
    from: [u8; 4],
}

impl Request {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (check, text) = bytes.split_last().ok_or(Malformed::Truncated)?;
        let mut fields = Reader::new(text);
        let ([to, family, first], [from, sequence, command]) = (fields.array()?, fields.array()?);
        let body = text.get(3..).unwrap_or_default();
        if checksum(&[to, family]) != first || checksum(body) != *check {
            return Err(Malformed::Inconsistent);
        }
        let command = Command::new(family >> 2, command, fields.rest());
        Ok(Self { command, from: [from, family & 3, to, sequence] })
    }

    /// The answer to this request.
    pub(crate) fn answer(&self, completion: Completion, data: &[u8]) -> Vec<u8> {
        let [from, lun, to, sequence] = self.from;
        let family = (self.command.netfn | 1) << 2 | lun;
        let body = [&[completion.0], data].concat();
        envelope(from, family, to, sequence, self.command.command, &body)
    }
}

/// A message from a BMC.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) netfn: u8,
    pub(crate) command: u8,
    pub(crate) sequence: u8,
    pub(crate) completion: Completion,
    pub(crate) data: Vec<u8>,
}

impl Response {
    /// Does not look at the checksums: the integrity check value has said more, and a BMC that pads its answers
    /// with garbage (`ipmi_sim` after *Reset Watchdog Timer*) may well sum up something else.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (_check, text) = bytes.split_last().ok_or(Malformed::Truncated)?;
        let mut fields = Reader::new(text);
        let ([_, family, _, _], [sequence, command, completion]) = (fields.array()?, fields.array()?);
        Ok(Self {
            netfn: family >> 2,
            command,
            sequence: sequence >> 2,
            completion: Completion(completion),
            data: fields.rest().to_vec(),
        })
    }
}

fn envelope(to: u8, family: u8, from: u8, sequence: u8, command: u8, data: &[u8]) -> Vec<u8> {
    let mut body = vec![from, sequence, command];
    body.extend_from_slice(data);
    body.push(checksum(&body));
    let mut message = vec![to, family, checksum(&[to, family])];
    message.extend(body);
    message
}

/// Two's complement of the sum (IPMI 2.0 §13.8).
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}
