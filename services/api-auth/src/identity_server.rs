//! HTTP calls to identity servers: Keystone and OpenID providers.

use std::{fs, path::Path, time::Duration};

use reqwest::{Certificate, Client};
use serde_json::Value;
use service_kit::outbound_http;

use crate::error::Error;

/// Timeout of one call. It is shorter than the timeout of an authentication, so that the request that asks a server that
/// hangs can pass the failure to the requests that wait for the same answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(4);
/// Maximum size of a response, in bytes.
const MAX_RESPONSE_BYTES: usize = 1 << 20;

/// Creates a client for an identity server. `ca` is a CA file (PEM); if it is empty, the CAs of the operating system are
/// trusted.
///
/// # Errors
/// [`Error::Content`] if the CA file cannot be used, [`Error::Call`] if the client cannot be created.
pub(crate) fn client(ca: &Path) -> Result<Client, Error> {
    let mut bundle = Vec::new();
    if !ca.as_os_str().is_empty() {
        let pem = fs::read(ca).map_err(|cause| Error::Read { cause }.at(ca.display()))?;
        let certificates = Certificate::from_pem_bundle(&pem);
        bundle = certificates.map_err(|cause| Error::Certificates { cause }.at(ca.display()))?;
    }
    outbound_http::client(CALL_TIMEOUT, &bundle).map_err(|cause| Error::Call { cause })
}

/// Reads the body of a response as JSON, up to the maximum size.
///
/// # Errors
/// [`Error::Call`], [`Error::ResponseTooLong`], [`Error::ResponseNotJson`].
pub(crate) async fn json(response: reqwest::Response) -> Result<Value, Error> {
    let body = outbound_http::body(response, MAX_RESPONSE_BYTES).await.map_err(|cause| Error::Call { cause })?;
    let body = body.ok_or(Error::ResponseTooLong { limit: MAX_RESPONSE_BYTES })?;
    serde_json::from_slice(&body).map_err(|cause| Error::ResponseNotJson { cause })
}
