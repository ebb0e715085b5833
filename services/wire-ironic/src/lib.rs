//! Ironic's REST API v1, as its clients see it: what is a rule of the protocol, without a server, a node or a clock.
//!
//! A face over these rules does little: it negotiates the [`version`], finds the [`route`], reads a [`query`], a
//! [`patch`], a [`verb`] or what the [`agent`] sent, asks the service for its nodes, and shows the answer through
//! [`fields::view`] with its [`links`], or an [`error`] in the shape that clients expect. Every function that can
//! refuse
//! gives that error whole: status, form and text.
//!
//! Implemented: microversions 1.1 to 1.115, as the API reference and the service of release 39.0.0 have them. Twelve
//! resources as tables ([`fields::RESOURCES`]); lists with filters, paging and sorting; JSON Patch (RFC 6902 without
//! `test`, `move` and `copy`, RFC 6901 pointers with escapes from 98); the verbs of `states/provision` and
//! `states/power` with all that may come with them; masking of secrets; the protocol of the stock agent. What a real
//! service answered to five hundred requests is in `golden/recorded.jsonl`, and the tests say of each whether the
//! tables predict it, [differ] on purpose, or cannot know. [`openapi`] describes all of it for
//! machines.
//!
//! Left out on purpose: whether a state takes a verb and where it leads (the domain's), policies of who may do what (a
//! face's, before any of this), what drivers and interfaces there are (the service that has them lists them), what the
//! operators of
//! inspection rules mean and the merging of steps by priority (nothing runs them yet), notifications, and the API of
//! ironic-inspector on a port of its own. The bodies of RAID, of indicators and of events have paths and statuses here,
//! and no types yet.
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
