//! Which kind of thing a key names, what its value must be, and what it may take of the store (keyspace README).

use serde::de::DeserializeOwned;

use crate::{key, seal::Sealed, value};

/// Keys that a store may have for 10,000 nodes.
pub const MOST_KEYS: u64 = 400_000;
/// Octets that it may take for them: 1.5 GiB.
pub const MOST_OCTETS: u64 = 3 << 29;

/// What counts together against one bound per node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Intent, life, and what services observed.
    State,
    /// Claims and journals.
    Ownership,
    /// The operation, ports and uniqueness.
    Names,
    /// Past boots.
    History,
    /// What it is made of.
    Inventory,
    /// What belongs to no node.
    Mesh,
}

impl Group {
    /// Octets that one node may take of it; none: it belongs to no node, or is bounded otherwise.
    #[must_use]
    pub const fn bound(self) -> Option<u64> {
        match self {
            Self::State => Some(16 << 10),
            Self::Ownership | Self::Names => Some(8 << 10),
            Self::History => Some(32 << 10),
            Self::Inventory => Some(1 << 20),
            Self::Mesh => None,
        }
    }
}

/// A kind of key.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// As the table of keys has it, without whose it is: `node/intent`, `claim`.
    pub name: &'static str,
    /// What it counts to.
    pub group: Group,
    read: fn(&[u8]) -> Result<(), String>,
}

impl Family {
    /// # Errors
    /// Why the value can not be read.
    pub fn check(&self, value: &[u8]) -> Result<(), String> {
        (self.read)(value)
    }
}

const fn family(name: &'static str, group: Group, read: fn(&[u8]) -> Result<(), String>) -> Family {
    Family { name, group, read }
}

const FAMILIES: &[Family] = &[
    family("incarnation", Group::Mesh, json::<value::Incarnation>),
    family("rack", Group::Mesh, json::<value::Rack>),
    family("name", Group::Names, json::<value::Holder>),
    family("mac", Group::Names, json::<value::Holder>),
    family("bmc", Group::Names, json::<value::Holder>),
    family("address", Group::Names, json::<value::Holder>),
    family("image", Group::Mesh, json::<domain::image::Image>),
    family("history", Group::History, packed::<value::History>),
    family("request", Group::Mesh, json::<value::Request>),
    family("bulk", Group::Mesh, json::<value::Bulk>),
    family("bulk-drive", Group::Mesh, json::<Sealed>),
    family("sheet", Group::Mesh, json::<value::Sheet>),
    family("delivered", Group::Mesh, json::<value::Delivered>),
    family("node/intent", Group::State, json::<value::Intent>),
    family("node-sheet", Group::Inventory, json::<value::Sheet>),
    family("node/life", Group::State, json::<value::Life>),
    family("node/boot", Group::State, json::<value::BootDecision>),
    family("node-operation", Group::Names, json::<value::Operation>),
    family("node/power", Group::State, json::<value::PowerSeen>),
    family("node/pxe", Group::State, json::<value::PxeSeen>),
    family("node/agent", Group::State, json::<value::AgentSeen>),
    family("node/inventory", Group::Inventory, json::<value::Inventory>),
    family("node/firmware", Group::State, json::<value::FirmwareSeen>),
    family("node/bios", Group::Inventory, packed::<value::Bios>),
    family("port", Group::Names, json::<value::Port>),
    family("unknown", Group::Mesh, json::<value::UnknownMac>),
    family("claim", Group::Ownership, json::<value::Claim>),
    family("journal", Group::Ownership, json::<value::Journal>),
    family("member", Group::Mesh, json::<value::Member>),
    family("election", Group::Mesh, json::<value::Election>),
    family("ring", Group::Mesh, json::<value::StoredRing>),
    family("ack", Group::Mesh, json::<value::Ack>),
    family("dead", Group::Mesh, json::<value::Dead>),
];

/// The family of a key; none: it is none of ours.
#[must_use]
pub fn of(path: &str) -> Option<&'static Family> {
    let (_, rest) = key::in_scope(path)?;
    let first = rest.split('/').next()?;
    let is_it = |family: &&Family| match family.name.split_once('/') {
        Some((folder, last)) => folder == first && rest.rsplit('/').next() == Some(last),
        None => family.name == first,
    };
    FAMILIES.iter().find(is_it)
}

/// A value as text, unpacked where it is zstd. What is sealed stays sealed.
///
/// # Errors
/// It is packed and damaged.
pub fn unpacked(value: &[u8]) -> std::io::Result<Vec<u8>> {
    /// What every zstd frame begins with (RFC 8878 §3.1.1).
    const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    if value.starts_with(&MAGIC) { zstd::stream::decode_all(value) } else { Ok(value.to_vec()) }
}

fn json<V: DeserializeOwned>(value: &[u8]) -> Result<(), String> {
    serde_json::from_slice::<V>(value).map(drop).map_err(|error| error.to_string())
}

fn packed<V: DeserializeOwned>(value: &[u8]) -> Result<(), String> {
    json::<V>(&unpacked(value).map_err(|error| error.to_string())?)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use domain::{
        id::{ImageId, InstanceId, NodeId, RackId},
        net::BmcAddr,
        service::Service,
    };
    use uuid::Uuid;

    use super::*;
    use crate::key::Scope;

    #[test]
    fn every_key_has_a_family() {
        let (rack, node) = (RackId::new(Uuid::from_u128(1)), NodeId::new(Uuid::from_u128(2)));
        let (mac, instance) = ("02:00:00:00:00:01".parse().unwrap(), InstanceId::new(Uuid::from_u128(3)));
        let (bmc, dc): (BmcAddr, _) = ("10.0.0.1:623".parse().unwrap(), Scope::Datacenter);
        let image = ImageId::new(Uuid::from_u128(4));
        for (path, name) in [
            (key::incarnation().path(), "incarnation"),
            (key::rack(rack).path(), "rack"),
            (key::rack_name("").path(), "name"),
            (key::node_name("n1").path(), "name"),
            (key::image_name("i").path(), "name"),
            (key::mac(mac).path(), "mac"),
            (key::bmc(&bmc).path(), "bmc"),
            (key::image(image).path(), "image"),
            (key::history(node).path(), "history"),
            (key::request(Uuid::from_u128(5)).path(), "request"),
            (key::bulk(Uuid::from_u128(6)).path(), "bulk"),
            (key::bulk_drive(Uuid::from_u128(6)).path(), "bulk-drive"),
            (key::sheet_of("webhook", Uuid::from_u128(7)).path(), "sheet"),
            (key::delivered(Uuid::from_u128(7)).path(), "delivered"),
            (key::intent(rack, node).path(), "node/intent"),
            (key::sheet(rack, node).path(), "node-sheet"),
            (key::life(rack, node).path(), "node/life"),
            (key::boot(rack, node).path(), "node/boot"),
            (key::operation(rack, node).path(), "node-operation"),
            (key::power(rack, node).path(), "node/power"),
            (key::pxe(rack, node).path(), "node/pxe"),
            (key::agent(rack, node).path(), "node/agent"),
            (key::inventory(rack, node).path(), "node/inventory"),
            (key::firmware(rack, node).path(), "node/firmware"),
            (key::bios(rack, node).path(), "node/bios"),
            (key::port(rack, mac).path(), "port"),
            (key::address(rack, Ipv4Addr::LOCALHOST).path(), "address"),
            (key::unknown(rack, mac).path(), "unknown"),
            (key::claim(dc, Service::Scheduler, node).path(), "claim"),
            (key::journal(Scope::Rack(rack), Service::Power, node).path(), "journal"),
            (key::member(dc, Service::Scheduler, instance).path(), "member"),
            (key::election(dc, Service::Scheduler).path(), "election"),
            (key::ring(dc, Service::Scheduler).path(), "ring"),
            (key::ack(dc, Service::Scheduler, instance).path(), "ack"),
            (key::dead(dc, Service::Scheduler, instance).path(), "dead"),
        ] {
            assert_eq!(of(path).map(|family| family.name), Some(name), "{path}");
        }
        assert!(of("/ironmesh/v1/dc/something/else").is_none() && of("/other").is_none());
    }

    #[test]
    fn a_value_that_is_not_what_its_key_says_is_told_and_a_packed_one_is_unpacked() {
        let ring = FAMILIES.iter().find(|family| family.name == "ack").unwrap();
        assert!(ring.check(b"{\"epoch\":1}").is_ok() && ring.check(b"{\"epoch\":").is_err());
        let packed = zstd::bulk::compress(b"{}", 0).unwrap();
        assert_eq!(unpacked(&packed).unwrap(), b"{}");
        assert_eq!(unpacked(b"{}").unwrap(), b"{}");
    }
}
