//! The keys that Ironmesh stores in etcd: their types, their paths, and the parser of paths.
//!
//! [`schema`] is the table of all keys. No path is spelled elsewhere.

pub mod schema;
mod template;

use std::{fmt, marker::PhantomData};

use domain::{
    id::{NodeId, RackId},
    net::MacAddr,
    service::Service,
};

pub use self::{
    schema::{
        Parsed, ack, acks, address, addresses, agent, all_chassis, allocation, allocations, bios, bmc, boot, bulk,
        bulk_drive, bulks, chassis, claim, claims, dead, deads, delivered, deploy_template, deploy_templates, election,
        firmware, history, host, hosts, image, images, incarnation, inspection_rule, inspection_rules, intent,
        inventory, join_token, join_tokens, journal, life, mac, member, members, name, node_spec, operation, parse,
        port, portgroup, portgroups, ports, power, pxe, rack, racks, request, requests, revoked_certificate,
        revoked_certificates, ring, runbook, runbooks, unknown, unknowns, volume_connector, volume_connectors,
        volume_target, volume_targets, webhook, webhooks,
    },
    template::{About, Argument},
};
use crate::value::Holder;

/// What every path begins with.
pub const ROOT: &str = "/ironmesh/v1/";

/// The path of a value of type `V`.
pub struct Key<V> {
    path: String,
    value: PhantomData<fn() -> V>,
}

impl<V> Key<V> {
    pub(crate) fn at(path: String) -> Self {
        Self { path, value: PhantomData }
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl<V> Clone for Key<V> {
    fn clone(&self) -> Self {
        Self::at(self.path.clone())
    }
}
impl<V> fmt::Debug for Key<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

/// The common beginning of the paths of values of type `V`.
pub struct Prefix<V> {
    path: String,
    value: PhantomData<fn() -> V>,
}

impl<V> Prefix<V> {
    pub(crate) fn at(path: String) -> Self {
        Self { path, value: PhantomData }
    }

    /// The path, with a slash at its end.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl<V> fmt::Debug for Prefix<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

/// Who keys belong to: a rack, or the datacenter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// A rack: its services and nodes.
    Rack(RackId),
    /// The datacenter: what belongs to no rack, and the schedulers.
    Datacenter,
}

impl Scope {
    /// The scope of a service that serves a rack: the schedulers serve all racks of their datacenter.
    #[must_use]
    pub const fn of(service: Service, rack: RackId) -> Self {
        match service {
            Service::Scheduler => Self::Datacenter,
            Service::Power | Service::Pxe | Service::Storage | Service::Inventory => Self::Rack(rack),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rack(rack) => rack.fmt(f),
            Self::Datacenter => f.write_str(template::DATACENTER),
        }
    }
}

/// The holder of a rack's name.
#[must_use]
pub fn rack_name(name: &str) -> Key<Holder> {
    self::name("rack", name)
}

/// The holder of a node's name.
#[must_use]
pub fn node_name(name: &str) -> Key<Holder> {
    self::name("node", name)
}

/// The holder of an image's name.
#[must_use]
pub fn image_name(name: &str) -> Key<Holder> {
    self::name("image", name)
}

/// The prefix of what schedulers write about the nodes of a rack: intents, lives and boot decisions.
#[must_use]
pub fn node_prefix(rack: RackId) -> String {
    schema::nodes(rack)
}

/// The serial number of the revoked certificate that a path is about, if it is about one.
#[must_use]
pub fn revoked_serial_of(path: &str) -> Option<String> {
    if let Some(Parsed::RevokedCertificate { serial }) = parse(path) { Some(serial) } else { None }
}

/// The node that a rack's key is about and its rack. Not for claims and journals, which a watcher of the node need not
/// see.
#[must_use]
pub fn node_of(path: &str) -> Option<(RackId, NodeId)> {
    let About { rack, node } = parse(path)?.about();
    Some((rack?, node?))
}

/// The node whose life a path is, if it is one, and its rack. A node exists where its life is.
#[must_use]
pub fn life_of(path: &str) -> Option<(RackId, NodeId)> {
    if let Some(Parsed::Life { rack, node }) = parse(path) { Some((rack, node)) } else { None }
}

/// The port that a path is, if it is one.
#[must_use]
pub fn port_of(path: &str) -> Option<(RackId, MacAddr)> {
    if let Some(Parsed::Port { rack, mac }) = parse(path) { Some((rack, mac)) } else { None }
}

/// Whether a path says which instances run, which one leads, which one owns what, or which store this is.
#[must_use]
pub fn is_of_mesh(path: &str) -> bool {
    matches!(
        parse(path),
        Some(
            Parsed::Member { .. }
                | Parsed::Election { .. }
                | Parsed::Ring { .. }
                | Parsed::Ack { .. }
                | Parsed::Dead { .. }
                | Parsed::Claim { .. }
                | Parsed::Incarnation { .. }
        )
    )
}

/// The prefix of everything that a service writes.
#[must_use]
pub fn service_prefix(scope: Scope, service: Service) -> String {
    schema::of_service(scope, service)
}

/// The prefixes of the keys that a service follows. The first one has everything that the service writes.
#[must_use]
pub fn followed(scope: Scope, service: Service) -> Vec<String> {
    let Scope::Rack(rack) = scope else { return vec![ROOT.to_owned()] };
    let mut followed = vec![schema::of_service(scope, service)];
    let rows = schema::ROWS.iter().flat_map(|row| row.followers.iter().map(move |follower| (row, follower)));
    for (row, follower) in rows.filter(|(_, follower)| follower.service == service) {
        let prefix = row.followed(rack, follower);
        if !followed.contains(&prefix) {
            followed.push(prefix);
        }
    }
    followed
}

/// The last segment of a path, if it is an id or address.
#[must_use]
pub fn last<T: std::str::FromStr>(path: &str) -> Option<T> {
    path.rsplit('/').next()?.parse().ok()
}
