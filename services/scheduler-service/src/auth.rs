//! Who asks at the REST API: whoever comes, or one who proves it by a password, by a token of Keystone, or by one that an
//! OpenID provider signed. Several ways may be open at once; a request takes the one that its header belongs to.

mod basic;
mod jwt;
mod keystone;

use std::{fs, path::Path, sync::Arc, time::Duration};

use axum::http::{HeaderMap, header};
use domain::policy::{Caller, Roles, Scope};
use reqwest::{Certificate, Client};
use serde_json::{Value, json};

use self::{basic::Users, jwt::Issuer, keystone::Keystone};
use crate::{config::Scheduler, outward};

/// How long a request may wait until it is known who asks.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long one call of whoever knows may take: less, so that the first who waits for one that hangs can tell the others.
const CALL: Duration = Duration::from_secs(4);
/// The longest token that is looked at, in bytes: Keystone's are 200, signed ones with many claims some thousands.
const LONGEST: usize = 16 << 10;
/// The longest answer about a token, or with keys, in bytes.
const LONGEST_ANSWER: usize = 1 << 20;
/// Keystone's header for a token.
const TOKEN: &str = "x-auth-token";

/// Why a request is not let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Who asks did not say who he is, or it is not true.
    Unknown(String),
    /// It can not be found out now: come again.
    Away(String),
}

/// A refusal as the client is told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Denied {
    /// 401.
    Unknown {
        body: Value,
        /// What the client may answer with.
        challenges: Vec<String>,
    },
    /// 503.
    Away(String),
}

/// Who is let through.
#[derive(Debug)]
pub(crate) struct Auth {
    users: Option<Users>,
    keystone: Option<Keystone>,
    issuer: Option<Issuer>,
    /// Who asks where nobody is asked.
    anybody: Arc<Caller>,
    /// Who asks for what everybody may.
    nobody: Arc<Caller>,
}

impl Auth {
    /// Reads what the configuration names; where that is nothing, nobody is asked.
    ///
    /// # Errors
    /// A file can not be read or used; the key is named.
    pub(crate) fn open(config: &Scheduler) -> Result<Self, String> {
        let (keystone, jwt) = (&config.rest_keystone, &config.rest_jwt);
        let is_named = |path: &Path| !path.as_os_str().is_empty();
        let named = |key: &'static str| move |why: String| format!("scheduler.{key}: {why}");
        let users = is_named(&config.rest_users).then(|| Users::open(&config.rest_users)).transpose();
        let keystone = keystone.is_on().then(|| Keystone::open(keystone)).transpose();
        let issuer = jwt.is_on().then(|| Issuer::open(jwt)).transpose();
        Ok(Self {
            users: users.map_err(named("rest_users"))?,
            keystone: keystone.map_err(named("rest_keystone"))?,
            issuer: issuer.map_err(named("rest_jwt"))?,
            anybody: Arc::new(Caller::unrestricted("anybody")),
            nobody: Arc::new(Caller { name: String::new(), roles: Roles::default(), scope: Scope::None }),
        })
    }

    /// Who sent this. `path` is what it asks for, without `/v1`. Safe to drop at any await.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) async fn check(&self, path: &str, headers: &HeaderMap) -> Result<Arc<Caller>, Denied> {
        if self.users.is_none() && self.keystone.is_none() && self.issuer.is_none() {
            return Ok(Arc::clone(&self.anybody));
        }
        if is_public(path) {
            return Ok(Arc::clone(&self.nobody));
        }
        self.who(headers).await.map_err(|refusal| match refusal {
            Refusal::Unknown(message) => Denied::Unknown {
                body: json!({"error": {"message": message, "code": 401, "title": "Unauthorized"}}),
                challenges: self.challenges(),
            },
            Refusal::Away(why) => Denied::Away(why),
        })
    }

    async fn who(&self, headers: &HeaderMap) -> Result<Arc<Caller>, Refusal> {
        let word = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if let (Some(keystone), Some(token)) = (&self.keystone, word(TOKEN)) {
            return within(keystone.who(short(token)?)).await;
        }
        let said = word(header::AUTHORIZATION.as_str()).and_then(|said| said.split_once(' '));
        match (said, &self.issuer, &self.users) {
            (Some((scheme, token)), Some(issuer), _) if scheme.eq_ignore_ascii_case("bearer") => {
                within(issuer.who(short(token.trim())?)).await
            }
            (Some((scheme, coded)), _, Some(users)) if scheme.eq_ignore_ascii_case("basic") => users.who(coded).await,
            _ => Err(Refusal::Unknown("Authorization required".to_owned())),
        }
    }

    fn challenges(&self) -> Vec<String> {
        let keystone = self.keystone.as_ref().map(Keystone::challenge);
        let issuer = self.issuer.as_ref().map(|_| "Bearer realm=\"Baremetal API\"".to_owned());
        let users = self.users.as_ref().map(|_| "Basic realm=\"Baremetal API\"".to_owned());
        keystone.into_iter().chain(issuer).chain(users).collect()
    }
}

/// A token that is short enough to be looked at.
fn short(token: &str) -> Result<&str, Refusal> {
    if token.is_empty() || token.len() > LONGEST {
        return Err(Refusal::Unknown("The token is empty, or longer than any token is".to_owned()));
    }
    Ok(token)
}

async fn within(asked: impl Future<Output = Result<Arc<Caller>, Refusal>>) -> Result<Arc<Caller>, Refusal> {
    let late = || Refusal::Away("Caller asks could not be found out in time".to_owned());
    tokio::time::timeout(DEADLINE, asked).await.unwrap_or_else(|_| Err(late()))
}

/// A client for those who know who asks. `ca`: whom it believes; empty: whom the operating system does.
fn client(ca: &Path) -> Result<Client, String> {
    let mut bundle = Vec::new();
    if !ca.as_os_str().is_empty() {
        let unusable = |why: String| format!("{}: {why}", ca.display());
        let pem = fs::read(ca).map_err(|error| unusable(error.to_string()))?;
        bundle = Certificate::from_pem_bundle(&pem).map_err(|error| unusable(error.to_string()))?;
    }
    outward::client(CALL, &bundle).map_err(|error| service_kit::status::chain(&error))
}

/// The body of an answer as JSON, unless it is longer than any answer is.
async fn json(answer: reqwest::Response) -> Result<Value, String> {
    let body = outward::body(answer, LONGEST_ANSWER).await.map_err(|error| service_kit::status::chain(&error))?;
    let body = body.ok_or_else(|| format!("the answer is longer than {LONGEST_ANSWER} bytes"))?;
    serde_json::from_slice(&body).map_err(|error| format!("the answer is not JSON: {error}"))
}

/// What everybody may ask for: where things are, and what agents say, who have tokens of their own.
fn is_public(path: &str) -> bool {
    let path = path.trim_matches('/');
    let first = path.split('/').next().unwrap_or_default();
    path.is_empty() || matches!(path, "lookup" | "continue_inspection") || first == "heartbeat"
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_STANDARD};

    use super::*;

    fn with_users(folder: &Path) -> Auth {
        let rest_users = folder.join("users");
        fs::write(&rest_users, format!("ann:{}\n", bcrypt::hash("right", 4).unwrap())).unwrap();
        Auth::open(&Scheduler { rest_users, ..Scheduler::default() }).unwrap()
    }

    #[tokio::test]
    async fn where_nobody_is_asked_whoever_comes_may_everything() {
        let auth = Auth::open(&Scheduler::default()).unwrap();
        assert!(auth.check("/nodes", &HeaderMap::new()).await.unwrap().is_unrestricted());
    }

    #[tokio::test]
    async fn what_is_public_needs_no_credentials_and_gives_no_rights() {
        let folder = tempfile::tempdir().unwrap();
        let auth = with_users(folder.path());
        for open in ["/", "/lookup", "/heartbeat/x", "continue_inspection", ""] {
            let who = auth.check(open, &HeaderMap::new()).await.unwrap();
            assert!(who.roles.is_empty() && who.scope == Scope::None, "{open}");
        }
        for closed in ["/nodes", "/lookup/nodes", "/heartbeats/x"] {
            assert!(auth.check(closed, &HeaderMap::new()).await.is_err(), "{closed}");
        }
    }

    #[tokio::test]
    async fn who_is_refused_is_told_what_he_may_answer_with() {
        let folder = tempfile::tempdir().unwrap();
        let auth = with_users(folder.path());
        for (scheme, words) in [("Basic", "ann:wrong"), ("Bearer", "ann:right"), ("Basic", "")] {
            let said = format!("{scheme} {}", BASE64_STANDARD.encode(words));
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, said.parse().unwrap())]);
            let Err(Denied::Unknown { challenges, .. }) = auth.check("/nodes", &headers).await else {
                panic!("{words}")
            };
            assert_eq!(challenges, ["Basic realm=\"Baremetal API\""]);
        }
    }
}
