//! Downloads what a user named by URL while the user's request waits for it: config drives and lists of checksums.

use reqwest::StatusCode;
use service_kit::outbound_http::{Outbound, OutboundError, OutboundRequest, Purpose, Trust};

/// Reason that a file cannot be downloaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum SmallDownloadError {
    #[error(transparent)]
    Request(#[from] OutboundError),
    #[error("its server answers with {0}")]
    Status(StatusCode),
}

impl SmallDownloadError {
    /// Returns whether nothing is wrong with the file: its server is sent too many requests now.
    pub(super) const fn is_busy(&self) -> bool {
        matches!(self, Self::Request(OutboundError::TooMany { .. }))
    }
}

/// Downloads a file within the limits of its purpose.
///
/// # Errors
/// [`SmallDownloadError`] if the URL is not HTTP, its host is not allowed, answers with an error or not in time, or the file is
/// too large.
pub(super) async fn download(outbound: &Outbound, purpose: Purpose, url: &str) -> Result<Vec<u8>, SmallDownloadError> {
    let client = outbound.client(purpose, &Trust::System)?;
    let answer = client.send(OutboundRequest::get(url)?).await?;
    if !answer.status().is_success() {
        return Err(SmallDownloadError::Status(answer.status()));
    }
    Ok(answer.body().await?)
}
