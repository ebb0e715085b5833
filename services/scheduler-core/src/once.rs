//! Requests that are carried out once, however often they are sent: a sender who heard no answer sends the same again.
//!
//! He gives the request an id. Whatever change it makes stores that id in its own transaction, so that no second one can,
//! through whichever replica; and the answer beside it as soon as it is known. Who repeats it is given that answer.

use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use domain::{id::OperationId, time::Timestamp};
use futures::future::BoxFuture;
use keyspace::{Change, Expect, key, store::Versioned, value::Request};
use prost::Message;
use proto::convert::Invalid;
use service_kit::clock;
use sha2::{Digest as _, Sha256};
use tokio::time::sleep;
use tonic::metadata::MetadataMap;
use uuid::Uuid;

use crate::{Error, app_state::AppState, registry::Registry};

/// The metadata that names a request: a UUID.
const HEADER: &str = "ironmesh-request-id";
/// How long a request is remembered.
const KEPT: Duration = Duration::from_secs(3600);
/// Requests that are remembered; beyond it the oldest are forgotten early.
const MOST: usize = 10_000;
/// Octets of an answer that is kept; a longer one is made anew.
const LONGEST: usize = 16 << 10;
/// How often what is to be forgotten is looked for.
const SWEEP: Duration = Duration::from_secs(60);
/// Requests that are forgotten in one transaction.
const AT_ONCE: usize = 100;
/// How often it is looked whether an answer that another one is making is there, and how long in between.
const LOOKS: u32 = 20;
const LOOK: Duration = Duration::from_millis(50);

tokio::task_local! {
    /// The request whose change is being made.
    static ASKED: (Asked, Cell<Option<OperationId>>);
}

/// A request with an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    id: Uuid,
    digest: String,
}

impl Asked {
    /// A request that a scheduler makes by itself, of a name that is its own.
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

    /// As the sender of a call named it; none: he did not. The message is without its secrets: what is stored would let them
    /// be guessed.
    pub fn read(metadata: &MetadataMap, call: &str, message: &impl Message) -> Result<Option<Self>, Error> {
        Self::read_with(metadata, call, message, &HashMap::new())
    }

    /// The same of a message without its files, which come in no order.
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

    /// Makes the change of this request: whatever is committed within is marked with it.
    pub async fn scope<T>(self, change: impl Future<Output = T>) -> T {
        ASKED.scope((self, Cell::new(None)), change).await
    }

    /// What is stored of it, where it was carried out.
    pub fn known(&self, registry: &Registry) -> Option<Versioned<Request>> {
        registry.view().get(&key::request(self.id))
    }

    /// Refuses what is another request under the same id.
    fn check(&self, known: &Request) -> Result<(), Error> {
        if known.digest == self.digest {
            return Ok(());
        }
        let why = format!("{} was given to another request at {}; each needs one of its own", self.id, known.at);
        Err(Invalid::wrong(HEADER, why).into())
    }
}

/// Notes which operation the request being carried out begins.
pub fn begins(operation: Option<OperationId>) {
    // Nobody named the request: nothing is to be noted.
    let _ = ASKED.try_with(|(_, begun)| begun.set(operation));
}

/// The change with the mark of the request being carried out, where that has an id.
pub fn marked(change: Change) -> Result<Change, keyspace::Error> {
    let marked = ASKED.try_with(|(asked, begun)| {
        let (digest, operation) = (asked.digest.clone(), begun.get());
        let request = Request { digest, at: clock::now(), operation, answer: String::new() };
        change.clone().put(&key::request(asked.id), &request, Expect::Absent)
    });
    marked.unwrap_or(Ok(change))
}

impl AppState {
    /// Carries a request out, or gives the answer of when it was carried out. `anew` makes an answer of what is now,
    /// where the first one was lost with its scheduler or is too long to be kept.
    ///
    /// Boxed: a change is large.
    pub fn once<'a, T: Message + Default + 'a>(
        &'a self,
        asked: Option<Asked>,
        change: impl Future<Output = Result<T, Error>> + Send + 'a,
        anew: impl Fn() -> Result<T, Error> + Send + Sync + 'a,
    ) -> BoxFuture<'a, Result<T, Error>> {
        Box::pin(self.carried_out(asked, change, anew))
    }

    async fn carried_out<T: Message + Default>(
        &self,
        asked: Option<Asked>,
        change: impl Future<Output = Result<T, Error>>,
        anew: impl Fn() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Some(asked) = asked else { return change.await };
        if let Some(known) = asked.known(&self.registry) {
            return self.again(&asked, known, anew).await;
        }
        match asked.clone().scope(change).await {
            Ok(answer) => {
                self.keep(&asked, &answer).await;
                Ok(answer)
            }
            // It was carried out by this very call.
            Err(error @ Error::NotEverywhere { .. }) => Err(error),
            // The same request may have been carried out meanwhile, and be what came in its own way.
            Err(error) => {
                let known = match asked.known(&self.registry) {
                    None if error.is_conflict() => self.registry.mesh.store().get(&key::request(asked.id)).await?,
                    known => known,
                };
                match known {
                    Some(known) => self.again(&asked, known, anew).await,
                    None => Err(error),
                }
            }
        }
    }

    async fn again<T: Message + Default>(
        &self,
        asked: &Asked,
        known: Versioned<Request>,
        anew: impl Fn() -> Result<T, Error>,
    ) -> Result<T, Error> {
        asked.check(&known.value)?;
        let mut looks = 0;
        let mut known = Some(known);
        while let Some(request) = known.as_ref().map(|known| &known.value) {
            let answer = BASE64_STANDARD.decode(&request.answer).ok().filter(|answer| !answer.is_empty());
            if let Some(answer) = answer.and_then(|answer| T::decode(answer.as_slice()).ok()) {
                return Ok(answer);
            }
            // What is known is old: whoever made the change is gone.
            if looks >= LOOKS || clock::now().since(request.at) > LOOK * LOOKS {
                break;
            }
            looks += 1;
            sleep(LOOK).await;
            known = asked.known(&self.registry).or(known);
        }
        anew()
    }

    /// Stores an answer beside its request. Where that fails the answer is made anew if it is asked for.
    async fn keep(&self, asked: &Asked, answer: &impl Message) {
        let answer = answer.encode_to_vec();
        let Some(known) = asked.known(&self.registry).filter(|_| answer.len() <= LONGEST) else { return };
        let request = Request { answer: BASE64_STANDARD.encode(answer), ..known.value };
        let key = key::request(asked.id);
        let kept = async {
            let change = self.registry.mesh.as_member()?.put(&key, &request, Expect::Revision(known.revision))?;
            Ok::<_, Error>(self.registry.mesh.store().commit(change).await?)
        };
        if let Err(error) = kept.await {
            tracing::debug!(request = %asked.id, error = %service_kit::status::chain(&error), "an answer is not kept");
        }
    }
}

/// Forgets old requests, while this replica leads.
pub async fn sweep(shared: Arc<AppState>) {
    loop {
        tokio::select! {
            () = shared.host.stopping() => return,
            () = sleep(SWEEP) => {}
        }
        if !shared.registry.mesh.leads() {
            continue;
        }
        let all = shared.registry.view().list(&key::requests()).into_iter();
        let all = all.filter_map(|(path, request)| Some((request.value.at, key::last(&path)?, request.revision)));
        if let Err(error) = forget(&shared.registry, &old(all.collect(), clock::now())).await {
            tracing::debug!(error = %service_kit::status::chain(&error), "requests are not forgotten yet");
        }
    }
}

/// Those that are to be forgotten.
fn old(mut all: Vec<(Timestamp, Uuid, i64)>, now: Timestamp) -> Vec<(Uuid, i64)> {
    all.sort_unstable();
    let beyond = all.len().saturating_sub(MOST);
    let is_old = |(index, (at, ..)): &(usize, (Timestamp, Uuid, i64))| *index < beyond || now.since(*at) > KEPT;
    all.into_iter().enumerate().filter(is_old).map(|(_, (_, id, revision))| (id, revision)).collect()
}

async fn forget(registry: &Registry, old: &[(Uuid, i64)]) -> Result<(), Error> {
    for some in old.chunks(AT_ONCE) {
        let mut change = registry.mesh.as_member()?;
        for (id, revision) in some {
            change = change.delete(&key::request(*id), Expect::Revision(*revision));
        }
        registry.mesh.store().commit(change).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proto::api::v1::DeleteNodeRequest;

    use super::*;

    fn named(id: &str) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert(HEADER, id.parse().unwrap());
        metadata
    }

    fn delete(node: &str) -> DeleteNodeRequest {
        DeleteNodeRequest { node: node.to_owned() }
    }

    const ID: &str = "00000000-0000-4000-8000-000000000001";

    #[test]
    fn the_same_id_with_another_request_is_refused() {
        let asked = Asked::read(&named(ID), "DeleteNode", &delete("n1")).unwrap().unwrap();
        let known = |asked: &Asked| Request {
            digest: asked.digest.clone(),
            at: Timestamp::default(),
            operation: None,
            answer: String::new(),
        };
        assert!(asked.check(&known(&asked)).is_ok());
        for (call, node) in [("DeleteNode", "n2"), ("Delete", "n1")] {
            let other = Asked::read(&named(ID), call, &delete(node)).unwrap().unwrap();
            assert!(asked.check(&known(&other)).unwrap_err().to_string().contains("request"), "{call} {node}");
        }
    }

    #[test]
    fn an_id_that_is_none_is_refused_and_none_is_none() {
        assert_eq!(Asked::read(&MetadataMap::new(), "DeleteNode", &delete("n1")).unwrap(), None);
        assert!(Asked::read(&named("seven"), "DeleteNode", &delete("n1")).is_err());
    }

    #[test]
    fn files_count_in_any_order() {
        let files = |paths: &[&str]| paths.iter().map(|path| ((*path).to_owned(), vec![1])).collect::<HashMap<_, _>>();
        let read = |paths: &[&str]| Asked::read_with(&named(ID), "P", &delete("n1"), &files(paths)).unwrap();
        assert_eq!(read(&["a", "b"]), read(&["b", "a"]));
        assert_ne!(read(&["a", "b"]), read(&["a"]));
    }

    #[test]
    fn what_is_too_old_or_too_much_is_forgotten_the_oldest_first() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let request = |number: u128, seconds| (at(seconds), Uuid::from_u128(number), 7);
        let now = at(4000);
        assert_eq!(old(vec![request(1, 3000), request(2, 100)], now), [(Uuid::from_u128(2), 7)]);
        let many = (0..=u128::try_from(MOST).unwrap()).map(|number| request(number, 3000)).collect();
        assert_eq!(old(many, now), [(Uuid::from_u128(0), 7)]);
    }

    #[test]
    fn requests_of_one_name_are_one() {
        let (space, name) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(Asked::by_name(space, &name), Asked::by_name(space, &name));
        assert_ne!(Asked::by_name(space, &name).id, Asked::by_name(name, &space).id);
    }
}
