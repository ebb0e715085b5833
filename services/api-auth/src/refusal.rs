//! Reasons for rejecting the credentials of a request, and the time in which they are verified.

use std::time::Duration;

/// Maximum time for authenticating one request.
const AUTHENTICATION_TIMEOUT: Duration = Duration::from_secs(10);

/// Reason for rejecting the credentials of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The credentials are missing or wrong.
    Unknown(String),
    /// The credentials cannot be verified now; the client may retry.
    Away(String),
}

/// Bounds the time for an authentication.
pub(crate) async fn within<T>(asked: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    let late = || Refusal::Away("Authentication timed out".to_owned());
    tokio::time::timeout(AUTHENTICATION_TIMEOUT, asked).await.unwrap_or_else(|_| Err(late()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_authentication_that_hangs_is_unavailable_and_not_denied() {
        let started = tokio::time::Instant::now();
        assert!(matches!(within::<()>(std::future::pending()).await, Err(Refusal::Away(_))));
        assert_eq!(started.elapsed(), AUTHENTICATION_TIMEOUT);
    }
}
