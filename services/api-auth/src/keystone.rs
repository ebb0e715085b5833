//! Keystone tokens. Each is validated by Keystone (Identity API v3, "Validate and show information for token"), with a
//! token of our own, and the answer is cached for a while.

mod token;

use std::{collections::HashMap, fs, path::PathBuf, sync::Arc, time::Duration};

use domain::{policy::Caller, secret::Secret};
use parking_lot::Mutex;
use reqwest::{
    StatusCode,
    header::{CONTENT_TYPE, HeaderName},
};
use serde_json::{Value, json};
use service_kit::{
    clock,
    outbound_http::{OutboundClient, OutboundConfig, OutboundRequest, Purpose},
};
use sha2::{Digest as _, Sha256};
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    config,
    error::Error,
    identity_server::{client, json as read},
    refusal::Refusal,
};

/// Header with the token of a request.
pub(crate) const TOKEN: &str = "x-auth-token";
/// Header with the token that a request asks about, and with the token that a login returns.
const SUBJECT: &str = "x-subject-token";
/// Maximum number of cached tokens.
const MAX_CACHED_TOKENS: usize = 4096;
/// How long an invalid token is cached, so that repeated requests with it do not load Keystone.
const INVALID_TOKEN_TTL: Duration = Duration::from_secs(10);
/// How long a failure of Keystone is cached, for the requests that wait for the same answer.
const FAILURE_TTL: Duration = Duration::from_secs(1);
/// Maximum number of concurrent validations.
const MAX_CONCURRENT_VALIDATIONS: usize = 16;

/// Validates tokens with Keystone.
#[derive(Debug)]
pub(super) struct Keystone {
    client: OutboundClient,
    /// Base URL, without `/v3`.
    url: String,
    account: Account,
    /// Name of the project whose services have system scope.
    services: String,
    /// How long a valid token is cached.
    seen: Duration,
    /// Our own token, after the first login.
    own: tokio::sync::Mutex<Option<Secret>>,
    asking: Semaphore,
    known: Mutex<HashMap<[u8; 32], Arc<Slot>>>,
}

/// Our account at Keystone.
#[derive(Debug)]
struct Account {
    user: String,
    password: PathBuf,
    project: String,
    domain: String,
}

/// The cache entry of one token. The holder of the lock asks Keystone; the others wait for its answer.
type Slot = tokio::sync::Mutex<Option<Known>>;

#[derive(Debug, Clone)]
struct Known {
    until: Instant,
    answer: Result<Arc<Caller>, Refusal>,
}

/// Answer of Keystone to a validation.
enum Validation {
    /// The token is valid; its description.
    Valid(Value),
    /// The token is unknown.
    Unknown,
    /// Our own token was rejected.
    OwnTokenRejected,
}

impl Keystone {
    /// Reads the password and the CA file. Does not call Keystone.
    ///
    /// # Errors
    /// [`Error::PasswordFile`] or [`Error::Content`] if one of the files cannot be used.
    pub(super) fn open(config: &config::Keystone, outbound: &OutboundConfig) -> Result<Self, Error> {
        let url = config.url.trim_end_matches('/');
        let account = Account {
            user: config.user.clone(),
            password: config.password.clone(),
            project: config.project.clone(),
            domain: config.domain.clone(),
        };
        account.password()?;
        Ok(Self {
            client: client(outbound, Purpose::Keystone, &config.ca)?,
            url: url.strip_suffix("/v3").unwrap_or(url).to_owned(),
            account,
            services: config.services.clone(),
            seen: config.seen,
            own: tokio::sync::Mutex::default(),
            asking: Semaphore::new(MAX_CONCURRENT_VALIDATIONS),
            known: Mutex::default(),
        })
    }

    /// Returns the challenge for clients without a token.
    pub(super) fn challenge(&self) -> String {
        format!("Keystone uri=\"{}\"", self.url)
    }

    /// Returns the owner of a token. Cancel safe: the next request that waits for the same answer asks Keystone then.
    ///
    /// # Errors
    /// [`Refusal::Unknown`] if the token is invalid, [`Refusal::Away`] if Keystone cannot be asked.
    pub(super) async fn authenticate(&self, token: &str) -> Result<Arc<Caller>, Refusal> {
        let slot = self.slot(Sha256::digest(token).into());
        let mut known = slot.lock().await;
        if let Some(known) = known.as_ref().filter(|known| known.until > Instant::now()) {
            return known.answer.clone();
        }
        let fresh = self.ask(token).await;
        *known = Some(fresh.clone());
        fresh.answer
    }

    /// Returns the cache entry of a token. If the cache is full, removes expired entries that no request waits for; if that
    /// is not enough, clears the cache.
    fn slot(&self, key: [u8; 32]) -> Arc<Slot> {
        let mut known = self.known.lock();
        if known.len() >= MAX_CACHED_TOKENS && !known.contains_key(&key) {
            let now = Instant::now();
            let is_of_use = |slot: &Arc<Slot>| {
                slot.try_lock().map_or(true, |known| known.as_ref().is_some_and(|known| known.until > now))
            };
            known.retain(|_, slot| is_of_use(slot));
            if known.len() >= MAX_CACHED_TOKENS {
                known.clear();
            }
        }
        Arc::clone(known.entry(key).or_default())
    }

    async fn ask(&self, token: &str) -> Known {
        let now = Instant::now();
        match self.validate(token).await {
            Ok(Some(body)) => match token::read(&body, &self.services, clock::now()) {
                Ok((caller, left)) => Known { until: now + left.min(self.seen), answer: Ok(Arc::new(caller)) },
                Err(why) => wrong(now, why),
            },
            Ok(None) => wrong(now, "The request you have made requires authentication."),
            Err(error) => {
                tracing::warn!(url = self.url, why = %error, "Keystone token validation failed");
                let answer = Err(Refusal::Away("The Keystone service is temporarily unavailable.".to_owned()));
                Known { until: Instant::now() + FAILURE_TTL, answer }
            }
        }
    }

    /// Returns Keystone's description of a token, or `None` if the token is unknown.
    async fn validate(&self, token: &str) -> Result<Option<Value>, Error> {
        let _permit = self.asking.acquire().await.map_err(|_| Error::Closed)?;
        let own = self.own_token(None).await?;
        match self.validate_as(&own, token).await? {
            Validation::Valid(body) => return Ok(Some(body)),
            Validation::Unknown => return Ok(None),
            Validation::OwnTokenRejected => {}
        }
        let own = self.own_token(Some(&own)).await?;
        match self.validate_as(&own, token).await? {
            Validation::Valid(body) => Ok(Some(body)),
            Validation::Unknown => Ok(None),
            Validation::OwnTokenRejected => Err(Error::OwnTokenRejected),
        }
    }

    async fn validate_as(&self, own: &Secret, token: &str) -> Result<Validation, Error> {
        let url = format!("{}/v3/auth/tokens?nocatalog", self.url);
        let request = OutboundRequest::get(&url)?.header(HeaderName::from_static(TOKEN), own.expose());
        let response = self.client.send(request.header(HeaderName::from_static(SUBJECT), token)).await?;
        match response.status() {
            StatusCode::OK => read(response).await.map(Validation::Valid),
            StatusCode::NOT_FOUND => Ok(Validation::Unknown),
            StatusCode::UNAUTHORIZED => Ok(Validation::OwnTokenRejected),
            StatusCode::FORBIDDEN => Err(Error::NotPermitted { user: self.account.user.clone() }),
            status => Err(Error::KeystoneStatus(status)),
        }
    }

    /// Returns our own token. `old` is a token that was rejected; it is replaced.
    async fn own_token(&self, old: Option<&Secret>) -> Result<Secret, Error> {
        let mut own = self.own.lock().await;
        if let Some(own) = own.as_ref().filter(|own| Some(*own) != old) {
            return Ok(own.clone());
        }
        let url = format!("{}/v3/auth/tokens?nocatalog", self.url);
        let request = OutboundRequest::post(&url, self.account.request()?)?.header(CONTENT_TYPE, "application/json");
        let answer = self.client.send(request).await?;
        let status = answer.status();
        let fresh = answer.header(&HeaderName::from_static(SUBJECT)).filter(|_| status == StatusCode::CREATED);
        let rejected = || Error::LoginRejected { user: self.account.user.clone(), status };
        let fresh = fresh.map(|token| Secret::new(token.as_bytes().to_vec())).ok_or_else(rejected)?;
        *own = Some(fresh.clone());
        Ok(fresh)
    }
}

fn wrong(now: Instant, why: &str) -> Known {
    Known { until: now + INVALID_TOKEN_TTL, answer: Err(Refusal::Unknown(why.to_owned())) }
}

impl Account {
    fn password(&self) -> Result<Secret, Error> {
        let text = fs::read(&self.password).map(Secret::new);
        let text = text.map_err(|cause| Error::PasswordFile { path: self.password.clone(), cause })?;
        Ok(Secret::new(text.expose().trim_ascii_end().to_vec()))
    }

    /// Returns the body of a login ("Password authentication with scoped authorization"). The password file is read each
    /// time, so that a new password needs no restart.
    fn request(&self) -> Result<Vec<u8>, Error> {
        let password = self.password()?;
        let domain = json!({"name": self.domain});
        let user = json!({"name": self.user, "domain": domain, "password": String::from_utf8_lossy(password.expose())});
        let identity = json!({"methods": ["password"], "password": {"user": user}});
        let scope = json!({"project": {"name": self.project, "domain": domain}});
        serde_json::to_vec(&json!({"auth": {"identity": identity, "scope": scope}}))
            .map_err(|cause| Error::Json { cause })
    }
}

#[cfg(test)]
mod tests;
