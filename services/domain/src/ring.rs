//! Who owns a node, who may claim it, who is gone (OWNERSHIP.md), as functions of what an observer has seen.
//!
//! * [`assign`]: the ring and its owner by rendezvous hash.
//! * [`handover`]: when a claim may pass on, what the leader writes next, when somebody counts as gone.
//! * [`fence`]: the constants and the arithmetic of arming and fencing.
//! * [`bmc_takeover`]: one owner's takeover at a BMC, from claim to send, as a session without I/O.

pub mod assign;
pub mod bmc_takeover;
pub mod fence;
pub mod handover;

pub use assign::Ring;
