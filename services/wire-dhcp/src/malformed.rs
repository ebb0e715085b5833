//! Reasons to drop a datagram, and the maximum size of one.

use std::net::Ipv4Addr;

/// Maximum size of a datagram, in bytes: the payload of an Ethernet frame without the IP and UDP headers.
pub const MAX_MESSAGE: usize = 1472;

/// Reason to drop a datagram without a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It ends before its fields do.
    #[error("message is truncated")]
    Short,
    /// It is longer than an Ethernet frame.
    #[error("message is too long")]
    Long,
    /// The magic cookie is missing.
    #[error("message has no magic cookie")]
    Magic,
    /// It is a BOOTREPLY where a BOOTREQUEST is expected, or the reverse. A server that replies to replies could be made to
    /// reply to itself.
    #[error("message has the wrong direction")]
    Direction,
    /// The hardware is neither Ethernet with 6 octets nor InfiniBand, or the address is a group address or all zero.
    #[error("hardware address is not that of an Ethernet or InfiniBand card")]
    Hardware,
    /// An InfiniBand card sent neither an address nor a client identifier (RFC 4390 §2.1).
    #[error("InfiniBand message has no client identifier (option 61), which RFC 4390 requires")]
    ClientIdentifier,
    /// Option 53 is missing, or is not a message type of the expected direction.
    #[error("message type is missing or unknown")]
    Type,
    /// The address of the relay is not a unicast address.
    #[error("relay address {0} is not a unicast address")]
    Relay(Ipv4Addr),
}
