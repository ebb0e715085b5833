//! Ironic's REST API v1, as its clients see it: what is a rule of the protocol, without a server, a node or a clock.
#![deny(clippy::indexing_slicing)]

pub mod agent;
pub mod error;
pub mod fields;
#[cfg(test)]
mod golden;
pub mod limits;
pub mod links;
pub mod page;
pub mod patch;
pub mod path;
mod python;
pub mod query;
pub mod verb;
pub mod version;
