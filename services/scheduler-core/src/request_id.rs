//! The id of a request: how a repeated request is recognized.
//!
//! A change that a request makes stores the id in its own transaction, so that no other change can be made for the same id,
//! through whichever replica.

use std::collections::{BTreeMap, HashMap};

use keyspace::{View, key, store::Versioned, value::Request};
use prost::Message;
use proto::convert::Invalid;
use sha2::{Digest as _, Sha256};
use tonic::metadata::MetadataMap;
use uuid::Uuid;

use crate::Error;

/// Metadata key with the id of a request: a UUID.
const HEADER: &str = "ironmesh-request-id";

/// A request with an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId {
    id: Uuid,
    digest: String,
}

impl RequestId {
    /// The id of a request that a scheduler itself makes, derived from a name.
    pub fn by_name(space: Uuid, name: &Uuid) -> Self {
        let named: [u8; 32] = Sha256::new().chain_update(space).chain_update(name).finalize().into();
        let mut id = [0; 16];
        id.iter_mut().zip(named).for_each(|(to, from)| *to = from);
        Self { id: uuid::Builder::from_random_bytes(id).into_uuid(), digest: hex::encode(named) }
    }

    /// The id.
    pub const fn id(&self) -> Uuid {
        self.id
    }

    /// Reads the id that the client sent with a call; `None` if it sent none. The message must not contain its secrets:
    /// the stored digest would let them be guessed.
    pub fn read(metadata: &MetadataMap, call: &str, message: &impl Message) -> Result<Option<Self>, Error> {
        Self::read_with(metadata, call, message, &HashMap::new())
    }

    /// Reads the id of a call whose files are not part of the message, as maps have no order.
    pub fn read_with(
        metadata: &MetadataMap,
        call: &str,
        message: &impl Message,
        files: &HashMap<String, Vec<u8>>,
    ) -> Result<Option<Self>, Error> {
        let Some(id) = metadata.get(HEADER) else { return Ok(None) };
        let id = id.to_str().ok().and_then(|id| Uuid::try_parse(id).ok());
        let id = id.ok_or_else(|| Invalid::wrong(HEADER, "must be a UUID".to_owned()))?;
        let mut digest = Sha256::new().chain_update(call).chain_update([0]).chain_update(message.encode_to_vec());
        for (path, content) in files.iter().collect::<BTreeMap<_, _>>() {
            digest.update(Sha256::digest(path));
            digest.update(Sha256::digest(content));
        }
        Ok(Some(Self { id, digest: hex::encode(digest.finalize()) }))
    }

    /// The digest of the request, by which another one with the same id is recognized.
    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }

    /// The stored record of the request, if it was carried out.
    pub fn known(&self, view: &View) -> Option<Versioned<Request>> {
        view.get(&key::request(self.id))
    }

    /// Refuses a different request with the same id.
    pub(crate) fn check(&self, known: &Request) -> Result<(), Error> {
        if known.digest == self.digest {
            return Ok(());
        }
        let why = format!("{} was given to another request at {}; each needs one of its own", self.id, known.at);
        Err(Invalid::wrong(HEADER, why).into())
    }
}
