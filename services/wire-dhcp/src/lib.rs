//! DHCPv4 for machines that boot from the network, as pure code.
//!
//! [`Request::decode`] parses a datagram that was received at port 67 and identifies its [`Client`]. [`answer()`] is a pure
//! function from that request and a [`Reservation`] to a [`Reply`]: bytes and their destination. [`SimulatedClient`] and
//! [`ServerReply`] are the client side, for simulated machines. There is no session: DHCP keeps its state in the client.
//!
//! Addresses are reserved for known machines in advance and never taken from a pool, so no state is kept between OFFER and
//! ACK, and all replicas of a rack send the same reply.
//!
//! Implemented: RFC 2131 §4.1 (destination of a reply, option overload in requests), §4.3.1 to §4.3.5 (messages), RFC 2132
//! (options), RFC 3004 (user class), RFC 3046 §2.2 (option 82 is repeated), RFC 3396 (long options), RFC 3527 (link
//! selection), RFC 4390 (InfiniBand), RFC 4578 and PXE 2.1 §2.2 (architecture, machine identifier, discovery control), RFC
//! 5107 (server identifier override), RFC 6842 (client identifier is repeated), UEFI 2.10 §24.7 (HTTP boot).
//!
//! Not implemented: plain BOOTP without a message type (no current boot firmware sends it), option overload in replies (they
//! do not need it), address pools, leasequery, rapid commit, boot-server discovery at port 4011, and hardware other than
//! Ethernet and InfiniBand.
//!
//! dhcproto encodes the fixed header and single options. It is not used for whole messages, because it stops silently at a
//! malformed option, keeps only one architecture, panics on a hardware address length above 16 and on a boot file name above
//! 128 octets, and sorts the options by code.
#![deny(clippy::indexing_slicing)]

mod client;
mod hardware;
mod malformed;
mod message;
mod options;
mod relay;
mod reply;
mod reservation;
mod simulated_client;

pub use client::{Architecture, Client, MessageType, Request};
pub use hardware::{Hardware, InfinibandAddress, Mac};
pub use malformed::{MAX_MESSAGE, Malformed};
pub use relay::Relay;
pub use reply::{Destination, Kind, NoReply, Replica, Reply, answer};
pub use reservation::{Boot, BootFile, InvalidBootFile, Reservation};
pub use simulated_client::{ServerReply, SimulatedClient};
