//! Downloads a config drive when its deployment is requested. A drive that cannot be downloaded fails the request, and the
//! node needs no access to its URL.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use service_kit::outbound_http::{Outbound, Purpose};

use crate::small_download::{SmallDownloadError, download};

/// First bytes of a gzip file (RFC 1952, section 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Reason that a config drive cannot be downloaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConfigDriveFetchError {
    #[error("the config drive cannot be downloaded")]
    Download(#[from] SmallDownloadError),
    #[error("the config drive is neither packed by gzip nor base64 of that")]
    NotPacked,
}

/// Downloads a config drive, compressed by gzip, and returns it in base64.
///
/// # Errors
/// [`ConfigDriveFetchError`] if the URL is not HTTP, its host is not allowed or does not answer in time, or the drive is too
/// large or not compressed.
pub(super) async fn config_drive(outbound: &Outbound, url: &str) -> Result<String, ConfigDriveFetchError> {
    text(download(outbound, Purpose::ConfigDrive, url).await?)
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
    use service_kit::status::chain;

    use super::*;

    #[tokio::test]
    async fn a_url_must_be_http_or_https() {
        service_kit::tls::install_provider();
        for url in ["file:///etc/passwd", "ftp://h/drive", "drive"] {
            let outbound = Outbound::default();
            let error = config_drive(&outbound, url).await.unwrap_err();
            assert!(chain(&error).contains("http://"), "{url}: {error}");
        }
    }

    #[tokio::test]
    async fn a_url_of_an_address_that_users_must_not_reach_is_refused() {
        service_kit::tls::install_provider();
        for host in ["127.0.0.1:6385", "localhost:2379", "169.254.169.254", "[::ffff:7f00:1]", "0x7f.1", "[fe80::1]"] {
            let error = config_drive(&Outbound::default(), &format!("http://{host}/drive")).await.unwrap_err();
            // The reason is said once.
            assert_eq!(chain(&error).matches("is not an allowed destination").count(), 1, "{host}: {error}");
        }
    }

    #[test]
    fn a_drive_is_accepted_as_gzip_or_as_base64() {
        assert_eq!(text(vec![0x1f, 0x8b, 8]).unwrap(), "H4sI");
        assert_eq!(text(b"H4sI".to_vec()).unwrap(), "H4sI");
        assert!(text(vec![0xff, 0xfe]).unwrap_err().to_string().contains("gzip"));
    }
}
