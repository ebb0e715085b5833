//! DHCPv4 for machines that boot from the network: who asks, and what it is answered.
//!
//! [`Request::decode`] reads a datagram that came to port 67 and says who sent it ([`Client`]). [`answer()`] is one pure
//! function from that request and a [`Reservation`] to a [`Reply`]: bytes, and where to send them. [`SimulatedClient`] and
//! [`ServerReply`] are the other half, for simulated machines. There is no session: DHCP keeps its state in the client.
//!
//! Addresses are reserved for a known machine beforehand and never taken from a pool, so nothing is stored
//! between OFFER and ACK, and any replica of a rack gives the same answer.
//!
//! Implemented: RFC 2131 §4.1 (where a reply goes), §4.3.1 to §4.3.5 (each message), RFC 2132 (options), RFC 3004 (user
//! class), RFC 3046 §2.2 (option 82 is given back), RFC 3396 (long options), RFC 4578 and PXE 2.1 §2.2 (architecture,
//! machine identifier, discovery control), RFC 6842 (client identifier is given back), UEFI 2.10 §24.7 (HTTP boot).
//!
//! Left out on purpose: plain BOOTP without a message type (no boot firmware of this century sends it), option
//! overload (RFC 2131 §4.1: neither do clients use it nor do our replies need it), address pools, leasequery,
//! rapid commit, boot-server discovery at port 4011, and hardware that is not Ethernet.
//!
//! dhcproto writes the fixed header and the single options. It is not given whole messages, because it stops
//! silently at a broken option, keeps one architecture only, panics on a hardware address length above 16 and on
//! a boot file name above 128 octets, and sorts the options by code.
#![deny(clippy::indexing_slicing)]

mod client;
mod malformed;
mod message;
mod options;
mod reply;
mod reservation;
mod simulated_client;

pub use client::{Client, Machine, Request, Verb};
pub use malformed::{MAX_MESSAGE, Malformed};
pub use message::Mac;
pub use reply::{Destination, Kind, Replica, Reply, answer};
pub use reservation::{Boot, BootFile, InvalidBootFile, Reservation};
pub use simulated_client::{ServerReply, SimulatedClient};
