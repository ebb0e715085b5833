//! A config drive that is somewhere else: fetched when the deployment is asked for, so that what can not be had is refused
//! before anything begins, and the machine needs no way to where it is.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use service_kit::outbound_http;

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The octets that are read: a drive that is kept is smaller, also in base64.
const MOST: usize = 256 << 10;
/// The first octets of what gzip has packed (RFC 1952, section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The packed config drive of an address, in base64.
///
/// # Errors
/// Words for whoever asked: it is not http, nobody answers in time, it is too long, or not packed.
pub(super) async fn config_drive(url: &str) -> Result<String, String> {
    if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(format!("the config drive's address {url:?} must begin with http:// or https://"));
    }
    let failed = |error: reqwest::Error| {
        // The address may have a secret in it.
        format!("the config drive can not be fetched: {}", service_kit::status::chain(&error.without_url()))
    };
    let answer = outbound_http::client(PATIENCE, &[]).map_err(failed)?.get(url).send().await.map_err(failed)?;
    if !answer.status().is_success() {
        return Err(format!("the config drive can not be fetched: its server answers with {}", answer.status()));
    }
    let octets = outbound_http::body(answer, MOST).await.map_err(failed)?;
    text(octets.ok_or_else(|| format!("the config drive has more than {} KiB", MOST >> 10))?)
}

/// It lies there as gzip made it, or in base64.
fn text(octets: Vec<u8>) -> Result<String, String> {
    if octets.starts_with(&GZIP) {
        return Ok(STANDARD.encode(octets));
    }
    String::from_utf8(octets).map_err(|_| "the config drive is neither packed by gzip nor base64 of that".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_is_on_the_web_is_fetched() {
        for url in ["file:///etc/passwd", "ftp://h/drive", "drive"] {
            assert!(config_drive(url).await.unwrap_err().contains("http://"), "{url}");
        }
    }

    #[test]
    fn a_drive_is_taken_packed_or_as_text() {
        assert_eq!(text(vec![0x1f, 0x8b, 8]).unwrap(), "H4sI");
        assert_eq!(text(b"H4sI".to_vec()).unwrap(), "H4sI");
        assert!(text(vec![0xff, 0xfe]).unwrap_err().contains("gzip"));
    }
}
