//! Ironic's REST API v1, as its clients see it: what is a rule of the protocol, without a server, a node or a clock.
#![deny(clippy::indexing_slicing)]

pub mod error;
pub mod links;
pub mod version;
