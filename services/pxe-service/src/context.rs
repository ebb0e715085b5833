//! State shared by the DHCP, TFTP and HTTP servers.

use std::net::SocketAddr;

use keyspace::seal::Sealer;
use service_kit::timeline::Timeline;

use crate::{config, files::Files, observations::Observations, rack::Rack, unknown_macs::UnknownMacs};

/// State shared by all servers of this replica.
#[derive(Debug)]
pub(crate) struct PxeContext {
    pub(crate) rack: Rack,
    pub(crate) files: Files,
    pub(crate) timeline: Timeline,
    pub(crate) observations: Observations,
    pub(crate) unknown_macs: UnknownMacs,
    pub(crate) sealer: Sealer,
    /// The CA (PEM) with which agents verify the services of their rack.
    pub(crate) ca: Vec<u8>,
    pub(crate) rack_name: String,
    /// Address of the HTTP listener of this replica.
    pub(crate) http: SocketAddr,
    pub(crate) pxe: config::Pxe,
}
