//! Downloads a config drive when its deployment is requested. A drive that cannot be downloaded fails the request, and the
//! node needs no access to its URL.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use service_kit::outbound_http;

/// Timeout of the download.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum size of a download, in bytes. A stored drive is smaller, also in base64.
const MAX_CONFIG_DRIVE_BYTES: usize = 512 << 10;
/// First bytes of a gzip file (RFC 1952, section 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Reason that a config drive cannot be downloaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConfigDriveFetchError {
    #[error("the config drive's address {0:?} must begin with http:// or https://")]
    Scheme(String),
    #[error("the config drive cannot be downloaded")]
    Request(#[source] reqwest::Error),
    #[error("the config drive cannot be downloaded: its server answers with {0}")]
    Status(reqwest::StatusCode),
    #[error("the config drive has more than {} KiB", MAX_CONFIG_DRIVE_BYTES >> 10)]
    TooLarge,
    #[error("the config drive is neither packed by gzip nor base64 of that")]
    NotPacked,
}

/// Downloads a config drive, compressed by gzip, and returns it in base64.
///
/// # Errors
/// [`ConfigDriveFetchError`] if the URL is not HTTP, the server does not answer in time, or the drive is too large or not
/// compressed.
pub(super) async fn config_drive(url: &str) -> Result<String, ConfigDriveFetchError> {
    if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(ConfigDriveFetchError::Scheme(url.to_owned()));
    }
    // The URL may have a secret in it.
    let failed = |error: reqwest::Error| ConfigDriveFetchError::Request(error.without_url());
    let answer = outbound_http::client(FETCH_TIMEOUT, &[]).map_err(failed)?.get(url).send().await.map_err(failed)?;
    if !answer.status().is_success() {
        return Err(ConfigDriveFetchError::Status(answer.status()));
    }
    let octets = outbound_http::body(answer, MAX_CONFIG_DRIVE_BYTES).await.map_err(failed)?;
    text(octets.ok_or(ConfigDriveFetchError::TooLarge)?)
}

/// Encodes a drive in base64 unless the server sent it so.
fn text(octets: Vec<u8>) -> Result<String, ConfigDriveFetchError> {
    if octets.starts_with(&GZIP_MAGIC) {
        return Ok(STANDARD.encode(octets));
    }
    String::from_utf8(octets).map_err(|_| ConfigDriveFetchError::NotPacked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_url_must_be_http_or_https() {
        for url in ["file:///etc/passwd", "ftp://h/drive", "drive"] {
            assert!(config_drive(url).await.unwrap_err().to_string().contains("http://"), "{url}");
        }
    }

    #[test]
    fn a_drive_is_accepted_as_gzip_or_as_base64() {
        assert_eq!(text(vec![0x1f, 0x8b, 8]).unwrap(), "H4sI");
        assert_eq!(text(b"H4sI".to_vec()).unwrap(), "H4sI");
        assert!(text(vec![0xff, 0xfe]).unwrap_err().to_string().contains("gzip"));
    }
}
