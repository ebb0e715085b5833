//! The public gRPC API: decode, one call, encode.

mod allocations;
mod bulks;
mod events;
mod images;
mod locks;
mod moves;
mod nodes;
mod operations;
mod peers;
mod racks;
mod show;
mod watch;
mod webhooks;

pub(crate) use show::waiting;

use std::sync::Arc;

use domain::plan::Limits;
use service_kit::Host;

use crate::{board::Board, hot::Hot, lines::Lines, record::Unkept, registry::Registry, rest::Shelf};

/// What the API and the work share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) registry: Registry,
    pub(crate) hot: Hot,
    pub(crate) unkept: Unkept,
    pub(crate) board: Arc<Board>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) lines: Lines,
    pub(crate) limits: Limits,
    pub(crate) host: Host,
}
