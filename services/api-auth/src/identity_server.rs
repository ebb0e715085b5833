//! Calls of the servers that know who a token belongs to.

use std::{fs, path::Path, time::Duration};

use reqwest::{Certificate, Client};
use serde_json::Value;
use service_kit::outbound_http;

/// How long one call of whoever knows may take: less, so that the first who waits for one that hangs can tell the others.
const CALL: Duration = Duration::from_secs(4);
/// The longest answer about a token, or with keys, in bytes.
const LONGEST_ANSWER: usize = 1 << 20;
/// A client for those who know who asks. `ca`: whom it believes; empty: whom the operating system does.
pub(crate) fn client(ca: &Path) -> Result<Client, String> {
    let mut bundle = Vec::new();
    if !ca.as_os_str().is_empty() {
        let unusable = |why: String| format!("{}: {why}", ca.display());
        let pem = fs::read(ca).map_err(|error| unusable(error.to_string()))?;
        bundle = Certificate::from_pem_bundle(&pem).map_err(|error| unusable(error.to_string()))?;
    }
    outbound_http::client(CALL, &bundle).map_err(|error| service_kit::status::chain(&error))
}

/// The body of an answer as JSON, unless it is longer than any answer is.
pub(crate) async fn json(answer: reqwest::Response) -> Result<Value, String> {
    let body = outbound_http::body(answer, LONGEST_ANSWER).await.map_err(|error| service_kit::status::chain(&error))?;
    let body = body.ok_or_else(|| format!("the answer is longer than {LONGEST_ANSWER} bytes"))?;
    serde_json::from_slice(&body).map_err(|error| format!("the answer is not JSON: {error}"))
}
