//! Asking servers that others run: through nobody's proxy, following nobody to anywhere else, and reading no more than is
//! of use.

use std::time::Duration;

use reqwest::{Certificate, Client, Response, redirect};

/// A client that waits so long for a whole answer. `ca`: whom it believes; empty: whom the operating system does.
///
/// # Errors
/// The certificates can not be used.
pub fn client(patience: Duration, ca: &[Certificate]) -> Result<Client, reqwest::Error> {
    let mut builder = Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .timeout(patience)
        .user_agent(concat!("ironmesh/", env!("CARGO_PKG_VERSION")));
    if !ca.is_empty() {
        builder = builder.tls_certs_only(ca.to_vec());
    }
    builder.build()
}

/// The body of an answer; none: it is longer than `most` octets.
///
/// # Errors
/// It broke off.
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
