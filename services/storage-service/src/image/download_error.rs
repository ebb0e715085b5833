//! Why a file is not in the cache.

use domain::{
    failure::{Cause, Failure},
    image::format::ImageFormatError,
};
use service_kit::{clock, outbound_http::redacted};
use tokio::time::Instant;

use super::{Download, Expected};

/// Why a file cannot be downloaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct DownloadError {
    pub(super) cause: Cause,
    pub(super) text: String,
    /// Whether another attempt cannot succeed.
    pub(super) is_final: bool,
}

impl DownloadError {
    pub(super) const fn cache(text: String) -> Self {
        Self { cause: Cause::ImageCache, text, is_final: true }
    }

    pub(super) const fn unreachable(text: String) -> Self {
        Self { cause: Cause::ImageUnreachable, text, is_final: false }
    }

    pub(super) fn format(name: &str, url: &str, error: &ImageFormatError) -> Self {
        let text = format!("cannot use image {name} from {}: {error}", redacted(url));
        Self { cause: Cause::ImageFormat, text, is_final: true }
    }

    pub(super) fn failed(self, expected: Expected) -> Download {
        let failure = Failure { cause: self.cause, text: self.text, at: clock::now() };
        Download::Failed { failure, at: Instant::now(), expected }
    }
}
