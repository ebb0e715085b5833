//! Who asks at the REST API: whoever comes, or one who proves it by a password, by a token of Keystone, or by one that an
//! OpenID provider signed. Several ways may be open at once; a request takes the one that its header belongs to.

use std::{path::Path, sync::Arc, time::Duration};

use axum::http::{HeaderMap, header};
use domain::policy::{Caller, Roles, Scope};
use serde_json::{Value, json};

use crate::{
    basic::Users,
    config::AuthConfig,
    jwt::Issuer,
    keystone::{Keystone, TOKEN},
    refusal::Refusal,
};

/// How long a request may wait until it is known who asks.
const DEADLINE: Duration = Duration::from_secs(10);
/// The longest token that is looked at, in bytes: Keystone's are 200, signed ones with many claims some thousands.
const LONGEST: usize = 16 << 10;
/// A refusal as the client is told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
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
pub struct Authenticator {
    users: Option<Users>,
    keystone: Option<Keystone>,
    issuer: Option<Issuer>,
    /// Who asks where nobody is asked.
    anybody: Arc<Caller>,
    /// Who asks for what everybody may.
    nobody: Arc<Caller>,
}

impl Authenticator {
    /// Reads what the configuration names; where that is nothing, nobody is asked.
    ///
    /// # Errors
    /// A file can not be read or used; the key is named.
    pub fn open(config: &AuthConfig) -> Result<Self, String> {
        let (keystone, jwt) = (&config.keystone, &config.jwt);
        let is_named = |path: &Path| !path.as_os_str().is_empty();
        let named = |key: &'static str| move |why: String| format!("scheduler.{key}: {why}");
        let users = is_named(&config.users).then(|| Users::open(&config.users)).transpose();
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
    pub async fn check(&self, path: &str, headers: &HeaderMap) -> Result<Arc<Caller>, Denied> {
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
    let late = || Refusal::Away("It could not be found out in time who asks".to_owned());
    tokio::time::timeout(DEADLINE, asked).await.unwrap_or_else(|_| Err(late()))
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

    use std::fs;

    use super::*;

    fn with_users(folder: &Path) -> Authenticator {
        let users = folder.join("users");
        fs::write(&users, format!("ann:{}\n", bcrypt::hash("right", 4).unwrap())).unwrap();
        Authenticator::open(&AuthConfig { users, ..AuthConfig::default() }).unwrap()
    }

    #[tokio::test]
    async fn where_nobody_is_asked_whoever_comes_is_unrestricted() {
        let auth = Authenticator::open(&AuthConfig::default()).unwrap();
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
