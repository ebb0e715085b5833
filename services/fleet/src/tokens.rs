//! Use cases about join tokens.

use std::{collections::BTreeSet, time::Duration};

use domain::{service::Service, time::Timestamp};
use keyspace::{
    Expect, key,
    store::Versioned,
    value::{Host, JoinToken, Mark},
};
use proto::convert::Invalid;
use scheduler_core::{AppState, Error as CoreError, RequestContext};
use service_kit::{clock, join_token};
use uuid::Uuid;

use crate::{Error, Survey};

pub use service_kit::ports::AUTHORITY_PORT;
/// How long a token is valid if the request says nothing.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// The shortest time for which a token is valid.
const MIN_LIFETIME: Duration = Duration::from_secs(60);
/// The longest time for which a token is valid.
const MAX_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// Maximum number of hosts that join with one token.
const MAX_USES: u32 = 1000;
/// Maximum number of valid tokens.
const MAX_TOKENS: usize = 1000;
/// How long an expired token is kept: a host that comes late is told that it expired.
const RETENTION: Duration = Duration::from_secs(24 * 3600);
/// Expired tokens that are deleted with each new one.
const DELETED_PER_TOKEN: usize = 20;

/// What a new token is to allow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenRequest {
    /// Id or name of the rack that hosts serve.
    pub rack: Option<String>,
    /// The services of the rack. Empty with a rack: all.
    pub services: BTreeSet<Service>,
    /// Whether hosts may run a member of the store.
    pub store: bool,
    /// Whether hosts may run a scheduler-service.
    pub scheduler: bool,
    /// How many hosts may join. Zero: one.
    pub uses: u32,
    /// How long it is valid. `None`: a day.
    pub lifetime: Option<Duration>,
}

/// What a token needs of the process that makes it.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// SHA-256 of the certificate of the mesh's CA (DER); `None` if the file has none.
    pub ca_digest: Option<[u8; 32]>,
    /// Name of the datacenter.
    pub datacenter: String,
}

/// A new token.
#[derive(Debug)]
pub struct NewToken {
    /// Its id.
    pub id: Uuid,
    /// Its record.
    pub record: JoinToken,
    /// Its text with the secret, which is stored nowhere.
    pub text: String,
    /// Where the authority listens, as `host:port`.
    pub authority: String,
}

/// The services of racks that hosts may run: all but the scheduler-service.
fn leaves() -> BTreeSet<Service> {
    Service::ALL.into_iter().filter(|service| *service != Service::Scheduler).collect()
}

/// The record of a token as requested. `digest` is that of its secret, `rack` the name of the rack of the request.
///
/// # Errors
/// [`Invalid`] names the field.
pub fn record(
    request: &TokenRequest,
    rack: Option<String>,
    digest: String,
    created: Mark,
) -> Result<JoinToken, Invalid> {
    let TokenRequest { store, scheduler, uses, .. } = *request;
    if rack.is_none() && !request.services.is_empty() {
        return Err(Invalid::wrong("rack", "name the rack whose services hosts run"));
    }
    if rack.is_none() && !store && !scheduler {
        return Err(Invalid::wrong("rack", "the token allows nothing; name a rack, or set store or scheduler"));
    }
    if request.services.contains(&Service::Scheduler) {
        return Err(Invalid::wrong("services", "a scheduler-service serves no rack; set scheduler instead"));
    }
    if uses > MAX_USES {
        return Err(Invalid::wrong("uses", format!("must be at most {MAX_USES}")));
    }
    let lifetime = request.lifetime.unwrap_or(DEFAULT_LIFETIME);
    if !(MIN_LIFETIME..=MAX_LIFETIME).contains(&lifetime) {
        return Err(Invalid::wrong("lifetime", "must be between a minute and 30 days"));
    }
    let services = match &rack {
        Some(_) if request.services.is_empty() => leaves(),
        Some(_) | None => request.services.clone(),
    };
    let expires = created.at.plus(lifetime);
    Ok(JoinToken { digest, rack, services, store, scheduler, uses: uses.max(1), used: Vec::new(), created, expires })
}

/// Where the authority of the datacenter listens.
///
/// # Errors
/// [`Error::NoAuthority`]
pub fn authority<'h>(mut hosts: impl Iterator<Item = &'h Host>) -> Result<String, Error> {
    let host = hosts.find(|host| host.authority).ok_or(Error::NoAuthority)?;
    Ok(std::net::SocketAddr::new(host.advertise, AUTHORITY_PORT).to_string())
}

/// Creates a token. A request that is repeated under the same id gets the same token with a new secret, because the first
/// one is stored nowhere.
///
/// # Errors
/// [`CoreError::Missing`] if there is no such rack, [`CoreError::Request`], [`CoreError::TooMany`], [`Error::NoAuthority`];
/// a conflict if a host joined with the token meanwhile.
pub async fn create(
    context: &RequestContext,
    app: &AppState,
    issuer: &Issuer,
    request: &TokenRequest,
) -> Result<NewToken, Error> {
    let registry = &app.registry;
    let rack = request.rack.as_deref().map(|rack| registry.rack_named(rack)).transpose()?.map(|rack| rack.value.name);
    let survey = Survey::read(registry.view());
    let authority = authority(survey.hosts.iter().map(|host| &host.value))?;
    let ca_digest = issuer.ca_digest.ok_or(Error::NoCa)?;
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(CoreError::from)?;
    let id = context.new_id();
    let token = join_token::JoinToken::new(id, secret, ca_digest, issuer.datacenter.clone());
    let now = clock::now();
    let created = Mark { by: context.actor.clone(), at: now };
    let record = record(request, rack, token.secret_digest(), created)?;
    let before = registry.mesh.store().get(&key::join_token(id)).await?;
    if before.as_ref().is_some_and(|before| !before.value.used.is_empty()) {
        return Err(Error::Core(keyspace::Error::Conflict.into()));
    }
    let (valid, expired): (Vec<_>, Vec<_>) =
        app.registry.view().list(&key::join_tokens()).into_iter().partition(|(_, token)| token.value.expires > now);
    if before.is_none() && valid.len() >= MAX_TOKENS {
        return Err(CoreError::TooMany { what: "join tokens", max: MAX_TOKENS }.into());
    }
    let mut change = registry.mesh.as_member()?.put(&key::join_token(id), &record, Expect::same(before.as_ref()))?;
    let expired = expired.iter().filter(|(_, token)| token.value.expires.plus(RETENTION) < now);
    let expired = expired.filter_map(|(path, token)| Some((key::last::<Uuid>(path)?, token.revision)));
    for (old, revision) in expired.filter(|(old, _)| *old != id).take(DELETED_PER_TOKEN) {
        change = change.delete(&key::join_token(old), Expect::Revision(revision));
    }
    // The answer has the secret, so it is not kept with the request.
    registry.commit(&RequestContext { request_id: None, ..context.clone() }, change).await?;
    Ok(NewToken { id, record, text: token.text(), authority })
}

/// The valid tokens, the one that expires first at the front.
#[must_use]
pub fn list(app: &AppState, now: Timestamp) -> Vec<(Uuid, Versioned<JoinToken>)> {
    let tokens = app.registry.view().list(&key::join_tokens()).into_iter();
    let mut tokens: Vec<_> = tokens
        .filter_map(|(path, token)| Some((key::last::<Uuid>(&path)?, token)))
        .filter(|(_, token)| token.value.expires > now)
        .collect();
    tokens.sort_by_key(|(id, token)| (token.value.expires, *id));
    tokens
}

/// Deletes a token.
///
/// # Errors
/// [`CoreError::Missing`]; a conflict if a host joined with it meanwhile.
pub async fn delete(context: &RequestContext, app: &AppState, id: &str) -> Result<(), Error> {
    let missing = || CoreError::Missing { kind: "token", name: id.to_owned() };
    let parsed: Uuid = id.parse().map_err(|_| missing())?;
    let token = app.registry.view().get(&key::join_token(parsed)).ok_or_else(missing)?;
    let change = app.registry.mesh.as_member()?.delete(&key::join_token(parsed), Expect::Revision(token.revision));
    Ok(app.registry.commit(context, change).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_allows_what_was_requested_and_nothing_by_accident() {
        use Service::{Inventory, Power, Pxe, Scheduler, Storage};
        let rack = || Some("r7".to_owned());
        let of = |services: &[Service]| services.iter().copied().collect::<BTreeSet<_>>();
        let all = || of(&[Power, Pxe, Storage, Inventory]);
        let base = TokenRequest::default;
        for (case, request, rack, wanted) in [
            ("a rack", base(), rack(), Ok((all(), 1, 86_400))),
            (
                "two services",
                TokenRequest { services: of(&[Power, Pxe]), ..base() },
                rack(),
                Ok((of(&[Power, Pxe]), 1, 86_400)),
            ),
            ("a store", TokenRequest { store: true, uses: 2, ..base() }, None, Ok((of(&[]), 2, 86_400))),
            ("a scheduler", TokenRequest { scheduler: true, ..base() }, None, Ok((of(&[]), 1, 86_400))),
            ("the rack without a name", base(), Some(String::new()), Ok((all(), 1, 86_400))),
            (
                "a minute",
                TokenRequest { lifetime: Some(Duration::from_secs(60)), ..base() },
                rack(),
                Ok((all(), 1, 60)),
            ),
            ("many uses", TokenRequest { uses: 1000, ..base() }, rack(), Ok((all(), 1000, 86_400))),
            ("nothing", base(), None, Err("rack")),
            (
                "services without a rack",
                TokenRequest { services: of(&[Pxe]), store: true, ..base() },
                None,
                Err("rack"),
            ),
            ("a rack's scheduler", TokenRequest { services: of(&[Scheduler]), ..base() }, rack(), Err("services")),
            ("too many uses", TokenRequest { uses: 1001, ..base() }, rack(), Err("uses")),
            ("59 s", TokenRequest { lifetime: Some(Duration::from_secs(59)), ..base() }, rack(), Err("lifetime")),
            (
                "a year",
                TokenRequest { lifetime: Some(Duration::from_secs(31_536_000)), ..base() },
                rack(),
                Err("lifetime"),
            ),
            ("no time at all", TokenRequest { lifetime: Some(Duration::ZERO), ..base() }, rack(), Err("lifetime")),
        ] {
            let created = Mark { by: "operator ann".to_owned(), at: Timestamp::from_millis(5_000) };
            let made = record(&request, rack, "00".to_owned(), created);
            match (made, wanted) {
                (Ok(token), Ok((services, uses, seconds))) => {
                    assert_eq!((token.services, token.uses), (services, uses), "{case}");
                    assert_eq!(token.expires, Timestamp::from_millis(5_000 + seconds * 1000), "{case}");
                }
                (Err(Invalid::Wrong { field, .. }), Err(wanted)) => assert_eq!(field, wanted, "{case}"),
                (made, wanted) => panic!("{case}: {made:?}, not {wanted:?}"),
            }
        }
    }
}
