//! Runs from memory on the node: reports what it is made of, writes an image to its disk, wipes its disks.
//!
//! | module | what it does |
//! |---|---|
//! | [`config`] | the boot file: who we are and whom to call |
//! | [`machine`] | where the machine's facts and disks are |
//! | [`report`](mod@report), [`disks`] | what it is made of, and which disk is written |
//! | [`install`], [`config_drive`] | an image and its config drive go to a disk |

pub mod config;
pub mod config_drive;
pub mod disks;
pub mod error;
pub mod install;
pub mod machine;
pub mod report;
mod unpack;
mod wipe;
