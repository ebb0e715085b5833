//! Requests that are carried out once, however often they are sent: a client that heard no answer sends the same again.
//!
//! The client gives the request an id ([`RequestId`]), which is stored with the change that it makes, and the answer beside
//! it as soon as it is known. A repeated request gets that answer.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use domain::time::Timestamp;
use futures::future::BoxFuture;
use keyspace::{Expect, key, store::Versioned, value::Request};
use prost::Message;
use service_kit::clock;
use tokio::time::sleep;
use uuid::Uuid;

use crate::{Error, RequestContext, app_state::AppState, registry::Registry, request_id::RequestId};

/// How long a request is remembered.
const REQUEST_RETENTION: Duration = Duration::from_secs(3600);
/// Maximum number of remembered requests; the oldest are deleted early beyond it.
const MAX_REQUESTS: usize = 10_000;
/// Maximum size of a stored answer, in bytes; a longer one is made anew.
const MAX_ANSWER_BYTES: usize = 16 << 10;
/// How often old requests are deleted.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Requests deleted in one transaction.
const DELETES_PER_TRANSACTION: usize = 100;
/// How often a repeated request checks whether the answer of the first one is stored, at most.
const ANSWER_CHECKS: u32 = 20;
/// Pause between two such checks.
const ANSWER_CHECK_INTERVAL: Duration = Duration::from_millis(50);

impl AppState {
    /// Carries out a request, or returns the answer that was given when it was carried out. `anew` makes an answer from
    /// the present records, if the first one was lost with its scheduler or is too long to be stored.
    ///
    /// Boxed: a change is large.
    pub fn once<'a, T: Message + Default + 'a>(
        &'a self,
        context: &'a RequestContext,
        change: impl Future<Output = Result<T, Error>> + Send + 'a,
        anew: impl Fn() -> Result<T, Error> + Send + Sync + 'a,
    ) -> BoxFuture<'a, Result<T, Error>> {
        Box::pin(self.carried_out(context, change, anew))
    }

    async fn carried_out<T: Message + Default>(
        &self,
        context: &RequestContext,
        change: impl Future<Output = Result<T, Error>>,
        anew: impl Fn() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Some(asked) = &context.request_id else { return change.await };
        if let Some(known) = asked.known(self.registry.view()) {
            return self.again(asked, known, anew).await;
        }
        match change.await {
            Ok(answer) => {
                self.keep(asked, &answer).await;
                Ok(answer)
            }
            // This call carried it out.
            Err(error @ Error::NotEverywhere { .. }) => Err(error),
            // The same request may have been carried out meanwhile, and have caused the conflict.
            Err(error) => {
                let known = match asked.known(self.registry.view()) {
                    None if error.is_conflict() => self.registry.mesh.store().get(&key::request(asked.id())).await?,
                    known => known,
                };
                match known {
                    Some(known) => self.again(asked, known, anew).await,
                    None => Err(error),
                }
            }
        }
    }

    async fn again<T: Message + Default>(
        &self,
        asked: &RequestId,
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
            // The record is old: the scheduler that made the change is gone.
            if looks >= ANSWER_CHECKS || clock::now().since(request.at) > ANSWER_CHECK_INTERVAL * ANSWER_CHECKS {
                break;
            }
            looks += 1;
            sleep(ANSWER_CHECK_INTERVAL).await;
            known = asked.known(self.registry.view()).or(known);
        }
        anew()
    }

    /// Stores an answer beside its request. If that fails, a repeated request gets an answer that is made anew.
    async fn keep(&self, asked: &RequestId, answer: &impl Message) {
        let answer = answer.encode_to_vec();
        let Some(known) = asked.known(self.registry.view()).filter(|_| answer.len() <= MAX_ANSWER_BYTES) else {
            return;
        };
        let request = Request { answer: BASE64_STANDARD.encode(answer), ..known.value };
        let key = key::request(asked.id());
        let kept = async {
            let change = self.registry.mesh.as_member()?.put(&key, &request, Expect::Revision(known.revision))?;
            Ok::<_, Error>(self.registry.mesh.store().commit(change).await?)
        };
        if let Err(error) = kept.await {
            tracing::debug!(request = %asked.id(), error = %service_kit::status::chain(&error), "cannot store the answer of a request");
        }
    }
}

/// Deletes old requests while this replica leads.
pub async fn sweep(shared: Arc<AppState>) {
    while shared.leads_after(SWEEP_INTERVAL).await {
        let all = shared.registry.view().list(&key::requests()).into_iter();
        let all = all.filter_map(|(path, request)| Some((request.value.at, key::last(&path)?, request.revision)));
        if let Err(error) = forget(&shared.registry, &old(all.collect(), clock::now())).await {
            tracing::debug!(error = %service_kit::status::chain(&error), "cannot delete old requests, will retry");
        }
    }
}

/// The requests to be deleted: those older than the retention, and the oldest of too many.
fn old(mut all: Vec<(Timestamp, Uuid, i64)>, now: Timestamp) -> Vec<(Uuid, i64)> {
    all.sort_unstable();
    let beyond = all.len().saturating_sub(MAX_REQUESTS);
    let is_old =
        |(index, (at, ..)): &(usize, (Timestamp, Uuid, i64))| *index < beyond || now.since(*at) > REQUEST_RETENTION;
    all.into_iter().enumerate().filter(is_old).map(|(_, (_, id, revision))| (id, revision)).collect()
}

async fn forget(registry: &Registry, old: &[(Uuid, i64)]) -> Result<(), Error> {
    for some in old.chunks(DELETES_PER_TRANSACTION) {
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
    use super::*;

    #[test]
    fn what_is_too_old_or_too_much_is_forgotten_the_oldest_first() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let request = |number: u128, seconds| (at(seconds), Uuid::from_u128(number), 7);
        let now = at(4000);
        assert_eq!(old(vec![request(1, 3000), request(2, 100)], now), [(Uuid::from_u128(2), 7)]);
        let many = (0..=u128::try_from(MAX_REQUESTS).unwrap()).map(|number| request(number, 3000)).collect();
        assert_eq!(old(many, now), [(Uuid::from_u128(0), 7)]);
    }
}
