//! TFTP as boot firmware uses it, without sockets or clocks.
//!
//! [`request`] parses a datagram that was received at port 69. A [`Transfer`] then sends one file to one client, and
//! distinguishes a repeated request from a new one ([`FurtherRequest`]). [`Fetch`] is the client side, for simulated
//! machines. Both are driven by `receive`, `expire`, `poll` and `deadline`. The driver owns
//! the socket: one per transfer, connected to the client, so that packets with another transfer identifier are never
//! received (RFC 1350 §4).
//!
//! Implemented: RFC 1350 (read requests, mode `octet`; §4: a duplicated request), RFC 2347 (options), RFC 2348 (`blksize`),
//! RFC 2349 (`timeout`, `tsize`), RFC 7440 (`windowsize`), RFC 1123 §4.2.3.1 (no doubled packets).
//! Block numbers wrap from 65535 to 0, which no RFC defines but all firmware expects.
//!
//! Not supported, and rejected with an ERROR: write requests (a boot server is read-only), mode `mail` (obsolete, RFC 1350
//! §1) and mode `netascii` (boot files are binary, and firmware requests `octet`).
#![deny(clippy::indexing_slicing)]

mod fetch;
mod options;
mod packet;
mod transfer;

pub use fetch::{Fetch, FetchEnd, Fetched};
pub use options::{Limits, NegotiatedOptions, RequestedOptions};
pub use packet::{
    ErrorCode, MAX_FILE_NAME_OCTETS, MAX_OPTIONS, MAX_PAYLOAD_OCTETS, MAX_REQUEST_OCTETS, Malformed, Packet, Refusal,
    Request, request,
};
pub use transfer::{End, FurtherRequest, Outcome, Output, Transfer};
