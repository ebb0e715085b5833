//! HTTP client for servers of others: no proxy, no redirects, and responses of limited size.

use std::time::Duration;

use reqwest::{Certificate, Client, Response, redirect};

/// Creates a client with a timeout for whole responses. `ca` is a CA file (PEM); if it is empty, the CAs of the operating
/// system are trusted.
///
/// # Errors
/// The CA file cannot be used.
pub fn client(timeout: Duration, ca: &[Certificate]) -> Result<Client, reqwest::Error> {
    let mut builder = Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .timeout(timeout)
        .user_agent(concat!("ironmesh/", env!("CARGO_PKG_VERSION")));
    if !ca.is_empty() {
        builder = builder.tls_certs_only(ca.to_vec());
    }
    builder.build()
}

/// Reads the body of a response. Returns `None` if it is longer than `most` bytes.
///
/// # Errors
/// The connection failed.
pub async fn body(mut answer: Response, most: usize) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await? {
        if body.len() + piece.len() > most {
            return Ok(None);
        }
        body.extend_from_slice(&piece);
    }
    Ok(Some(body))
}
