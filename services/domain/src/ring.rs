//! Ownership of nodes, claims and departed members (OWNERSHIP.md), as functions of an observer's observations.
//!
//! * [`assign`]: the ring and its owner by rendezvous hash.
//! * [`handover`]: when a claim may change its holder, the next ring, and when a member counts as gone.
//! * [`fence`]: the constants and the arithmetic of arming and fencing.
//! * [`bmc_takeover`]: takeover of a BMC by a new owner, from claim to send, without I/O.

pub mod assign;
pub mod bmc_takeover;
pub mod fence;
pub mod handover;

pub use assign::Ring;
