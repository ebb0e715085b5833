//! Runs from memory on the node: reports what it is made of, writes an image to its disk, wipes its disks. Where it is
//! asked to inspect, the report is all.
//!
//! | module | what it does |
//! |---|---|
//! | [`config`] | the boot file: who we are and whom to call |
//! | [`machine`] | where the machine's facts and disks are |
//! | [`report`](mod@report), [`disks`] | what it is made of, and which disk is written |
//! | [`install`], [`config_drive`] | an image and its config drive go to a disk |
//! | `fetch`, `unpack` | where the image comes from: HTTP, going on where it broke; gzip and zstd |
//! | `wipe` | disks forget what they hold |
//! | `job`, `shift` | what is asked of us, how it went, what is still to be said |
//! | `door`, `work` | the calls to the inventory-service |

pub mod config;
pub mod config_drive;
pub mod disks;
mod door;
pub mod error;
mod fetch;
pub mod install;
mod job;
pub mod machine;
pub mod report;
mod shift;
mod unpack;
mod wipe;
mod work;

pub use work::run;
