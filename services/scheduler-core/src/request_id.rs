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

#[cfg(test)]
mod tests {
    use domain::time::Timestamp;
    use proto::api::v1::DeleteNodeRequest;

    use super::*;

    fn named(id: &str) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert(HEADER, id.parse().unwrap());
        metadata
    }

    fn delete(node: &str) -> DeleteNodeRequest {
        DeleteNodeRequest { node: node.to_owned(), etag: String::new() }
    }

    const ID: &str = "00000000-0000-4000-8000-000000000001";

    #[test]
    fn the_same_id_with_another_request_is_refused() {
        let asked = RequestId::read(&named(ID), "DeleteNode", &delete("n1")).unwrap().unwrap();
        let known = |asked: &RequestId| Request {
            digest: asked.digest.clone(),
            at: Timestamp::default(),
            operation: None,
            answer: String::new(),
        };
        assert!(asked.check(&known(&asked)).is_ok());
        for (call, node) in [("DeleteNode", "n2"), ("Delete", "n1")] {
            let other = RequestId::read(&named(ID), call, &delete(node)).unwrap().unwrap();
            assert!(asked.check(&known(&other)).unwrap_err().to_string().contains("request"), "{call} {node}");
        }
    }

    #[test]
    fn an_id_that_is_none_is_refused_and_none_is_none() {
        assert_eq!(RequestId::read(&MetadataMap::new(), "DeleteNode", &delete("n1")).unwrap(), None);
        assert!(RequestId::read(&named("seven"), "DeleteNode", &delete("n1")).is_err());
    }

    #[test]
    fn files_count_in_any_order() {
        let files = |paths: &[&str]| paths.iter().map(|path| ((*path).to_owned(), vec![1])).collect::<HashMap<_, _>>();
        let read = |paths: &[&str]| RequestId::read_with(&named(ID), "P", &delete("n1"), &files(paths)).unwrap();
        assert_eq!(read(&["a", "b"]), read(&["b", "a"]));
        assert_ne!(read(&["a", "b"]), read(&["a"]));
    }

    #[test]
    fn requests_of_one_name_are_one() {
        let (space, name) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(RequestId::by_name(space, &name), RequestId::by_name(space, &name));
        assert_ne!(RequestId::by_name(space, &name).id, RequestId::by_name(name, &space).id);
    }
}
