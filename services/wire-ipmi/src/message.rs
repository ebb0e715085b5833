//! IPMI messages over LAN (IPMI 2.0 Table 13-8, "IPMI LAN Message"; §13.8).

#![deny(clippy::arithmetic_side_effects)]

use crate::Malformed;
use crate::read::Reader;

/// Address of the BMC.
const BMC: u8 = 0x20;
/// Software id of a remote console.
const CONSOLE: u8 = 0x81;
/// Maximum size of a command's data, in octets. It keeps a datagram far below [`crate::MAX_DATAGRAM`].
pub const MAX_DATA: usize = 255;

/// Network functions (IPMI 2.0 Table 5-1): families of commands. Those of requests are even.
pub mod netfn {
    /// Power, boot options.
    pub const CHASSIS: u8 = 0x00;
    /// BMC and sessions.
    pub const APP: u8 = 0x06;
}

/// Command without its envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Network function; even. See [`netfn`].
    pub netfn: u8,
    /// Number of the command within the family (IPMI 2.0 Appendix G).
    pub command: u8,
    /// At most [`MAX_DATA`] octets.
    pub data: Vec<u8>,
}

impl Command {
    /// Makes a command that this crate has no function for. A session refuses one with an odd network function, or with more
    /// than [`MAX_DATA`] octets.
    #[must_use]
    pub fn raw(netfn: u8, command: u8, data: impl Into<Vec<u8>>) -> Self {
        Self::new(netfn, command, data)
    }

    pub(crate) fn new(netfn: u8, command: u8, data: impl Into<Vec<u8>>) -> Self {
        Self { netfn, command, data: data.into() }
    }

    /// Encodes the message with its two checksums. `sequence` has six bits.
    pub(crate) fn encode(&self, sequence: u8) -> Vec<u8> {
        envelope(BMC, self.netfn << 2, CONSOLE, sequence << 2, self.command, &self.data)
    }
}

/// Completion code of a command (IPMI 2.0 Table 5-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion(pub u8);

impl Completion {
    /// Success.
    pub const OK: Self = Self(0x00);
    /// Busy; retry later.
    pub const BUSY: Self = Self(0xc0);
    /// Timeout while processing: it may have been carried out.
    pub const TIMEOUT: Self = Self(0xc3);
    /// Unknown command.
    pub const UNKNOWN_COMMAND: Self = Self(0xc1);
    /// Invalid length.
    pub const BAD_LENGTH: Self = Self(0xc7);
    /// Invalid value.
    pub const BAD_FIELD: Self = Self(0xcc);
    /// Insufficient privilege.
    pub const NO_PRIVILEGE: Self = Self(0xd4);
    /// Not possible in the present state, such as a reset of a machine that is off.
    pub const NOT_NOW: Self = Self(0xd5);
    /// *Close Session*: there is no session of that id (Table 22-24).
    pub const NO_SUCH_SESSION: Self = Self(0x87);

    /// Returns whether the command succeeded.
    #[must_use]
    pub fn is_ok(self) -> bool {
        self == Self::OK
    }
}

/// Message to a BMC.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) command: Command,
    /// Addresses and sequence number, which are swapped in the response.
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

    /// Encodes the response to this request.
    pub(crate) fn answer(&self, completion: Completion, data: &[u8]) -> Vec<u8> {
        let [from, lun, to, sequence] = self.from;
        let family = (self.command.netfn | 1) << 2 | lun;
        let body = [&[completion.0], data].concat();
        envelope(from, family, to, sequence, self.command.command, &body)
    }
}

/// Message from a BMC.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) netfn: u8,
    pub(crate) command: u8,
    pub(crate) sequence: u8,
    pub(crate) completion: Completion,
    pub(crate) data: Vec<u8>,
}

impl Response {
    /// Decodes a response. Checksums are ignored: the integrity check value is stronger, and some BMCs send responses with
    /// additional octets and wrong checksums (`ipmi_sim` after *Reset Watchdog Timer*).
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

/// Returns the two's complement of the sum (IPMI 2.0 §13.8).
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}
