//! IPMI 2.0 over RMCP+ without sockets: the [`Session`] of a remote console, and the
//! [`Responder`](responder::Responder) of a simulated BMC.
//!
//! A driver owns the socket and the clock. It sends the datagrams of [`Session::poll`], passes received ones to
//! [`Session::receive`], and calls [`Session::expire`] at [`Session::deadline`]. Several sessions can share a socket:
//! [`console_session_id`] returns the session of a datagram.
//!
//! # Fencing
//!
//! The caller declares whether a request [mutates](Effect::Mutates). Each datagram of such a request, including
//! retransmissions, is marked [`Guard::Mutating`], so that the driver requires a permit each time. Without a permit it drops
//! the datagram and calls [`Session::cancel`]; no further datagram of the request is sent. [`Output::Opened`] has the BMC's
//! session id for the journal, before any mutating datagram is sent; [`app::close_session`] closes another session by it.
//!
//! # Implemented
//!
//! *Intelligent Platform Management Interface Specification, second generation, v2.0, revision 1.1*: presence ping
//! (§13.2.3), RMCP+ Open Session and RAKP 1 to 4 (§13.17 to §13.24), key derivation (§13.31, §13.32), cipher suites 3
//! and 17 (§22.15, Table 22-20), session headers (§13.6), sequence numbers (§6.12), the session commands (§22.13 to
//! §22.20), chassis commands (§28.2 to §28.5, §28.12, §28.13), *Get Device ID*, *Cold Reset* and *Warm
//! Reset* (§20.1 to §20.3).
//!
//! # Not implemented
//!
//! * Sessions of IPMI 1.5, and cipher suites weaker than suite 3.
//! * *Get Channel Authentication Capabilities* is supported by the responder and never sent by the session, because
//!   the response is not authenticated. ipmitool and others send it first; BMCs such as `ipmi_sim` do not require it.
//! * Serial over LAN, sensors, the event log, FRU and OEM payloads.
//! * Protection from a downgrade to suite 3: a response with another suite than the requested one is rejected, but a forged
//!   *refusal* of suite 17, or the loss of the requests for it, leads to suite 3, because refusals are not authenticated and
//!   some BMCs do not answer what they do not know. [`Suites::Only`] prevents it.
//!
//! ipmi-rs-core is not used: it has no pure types for chassis, boot options or the handshake, and its parsers panic on
//! malformed records.
#![deny(clippy::indexing_slicing)]

mod cipher;
mod malformed;
mod meaning;
mod message;
mod rakp;
mod read;
mod rmcp;
mod secret;
mod session;
mod window;

pub mod app;
pub mod chassis;
pub mod responder;

pub use cipher::Suite;
pub use malformed::Malformed;
pub use meaning::Meaning;
pub use message::{Command, Completion, MAX_DATA, netfn};
pub use rakp::{MAX_NAME, Privilege, Status};
pub use rmcp::{MAX_DATAGRAM, console_session_id, presence_ping};
pub use secret::{MAX_SECRET, Secret};
pub use session::config::{Config, Effect, InvalidLogin, MAX_PIPELINE, Retry, Suites};
pub use session::output::{Guard, Output, Reason, Refused, Ticket, Withdrawn};
pub use session::{MAX_QUEUE, Session};
