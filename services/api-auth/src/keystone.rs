//! Tokens of OpenStack's Keystone: each is asked after at Keystone itself (Identity API v3, "Validate and show information
//! for token"), with a token of our own, and what it said is remembered for a while.

mod token;

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::{policy::Caller, secret::Secret};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use service_kit::clock;
use sha2::{Digest as _, Sha256};
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    identity_server::{client, json as read},
    refusal::Refusal,
};

/// Keystone's header for a token.
pub(crate) const TOKEN: &str = "x-auth-token";
use crate::config;

/// The token that a request is about, and the one that an answer brings.
const SUBJECT: &str = "x-subject-token";
/// Tokens that are remembered.
const REMEMBERED: usize = 4096;
/// How long it is remembered that a token is none: long enough that it costs Keystone nothing to be asked again and again.
const WRONG: Duration = Duration::from_secs(10);
/// How long everybody who waits for the same answer is told that Keystone did not give it.
const AWAY: Duration = Duration::from_secs(1);
/// Tokens that are asked after at the same time.
const AT_ONCE: usize = 16;

/// A Keystone.
#[derive(Debug)]
pub(super) struct Keystone {
    client: Client,
    /// Where it is, without `/v3`.
    url: String,
    account: Account,
    /// The name of the project whose services are members of the system.
    services: String,
    /// How long an answer is believed.
    seen: Duration,
    /// Our own token, once there is one.
    own: tokio::sync::Mutex<Option<Secret>>,
    asking: Semaphore,
    known: Mutex<HashMap<[u8; 32], Arc<Slot>>>,
}

/// Who we are there.
#[derive(Debug)]
struct Account {
    user: String,
    password: PathBuf,
    project: String,
    domain: String,
}

/// One token: whoever holds the lock asks after it, and the others wait for his answer.
type Slot = tokio::sync::Mutex<Option<Known>>;

#[derive(Debug, Clone)]
struct Known {
    until: Instant,
    answer: Result<Arc<Caller>, Refusal>,
}

/// What came of asking.
enum Asked {
    /// Keystone told of the token.
    Told(Value),
    /// It knows of no such token.
    Wrong,
    /// It does not know us.
    NotUs,
}

impl Keystone {
    pub(super) fn open(config: &config::Keystone) -> Result<Self, String> {
        let url = config.url.trim_end_matches('/');
        let account = Account {
            user: config.user.clone(),
            password: config.password.clone(),
            project: config.project.clone(),
            domain: config.domain.clone(),
        };
        account.password()?;
        Ok(Self {
            client: client(&config.ca)?,
            url: url.strip_suffix("/v3").unwrap_or(url).to_owned(),
            account,
            services: config.services.clone(),
            seen: config.seen,
            own: tokio::sync::Mutex::default(),
            asking: Semaphore::new(AT_ONCE),
            known: Mutex::default(),
        })
    }

    /// What a client without a token is told.
    pub(super) fn challenge(&self) -> String {
        format!("Keystone uri=\"{}\"", self.url)
    }

    /// Whose token it is. Safe to drop at any await: whoever waits for the same answer asks then.
    ///
    /// # Errors
    /// It is nobody's, or Keystone does not say.
    pub(super) async fn who(&self, token: &str) -> Result<Arc<Caller>, Refusal> {
        let slot = self.slot(Sha256::digest(token).into());
        let mut known = slot.lock().await;
        if let Some(known) = known.as_ref().filter(|known| known.until > Instant::now()) {
            return known.answer.clone();
        }
        let fresh = self.ask(token).await;
        *known = Some(fresh.clone());
        fresh.answer
    }

    /// The place of a token. Where there are too many, those go that nobody waits for and that say nothing any more; and
    /// where these are too few, all.
    fn slot(&self, key: [u8; 32]) -> Arc<Slot> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED && !known.contains_key(&key) {
            let now = Instant::now();
            let is_of_use = |slot: &Arc<Slot>| {
                slot.try_lock().map_or(true, |known| known.as_ref().is_some_and(|known| known.until > now))
            };
            known.retain(|_, slot| is_of_use(slot));
            if known.len() >= REMEMBERED {
                known.clear();
            }
        }
        Arc::clone(known.entry(key).or_default())
    }

    async fn ask(&self, token: &str) -> Known {
        let now = Instant::now();
        match self.told(token).await {
            Ok(Some(body)) => match token::read(&body, &self.services, clock::now()) {
                Ok((who, left)) => Known { until: now + left.min(self.seen), answer: Ok(Arc::new(who)) },
                Err(why) => wrong(now, why),
            },
            Ok(None) => wrong(now, "The request you have made requires authentication."),
            Err(why) => {
                tracing::warn!(url = self.url, why, "Keystone does not say whose a token is");
                let answer = Err(Refusal::Away("The Keystone service is temporarily unavailable.".to_owned()));
                Known { until: Instant::now() + AWAY, answer }
            }
        }
    }

    /// What Keystone tells of a token; nothing: it knows of none.
    async fn told(&self, token: &str) -> Result<Option<Value>, String> {
        let _turn = self.asking.acquire().await.map_err(|error| error.to_string())?;
        let own = self.own_token(None).await?;
        match self.try_told(&own, token).await? {
            Asked::Told(body) => return Ok(Some(body)),
            Asked::Wrong => return Ok(None),
            Asked::NotUs => {}
        }
        let own = self.own_token(Some(&own)).await?;
        match self.try_told(&own, token).await? {
            Asked::Told(body) => Ok(Some(body)),
            Asked::Wrong => Ok(None),
            Asked::NotUs => Err("it takes our own token for none, although it is new".to_owned()),
        }
    }

    async fn try_told(&self, own: &Secret, token: &str) -> Result<Asked, String> {
        let url = format!("{}/v3/auth/tokens?nocatalog", self.url);
        let ask = self.client.get(url).header(TOKEN, own.expose()).header(SUBJECT, token);
        let answer = ask.send().await.map_err(|error| service_kit::status::chain(&error))?;
        match answer.status() {
            StatusCode::OK => read(answer).await.map(Asked::Told),
            StatusCode::NOT_FOUND => Ok(Asked::Wrong),
            StatusCode::UNAUTHORIZED => Ok(Asked::NotUs),
            StatusCode::FORBIDDEN => {
                Err(format!("{} may not ask after tokens: give it the role service", self.account.user))
            }
            status => Err(format!("it answers {status}")),
        }
    }

    /// Our own token; `old`: the one that is none any more.
    async fn own_token(&self, old: Option<&Secret>) -> Result<Secret, String> {
        let mut own = self.own.lock().await;
        if let Some(own) = own.as_ref().filter(|own| Some(*own) != old) {
            return Ok(own.clone());
        }
        let answer = self
            .client
            .post(format!("{}/v3/auth/tokens?nocatalog", self.url))
            .header("content-type", "application/json")
            .body(self.account.request()?)
            .send()
            .await
            .map_err(|error| service_kit::status::chain(&error))?;
        let status = answer.status();
        let fresh = answer.headers().get(SUBJECT).filter(|_| status == StatusCode::CREATED);
        let fresh = fresh.map(|token| Secret::new(token.as_bytes().to_vec())).ok_or_else(|| {
            let mut why = format!("it gives {} no token: {status}", self.account.user);
            if status == StatusCode::UNAUTHORIZED {
                let _ = write!(why, "; set scheduler.rest_keystone right: user, password, project, domain");
            }
            why
        })?;
        *own = Some(fresh.clone());
        Ok(fresh)
    }
}

fn wrong(now: Instant, why: &str) -> Known {
    Known { until: now + WRONG, answer: Err(Refusal::Unknown(why.to_owned())) }
}

impl Account {
    fn password(&self) -> Result<Secret, String> {
        let text = fs::read(&self.password).map(Secret::new);
        let text = text.map_err(|error| format!("the password file {}: {error}", self.password.display()))?;
        Ok(Secret::new(text.expose().trim_ascii_end().to_vec()))
    }

    /// What a token is asked for with ("Password authentication with scoped authorization"). The file is read each time, so
    /// that a new password needs no restart.
    fn request(&self) -> Result<Vec<u8>, String> {
        let password = self.password()?;
        let domain = json!({"name": self.domain});
        let user = json!({"name": self.user, "domain": domain, "password": String::from_utf8_lossy(password.expose())});
        let identity = json!({"methods": ["password"], "password": {"user": user}});
        let scope = json!({"project": {"name": self.project, "domain": domain}});
        serde_json::to_vec(&json!({"auth": {"identity": identity, "scope": scope}})).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests;
