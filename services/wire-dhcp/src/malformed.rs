//! Why a datagram is dropped, and the size above which it is.

use std::net::Ipv4Addr;

/// Maximum size of a datagram, in bytes: the payload of an Ethernet frame without the IP and UDP headers.
pub const MAX_MESSAGE: usize = 1472;

/// Reason to drop a datagram without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It ends before its fields do.
    #[error("message is truncated")]
    Short,
    /// It is longer than an Ethernet frame carries.
    #[error("message is too long")]
    Long,
    /// The magic cookie is missing.
    #[error("message has no magic cookie")]
    Magic,
    /// A BOOTREPLY came where a BOOTREQUEST was expected, or the reverse. A server that answers replies can be made to
    /// answer itself.
    #[error("message has the wrong direction")]
    Direction,
    /// The hardware is not Ethernet with 6 octets, or the address is a group address or all zero.
    #[error("hardware address is not that of an Ethernet card")]
    Hardware,
    /// Option 53 is missing or names no message of the expected direction.
    #[error("message type is missing or unknown")]
    Type,
    /// The relay's address cannot be sent to.
    #[error("relay address {0} is not a unicast address")]
    Relay(Ipv4Addr),
}
