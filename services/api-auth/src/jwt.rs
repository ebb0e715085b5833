//! Access tokens that an OpenID provider signed (RFC 7519, RFC 9068), proven by the keys that it publishes (RFC 7517).

mod claims;
mod keys;
mod operator;
mod proof;

use std::sync::Arc;

use domain::policy::Caller;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::Value;
use service_kit::outbound_http::OutboundConfig;

use self::{claims::Names, keys::Keys};
use crate::{config, error::Error, refusal::Refusal};

/// Maximum clock difference between the provider and this process, in seconds.
const LEEWAY_SECONDS: u64 = 30;

/// Verifies the access tokens of an OpenID provider.
#[derive(Debug)]
pub(super) struct Issuer {
    keys: Keys,
    issuer: String,
    audience: String,
    names: Names,
}

impl Issuer {
    /// Reads the provider's keys, if they are in a file.
    ///
    /// # Errors
    /// [`Error::Content`] if the keys or the CA file cannot be used.
    pub(super) fn open(config: &config::Jwt, outbound: &OutboundConfig) -> Result<Self, Error> {
        proof::install();
        let names = Names::of(config);
        Ok(Self {
            keys: Keys::open(config, outbound)?,
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            names,
        })
    }

    /// Returns the owner of a token. Cancel safe.
    ///
    /// # Errors
    /// [`Refusal::Unknown`] if the token is invalid, [`Refusal::Away`] if the keys are not available.
    pub(super) async fn authenticate(&self, token: &str) -> Result<Arc<Caller>, Refusal> {
        let claims = self.claims(token).await?;
        self.names.authenticate(&claims).map(Arc::new).map_err(|error| unknown(&error.to_string()))
    }

    /// Returns the claims of a token that is valid. Cancel safe.
    async fn claims(&self, token: &str) -> Result<Value, Refusal> {
        let header = decode_header(token).map_err(|_| unknown("it is not a signed token"))?;
        if !proof::TAKEN.contains(&header.alg) {
            return Err(unknown("it must be signed with RS256, ES256 or EdDSA"));
        }
        // RFC 7515 §4.1.11: what a token calls critical must be understood, and here nothing beyond the standard is.
        if claims::is_critical(token) {
            return Err(unknown("its header has critical extensions"));
        }
        let keys = self.keys.of(header.kid.as_deref(), header.alg).await;
        let keys = keys.map_err(|error| Refusal::Away(error.to_string()))?;
        let validation = self.validation(header.alg);
        let mut why = "it is not signed with a key of the provider".to_owned();
        for key in keys {
            match decode::<Value>(token, &key, &validation) {
                Ok(read) if claims::is_id_token(&read.claims) => {
                    return Err(unknown("it is an ID token, and an access token is needed"));
                }
                Ok(read) => return Ok(read.claims),
                Err(error) => why = error.to_string(),
            }
        }
        Err(unknown(&why))
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation
    }
}

fn unknown(why: &str) -> Refusal {
    Refusal::Unknown(format!("Invalid access token: {why}"))
}

#[cfg(test)]
mod tests;
