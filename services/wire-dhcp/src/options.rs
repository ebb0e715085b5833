//! Options as codes and octets, in the order on the wire.
#![deny(clippy::arithmetic_side_effects)]

use std::net::Ipv4Addr;

use dhcproto::v4::{OptionCode, encode_long_opt_bytes};
use dhcproto::{Encoder, error::EncodeError};

use crate::malformed::Malformed;

/// Codes of the options that this crate uses (RFC 2132; others as noted).
pub(crate) mod code {
    pub(crate) const NETMASK: u8 = 1;
    pub(crate) const ROUTER: u8 = 3;
    pub(crate) const DNS: u8 = 6;
    pub(crate) const HOST_NAME: u8 = 12;
    pub(crate) const BROADCAST_ADDRESS: u8 = 28;
    pub(crate) const VENDOR: u8 = 43;
    pub(crate) const REQUESTED_ADDRESS: u8 = 50;
    pub(crate) const LEASE_TIME: u8 = 51;
    pub(crate) const OVERLOAD: u8 = 52;
    pub(crate) const MESSAGE_TYPE: u8 = 53;
    pub(crate) const SERVER_IDENTIFIER: u8 = 54;
    pub(crate) const PARAMETER_LIST: u8 = 55;
    pub(crate) const MESSAGE: u8 = 56;
    pub(crate) const MAX_SIZE: u8 = 57;
    pub(crate) const RENEWAL_TIME: u8 = 58;
    pub(crate) const REBINDING_TIME: u8 = 59;
    pub(crate) const VENDOR_CLASS: u8 = 60;
    pub(crate) const CLIENT_IDENTIFIER: u8 = 61;
    pub(crate) const TFTP_SERVER: u8 = 66;
    pub(crate) const BOOT_FILE: u8 = 67;
    /// RFC 3004.
    pub(crate) const USER_CLASS: u8 = 77;
    /// RFC 3046.
    pub(crate) const RELAY: u8 = 82;
    /// RFC 4578 §2.1.
    pub(crate) const ARCHITECTURE: u8 = 93;
    /// RFC 4578 §2.2.
    pub(crate) const INTERFACE: u8 = 94;
    /// RFC 4578 §2.3.
    pub(crate) const MACHINE_IDENTIFIER: u8 = 97;
    /// RFC 3011.
    pub(crate) const SUBNET_SELECTION: u8 = 118;
    /// Encapsulated options of Etherboot, gPXE and iPXE (ipxe.org/howto/dhcpd).
    pub(crate) const IPXE: u8 = 175;
}

/// Padding between options.
const PAD: u8 = 0;
/// End of the options.
const END: u8 = 255;

/// Options behind which a pad follows. Some firmware reads texts up to a NUL, beyond the length of their option, and
/// requested a boot file whose name ended in the code of the next option: `snponly.efia` (97), or in 0xFF
/// (github.com/netbootxyz/netboot.xyz/issues/1198). A NUL within the option, as dnsmasq sends, is suspected of misleading
/// other firmware (github.com/raspberrypi/firmware/issues/871), and RFC 2132 §2 advises against it. A pad is harmless.
const PADDED: [u8; 2] = [code::TFTP_SERVER, code::BOOT_FILE];

/// Maximum size of all options of a message, in octets.
const MAX_OPTIONS_OCTETS: usize = crate::malformed::MAX_MESSAGE;

/// Options of a message, or those encapsulated in an option. Each code occurs once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options(Vec<(u8, Vec<u8>)>);

impl Options {
    /// Parses options up to END or the end of the bytes. Parts of a split option are joined (RFC 3396 §7).
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_OPTIONS_OCTETS {
            return Err(Malformed::Long);
        }
        let mut options = Self::default();
        options.decode_more(bytes)?;
        Ok(options)
    }

    /// Parses further options of the same message, and joins them to those before (RFC 3396).
    pub(crate) fn decode_more(&mut self, mut bytes: &[u8]) -> Result<(), Malformed> {
        while let Some((&code, rest)) = bytes.split_first() {
            bytes = rest;
            if code == PAD {
                continue;
            }
            if code == END {
                break;
            }
            let (&length, rest) = rest.split_first().ok_or(Malformed::Short)?;
            let (value, rest) = rest.split_at_checked(length.into()).ok_or(Malformed::Short)?;
            self.join(code, value);
            bytes = rest;
        }
        Ok(())
    }

    fn join(&mut self, code: u8, value: &[u8]) {
        match self.0.iter_mut().find(|(known, _)| *known == code) {
            Some((_, octets)) => octets.extend_from_slice(value),
            None => self.0.push((code, value.to_vec())),
        }
    }

    /// Appends an option. The order of the options is their order on the wire.
    pub(crate) fn add(&mut self, code: u8, value: impl AsRef<[u8]>) -> &mut Self {
        self.join(code, value.as_ref());
        self
    }

    pub(crate) fn add_address(&mut self, code: u8, address: Ipv4Addr) -> &mut Self {
        self.add(code, address.octets())
    }

    pub(crate) fn add_number(&mut self, code: u8, number: u32) -> &mut Self {
        self.add(code, number.to_be_bytes())
    }

    pub(crate) fn remove(&mut self, code: u8) {
        self.0.retain(|(known, _)| *known != code);
    }

    pub(crate) fn get(&self, code: u8) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| *known == code).map(|(_, octets)| octets.as_slice())
    }

    /// Returns an option if it has exactly `N` octets.
    pub(crate) fn exact<const N: usize>(&self, code: u8) -> Option<[u8; N]> {
        self.get(code)?.try_into().ok()
    }

    pub(crate) fn address(&self, code: u8) -> Option<Ipv4Addr> {
        self.exact(code).map(|octets: [u8; 4]| octets.into())
    }

    pub(crate) fn number(&self, code: u8) -> Option<u32> {
        self.exact(code).map(u32::from_be_bytes)
    }

    /// Returns an option as text up to a NUL, which some clients append (RFC 2132 §2 forbids it and warns of it).
    pub(crate) fn text(&self, code: u8) -> Option<String> {
        let octets = self.get(code)?;
        let octets = octets.split(|octet| *octet == 0).next().unwrap_or_default();
        std::str::from_utf8(octets).ok().filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// Encodes the options in their order, and END. A pad follows some of them (RFC 2132 §3.1), see [`PADDED`].
    pub(crate) fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes);
        for (code, octets) in &self.0 {
            encode_long_opt_bytes(OptionCode::from(*code), octets, &mut encoder)?;
            if PADDED.contains(code) {
                encoder.write_u8(PAD)?;
            }
        }
        encoder.write_u8(END)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_option_is_joined_and_a_long_one_is_split() {
        let mut options = Options::default();
        options.add(code::BOOT_FILE, vec![b'x'; 300]).add(code::MESSAGE_TYPE, [1]);
        let bytes = options.encode().unwrap();
        assert_eq!(bytes.len(), 300 + 2 * 2 + 1 + 3 + 1, "a pad is behind the boot file");
        assert_eq!(Options::decode(&bytes).unwrap(), options);
    }

    #[test]
    fn a_truncated_option_is_malformed() {
        assert_eq!(Options::decode(&[53]), Err(Malformed::Short));
        assert_eq!(Options::decode(&[53, 2, 1]), Err(Malformed::Short));
    }

    #[test]
    fn octets_after_end_are_ignored() {
        assert_eq!(Options::decode(&[0, 0, 53, 1, 1, 255, 9, 9]).unwrap().0, [(53, vec![1])]);
    }

    #[test]
    fn options_stay_in_the_order_in_which_they_were_added() {
        let mut options = Options::default();
        options.add(53, [2]).add(1, [9]);
        assert_eq!(options.encode().unwrap(), [53, 1, 2, 1, 1, 9, 255]);
    }

    #[test]
    fn a_text_ends_at_its_nul() {
        let mut options = Options::default();
        options.add(67, b"file\0\xff").add(12, b"");
        assert_eq!(options.text(67).as_deref(), Some("file"));
        assert_eq!(options.text(12), None);
    }
}
