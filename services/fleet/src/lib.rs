//! Use cases about the hosts of a datacenter, the tokens with which they join, and its racks as a whole.
//!
//! | module | content |
//! |---|---|
//! | [`survey`] | what the store says of hosts, racks and running services, read at once |
//! | [`host_state`] | the state of a host, computed from a survey; pure |
//! | [`checks`] | whether a host may be drained or removed, and a rack deleted; pure |
//! | [`hosts`], [`tokens`], [`racks`] | the use cases |
//! | [`status`] | what is wrong in the datacenter, and what to do about it; pure |

pub mod checks;
mod error;
pub mod host_state;
pub mod hosts;
pub mod racks;
pub mod status;
pub mod survey;
pub mod tokens;

pub use error::{Error, OnlyHere};
pub use survey::Survey;
