//! TFTP as boot firmware speaks it: one file read by one client, without sockets or clocks.
//!
//! [`request`] reads what arrives at port 69. A [`Transfer`] then sends one file to one client, a
//! [`Fetch`] is the other half, for simulated machines. Both follow the house contract: `receive`,
//! `expire`, `poll`, `deadline`; the driver owns the socket (one per transfer, connected to the
//! client, so that a foreign transfer identifier never reaches us, RFC 1350 §4).
//!
//! Implemented: RFC 1350 (read requests, mode `octet`), RFC 2347 (options), RFC 2348 (`blksize`),
//! RFC 2349 (`timeout`, `tsize`), RFC 7440 (`windowsize`), RFC 1123 §4.2.3.1 (no doubled packets).
//! Block numbers go on at 0 after 65535, as all firmware expects and no RFC says.
//!
//! Left out on purpose: write requests (nothing may be written to a boot server), mode `mail`
//! (obsolete, RFC 1350 §1) and mode `netascii` (boot files are binary, and firmware asks for `octet`).
//! Each is refused with an ERROR, never served half right.
#![deny(clippy::indexing_slicing)]

mod fetch;
mod options;
mod packet;
mod transfer;

pub use fetch::{Fetch, FetchEnd, Fetched};
pub use options::{Limits, NegotiatedOptions, RequestedOptions};
pub use packet::{
    ErrorCode, MAX_FILE_NAME, MAX_OPTIONS, MAX_PAYLOAD, MAX_REQUEST, Malformed, Packet, Refusal, Request, request,
};
pub use transfer::{End, Outcome, Output, Transfer};
