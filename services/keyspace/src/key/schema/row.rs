//! What a row of the table says of its key.

use domain::{id::RackId, service::Service};
use serde::de::DeserializeOwned;

use crate::key::template::Template;

/// Keys that share one budget per node.
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
    /// Hardware inventory and what clients specified of the node.
    Inventory,
    /// What belongs to no node.
    Mesh,
}

impl Group {
    /// Maximum size of a node's keys and values of this group, in bytes. `None` if the group is not bounded per node.
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

/// How a value is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// JSON.
    Json,
    /// JSON, compressed with zstd.
    Packed,
}

/// A leaf service that follows a key which it does not write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follower {
    /// The service.
    pub service: Service,
    /// Whose key it follows, if each service has one.
    pub of: Option<Service>,
}

/// Reason a value is not what its key says.
#[derive(Debug, thiserror::Error)]
pub enum ValueError {
    /// It is compressed and damaged.
    #[error("cannot decompress the value")]
    Packed(#[source] std::io::Error),
    /// It is no JSON, or not of the key's type.
    #[error("{0}")]
    Json(serde_json::Error),
}

/// A row of the table.
#[derive(Debug)]
pub struct Row {
    /// The path without its root, with its parameters in braces.
    pub path: &'static str,
    /// The type of the value.
    pub value: &'static str,
    /// Who writes it.
    pub writer: &'static str,
    /// The lease that it is under, and otherwise what bounds its age if anything does.
    pub lease: &'static str,
    /// How the value is encoded.
    pub encoding: Encoding,
    /// The budget that it counts against.
    pub group: Group,
    /// Leaf services that follow it beside its writer. The schedulers follow everything.
    pub followers: &'static [Follower],
    pub(super) template: fn() -> &'static Template,
    pub(super) read: fn(&[u8]) -> Result<(), ValueError>,
}

impl Row {
    /// The kind of key, without whose it is: `node/intent`, `claim`.
    #[must_use]
    pub fn family(&self) -> &'static str {
        (self.template)().family()
    }

    /// Checks that a value is what the key says.
    ///
    /// # Errors
    /// [`ValueError`]
    pub fn check(&self, value: &[u8]) -> Result<(), ValueError> {
        (self.read)(value)
    }

    /// The prefix that a service of a rack follows because of this row.
    pub(in crate::key) fn followed(&self, rack: RackId, follower: &Follower) -> String {
        let template = (self.template)();
        match follower.of {
            Some(of) => template.path(&[&rack, &of]),
            // What belongs to the datacenter is followed as a whole.
            None if !self.path.contains("{rack}") => template.path(&[]),
            None => template.path(&[&rack]),
        }
    }
}

/// A value as text: decompressed if it is compressed. Secrets stay sealed.
///
/// # Errors
/// It is compressed and damaged.
pub fn decompress(value: &[u8]) -> std::io::Result<Vec<u8>> {
    /// What every zstd frame begins with (RFC 8878 §3.1.1).
    const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    if value.starts_with(&MAGIC) { zstd::stream::decode_all(value) } else { Ok(value.to_vec()) }
}

pub(super) const fn packed_or_json<V: DeserializeOwned>(encoding: Encoding) -> fn(&[u8]) -> Result<(), ValueError> {
    match encoding {
        Encoding::Json => json::<V>,
        Encoding::Packed => packed::<V>,
    }
}

fn json<V: DeserializeOwned>(value: &[u8]) -> Result<(), ValueError> {
    serde_json::from_slice::<V>(value).map(drop).map_err(ValueError::Json)
}

fn packed<V: DeserializeOwned>(value: &[u8]) -> Result<(), ValueError> {
    json::<V>(&decompress(value).map_err(ValueError::Packed)?)
}
