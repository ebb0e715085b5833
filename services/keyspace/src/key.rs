//! Every key the mesh keeps in etcd. A path is spelled here or nowhere.
//!
//! Everything begins with `/ironmesh/v1/`. `{r}` is a rack's id; `{s}` a service's name; what belongs to no rack stands
//! under `dc`, and the scheduler's own membership does too.
//!
//! | key | value | writing service | lease |
//! |---|---|---|---|
//! | `dc/incarnation` | [`Incarnation`] | `ironmesh up`, `ironmesh store adopt`; its mark `went_back`: whoever notices | no |
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
//! | `{r}/node/{node}/sheet` | [`Sheet`], its secrets sealed | scheduler-service | no |
//! | `{r}/node/{node}/life` | [`Life`] | scheduler-service | no |
//! | `{r}/node/{node}/boot` | [`BootDecision`], its token sealed | scheduler-service | no |
//! | `{r}/node/{node}/operation` | [`Operation`] | scheduler-service | no |
//! | `{r}/node/{node}/power` | [`PowerSeen`] | power-service | no: carries `seen_at`, `seen_by` |
//! | `{r}/node/{node}/pxe` | [`PxeSeen`] | pxe-service | no: carries `seen_at`, `seen_by` |
//! | `{r}/node/{node}/agent` | [`AgentSeen`] | inventory-service | no: carries `seen_at`, `seen_by` |
//! | `{r}/node/{node}/inventory` | [`Inventory`] | inventory-service | no: carries `seen_at`, `seen_by` |
//! | `{r}/node/{node}/firmware` | [`FirmwareSeen`] | power-service | no: carries `seen_at`, `seen_by` |
//! | `{r}/node/{node}/bios` | [`Bios`], zstd | power-service | no |
//! | `{r}/port/{mac}` | [`Port`] | scheduler-service | no |
//! | `{r}/address/{ip}` | [`Holder`] | scheduler-service | no |
//! | `{r}/unknown/{mac}` | [`UnknownMac`] | pxe-service | no: the oldest beyond 64 are deleted |
//! | `{r}/claim/{s}/{node}` | [`Claim`] | the claiming service; its `broken` mark: scheduler-service | no |
//! | `{r}/journal/{s}/{node}` | [`Journal`] | the claiming service | no |
//! | `{r}/member/{s}/{instance}` | [`Member`] | itself | its own |
//! | `{r}/election/{s}` | [`Election`] | the leader | the leader's |
//! | `{r}/ring/{s}` | [`StoredRing`] | the leader | no |
//! | `{r}/ack/{s}/{instance}` | [`Ack`] | itself | no: the leader deletes stale ones |
//! | `{r}/dead/{instance}` | [`Dead`] | `ironmesh up`, or its successor | no: the leader deletes stale ones |

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

impl Scope {
    /// The beginning of all its keys.
    #[must_use]
    pub fn root(self) -> String {
        format!("{ROOT}{self}/")
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
    sheet(rack: RackId, node: NodeId) -> Sheet = "{rack}/node/{node}/sheet";
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
    operation(rack: RackId, node: NodeId) -> Operation = "{rack}/node/{node}/operation";
    /// A node's power as it was seen.
    power(rack: RackId, node: NodeId) -> PowerSeen = "{rack}/node/{node}/power";
    /// A node's network boot as it was seen.
    pxe(rack: RackId, node: NodeId) -> PxeSeen = "{rack}/node/{node}/pxe";
    /// A node's agent as it was seen.
    agent(rack: RackId, node: NodeId) -> AgentSeen = "{rack}/node/{node}/agent";
    /// What a node is made of.
    inventory(rack: RackId, node: NodeId) -> Inventory = "{rack}/node/{node}/inventory";
    /// How a node's firmware boots, as it was seen.
    firmware(rack: RackId, node: NodeId) -> FirmwareSeen = "{rack}/node/{node}/firmware";
    /// What a node's firmware is set to.
    bios(rack: RackId, node: NodeId) -> Bios = "{rack}/node/{node}/bios";
    /// A NIC of a node.
    port(rack: RackId, mac: MacAddr) -> Port = "{rack}/port/{mac}";
    /// Who has an address on a rack's provisioning network.
    address(rack: RackId, address: Ipv4Addr) -> Holder = "{rack}/address/{address}";
    /// A MAC that asked and belongs to nobody.
    unknown(rack: RackId, mac: MacAddr) -> UnknownMac = "{rack}/unknown/{mac}";
    /// Who owns a node for a service.
    claim(scope: Scope, service: Service, node: NodeId) -> Claim = "{scope}/claim/{service}/{node}";
    /// What a service does or did to a node.
    journal(scope: Scope, service: Service, node: NodeId) -> Journal = "{scope}/journal/{service}/{node}";
    /// A running instance.
    member(scope: Scope, service: Service, instance: InstanceId) -> Member = "{scope}/member/{service}/{instance}";
    /// The leader of a service.
    election(scope: Scope, service: Service) -> Election = "{scope}/election/{service}";
    /// The ring of a service.
    ring(scope: Scope, service: Service) -> StoredRing = "{scope}/ring/{service}";
    /// The ring that an instance has made its own.
    ack(scope: Scope, service: Service, instance: InstanceId) -> Ack = "{scope}/ack/{service}/{instance}";
    /// An instance that is proven dead.
    dead(scope: Scope, instance: InstanceId) -> Dead = "{scope}/dead/{instance}";
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
    Prefix::at(format!("{ROOT}{rack}/unknown/"))
}

/// All instances of a service.
#[must_use]
pub fn members(scope: Scope, service: Service) -> Prefix<Member> {
    Prefix::at(format!("{ROOT}{scope}/member/{service}/"))
}

/// What all instances of a service acknowledged.
#[must_use]
pub fn acks(scope: Scope, service: Service) -> Prefix<Ack> {
    Prefix::at(format!("{ROOT}{scope}/ack/{service}/"))
}

/// Who is proven dead.
#[must_use]
pub fn deads(scope: Scope) -> Prefix<Dead> {
    Prefix::at(format!("{ROOT}{scope}/dead/"))
}

/// All claims of a service.
#[must_use]
pub fn claims(scope: Scope, service: Service) -> Prefix<Claim> {
    Prefix::at(format!("{ROOT}{scope}/claim/{service}/"))
}

/// All keys of a node except claims and journals, as text: to watch, not to read.
#[must_use]
pub fn node_of(path: &str) -> Option<(RackId, NodeId)> {
    let (rack, rest) = path.strip_prefix(ROOT)?.split_once('/')?;
    let node = rest.strip_prefix("node/")?.split_once('/')?.0;
    Some((rack.parse().ok()?, node.parse().ok()?))
}

/// Whether a path says who is there, who leads, who owns what, or in which life the store is.
#[must_use]
pub fn is_of_mesh(path: &str) -> bool {
    const KINDS: [&str; 7] = ["member/", "election/", "ring/", "ack/", "dead/", "claim/", "incarnation"];
    let rest = path.strip_prefix(ROOT).and_then(|rest| rest.split_once('/')).map(|(_, rest)| rest);
    rest.is_some_and(|rest| KINDS.iter().any(|kind| rest.starts_with(kind)))
}

/// Whose port a path is, where it is one.
#[must_use]
pub fn port_of(path: &str) -> Option<(RackId, MacAddr)> {
    let (rack, rest) = path.strip_prefix(ROOT)?.split_once('/')?;
    Some((rack.parse().ok()?, rest.strip_prefix("port/")?.parse().ok()?))
}

/// The nodes of a rack, as the paths of their intents have them.
#[must_use]
pub fn node_prefix(rack: RackId) -> String {
    format!("{ROOT}{rack}/node/")
}

/// The last part of a path, where it is an id or address.
#[must_use]
pub fn last<T: std::str::FromStr>(path: &str) -> Option<T> {
    path.rsplit('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_whose_it_is() {
        let (rack, node): (RackId, NodeId) = (
            "00000000-0000-0000-0000-000000000001".parse().unwrap(),
            "00000000-0000-0000-0000-000000000002".parse().unwrap(),
        );
        let key = life(rack, node);
        assert_eq!(
            key.path(),
            "/ironmesh/v1/00000000-0000-0000-0000-000000000001/node/00000000-0000-0000-0000-000000000002/life"
        );
        assert_eq!(node_of(key.path()), Some((rack, node)));
        assert_eq!(node_of(rack_name("r1").path()), None);
        let mac = "52:54:00:00:00:01".parse().unwrap();
        assert_eq!(port_of(port(rack, mac).path()), Some((rack, mac)));
        assert_eq!(port_of(key.path()), None);
        let scope = Scope::Rack(rack);
        for of_mesh in
            [ring(scope, Service::Power).path(), incarnation().path(), claim(scope, Service::Power, node).path()]
        {
            assert!(is_of_mesh(of_mesh), "{of_mesh}");
        }
        for other in [key.path(), journal(scope, Service::Power, node).path(), history(node).path(), ROOT] {
            assert!(!is_of_mesh(other), "{other}");
        }
        assert_eq!(last::<NodeId>(claim(Scope::Rack(rack), Service::Power, node).path()), Some(node));
    }
}
