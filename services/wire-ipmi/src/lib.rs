//! IPMI 2.0 over RMCP+, both halves, without sockets: the remote console's [`Session`], and a BMC's
//! [`Responder`](responder::Responder) for simulated machines.
//!
//! A driver owns the socket and the clock. It sends what [`Session::poll`] gives it, brings what arrives to
//! [`Session::receive`], and calls [`Session::expire`] at [`Session::deadline`]. One socket can carry many sessions:
//! [`console_session_id`] says whose a datagram is.
//!
//! # Fencing
//!
//! A request says whether it [mutates](Effect::Mutates). Each of its datagrams, retransmissions too, then comes as
//! [`Guard::Mutating`], so that the driver asks for a permit every time; without one it drops the datagram and calls
//! [`Session::cancel`], after which nothing of the request is handed out. [`Output::Opened`] brings the BMC's session
//! id, for the journal, before anything that mutates can be sent; [`app::close_session`] closes another session by it.
//!
//! # What is implemented
//!
//! *Intelligent Platform Management Interface Specification, second generation, v2.0, revision 1.1*: presence ping
//! (§13.2.3), RMCP+ Open Session and RAKP 1 to 4 (§13.17 to §13.24), key derivation (§13.31, §13.32), cipher suites 3
//! and 17 (§22.15, Table 22-20), session headers (§13.6), sequence numbers (§6.12), the session commands (§22.13 to
//! §22.20), chassis commands (§28.2 to §28.5, §28.12, §28.13), *Get Device ID* (§20.1).
//!
//! # What is left out
//!
//! * Sessions of IPMI 1.5, and all suites that leave something out: nothing weaker than suite 3 is ever spoken.
//! * *Get Channel Authentication Capabilities* is answered by the responder and never asked by the session: its answer
//!   is not authenticated, so nothing may depend on it, and it names no session. ipmitool and others ask it first;
//!   `ipmi_sim` opens a session without.
//! * Serial over LAN, sensors, the event log, FRU and OEM payloads: not yet.
//! * A suite that the BMC's answer downgrades is not taken; a forged *refusal* of suite 17 does bring us to suite 3,
//!   because a refusal is not authenticated. Use [`Suites::Only`] where that matters.
//!
//! ipmi-rs-core's types are not used: it has none for chassis, boot options or the handshake as pure values, and its
//! record parsers index what comes off the wire (it was seen to panic on malformed SDRs).
#![deny(clippy::indexing_slicing)]

mod cipher;
mod malformed;
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
pub use message::{Command, Completion, MAX_DATA, netfn};
pub use rakp::{MAX_NAME, Privilege, Status};
pub use rmcp::{MAX_DATAGRAM, console_session_id, presence_ping};
pub use secret::{MAX_SECRET, Secret};
pub use session::config::{Config, Effect, InvalidLogin, MAX_PIPELINE, Retry, Suites};
pub use session::output::{Guard, Output, Reason, Refused, Ticket, Withdrawn};
pub use session::{MAX_QUEUE, Session};
