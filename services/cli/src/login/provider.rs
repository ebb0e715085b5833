//! Calls an OpenID provider.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{
    Certificate, Url,
    header::{ACCEPT, CONTENT_TYPE},
};
use serde::Deserialize;
use service_kit::{
    clock,
    outbound_http::{Outbound, OutboundClient, OutboundConfig, OutboundError, OutboundRequest, Purpose, Trust},
};
use tokio::time::{Instant, sleep};

use super::{
    LoginConfig, LoginError,
    device_flow::{Answer, DeviceAuthorization, GRANT_TYPE, Next, OAuthError, Polling, is_away},
    token::{SecretToken, Tokens},
};
use crate::human::clean;

/// Where a provider publishes its configuration, below the issuer (OpenID Connect Discovery 1.0 §4).
const WELL_KNOWN: &str = "/.well-known/openid-configuration";
/// Content type of requests (RFC 6749 §4).
const FORM: &str = "application/x-www-form-urlencoded";

/// A provider's configuration (OpenID Connect Discovery 1.0 §3, RFC 8414 §2), as far as it is used.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Metadata {
    issuer: String,
    token_endpoint: String,
    device_authorization_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
}

impl Metadata {
    /// Reads a configuration that was found at `url`, and checks that it is the issuer's and that its endpoints use HTTPS.
    ///
    /// # Errors
    /// [`LoginError`] says what is wrong with it.
    fn read(issuer: &str, url: &str, body: &[u8]) -> Result<Self, LoginError> {
        let read: Self = serde_json::from_slice(body).map_err(|_| LoginError::NotAProvider {
            issuer: issuer.to_owned(),
            url: url.to_owned(),
            why: "something that is not the configuration of a provider".to_owned(),
        })?;
        if read.issuer != issuer {
            let found = clean(&read.issuer).chars().take(200).collect();
            return Err(LoginError::OtherIssuer { configured: issuer.to_owned(), found });
        }
        let optional = [&read.device_authorization_endpoint, &read.revocation_endpoint].into_iter().flatten();
        let is_https =
            |url: &String| Url::parse(url).is_ok_and(|url| url.scheme() == "https" && url.username().is_empty());
        if !std::iter::once(&read.token_endpoint).chain(optional).all(is_https) {
            return Err(LoginError::Malformed("its configuration has an endpoint without https://".to_owned()));
        }
        Ok(read)
    }
}

/// Returns the URL of a provider's configuration.
///
/// # Errors
/// [`LoginError::Issuer`]
pub(crate) fn configuration_url(issuer: &str) -> Result<String, LoginError> {
    let wrong = || LoginError::Issuer(clean(issuer));
    let url = Url::parse(issuer).map_err(|_| wrong())?;
    let is_plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if url.scheme() != "https" || !is_plain || url.password().is_some() {
        return Err(wrong());
    }
    Ok(format!("{}{WELL_KNOWN}", issuer.trim_end_matches('/')))
}

/// A provider, as one login is configured.
#[derive(Debug)]
pub(crate) struct Provider {
    config: LoginConfig,
    client: OutboundClient,
    metadata: Metadata,
}

/// Outcome of a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Revocation {
    /// The token is not valid any more.
    Done,
    /// The provider has no endpoint for it.
    NotOffered,
}

/// Outcome of a refresh.
#[derive(Debug)]
pub(crate) enum Refreshed {
    /// New tokens.
    Tokens(Tokens),
    /// The refresh token is not valid any more; with the reason.
    Ended(String),
}

impl Provider {
    /// Reads the configuration of a provider.
    ///
    /// # Errors
    /// [`LoginError`]
    pub(crate) async fn discover(config: &LoginConfig) -> Result<Self, LoginError> {
        service_kit::tls::install_provider();
        let url = configuration_url(&config.issuer)?;
        let mut trust = Trust::System;
        if let Some(path) = &config.ca {
            let wrong = |why: String| LoginError::Ca { path: path.display().to_string(), why };
            let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
            trust = Trust::Ca(Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?);
        }
        let client = Outbound::new(&OutboundConfig::default())?.client(Purpose::Login, &trust)?;
        let (status, body) = present(exchange(&client, OutboundRequest::get(&url)?).await?)?;
        if status != 200 {
            let (issuer, why) = (config.issuer.clone(), format!("the status {status}"));
            return Err(LoginError::NotAProvider { issuer, url, why });
        }
        let metadata = Metadata::read(&config.issuer, &url, &body)?;
        Ok(Self { config: config.clone(), client, metadata })
    }

    /// Sends a form with the id of the client to an endpoint.
    async fn post(&self, url: &str, fields: &[(&str, &str)]) -> Result<(u16, Vec<u8>), OutboundError> {
        let fields = std::iter::once(("client_id", self.config.client_id.as_str())).chain(fields.iter().copied());
        let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        let form: Vec<_> = fields.map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let request = OutboundRequest::post(url, form.join("&"))?.header(CONTENT_TYPE, FORM);
        exchange(&self.client, request.header(ACCEPT, "application/json")).await
    }

    /// Begins a login (RFC 8628 §3.1).
    ///
    /// # Errors
    /// [`LoginError`]
    pub(crate) async fn authorize_device(&self) -> Result<DeviceAuthorization, LoginError> {
        let endpoint = self.metadata.device_authorization_endpoint.as_deref();
        let endpoint = endpoint.ok_or_else(|| LoginError::Unsupported {
            issuer: self.config.issuer.clone(),
            missing: "device_authorization_endpoint",
        })?;
        let (status, body) = present(self.post(endpoint, &[("scope", &self.config.scopes)]).await?)?;
        match status {
            200 => DeviceAuthorization::read(&body),
            status => Err(LoginError::Refused(OAuthError::read(&body).shown(status))),
        }
    }

    /// Waits until the user has confirmed the login (RFC 8628 §3.4).
    ///
    /// # Errors
    /// [`LoginError`]
    pub(crate) async fn await_login(&self, authorization: &DeviceAuthorization) -> Result<Tokens, LoginError> {
        let (mut polling, begun) = (Polling::new(authorization), Instant::now());
        let mut pause = polling.first();
        loop {
            sleep(pause).await;
            let fields = [("grant_type", GRANT_TYPE), ("device_code", authorization.device_code.reveal())];
            let answer = self.post(&self.metadata.token_endpoint, &fields).await;
            let answer = match &answer {
                Ok((status, body)) => Answer::Response { status: *status, body },
                Err(error) => Answer::None { why: error.to_string(), is_transient: error.is_transient() },
            };
            match polling.decide(answer, begun.elapsed(), clock::now()) {
                Next::Wait(next) => pause = next,
                Next::LoggedIn(tokens) => return Ok(tokens),
                Next::Failed(error) => return Err(error),
            }
        }
    }

    /// Requests a new access token (RFC 6749 §6).
    ///
    /// # Errors
    /// [`LoginError`] if the provider cannot be reached, or answers otherwise than it should.
    pub(crate) async fn refresh(&self, refresh_token: &SecretToken) -> Result<Refreshed, LoginError> {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.reveal())];
        let (status, body) = present(self.post(&self.metadata.token_endpoint, &fields).await?)?;
        if status == 200 {
            return Tokens::read(&body, Some(refresh_token), clock::now()).map(Refreshed::Tokens);
        }
        let error = OAuthError::read(&body);
        match error.error.as_str() {
            "invalid_grant" => Ok(Refreshed::Ended(error.shown(status))),
            _ => Err(LoginError::Refused(error.shown(status))),
        }
    }

    /// Ends a login at the provider (RFC 7009).
    ///
    /// # Errors
    /// [`LoginError`]
    pub(crate) async fn revoke(&self, tokens: &Tokens) -> Result<Revocation, LoginError> {
        let Some(endpoint) = &self.metadata.revocation_endpoint else { return Ok(Revocation::NotOffered) };
        let access = [("token", tokens.access_token.reveal()), ("token_type_hint", "access_token")];
        let refresh = tokens.refresh_token.as_ref();
        let refresh = refresh.map(|token| [("token", token.reveal()), ("token_type_hint", "refresh_token")]);
        // With the refresh token end the access tokens that the provider can revoke (RFC 7009 §2.1).
        let (status, body) = self.post(endpoint, &refresh.unwrap_or(access)).await?;
        let error = OAuthError::read(&body);
        match status {
            200 => Ok(Revocation::Done),
            _ if error.error == "unsupported_token_type" => Ok(Revocation::NotOffered),
            _ => Err(LoginError::Refused(error.shown(status))),
        }
    }
}

/// Returns the response of a provider that is not overloaded or restarting.
fn present((status, body): (u16, Vec<u8>)) -> Result<(u16, Vec<u8>), LoginError> {
    if is_away(status) { Err(LoginError::Away(status)) } else { Ok((status, body)) }
}

async fn exchange(client: &OutboundClient, request: OutboundRequest) -> Result<(u16, Vec<u8>), OutboundError> {
    let response = client.send(request).await?;
    let status = response.status().as_u16();
    Ok((status, response.body().await?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_issuer_is_an_https_url_and_its_configuration_is_below_it() {
        // OpenID Connect Discovery 1.0 §4.1: a slash at the end is removed before.
        for (issuer, url) in [
            ("https://id.example", Some("https://id.example/.well-known/openid-configuration")),
            ("https://id.example/", Some("https://id.example/.well-known/openid-configuration")),
            ("https://id.example/realms/lab", Some("https://id.example/realms/lab/.well-known/openid-configuration")),
            ("https://id.example:8443/dex", Some("https://id.example:8443/dex/.well-known/openid-configuration")),
            ("http://id.example", None),
            ("id.example", None),
            ("https://id.example/?a=b", None),
            ("https://id.example/#a", None),
            ("https://ann:secret@id.example/", None),
            ("file:///etc/passwd", None),
            ("", None),
        ] {
            assert_eq!(configuration_url(issuer).ok().as_deref(), url, "{issuer}");
        }
    }

    #[test]
    fn a_configuration_is_used_if_it_is_the_issuers_and_its_endpoints_use_https() {
        let issuer = "https://id.example";
        let right = json!({
            "issuer": issuer, "token_endpoint": "https://id.example/token",
            "device_authorization_endpoint": "https://id.example/device", "revocation_endpoint": "https://id.example/revoke",
        });
        // What differs, its source, and a part of the error; `None` if it is used.
        for (more, source, error) in [
            (json!({}), "OpenID Connect Discovery §3", None),
            (json!({"device_authorization_endpoint": null, "revocation_endpoint": null}), "RFC 8414 §2", None),
            (json!({"token_endpoint": "https://other.example/token"}), "Google's endpoints", None),
            (json!({"issuer": "https://id.example/"}), "Discovery §4.3: exactly", Some("https://id.example/")),
            (json!({"issuer": "https://evil.example"}), "RFC 9207, mix-up", Some("https://evil.example")),
            (json!({"issuer": null}), "Discovery §3", Some("no OpenID provider")),
            (json!({"token_endpoint": null}), "Discovery §3", Some("no OpenID provider")),
            (json!({"token_endpoint": "http://id.example/token"}), "RFC 6749 §3.2: TLS", Some("https://")),
            (json!({"revocation_endpoint": "http://id.example/r"}), "RFC 7009 §2: TLS", Some("https://")),
            (json!({"device_authorization_endpoint": "ftp://id.example/d"}), "RFC 8628 §3.1: TLS", Some("https://")),
            (json!({"token_endpoint": "https://ann@id.example/token"}), "RFC 9110 §4.2.4", Some("https://")),
        ] {
            let mut all = right.clone();
            all.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
            match (Metadata::read(issuer, "https://id.example/x", all.to_string().as_bytes()), error) {
                (Ok(_), None) => {}
                (Err(found), Some(part)) => assert!(found.to_string().contains(part), "{source}: {found}"),
                (found, _) => panic!("{source}: {more}: {found:?}"),
            }
        }
    }
}
