//! The agent that runs in memory on a node: reports the hardware, writes an image to a disk, wipes disks. For an
//! inspection the report is all.
//!
//! | module | content |
//! |---|---|
//! | [`config`] | the boot file: the identity of this machine and whom to call |
//! | [`machine`] | where the hardware facts and disks are |
//! | [`report`](mod@report), [`disks`] | the hardware report, and the choice of a disk |
//! | [`install`], [`config_drive`] | writes an image and its config drive to a disk |
//! | `fetch`, `unpack` | downloads the image over HTTP with resumption; gzip and zstd |
//! | `wipe` | erases disks |
//! | `job`, `outbox` | executes an instruction; holds events and the result until they are delivered |
//! | `inventory_client`, `work` | the calls to the inventory-service |

pub mod config;
pub mod config_drive;
pub mod disks;
pub mod error;
mod fetch;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod install;
mod inventory_client;
mod job;
pub mod machine;
mod outbox;
pub mod report;
mod unpack;
mod wipe;
mod work;

pub use work::run;
