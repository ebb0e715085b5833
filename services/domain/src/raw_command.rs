//! Raw IPMI commands, written as for `ipmitool raw`. Pure.

use std::fmt;

use crate::{power::PowerTarget, secret::Secret, time::Timestamp};

/// Maximum size of the data, in octets: `ipmitool raw` takes 256 words, two of which are no data.
pub const MAX_DATA: usize = 254;
/// Maximum length of a text, in octets. It has room for [`MAX_DATA`] words of five octets and much space between them.
const MAX_TEXT: usize = 4096;
/// Network functions have six bits, and those of requests are even (IPMI 2.0 §5.1).
const MAX_NETFN: u8 = 0x3e;
/// The names of network functions that `ipmitool raw` knows (IPMI 2.0 Table 5-1).
const NAMES: [(&str, u8); 7] = [
    ("chassis", 0x00),
    ("bridge", 0x02),
    ("sensorevent", 0x04),
    ("application", 0x06),
    ("firmware", 0x08),
    ("storage", 0x0a),
    ("transport", 0x0c),
];

/// A raw IPMI command. Its data may be a password (*Set User Password*, IPMI 2.0 §22.30), so it is a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawCommand {
    netfn: u8,
    command: u8,
    data: Secret,
}

/// What a client requests of a node's BMC outside an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BmcRequest {
    /// The target.
    pub target: PowerTarget,
    /// The data of a raw command.
    pub data: Option<Secret>,
}

impl BmcRequest {
    /// Returns the request as it is accepted now: see [`PowerTarget::accepted`].
    #[must_use]
    pub fn accepted(self, now: Timestamp) -> Self {
        Self { target: self.target.accepted(now), ..self }
    }
}

impl From<PowerTarget> for BmcRequest {
    fn from(target: PowerTarget) -> Self {
        Self { target, data: None }
    }
}

impl From<RawCommand> for BmcRequest {
    fn from(raw: RawCommand) -> Self {
        Self { target: raw.target(), data: Some(raw.data) }
    }
}

/// A part of a raw command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The network function.
    Netfn,
    /// The number of the command.
    Command,
    /// An octet of the data, counted from 1.
    Data(usize),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Netfn => f.write_str("word 1, the network function,"),
            Self::Command => f.write_str("word 2, the number of the command,"),
            Self::Data(number) => write!(f, "word {}, octet {number} of the data,", number.saturating_add(2)),
        }
    }
}

/// Reason why something is not a raw command. It names a word by its place and does not quote it, because the word may be a
/// part of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRawCommand {
    /// There are fewer than two words.
    #[error("it has {words} words and needs at least two: the network function and the number of the command")]
    Incomplete {
        /// Number of words.
        words: usize,
    },
    /// A word is not an octet.
    #[error("{0} is not a number from 0 to 255, written as 0x1f, 037 or 31")]
    NotOctet(Part),
    /// The network function is not that of a request.
    #[error("word 1 is {0:#04x}: the network function of a request is even and at most {MAX_NETFN:#04x}")]
    Netfn(u32),
    /// The number of the command does not fit into an octet.
    #[error("word 2, the number of the command, is {0} and must be at most 255")]
    Command(u32),
    /// There is too much data.
    #[error("it has {octets} octets of data and may have at most {MAX_DATA}")]
    TooLong {
        /// Number of octets.
        octets: usize,
    },
    /// The text is too long to be a command.
    #[error("it has more than {MAX_TEXT} characters")]
    LongText,
}

impl RawCommand {
    /// Makes a command of its parts.
    ///
    /// # Errors
    /// [`InvalidRawCommand::Netfn`], [`InvalidRawCommand::Command`], [`InvalidRawCommand::TooLong`]
    pub fn new(netfn: u32, command: u32, data: Secret) -> Result<Self, InvalidRawCommand> {
        let is_request = |netfn: &u8| *netfn <= MAX_NETFN && netfn.is_multiple_of(2);
        let octet = u8::try_from(netfn).ok().filter(is_request).ok_or(InvalidRawCommand::Netfn(netfn))?;
        let command = u8::try_from(command).map_err(|_| InvalidRawCommand::Command(command))?;
        let octets = data.expose().len();
        if octets > MAX_DATA {
            return Err(InvalidRawCommand::TooLong { octets });
        }
        Ok(Self { netfn: octet, command, data })
    }

    /// Reads a command as `ipmitool raw` does: the network function by its number or name, the number of the command and
    /// the data, in words that are separated by white space. `0x` means base 16, `0` base 8, and anything else base 10.
    ///
    /// # Errors
    /// [`InvalidRawCommand`]
    pub fn parse(text: &str) -> Result<Self, InvalidRawCommand> {
        if text.len() > MAX_TEXT {
            return Err(InvalidRawCommand::LongText);
        }
        let mut words = text.split_ascii_whitespace();
        let (Some(netfn), Some(command)) = (words.next(), words.next()) else {
            return Err(InvalidRawCommand::Incomplete { words: text.split_ascii_whitespace().count() });
        };
        let named = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(netfn));
        let netfn = named.map_or_else(|| octet(Part::Netfn, netfn), |(_, number)| Ok(*number))?;
        let command = octet(Part::Command, command)?;
        let data: Result<Vec<u8>, _> =
            words.enumerate().map(|(at, word)| octet(Part::Data(at.saturating_add(1)), word)).collect();
        Self::new(netfn.into(), command.into(), Secret::new(data?))
    }

    /// Returns the network function.
    #[must_use]
    pub const fn netfn(&self) -> u8 {
        self.netfn
    }

    /// Returns the number of the command.
    #[must_use]
    pub const fn command(&self) -> u8 {
        self.command
    }

    /// Returns the data.
    #[must_use]
    pub const fn data(&self) -> &Secret {
        &self.data
    }

    /// Returns the target of an instruction that sends the command.
    #[must_use]
    pub const fn target(&self) -> PowerTarget {
        PowerTarget::RawCommand { netfn: self.netfn, command: self.command, by: None }
    }
}

/// Reads an octet, in the notation of C (`strtol` with base 0), without a sign.
fn octet(part: Part, word: &str) -> Result<u8, InvalidRawCommand> {
    let (digits, base) = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if word.len() > 1 && word.starts_with('0') => (word, 8),
        None => (word, 10),
    };
    let is_number = digits.chars().all(|digit| digit.is_digit(base));
    u8::from_str_radix(digits, base).ok().filter(|_| is_number).ok_or(InvalidRawCommand::NotOctet(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_read_as_ipmitool_reads_it() {
        // The text, and network function, command and data; ipmitool's `ipmi_raw_main` and `str2uchar`.
        type Row = (&'static str, (u8, u8, &'static [u8]));
        let table: [Row; 12] = [
            ("0x00 0x01", (0, 1, &[])),
            ("0x06 0x02", (6, 2, &[])),
            ("6 1", (6, 1, &[])),
            ("0X0a 0X3B 0xFF", (0x0a, 0x3b, &[0xff])),
            ("010 017 0377", (8, 15, &[255])),
            ("0 0 0", (0, 0, &[0])),
            ("Chassis 0x04 15", (0, 4, &[15])),
            ("application 0x01", (6, 1, &[])),
            ("TRANSPORT 2 1 3 0 0", (0x0c, 2, &[1, 3, 0, 0])),
            ("0x30 0x70 0x66 0x01 0x00 0x32", (0x30, 0x70, &[0x66, 1, 0, 0x32])),
            ("  0x00\t0x01\n ", (0, 1, &[])),
            ("0x0006 0x0001", (6, 1, &[])),
        ];
        for (text, (netfn, command, data)) in table {
            let read = RawCommand::parse(text).unwrap();
            assert_eq!((read.netfn(), read.command(), read.data().expose()), (netfn, command, data), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_command_is_refused_with_the_place_of_the_word() {
        use InvalidRawCommand::{Command, Incomplete, LongText, Netfn, NotOctet, TooLong};
        let many = |octets| format!("0x00 0x01{}", " 0".repeat(octets));
        let table: Vec<(String, InvalidRawCommand)> = vec![
            (String::new(), Incomplete { words: 0 }),
            ("0x06".to_owned(), Incomplete { words: 1 }),
            ("0x".to_owned() + " 1", NotOctet(Part::Netfn)),
            ("lan 1".to_owned(), NotOctet(Part::Netfn)),
            ("0x06 0x100".to_owned(), NotOctet(Part::Command)),
            ("6 256".to_owned(), NotOctet(Part::Command)),
            ("6 -1".to_owned(), NotOctet(Part::Command)),
            ("6 +1".to_owned(), NotOctet(Part::Command)),
            ("6 0x+1".to_owned(), NotOctet(Part::Command)),
            ("6 1 hunter2".to_owned(), NotOctet(Part::Data(1))),
            ("6 1 0 08".to_owned(), NotOctet(Part::Data(2))),
            ("6 1,2".to_owned(), NotOctet(Part::Command)),
            ("6 1 \u{661}".to_owned(), NotOctet(Part::Data(1))),
            ("7 1".to_owned(), Netfn(7)),
            ("0x40 1".to_owned(), Netfn(0x40)),
            (many(MAX_DATA + 1), TooLong { octets: 255 }),
            ("0".repeat(MAX_TEXT + 1), LongText),
        ];
        for (text, right) in table {
            assert_eq!(RawCommand::parse(&text).unwrap_err(), right, "{text:?}");
        }
        assert_eq!(RawCommand::parse(&many(MAX_DATA)).unwrap().data().expose().len(), MAX_DATA);
        let data = || Secret::new(Vec::new());
        assert_eq!(RawCommand::new(300, 1, data()).unwrap_err(), Netfn(300));
        assert_eq!(RawCommand::new(6, 256, data()).unwrap_err(), Command(256));
    }

    #[test]
    fn neither_a_command_nor_the_reason_of_a_refusal_shows_data() {
        let password = RawCommand::parse("0x06 0x47 0x02 0x02 0x68 0x75 0x6e 0x74").unwrap();
        let shown = format!("{password:?} {:?}", password.target());
        assert!(!shown.contains("104") && !shown.contains("0x68") && shown.contains("71"), "{shown}");
        let refused = RawCommand::parse("0x06 0x47 0x02 0x02 hunter2").unwrap_err().to_string();
        assert_eq!(refused, "word 5, octet 3 of the data, is not a number from 0 to 255, written as 0x1f, 037 or 31");
    }
}
