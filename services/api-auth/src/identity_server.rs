//! HTTP calls to identity servers: Keystone and OpenID providers.

use std::{fs, path::Path, time::Duration};

use reqwest::{Certificate, Client};
use serde_json::Value;
use service_kit::outbound_http;

/// Timeout of one call. It is shorter than the timeout of an authentication, so that the request that asks a server that
/// hangs can pass the failure to the requests that wait for the same answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(4);
/// Maximum size of a response, in bytes.
const MAX_RESPONSE_BYTES: usize = 1 << 20;

/// Creates a client for an identity server. `ca` is a CA file (PEM); if it is empty, the CAs of the operating system are
/// trusted.
pub(crate) fn client(ca: &Path) -> Result<Client, String> {
    let mut bundle = Vec::new();
    if !ca.as_os_str().is_empty() {
        let unusable = |why: String| format!("{}: {why}", ca.display());
        let pem = fs::read(ca).map_err(|error| unusable(error.to_string()))?;
        bundle = Certificate::from_pem_bundle(&pem).map_err(|error| unusable(error.to_string()))?;
    }
    outbound_http::client(CALL_TIMEOUT, &bundle).map_err(|error| service_kit::status::chain(&error))
}

/// Reads the body of a response as JSON, up to the maximum size.
pub(crate) async fn json(answer: reqwest::Response) -> Result<Value, String> {
    let body =
        outbound_http::body(answer, MAX_RESPONSE_BYTES).await.map_err(|error| service_kit::status::chain(&error))?;
    let body = body.ok_or_else(|| format!("the response is longer than {MAX_RESPONSE_BYTES} bytes"))?;
    serde_json::from_slice(&body).map_err(|error| format!("the response is not JSON: {error}"))
}
