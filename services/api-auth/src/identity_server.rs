//! HTTP calls to identity servers: Keystone and OpenID providers.

use std::{fs, path::Path};

use reqwest::Certificate;
use serde_json::Value;
use service_kit::outbound_http::{Outbound, OutboundClient, OutboundConfig, OutboundResponse, Purpose, Trust};

use crate::error::Error;

/// Creates a client for an identity server. `ca` is a CA file (PEM); if it is empty, the CAs of the operating system are
/// trusted.
///
/// # Errors
/// [`Error::Content`] if the CA file cannot be used, [`Error::Call`] if the client cannot be created.
pub(crate) fn client(outbound: &OutboundConfig, purpose: Purpose, ca: &Path) -> Result<OutboundClient, Error> {
    let mut trust = Trust::System;
    if !ca.as_os_str().is_empty() {
        let pem = fs::read(ca).map_err(|cause| Error::Read { cause }.at(ca.display()))?;
        let certificates = Certificate::from_pem_bundle(&pem);
        trust = Trust::Ca(certificates.map_err(|cause| Error::Certificates { cause }.at(ca.display()))?);
    }
    Ok(Outbound::new(outbound)?.client(purpose, &trust)?)
}

/// Reads the body of a response as JSON, up to the maximum size.
///
/// # Errors
/// [`Error::Call`], [`Error::ResponseNotJson`].
pub(crate) async fn json(response: OutboundResponse) -> Result<Value, Error> {
    let body = response.body().await?;
    serde_json::from_slice(&body).map_err(|cause| Error::ResponseNotJson { cause })
}
