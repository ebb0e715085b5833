//! The published keys of a provider, from a file or a URL. They are fetched again when they are old, and when a token names
//! an unknown key.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse},
};
use parking_lot::{Mutex, MutexGuard};
use reqwest::StatusCode;
use service_kit::outbound_http::{OutboundClient, OutboundConfig, OutboundRequest, Purpose};
use tokio::time::Instant;

use crate::{
    config,
    error::Error,
    identity_server::{client, json},
};

/// Interval between two reads of a file, and minimum interval between two fetches.
const MIN_FETCH_INTERVAL: Duration = Duration::from_secs(2);
/// Age at which keys are fetched again.
const REFRESH_AGE: Duration = Duration::from_secs(300);
/// Maximum age of keys while fetching fails. A revoked key is accepted until then.
const MAX_KEY_AGE: Duration = Duration::from_secs(3600);

/// A key and its algorithm.
#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

#[derive(Debug)]
enum Source {
    File(PathBuf),
    Url(String, OutboundClient),
}

#[derive(Debug, Default)]
struct Known {
    keys: Arc<Vec<Key>>,
    /// Time of the last successful read.
    read: Option<Instant>,
    /// Time of the last attempt. `why` is the reason if it failed.
    tried: Option<Instant>,
    why: String,
}

/// The keys.
#[derive(Debug)]
pub(super) struct Keys {
    source: Source,
    known: Mutex<Known>,
    /// Held during a fetch.
    fetching: tokio::sync::Mutex<()>,
}

impl Keys {
    /// Reads a file immediately; a URL is fetched for the first token.
    ///
    /// # Errors
    /// [`Error::Content`] if the file of keys or the CA file cannot be used.
    pub(super) fn open(config: &config::Jwt, outbound: &OutboundConfig) -> Result<Self, Error> {
        let mut known = Known::default();
        let source = if config.keys.starts_with("https://") {
            Source::Url(config.keys.clone(), client(outbound, Purpose::Jwks, &config.ca)?)
        } else {
            let file = PathBuf::from(&config.keys);
            known.keys = Arc::new(from_file(&file)?);
            known.read = Some(Instant::now());
            Source::File(file)
        };
        Ok(Self { source, known: Mutex::new(known), fetching: tokio::sync::Mutex::default() })
    }

    /// Returns the candidate keys of a token: the key that it names, or all keys of its algorithm if it names none.
    ///
    /// # Errors
    /// [`Error::KeysUnavailable`] if the keys cannot be fetched, and there are none or they are too old.
    pub(super) async fn of(&self, id: Option<&str>, algorithm: Algorithm) -> Result<Vec<DecodingKey>, Error> {
        let fit = |keys: &[Key]| -> Vec<DecodingKey> {
            let fits = |key: &&Key| key.algorithm == algorithm && (id.is_none() || key.id.as_deref() == id);
            keys.iter().filter(fits).map(|key| key.key.clone()).collect()
        };
        let old = if matches!(self.source, Source::File(_)) { MIN_FETCH_INTERVAL } else { REFRESH_AGE };
        let (keys, age) = self.look();
        let found = fit(&keys);
        if found.is_empty() || age.is_none_or(|age| age > old) {
            self.fetch().await;
        }
        let (keys, age) = self.look();
        match age {
            Some(age) if age <= MAX_KEY_AGE => Ok(fit(&keys)),
            Some(_) | None => Err(Error::KeysUnavailable),
        }
    }

    fn look(&self) -> (Arc<Vec<Key>>, Option<Duration>) {
        let known = self.lock();
        (Arc::clone(&known.keys), known.read.map(|read| read.elapsed()))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock()
    }

    /// Reads the keys again, unless that was just tried. On failure the previous keys stay.
    async fn fetch(&self) {
        let _alone = self.fetching.lock().await;
        if self.lock().tried.is_some_and(|tried| tried.elapsed() < MIN_FETCH_INTERVAL) {
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
            Err(error) if error.to_string() == known.why => {}
            Err(error) => {
                let why = error.to_string();
                tracing::warn!(why, "keys in scheduler.rest_jwt.keys cannot be read, keeping the previous keys");
                known.why = why;
            }
        }
    }
}

fn from_file(file: &Path) -> Result<Vec<Key>, Error> {
    let read = || {
        let text = fs::read(file).map_err(|cause| Error::Read { cause })?;
        usable(&serde_json::from_slice(&text).map_err(|cause| Error::Json { cause })?)
    };
    read().map_err(|error| error.at(file.display()))
}

async fn from_url(url: &str, client: &OutboundClient) -> Result<Vec<Key>, Error> {
    let fetch = async {
        let response = client.send(OutboundRequest::get(url)?).await?;
        if response.status() != StatusCode::OK {
            return Err(Error::Status(response.status()));
        }
        let set = json(response).await?;
        usable(&serde_json::from_value(set).map_err(|cause| Error::Json { cause })?)
    };
    fetch.await.map_err(|error| error.at(url))
}

/// Returns the keys of a set that can verify signatures.
fn usable(set: &JwkSet) -> Result<Vec<Key>, Error> {
    let keys: Vec<Key> = set.keys.iter().filter_map(key).collect();
    if keys.is_empty() {
        return Err(Error::NoUsableKey);
    }
    Ok(keys)
}

/// Reads one key. Its type determines the algorithm, not the token that names it.
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
