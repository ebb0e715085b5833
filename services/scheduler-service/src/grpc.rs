//! The public gRPC API: decode, one call, encode.

mod events;
mod images;
mod locks;
mod nodes;
mod operations;
mod peers;
mod racks;
mod show;

pub(crate) use show::waiting;

use domain::plan::Limits;
use service_kit::Host;

use crate::{hot::Hot, lines::Lines, registry::Registry};

/// What the API and the work share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) registry: Registry,
    pub(crate) hot: Hot,
    pub(crate) lines: Lines,
    pub(crate) limits: Limits,
    pub(crate) host: Host,
}
