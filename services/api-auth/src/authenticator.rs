//! Authenticates requests to the REST API: with a password, a Keystone token, or a token that an OpenID provider signed.
//! Several methods may be configured at once; the headers of a request select one. Without any, requests are not
//! authenticated.

use std::{net::IpAddr, path::Path, sync::Arc};

use axum::http::{HeaderMap, header, request::Parts};
use domain::policy::{Caller, Roles, Scope};
use ipnet::IpNet;
use serde_json::{Value, json};
use service_kit::{
    bearer_token::{MAX_TOKEN_BYTES, TokenVerifier},
    listener::AddressKey,
};

use crate::{
    basic::Users,
    config::AuthConfig,
    error::Error,
    forwarded,
    jwt::Issuer,
    keystone::{Keystone, TOKEN},
    refusal::{Refusal, within},
    sender::{self, SenderError},
};

/// A rejected request, as the client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// The client is not authenticated (401).
    Unknown {
        /// JSON body of the response, as Ironic's.
        body: Value,
        /// The values of `WWW-Authenticate`, one for each configured method.
        challenges: Vec<String>,
    },
    /// The credentials cannot be verified now (503).
    Away(String),
}

/// Authenticates requests by all configured methods.
#[derive(Debug)]
pub struct Authenticator {
    users: Option<Users>,
    keystone: Option<Keystone>,
    issuer: Option<Arc<Issuer>>,
    /// Whether the tokens of the provider are accepted on the gRPC listener.
    is_for_grpc: bool,
    /// Hosts that are known besides those of loopback. They matter only if no method is configured.
    hosts: Vec<String>,
    /// Networks of the proxies that are believed who their clients are.
    trusted_proxies: Vec<IpNet>,
    /// The caller if no method is configured.
    unrestricted: Arc<Caller>,
    /// The caller of public paths, without any rights.
    anonymous: Arc<Caller>,
}

impl Authenticator {
    /// Opens the configured methods. If there are none, requests are not authenticated.
    ///
    /// # Errors
    /// [`Error::Config`] if a configured file cannot be read or is invalid; the message names the configuration key.
    pub fn open(config: &AuthConfig) -> Result<Self, Error> {
        let (keystone, jwt) = (&config.keystone, &config.jwt);
        let is_named = |path: &Path| !path.as_os_str().is_empty();
        let named = |key: &'static str| move |error: Error| error.in_key(key);
        let users = is_named(&config.users).then(|| Users::open(&config.users)).transpose();
        let keystone = keystone.is_on().then(|| Keystone::open(keystone, &config.outbound)).transpose();
        let issuer = jwt.is_on().then(|| Issuer::open(jwt, &config.outbound)).transpose();
        Ok(Self {
            users: users.map_err(named("rest_users"))?,
            keystone: keystone.map_err(named("rest_keystone"))?,
            issuer: issuer.map_err(named("rest_jwt"))?.map(Arc::new),
            is_for_grpc: jwt.grpc,
            hosts: config.hosts.clone(),
            trusted_proxies: config.trusted_proxies.clone(),
            unrestricted: Arc::new(Caller::unrestricted("anybody")),
            anonymous: Arc::new(Caller {
                name: String::new(),
                account: String::new(),
                roles: Roles::default(),
                scope: Scope::None,
            }),
        })
    }

    fn is_off(&self) -> bool {
        self.users.is_none() && self.keystone.is_none() && self.issuer.is_none()
    }

    /// Checks a request before its credentials. Without a method, only requests for hosts that are known are let through.
    ///
    /// # Errors
    /// [`SenderError`]
    pub fn check_sender(&self, parts: &Parts) -> Result<(), SenderError> {
        sender::check_sender(parts)?;
        if self.is_off() { sender::check_host(parts, &self.hosts) } else { Ok(()) }
    }

    /// Returns the client of a request of `peer`: the peer, or whom a trusted proxy names ([`forwarded::client`]).
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        forwarded::client(peer, headers, &self.trusted_proxies)
    }

    /// Returns the verifier of the tokens of operators on the gRPC listener; `None` if none are accepted there.
    #[must_use]
    pub fn grpc_tokens(&self) -> Option<TokenVerifier> {
        let issuer = self.issuer.as_ref().filter(|_| self.is_for_grpc)?;
        let verifier: TokenVerifier = Arc::<Issuer>::clone(issuer);
        Some(verifier)
    }

    /// Returns the caller of a request. `path` is the path of the request without `/v1`. Cancel safe.
    ///
    /// # Errors
    /// [`Denied::Unknown`] if the credentials are missing or wrong, [`Denied::Away`] if they cannot be verified now.
    pub async fn check(&self, path: &str, headers: &HeaderMap, from: AddressKey) -> Result<Arc<Caller>, Denied> {
        if self.is_off() {
            return Ok(Arc::clone(&self.unrestricted));
        }
        if is_public(path) {
            return Ok(Arc::clone(&self.anonymous));
        }
        self.authenticate(headers, from).await.map_err(|refusal| match refusal {
            Refusal::Unknown(message) => Denied::Unknown {
                body: json!({"error": {"message": message, "code": 401, "title": "Unauthorized"}}),
                challenges: self.challenges(),
            },
            Refusal::Away(why) => Denied::Away(why),
        })
    }

    async fn authenticate(&self, headers: &HeaderMap, from: AddressKey) -> Result<Arc<Caller>, Refusal> {
        let word = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if let (Some(keystone), Some(token)) = (&self.keystone, word(TOKEN)) {
            return within(keystone.authenticate(checked_length(token)?)).await;
        }
        let said = word(header::AUTHORIZATION.as_str()).and_then(|said| said.split_once(' '));
        match (said, &self.issuer, &self.users) {
            (Some((scheme, token)), Some(issuer), _) if scheme.eq_ignore_ascii_case("bearer") => {
                within(issuer.authenticate(checked_length(token.trim())?)).await
            }
            (Some((scheme, coded)), _, Some(users)) if scheme.eq_ignore_ascii_case("basic") => {
                users.authenticate(coded, from).await
            }
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

/// Returns the token if its size is valid.
fn checked_length(token: &str) -> Result<&str, Refusal> {
    if token.is_empty() || token.len() > MAX_TOKEN_BYTES {
        return Err(Refusal::Unknown("The token is empty or too long".to_owned()));
    }
    Ok(token)
}

/// Returns whether a path needs no credentials: the version documents, and what agents use, which have their own tokens.
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

    fn here() -> AddressKey {
        AddressKey::of([127, 0, 0, 1].into())
    }

    fn with_users(folder: &Path) -> Authenticator {
        let users = folder.join("users");
        fs::write(&users, format!("ann:{}\n", bcrypt::hash("right", 4).unwrap())).unwrap();
        Authenticator::open(&AuthConfig { users, ..AuthConfig::default() }).unwrap()
    }

    #[tokio::test]
    async fn without_a_configured_method_callers_are_unrestricted() {
        let auth = Authenticator::open(&AuthConfig::default()).unwrap();
        assert!(auth.check("/nodes", &HeaderMap::new(), here()).await.unwrap().is_unrestricted());
    }

    #[tokio::test]
    async fn public_paths_need_no_credentials_and_give_no_rights() {
        let folder = tempfile::tempdir().unwrap();
        let auth = with_users(folder.path());
        for open in ["/", "/lookup", "/heartbeat/x", "continue_inspection", ""] {
            let caller = auth.check(open, &HeaderMap::new(), here()).await.unwrap();
            assert!(caller.roles.is_empty() && caller.scope == Scope::None, "{open}");
        }
        for closed in ["/nodes", "/lookup/nodes", "/heartbeats/x"] {
            assert!(auth.check(closed, &HeaderMap::new(), here()).await.is_err(), "{closed}");
        }
    }

    #[tokio::test]
    async fn a_denied_client_gets_a_challenge_for_each_method() {
        let folder = tempfile::tempdir().unwrap();
        let auth = with_users(folder.path());
        for (scheme, words) in [("Basic", "ann:wrong"), ("Bearer", "ann:right"), ("Basic", "")] {
            let said = format!("{scheme} {}", BASE64_STANDARD.encode(words));
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, said.parse().unwrap())]);
            let Err(Denied::Unknown { challenges, .. }) = auth.check("/nodes", &headers, here()).await else {
                panic!("{words}")
            };
            assert_eq!(challenges, ["Basic realm=\"Baremetal API\""]);
        }
    }

    #[test]
    fn a_token_is_accepted_up_to_the_maximum_size() {
        assert!(checked_length(&"x".repeat(MAX_TOKEN_BYTES)).is_ok());
        for wrong in [String::new(), "x".repeat(MAX_TOKEN_BYTES + 1)] {
            assert!(matches!(checked_length(&wrong), Err(Refusal::Unknown(_))), "{}", wrong.len());
        }
    }

    #[test]
    fn an_invalid_file_is_reported_with_its_configuration_key() {
        let users = "/nonexistent/users".into();
        let why = Authenticator::open(&AuthConfig { users, ..AuthConfig::default() }).unwrap_err();
        assert!(why.to_string().starts_with("scheduler.rest_users: "), "{why}");
    }
}
