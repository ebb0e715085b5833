//! Downloads a list of checksums when a deployment is requested, and finds the image's in it.

use domain::image::{
    Digest,
    checksum::{self, ChecksumError},
    format::file_name,
};
use service_kit::outbound_http::{Outbound, Purpose};

use crate::small_download::{SmallDownloadError, download};

/// Reason that the checksum of an image is not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChecksumFetchError {
    #[error("the list of checksums cannot be downloaded")]
    Download(#[from] SmallDownloadError),
    #[error("the list of checksums is not text")]
    NotText,
    #[error("the list of checksums cannot be used")]
    List(#[from] ChecksumError),
}

/// Downloads the list of checksums at `url` and returns the one of the image at `image`, by its file name.
///
/// # Errors
/// [`ChecksumFetchError`] if the URL is not HTTP, its host is not allowed or does not answer in time, or the list is too
/// large or has no usable checksum of the image.
pub(super) async fn checksum(
    outbound: &Outbound,
    url: &str,
    image: &str,
    algorithm: Option<&str>,
) -> Result<Digest, ChecksumFetchError> {
    let octets = download(outbound, Purpose::ChecksumList, url.trim()).await?;
    let list = std::str::from_utf8(&octets).map_err(|_| ChecksumFetchError::NotText)?;
    Ok(checksum::find(list, &file_name(image), algorithm)?)
}

#[cfg(test)]
mod tests {
    use axum::{Router, http::StatusCode, response::Redirect, routing::get};
    use domain::image::checksum::MAX_LIST_BYTES;
    use service_kit::outbound_http::OutboundConfig;

    use super::*;

    /// Serves lists. Returns the base URL.
    async fn serve() -> String {
        let (one, two) = ("1".repeat(64), "2".repeat(64));
        let text = |text: String| get(async move || text);
        let routes = Router::new()
            .route("/gnu", text(format!("{one}  other.qcow2\n{two}  x y.qcow2\n")))
            .route("/bsd", text(format!("SHA256 (other.qcow2) = {one}\r\nSHA256 (x y.qcow2) = {two}\r\n")))
            .route("/bare", text(format!("{two}\n")))
            .route("/others", text(format!("{one}  a\n{two}  b\n")))
            .route("/md5", text(format!("{}  x y.qcow2", "3".repeat(32))))
            .route("/large", text("x".repeat(MAX_LIST_BYTES + 1)))
            .route("/octets", get(async || vec![0xff, 0xfe]))
            .route("/page", text("<html>".to_owned()))
            .route("/moved", get(async || Redirect::temporary("http://169.254.169.254/secret")))
            .route("/gone", get(async || StatusCode::GONE));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        service_kit::Host::default().spawn(async move { drop(axum::serve(listener, routes).await) });
        base
    }

    #[tokio::test]
    async fn the_checksum_of_an_image_is_found_behind_a_url() {
        service_kit::tls::install_provider();
        let base = serve().await;
        let config = OutboundConfig { allow: vec!["127.0.0.0/8".parse().unwrap()], ..OutboundConfig::default() };
        let outbound = Outbound::new(&config).unwrap();
        let image = "https://images/dir/x%20y.qcow2?version=1#top";
        for (path, source, why) in [
            ("/gnu", "Debian SHA512SUMS, Metal3", None),
            ("/bsd", "Fedora CHECKSUM", None),
            ("/bare", "bifrost: .sha256", None),
            ("/bare ", "a line end behind the URL", None),
            ("/others", "not listed", Some("no checksum of \"x y.qcow2\"")),
            ("/md5", "weak", Some("MD5")),
            ("/large", "an endless list", Some("sent more than 1048576 bytes")),
            ("/octets", "no text", Some("not text")),
            ("/page", "an error page", Some("no line with a checksum")),
            ("/moved", "a redirect to elsewhere", Some("is not an allowed destination")),
            ("/gone", "an error", Some("410")),
        ] {
            match (checksum(&outbound, &format!("{base}{path}"), image, None).await, why) {
                (Ok(digest), None) => assert_eq!(digest.hex(), "2".repeat(64), "{source}"),
                (Err(error), Some(why)) => {
                    let text = service_kit::status::chain(&error);
                    assert!(text.contains(why) && !text.contains("169.254"), "{source}: {text}");
                }
                (got, _) => panic!("{source}: {got:?}"),
            }
        }
        for url in ["file:///etc/passwd", "ftp://h/SUMS", "gopher://h"] {
            let error = checksum(&outbound, url, image, None).await.unwrap_err();
            assert!(service_kit::status::chain(&error).contains("http://"), "{url}: {error}");
        }
        let error = checksum(&Outbound::default(), &format!("{base}/gnu"), image, None).await.unwrap_err();
        assert!(service_kit::status::chain(&error).contains("is not an allowed destination"), "{error}");
    }
}
