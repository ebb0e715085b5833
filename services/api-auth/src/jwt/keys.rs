//! The keys that a provider publishes: from a file, or from where it serves them; fetched anew as they get old, and when a
//! token names one that is not among them.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse},
};
use reqwest::{Client, StatusCode};
use tokio::time::Instant;

use crate::config;
use crate::identity_server::{client, json};

/// How often a file is looked at, and at the least how much time is between two fetches.
const LOOK: Duration = Duration::from_secs(2);
/// How old keys may get before they are fetched anew.
const OLD: Duration = Duration::from_secs(300);
/// How old keys may get while they can not be fetched: a key that the provider took back is taken until then.
const TOO_OLD: Duration = Duration::from_secs(3600);

/// A key, and what it is for.
#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

#[derive(Debug)]
enum Source {
    File(PathBuf),
    Url(String, Client),
}

#[derive(Debug, Default)]
struct Known {
    keys: Arc<Vec<Key>>,
    /// When they were read last.
    read: Option<Instant>,
    /// When that was tried last, and why it came to nothing.
    tried: Option<Instant>,
    why: String,
}

/// The keys.
#[derive(Debug)]
pub(super) struct Keys {
    source: Source,
    known: Mutex<Known>,
    /// Held by whoever fetches.
    fetching: tokio::sync::Mutex<()>,
}

impl Keys {
    /// Reads a file at once; what is served is fetched when the first token comes.
    pub(super) fn open(config: &config::Jwt) -> Result<Self, String> {
        let mut known = Known::default();
        let source = if config.keys.starts_with("https://") {
            Source::Url(config.keys.clone(), client(&config.ca)?)
        } else {
            let file = PathBuf::from(&config.keys);
            known.keys = Arc::new(from_file(&file)?);
            known.read = Some(Instant::now());
            Source::File(file)
        };
        Ok(Self { source, known: Mutex::new(known), fetching: tokio::sync::Mutex::default() })
    }

    /// The keys that a token may be signed with: the one that it names, or where it names none all of its algorithm.
    ///
    /// # Errors
    /// There are none, as they can not be fetched.
    pub(super) async fn of(&self, id: Option<&str>, algorithm: Algorithm) -> Result<Vec<DecodingKey>, String> {
        let fit = |keys: &[Key]| -> Vec<DecodingKey> {
            let fits = |key: &&Key| key.algorithm == algorithm && (id.is_none() || key.id.as_deref() == id);
            keys.iter().filter(fits).map(|key| key.key.clone()).collect()
        };
        let old = if matches!(self.source, Source::File(_)) { LOOK } else { OLD };
        let (keys, age) = self.look();
        let found = fit(&keys);
        if found.is_empty() || age.is_none_or(|age| age > old) {
            self.fetch().await;
        }
        let (keys, age) = self.look();
        match age {
            Some(age) if age <= TOO_OLD => Ok(fit(&keys)),
            Some(_) | None => Err("The keys of the tokens' issuer can not be had.".to_owned()),
        }
    }

    fn look(&self) -> (Arc<Vec<Key>>, Option<Duration>) {
        let known = self.lock();
        (Arc::clone(&known.keys), known.read.map(|read| read.elapsed()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads them anew, unless that was just tried. What is wrong leaves those of before.
    async fn fetch(&self) {
        let _alone = self.fetching.lock().await;
        if self.lock().tried.is_some_and(|tried| tried.elapsed() < LOOK) {
            return;
        }
        let read = match &self.source {
            Source::File(file) => from_file(file),
            Source::Url(url, client) => from_url(url, client).await,
        };
        let mut known = self.lock();
        known.tried = Some(Instant::now());
        match read {
            Ok(keys) => {
                (known.keys, known.read) = (Arc::new(keys), known.tried);
                known.why.clear();
            }
            Err(why) if why == known.why => {}
            Err(why) => {
                tracing::warn!(why, "the keys of scheduler.rest_jwt.keys can not be read; those of before stay");
                known.why = why;
            }
        }
    }
}

fn from_file(file: &PathBuf) -> Result<Vec<Key>, String> {
    let unusable = |why: String| format!("{}: {why}", file.display());
    let text = fs::read(file).map_err(|error| unusable(error.to_string()))?;
    let set = serde_json::from_slice(&text).map_err(|error| unusable(error.to_string()))?;
    usable(&set).map_err(unusable)
}

async fn from_url(url: &str, client: &Client) -> Result<Vec<Key>, String> {
    let unusable = |why: String| format!("{url}: {why}");
    let answer = client.get(url).send().await;
    let answer = answer.map_err(|error| unusable(service_kit::status::chain(&error)))?;
    if answer.status() != StatusCode::OK {
        return Err(unusable(format!("it answers {}", answer.status())));
    }
    let set = json(answer).await.map_err(unusable)?;
    usable(&serde_json::from_value(set).map_err(|error| unusable(error.to_string()))?).map_err(unusable)
}

/// The keys of a set that signatures can be proven with.
fn usable(set: &JwkSet) -> Result<Vec<Key>, String> {
    let keys: Vec<Key> = set.keys.iter().filter_map(key).collect();
    if keys.is_empty() {
        return Err("it has no key for RS256, ES256 or EdDSA in \"keys\" (a JSON Web Key Set, RFC 7517 §5)".to_owned());
    }
    Ok(keys)
}

/// A key's kind decides what it is for, and not the token that names it.
fn key(jwk: &Jwk) -> Option<Key> {
    let (algorithm, name) = if let AlgorithmParameters::RSA(_) = &jwk.algorithm {
        (Algorithm::RS256, KeyAlgorithm::RS256)
    } else if matches!(&jwk.algorithm, AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256) {
        (Algorithm::ES256, KeyAlgorithm::ES256)
    } else if matches!(&jwk.algorithm, AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519) {
        (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
    } else {
        return None;
    };
    let for_signatures = !matches!(&jwk.common.public_key_use, Some(of) if *of != PublicKeyUse::Signature);
    let for_this = jwk.common.key_algorithm.is_none_or(|said| said == name);
    let key = DecodingKey::from_jwk(jwk).ok().filter(|_| for_signatures && for_this)?;
    Some(Key { id: jwk.common.key_id.clone(), algorithm, key })
}
