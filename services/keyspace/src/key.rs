//! Every key the mesh keeps in etcd. A path is spelled here or nowhere.
//!
//! Everything begins with `/ironmesh/v1/`. `{r}` is a rack's id; `{s}` a service's name; what belongs to no rack stands
//! under `dc`, and the scheduler's own membership does too.
//!
//! | key | value | writing service | lease |
//! |---|---|---|---|
//! | `dc/incarnation` | [`Incarnation`] | `ironmesh up`, `ironmesh store adopt`; its mark `restored_backup`: whoever notices | no |
//! | `dc/rack/{rack}` | [`Rack`] | scheduler-service; `ironmesh up` makes the first | no |
//! | `dc/name/{kind}/{name}` | [`Holder`] | as its record | no |
//! | `dc/mac/{mac}` | [`Holder`] | scheduler-service | no |
//! | `dc/bmc/{address}` | [`Holder`] | scheduler-service | no |
//! | `dc/image/{image}` | [`Image`] | scheduler-service | no |
//! | `dc/sheet/{collection}/{id}` | [`Sheet`], its secrets sealed | scheduler-service | no |
//! | `dc/history/{node}` | [`History`], zstd | scheduler-service | no |
//! | `dc/request/{request}` | [`Request`] | scheduler-service | no: the leader deletes old ones |
//! | `dc/bulk/{bulk}` | [`Bulk`] | scheduler-service | no: deleted a day after it ended |
//! | `dc/bulk-drive/{bulk}` | sealed | scheduler-service | no: deleted when the bulk has ended |
//! | `{r}/node/{node}/intent` | [`Intent`] | scheduler-service | no |
//! | `{r}/node/{node}/life` | [`Life`] | scheduler-service | no |
//! | `{r}/node/{node}/boot` | [`BootDecision`], its token sealed | scheduler-service | no |
//! | `{r}/node-operation/{node}` | [`Operation`] | scheduler-service | no |
//! | `{r}/node-sheet/{node}` | [`Sheet`], its secrets sealed | scheduler-service | no |
//! | `{r}/port/{mac}` | [`Port`] | scheduler-service | no |
//! | `{r}/address/{ip}` | [`Holder`] | scheduler-service | no |
//! | `{r}/power-service/node/{node}/power` | [`PowerSeen`] | power-service | no: carries `seen_at`, `seen_by` |
//! | `{r}/power-service/node/{node}/firmware` | [`FirmwareSeen`] | power-service | no: carries `seen_at`, `seen_by` |
//! | `{r}/power-service/node/{node}/bios` | [`Bios`], zstd | power-service | no |
//! | `{r}/pxe-service/node/{node}/pxe` | [`PxeSeen`] | pxe-service | no: carries `seen_at`, `seen_by` |
//! | `{r}/pxe-service/unknown/{mac}` | [`UnknownMac`] | pxe-service | no: the oldest beyond 64 are deleted |
//! | `{r}/inventory-service/node/{node}/agent` | [`AgentSeen`] | inventory-service | no: carries `seen_at`, `seen_by` |
//! | `{r}/inventory-service/node/{node}/inventory` | [`Inventory`] | inventory-service | no: carries `seen_at`, `seen_by` |
//! | `{r}/{s}/claim/{node}` | [`Claim`] | the claiming service; its `broken` mark: scheduler-service | no |
//! | `{r}/{s}/journal/{node}` | [`Journal`] | the claiming service | no |
//! | `{r}/{s}/member/{instance}` | [`Member`] | itself | its own |
//! | `{r}/{s}/election` | [`Election`] | the leader | the leader's |
//! | `{r}/{s}/ring` | [`StoredRing`] | the leader | no |
//! | `{r}/{s}/ack/{instance}` | [`Ack`] | itself | no: the leader deletes stale ones |
//! | `{r}/{s}/dead/{instance}` | [`Dead`] | `ironmesh up`, or its successor | no: the leader deletes stale ones |
//!
//! What a service writes stands under its own name, so that one watch has all of it in the order of its revisions, and nobody
//! else is woken by it who has no use for it: [`followed`] says who follows what.

use std::{fmt, marker::PhantomData, net::Ipv4Addr};

use domain::{
    id::{ImageId, InstanceId, NodeId, RackId},
    image::Image,
    net::{BmcAddr, MacAddr},
    service::Service,
};

use crate::{
    seal::Sealed,
    value::{
        Ack, AgentSeen, Bios, BootDecision, Bulk, Claim, Dead, Delivered, Election, FirmwareSeen, History, Holder,
        Incarnation, Intent, Inventory, Journal, Life, Member, Operation, Port, PowerSeen, PxeSeen, Rack, Request,
        Sheet, StoredRing, UnknownMac,
    },
};

/// What every key begins with.
pub const ROOT: &str = "/ironmesh/v1/";

/// Where a value of type `V` lives.
pub struct Key<V> {
    path: String,
    value: PhantomData<fn() -> V>,
}

impl<V> Key<V> {
    fn at(path: String) -> Self {
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

/// The beginning of many keys with values of type `V`.
pub struct Prefix<V> {
    path: String,
    value: PhantomData<fn() -> V>,
}

impl<V> Prefix<V> {
    fn at(path: String) -> Self {
        Self { path, value: PhantomData }
    }

    /// The path, with its last slash.
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

/// Whose keys: a rack's, or the datacenter's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// A rack's services and nodes.
    Rack(RackId),
    /// What belongs to no rack, and the schedulers.
    Datacenter,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rack(rack) => rack.fmt(f),
            Self::Datacenter => f.write_str("dc"),
        }
    }
}

macro_rules! keys {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $kind:ty),*) -> $value:ty = $format:literal;)*) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $name($($argument: $kind),*) -> Key<$value> {
                Key::at(ROOT.to_owned() + &format!($format))
            }
        )*
    };
}

keys! {
    /// Which store this is, so that a restored backup is noticed.
    incarnation() -> Incarnation = "dc/incarnation";
    /// A rack.
    rack(rack: RackId) -> Rack = "dc/rack/{rack}";
    /// Who has a rack's name.
    rack_name(name: &str) -> Holder = "dc/name/rack/{name}";
    /// Who has a node's name.
    node_name(name: &str) -> Holder = "dc/name/node/{name}";
    /// Who has an image's name.
    image_name(name: &str) -> Holder = "dc/name/image/{name}";
    /// Which node has a MAC.
    mac(mac: MacAddr) -> Holder = "dc/mac/{mac}";
    /// Which node has a BMC.
    bmc(address: &BmcAddr) -> Holder = "dc/bmc/{address}";
    /// A registered image.
    image(image: ImageId) -> Image = "dc/image/{image}";
    /// Past boots of a node.
    history(node: NodeId) -> History = "dc/history/{node}";
    /// That a request was carried out, by the id that its sender gave it.
    request(id: uuid::Uuid) -> Request = "dc/request/{id}";
    /// One move asked of many nodes.
    bulk(id: uuid::Uuid) -> Bulk = "dc/bulk/{id}";
    /// The config drive of a bulk's nodes.
    bulk_drive(id: uuid::Uuid) -> Sealed = "dc/bulk-drive/{id}";
    /// What people asked of a node.
    intent(rack: RackId, node: NodeId) -> Intent = "{rack}/node/{node}/intent";
    /// What Ironic's clients keep at a node.
    sheet(rack: RackId, node: NodeId) -> Sheet = "{rack}/node-sheet/{node}";
    /// What Ironic's clients keep in a collection of theirs that no service acts on by itself.
    sheet_of(collection: &str, id: uuid::Uuid) -> Sheet = "dc/sheet/{collection}/{id}";
    /// Who has a name within a kind of things.
    name(kind: &str, name: &str) -> Holder = "dc/name/{kind}/{name}";
    /// How far a webhook's receiver has been told.
    delivered(webhook: uuid::Uuid) -> Delivered = "dc/delivered/{webhook}";
    /// Where a node's life is.
    life(rack: RackId, node: NodeId) -> Life = "{rack}/node/{node}/life";
    /// What a node boots, if it asks.
    boot(rack: RackId, node: NodeId) -> BootDecision = "{rack}/node/{node}/boot";
    /// A node's running or last operation.
    operation(rack: RackId, node: NodeId) -> Operation = "{rack}/node-operation/{node}";
    /// A node's power as it was seen.
    power(rack: RackId, node: NodeId) -> PowerSeen = "{rack}/power-service/node/{node}/power";
    /// A node's network boot as it was seen.
    pxe(rack: RackId, node: NodeId) -> PxeSeen = "{rack}/pxe-service/node/{node}/pxe";
    /// A node's agent as it was seen.
    agent(rack: RackId, node: NodeId) -> AgentSeen = "{rack}/inventory-service/node/{node}/agent";
    /// What a node is made of.
    inventory(rack: RackId, node: NodeId) -> Inventory = "{rack}/inventory-service/node/{node}/inventory";
    /// How a node's firmware boots, as it was seen.
    firmware(rack: RackId, node: NodeId) -> FirmwareSeen = "{rack}/power-service/node/{node}/firmware";
    /// What a node's firmware is set to.
    bios(rack: RackId, node: NodeId) -> Bios = "{rack}/power-service/node/{node}/bios";
    /// A NIC of a node.
    port(rack: RackId, mac: MacAddr) -> Port = "{rack}/port/{mac}";
    /// Who has an address on a rack's provisioning network.
    address(rack: RackId, address: Ipv4Addr) -> Holder = "{rack}/address/{address}";
    /// A MAC that asked and belongs to nobody.
    unknown(rack: RackId, mac: MacAddr) -> UnknownMac = "{rack}/pxe-service/unknown/{mac}";
    /// Who owns a node for a service.
    claim(scope: Scope, service: Service, node: NodeId) -> Claim = "{scope}/{service}/claim/{node}";
    /// What a service does or did to a node.
    journal(scope: Scope, service: Service, node: NodeId) -> Journal = "{scope}/{service}/journal/{node}";
    /// A running instance.
    member(scope: Scope, service: Service, instance: InstanceId) -> Member = "{scope}/{service}/member/{instance}";
    /// The leader of a service.
    election(scope: Scope, service: Service) -> Election = "{scope}/{service}/election";
    /// The ring of a service.
    ring(scope: Scope, service: Service) -> StoredRing = "{scope}/{service}/ring";
    /// The ring that an instance has made its own.
    ack(scope: Scope, service: Service, instance: InstanceId) -> Ack = "{scope}/{service}/ack/{instance}";
    /// An instance that is proven dead.
    dead(scope: Scope, service: Service, instance: InstanceId) -> Dead = "{scope}/{service}/dead/{instance}";
}

/// All racks.
#[must_use]
pub fn racks() -> Prefix<Rack> {
    Prefix::at(format!("{ROOT}dc/rack/"))
}

/// All images.
#[must_use]
pub fn images() -> Prefix<Image> {
    Prefix::at(format!("{ROOT}dc/image/"))
}

/// All sheets of a collection.
#[must_use]
pub fn sheets(collection: &str) -> Prefix<Sheet> {
    Prefix::at(format!("{ROOT}dc/sheet/{collection}/"))
}

/// All requests that were carried out and are remembered.
#[must_use]
pub fn requests() -> Prefix<Request> {
    Prefix::at(format!("{ROOT}dc/request/"))
}

/// All bulks that are remembered.
#[must_use]
pub fn bulks() -> Prefix<Bulk> {
    Prefix::at(format!("{ROOT}dc/bulk/"))
}

/// All ports of a rack.
#[must_use]
pub fn ports(rack: RackId) -> Prefix<Port> {
    Prefix::at(format!("{ROOT}{rack}/port/"))
}

/// The MACs that asked in a rack and belong to nobody.
#[must_use]
pub fn unknowns(rack: RackId) -> Prefix<UnknownMac> {
    Prefix::at(format!("{ROOT}{rack}/pxe-service/unknown/"))
}

/// All instances of a service.
#[must_use]
pub fn members(scope: Scope, service: Service) -> Prefix<Member> {
    Prefix::at(format!("{ROOT}{scope}/{service}/member/"))
}

/// What all instances of a service acknowledged.
#[must_use]
pub fn acks(scope: Scope, service: Service) -> Prefix<Ack> {
    Prefix::at(format!("{ROOT}{scope}/{service}/ack/"))
}

/// Who of a service is proven dead.
#[must_use]
pub fn deads(scope: Scope, service: Service) -> Prefix<Dead> {
    Prefix::at(format!("{ROOT}{scope}/{service}/dead/"))
}

/// All claims of a service.
#[must_use]
pub fn claims(scope: Scope, service: Service) -> Prefix<Claim> {
    Prefix::at(format!("{ROOT}{scope}/{service}/claim/"))
}

/// Whose a path is, where it is one of a node's, but for claims and journals: to watch, not to read.
#[must_use]
pub fn node_of(path: &str) -> Option<(RackId, NodeId)> {
    let (rack, rest) = in_scope(path)?;
    let (kind, rest) = rest.split_once('/')?;
    let node = match kind {
        "node" => rest.split_once('/')?.0,
        "node-operation" | "node-sheet" => rest,
        _ => return None,
    };
    Some((rack.parse().ok()?, node.parse().ok()?))
}

/// Whose life a path is, where it is one. A node is where its life is.
#[must_use]
pub fn life_of(path: &str) -> Option<(RackId, NodeId)> {
    path.ends_with("/life").then(|| node_of(path))?
}

/// Whose scope a path is in, and what it is there: without the service whose it is, where it is one's.
pub(crate) fn in_scope(path: &str) -> Option<(&str, &str)> {
    let (scope, rest) = path.strip_prefix(ROOT)?.split_once('/')?;
    Some(match rest.split_once('/') {
        Some((first, of_service)) if Service::ALL.iter().any(|service| service.name() == first) => (scope, of_service),
        _ => (scope, rest),
    })
}

/// Whether a path says who is there, who leads, who owns what, or in which life the store is.
#[must_use]
pub fn is_of_mesh(path: &str) -> bool {
    const KINDS: [&str; 7] = ["member", "election", "ring", "ack", "dead", "claim", "incarnation"];
    in_scope(path).and_then(|(_, rest)| rest.split('/').next()).is_some_and(|kind| KINDS.contains(&kind))
}

/// Whose port a path is, where it is one.
#[must_use]
pub fn port_of(path: &str) -> Option<(RackId, MacAddr)> {
    let (rack, rest) = path.strip_prefix(ROOT)?.split_once('/')?;
    Some((rack.parse().ok()?, rest.strip_prefix("port/")?.parse().ok()?))
}

/// What schedulers tell of the nodes of a rack.
#[must_use]
pub fn node_prefix(rack: RackId) -> String {
    format!("{ROOT}{rack}/node/")
}

/// What a service follows of the store, its own first: a leaf what it acts by, and nothing that only wakes it.
#[must_use]
pub fn followed(scope: Scope, service: Service) -> Vec<String> {
    let Scope::Rack(rack) = scope else { return vec![ROOT.to_owned()] };
    let of = |what: &str| format!("{ROOT}{rack}/{what}/");
    let of_others: &[&str] = match service {
        Service::Power => &["node"],
        Service::Pxe => &[
            "node",
            "port",
            "power-service/node",
            "inventory-service/node",
            "inventory-service/member",
            "storage-service/member",
        ],
        Service::Inventory => &["node", "node-sheet", "port", "storage-service/member"],
        Service::Storage | Service::Scheduler => &[],
    };
    let mut followed = vec![of(service.name())];
    followed.extend(of_others.iter().map(|what| of(what)));
    // In which life the store is, and what the rack is like.
    followed.extend([incarnation().path, self::rack(rack).path]);
    followed
}

/// The last part of a path, where it is an id or address.
#[must_use]
pub fn last<T: std::str::FromStr>(path: &str) -> Option<T> {
    path.rsplit('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests;
