//! Typed identifiers: a rack's id cannot be passed where a node's id is expected.

use std::{cmp::Ordering, fmt, hash, marker::PhantomData, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

/// A UUID with the kind of thing that it identifies.
pub struct Id<K> {
    raw: Uuid,
    kind: PhantomData<fn() -> K>,
}

/// Kind of thing that an [`Id`] identifies.
pub trait Kind {
    /// Name of the kind in error messages.
    const WORD: &'static str;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident, $alias:ident, $word:literal;)*) => {$(
        #[doc = concat!("Marks the id of a ", $word, ".")]
        #[derive(Debug, Clone, Copy)]
        pub enum $kind {}
        impl Kind for $kind {
            const WORD: &'static str = $word;
        }
        $(#[$doc])*
        pub type $alias = Id<$kind>;
    )*};
}

kinds! {
    /// Names a machine under management; globally unique.
    Node, NodeId, "node";
    /// Names a rack.
    Rack, RackId, "rack";
    /// Names a port, that is a NIC of a node.
    Port, PortId, "port";
    /// Names a registered image.
    Image, ImageId, "image";
    /// Names an accepted request and the work it causes.
    Operation, OperationId, "operation";
    /// Names one run of a service's process in the ring.
    Instance, InstanceId, "instance";
    /// Names a slot in the ring, which a process keeps as long as it has the same data folder.
    Slot, SlotId, "slot";
}

/// Error for a text that is not a UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the UUID of a {word}")]
pub struct ParseIdError {
    word: &'static str,
    text: String,
}

impl<K> Id<K> {
    /// Creates an id of this kind from a UUID.
    #[must_use]
    pub const fn new(raw: Uuid) -> Self {
        Self { raw, kind: PhantomData }
    }

    /// Returns the UUID.
    #[must_use]
    pub const fn uuid(self) -> Uuid {
        self.raw
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.raw.cmp(&other.raw)
    }
}
impl<K> hash::Hash for Id<K> {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.raw.hash(state);
    }
}
impl<K> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.raw.fmt(f)
    }
}
impl<K> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.raw.fmt(f)
    }
}
impl<K: Kind> FromStr for Id<K> {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        Uuid::try_parse(text).map(Self::new).map_err(|_| ParseIdError { word: K::WORD, text: text.to_owned() })
    }
}
impl<K> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.raw)
    }
}
impl<'de, K: Kind> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_id_says_what_it_should_have_named() {
        let error = "rack-7".parse::<NodeId>().unwrap_err();
        assert_eq!(error.to_string(), "\"rack-7\" is not the UUID of a node");
    }

    #[test]
    fn an_id_survives_json() {
        let id = NodeId::new(Uuid::from_u128(7));
        let text = serde_json::to_string(&id).unwrap();
        assert_eq!(text, "\"00000000-0000-0000-0000-000000000007\"");
        assert_eq!(serde_json::from_str::<NodeId>(&text).unwrap(), id);
    }
}
