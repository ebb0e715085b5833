//! Ownership of nodes, claims and departed members (OWNERSHIP.md), as functions of an observer's observations.
//!
//! * [`assign`]: the ring and its owner by rendezvous hash.
//! * [`handover`]: when a claim may pass on, what the leader writes next, and when a member counts as gone.
//! * [`fence`]: the constants and the arithmetic of arming and fencing.
//! * [`bmc_takeover`]: one owner's takeover at a BMC, from claim to send, as a session without I/O.

pub mod assign;
pub mod bmc_takeover;
pub mod fence;
pub mod handover;

pub use assign::Ring;
