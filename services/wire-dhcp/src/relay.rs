//! Relays, and what they say in option 82 (RFC 3046).
#![deny(clippy::arithmetic_side_effects)]

use std::net::Ipv4Addr;

use crate::malformed::Malformed;
use crate::options::{Options, code};

/// Sub-option of option 82: an address of the client's link (RFC 3527).
const LINK_SELECTION: u8 = 5;
/// Sub-option of option 82: the server identifier that the client is to see (RFC 5107).
const SERVER_IDENTIFIER_OVERRIDE: u8 = 11;

/// Relay that forwarded a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relay {
    /// Address of the relay (`giaddr`), to which the reply goes.
    pub address: Ipv4Addr,
    /// An address of the client's link: the relay's own address, unless it names another one (RFC 3527), or the client
    /// does (RFC 3011).
    pub link: Ipv4Addr,
    /// Server identifier that the reply must have, so that the client renews its lease through the relay (RFC 5107).
    pub server_identifier: Option<Ipv4Addr>,
}

impl Relay {
    /// Reads `giaddr` and option 82. Returns `None` if the message came without a relay. A switch that snoops on DHCP adds
    /// option 82 and leaves `giaddr` empty: its option is repeated, but does not change the reply.
    pub(crate) fn of(giaddr: Ipv4Addr, options: &Options) -> Result<Option<Self>, Malformed> {
        if giaddr.is_unspecified() {
            return Ok(None);
        }
        // A reply to such an address would go to the own network.
        if !is_unicast(giaddr) {
            return Err(Malformed::Relay(giaddr));
        }
        let information = options.get(code::RELAY).unwrap_or_default();
        let named = |wanted| sub_option(information, wanted).map(Ipv4Addr::from).filter(|address| is_unicast(*address));
        let link = named(LINK_SELECTION).or_else(|| selected_subnet(options)).unwrap_or(giaddr);
        Ok(Some(Self { address: giaddr, link, server_identifier: named(SERVER_IDENTIFIER_OVERRIDE) }))
    }
}

/// Returns the subnet in which the client asks for an address (RFC 3011 §2). The link that a relay names has precedence
/// (RFC 3527 §2).
pub(crate) fn selected_subnet(options: &Options) -> Option<Ipv4Addr> {
    options.address(code::SUBNET_SELECTION).filter(|subnet| is_unicast(*subnet))
}

fn is_unicast(address: Ipv4Addr) -> bool {
    !(address.is_unspecified() || address.is_broadcast() || address.is_multicast() || address.is_loopback())
}

/// Returns a sub-option of four octets. Sub-options have neither pads nor an end (RFC 3046 §2.0), so that their codes 0 and
/// 255 are like any other.
fn sub_option(mut information: &[u8], wanted: u8) -> Option<[u8; 4]> {
    while let [code, length, rest @ ..] = information {
        let (value, rest) = rest.split_at_checked(usize::from(*length))?;
        if *code == wanted {
            return value.try_into().ok();
        }
        information = rest;
    }
    None
}
