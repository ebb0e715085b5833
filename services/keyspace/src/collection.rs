//! The collections of resources that belong to no rack: the keys of their records and of their unique values.

use std::fmt;

use domain::id::NodeId;
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{
    Change, Expect, Key, Prefix, key,
    store::Versioned,
    value::{
        AllocationSpec, ChassisSpec, Delivered, DeployTemplateSpec, Holder, InspectionRuleSpec, PortgroupSpec,
        RunbookSpec, Secrets, Stamped, VolumeConnectorSpec, VolumeTargetSpec, WebhookSpec,
    },
};

/// A resource of a collection.
pub trait Collection: Secrets + Serialize + DeserializeOwned + Clone + PartialEq + Send + Sync + 'static {
    /// Kind of the resource, as holders of unique values and messages name it.
    const KIND: &'static str;

    /// Returns the key of the resource with an id.
    fn key(id: Uuid) -> Key<Stamped<Self>>;

    /// Returns the prefix of the collection's keys.
    fn all() -> Prefix<Stamped<Self>>;

    /// Returns the values that no other resource of the collection may have.
    fn unique(&self) -> Vec<Unique>;

    /// Returns the name of the resource, if it has one.
    fn name(&self) -> Option<&str>;

    /// Returns the node that the resource belongs to, if it belongs to one.
    fn node(&self) -> Option<NodeId> {
        None
    }

    /// Returns the key of the progress that is stored beside a resource's record, if the collection has that.
    fn progress(_: Uuid) -> Option<Key<Delivered>> {
        None
    }
}

/// Value that only one resource of a collection may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unique {
    /// A name.
    Name(String),
    /// A MAC address.
    Address(String),
    /// The id of a volume connector of a type.
    Connector {
        /// Type of the connector.
        kind: String,
        /// Its id.
        id: String,
    },
    /// A node's volume with a boot index.
    BootIndex {
        /// The node.
        node: NodeId,
        /// Its boot index.
        index: i64,
    },
}

impl fmt::Display for Unique {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "the name {name}"),
            Self::Address(address) => write!(f, "the MAC address {address}"),
            Self::Connector { kind, id } => write!(f, "the type {kind} and the connector ID {id}"),
            Self::BootIndex { node, index } => write!(f, "the boot index {index} of node {node}"),
        }
    }
}

impl Unique {
    /// Returns the kind of its key, by the kind of its collection.
    fn key_kind(&self, collection: &str) -> String {
        match self {
            Self::Address(_) => format!("{collection}-address"),
            Self::Name(_) | Self::Connector { .. } | Self::BootIndex { .. } => collection.to_owned(),
        }
    }

    /// Returns the name of its key.
    #[must_use]
    pub fn key_name(&self) -> String {
        match self {
            Self::Name(text) | Self::Address(text) => text.clone(),
            Self::Connector { kind, id } => format!("{kind} {id}"),
            Self::BootIndex { node, index } => format!("{node} {index}"),
        }
    }
}

/// Returns the key of a unique value, which names the resource that has it.
#[must_use]
pub fn unique_key<T: Collection>(value: &Unique) -> Key<Holder> {
    key::name(&value.key_kind(T::KIND), &value.key_name())
}

/// Adds the deletion of a resource to a change, with the keys of its unique values and its progress. The change fails if the
/// record changed since it was read.
#[must_use]
pub fn delete_from<T: Collection>(change: Change, id: Uuid, read: &Versioned<Stamped<T>>) -> Change {
    let change = change.delete(&T::key(id), Expect::Revision(read.revision));
    let change = T::progress(id).into_iter().fold(change, |change, key| change.clear(&key));
    read.value.spec.unique().iter().fold(change, |change, value| change.clear(&unique_key::<T>(value)))
}

fn named(name: Option<&str>) -> Vec<Unique> {
    name.map(|name| Unique::Name(name.to_owned())).into_iter().collect()
}

fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// Writes out the parts of [`Collection`] that only name its keys.
macro_rules! keys {
    ($kind:literal, $key:ident, $all:ident) => {
        const KIND: &'static str = $kind;

        fn key(id: Uuid) -> Key<Stamped<Self>> {
            key::$key(id)
        }

        fn all() -> Prefix<Stamped<Self>> {
            key::$all()
        }
    };
}

impl Collection for ChassisSpec {
    keys!("chassis", chassis, all_chassis);

    fn name(&self) -> Option<&str> {
        None
    }

    fn unique(&self) -> Vec<Unique> {
        Vec::new()
    }
}

impl Collection for PortgroupSpec {
    keys!("portgroup", portgroup, portgroups);

    fn name(&self) -> Option<&str> {
        self.name.as_deref().and_then(some)
    }

    fn unique(&self) -> Vec<Unique> {
        let address = self.address.as_deref().and_then(some).map(|address| Unique::Address(address.to_owned()));
        named(self.name()).into_iter().chain(address).collect()
    }

    fn node(&self) -> Option<NodeId> {
        self.node_uuid
    }
}

impl Collection for DeployTemplateSpec {
    keys!("deploy_template", deploy_template, deploy_templates);

    fn name(&self) -> Option<&str> {
        some(&self.name)
    }

    fn unique(&self) -> Vec<Unique> {
        named(self.name())
    }
}

impl Collection for RunbookSpec {
    keys!("runbook", runbook, runbooks);

    fn name(&self) -> Option<&str> {
        some(&self.name)
    }

    fn unique(&self) -> Vec<Unique> {
        named(self.name())
    }
}

impl Collection for InspectionRuleSpec {
    keys!("inspection_rule", inspection_rule, inspection_rules);

    fn name(&self) -> Option<&str> {
        None
    }

    fn unique(&self) -> Vec<Unique> {
        Vec::new()
    }
}

impl Collection for VolumeConnectorSpec {
    keys!("volume_connector", volume_connector, volume_connectors);

    fn name(&self) -> Option<&str> {
        None
    }

    fn unique(&self) -> Vec<Unique> {
        vec![Unique::Connector { kind: self.kind.clone(), id: self.connector_id.clone() }]
    }

    fn node(&self) -> Option<NodeId> {
        self.node_uuid
    }
}

impl Collection for VolumeTargetSpec {
    keys!("volume_target", volume_target, volume_targets);

    fn name(&self) -> Option<&str> {
        None
    }

    fn unique(&self) -> Vec<Unique> {
        self.node_uuid.map(|node| Unique::BootIndex { node, index: self.boot_index }).into_iter().collect()
    }

    fn node(&self) -> Option<NodeId> {
        self.node_uuid
    }
}

impl Collection for AllocationSpec {
    keys!("allocation", allocation, allocations);

    fn name(&self) -> Option<&str> {
        self.name.as_deref().and_then(some)
    }

    fn unique(&self) -> Vec<Unique> {
        named(self.name())
    }

    fn node(&self) -> Option<NodeId> {
        self.node_uuid
    }
}

impl Collection for WebhookSpec {
    keys!("webhook", webhook, webhooks);

    fn progress(id: Uuid) -> Option<Key<Delivered>> {
        Some(key::delivered(id))
    }

    fn name(&self) -> Option<&str> {
        some(&self.name)
    }

    fn unique(&self) -> Vec<Unique> {
        named(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unique_values_of_a_collection_have_keys_of_their_own() {
        let keys = |all: Vec<Unique>, kind: &str| -> Vec<_> {
            all.iter().map(|unique| (unique.key_kind(kind), unique.key_name())).collect()
        };
        let group = PortgroupSpec {
            name: Some("g".to_owned()),
            address: Some("52:54:00:00:00:01".to_owned()),
            ..PortgroupSpec::default()
        };
        let of_group = keys(group.unique(), PortgroupSpec::KIND);
        assert_eq!(of_group[0], ("portgroup".to_owned(), "g".to_owned()));
        assert_eq!(of_group[1], ("portgroup-address".to_owned(), "52:54:00:00:00:01".to_owned()));
        let node = NodeId::new(Uuid::from_u128(1));
        let target = VolumeTargetSpec { node_uuid: Some(node), boot_index: 0, ..VolumeTargetSpec::default() };
        assert_eq!(keys(target.unique(), VolumeTargetSpec::KIND)[0].1, format!("{node} 0"));
        assert!(ChassisSpec::default().unique().is_empty());
        assert!(PortgroupSpec { name: Some(String::new()), ..PortgroupSpec::default() }.unique().is_empty());
    }
}
