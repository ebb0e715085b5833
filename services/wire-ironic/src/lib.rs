//! Ironic's REST API v1 as rules and tables: no server, no nodes, no clock.
//!
//! An API front end negotiates the [`version`], finds the [`route`], parses a [`query`], a [`patch`], a [`verb`] or a
//! request of the [`agent`], makes one call, and encodes the response by [`fields::view`] and [`links`]. Functions that
//! reject a request return the complete [`error`]: status, format and text.
//!
//! Implemented: microversions 1.1 to 1.115, as in the API reference and the service of release 39.0.0. Resources as tables
//! ([`fields::RESOURCES`]); lists with filters, paging and sorting; JSON Patch (RFC 6902 without `test`, `move` and `copy`,
//! RFC 6901 pointers with escapes from 98); the verbs of `states/provision` and `states/power` with their arguments;
//! masking of secrets; the protocol of ironic-python-agent. `golden/recorded.jsonl` has the responses of a real service to
//! five hundred requests. The tests compare each one with the tables: they predict it, [differ] on purpose, or lack the
//! facts to predict it. [`openapi`] generates a machine-readable description.
//!
//! Not implemented here: which verbs a state allows (the `domain` crate), authorization (the API front end), the available
//! drivers and interfaces (the service that has them), the evaluation of inspection rules, notifications, and the separate
//! API of ironic-inspector. Events have a path and a status, and no types.
//!
//! [differ]: difference::DIFFERENCES
#![deny(clippy::indexing_slicing)]

pub mod agent;
mod argument;
pub mod call;
pub mod difference;
pub mod documents;
pub mod error;
pub mod fields;
#[cfg(test)]
mod golden;
pub mod history;
pub mod limits;
pub mod links;
pub mod openapi;
pub mod page;
pub mod patch;
mod python;
pub mod query;
pub mod raid;
#[cfg(test)]
mod recorded;
pub mod route;
pub mod verb;
pub mod version;
