//! One event on its way: signed as the Standard Webhooks specification has it, so that its libraries verify it.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::time::Timestamp;
use reqwest::{Client, StatusCode, header};
use ring::hmac;
use serde_json::{Value, json};
use service_kit::{clock, status};

use super::target::Target;
use service_kit::outbound_http;

/// How long a receiver may take to say that it has it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A receiver that can be told.
#[derive(Debug)]
pub(super) struct Receiver {
    client: Client,
    target: Target,
}

/// Why something was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NotTaken {
    pub(super) why: String,
    /// How long it asks not to be told again.
    pub(super) after: Option<Duration>,
    /// It wants to be told nothing any more.
    pub(super) for_good: bool,
}

impl Receiver {
    /// # Errors
    /// Its certificates can not be used.
    pub(super) fn new(target: Target) -> Result<Self, String> {
        let client = outbound_http::client(PATIENCE, &target.ca).map_err(|error| status::chain(&error))?;
        Ok(Self { client, target })
    }

    pub(super) const fn target(&self) -> &Target {
        &self.target
    }

    /// Tells one event. `id` is the same whenever the same is told again.
    ///
    /// # Errors
    /// It may have been taken all the same, where no answer came.
    pub(super) async fn tell(&self, id: &str, kind: &str, data: Value) -> Result<(), NotTaken> {
        let now = clock::now();
        let body = json!({"type": kind, "timestamp": now.to_string(), "data": data}).to_string();
        let seconds = seconds(now);
        let mut request = self
            .client
            .post(self.target.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signature(self.target.key.expose(), id, seconds, &body));
        if let Some(token) = self.target.token.as_ref().and_then(|token| std::str::from_utf8(token.expose()).ok()) {
            request = request.bearer_auth(token);
        }
        let unreached = |error: reqwest::Error| NotTaken {
            why: format!("it can not be told: {}", status::chain(&error.without_url())),
            after: None,
            for_good: false,
        };
        let answer = request.body(body).send().await.map_err(unreached)?;
        judge(answer.status(), answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()))
    }
}

/// What an answer says of what was sent.
fn judge(status: StatusCode, retry_after: Option<&str>) -> Result<(), NotTaken> {
    if status.is_success() {
        return Ok(());
    }
    let after = retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    let hint = if status.is_redirection() { "; redirects are not followed: set url to where it leads" } else { "" };
    Err(NotTaken { why: format!("it answers with {status}{hint}"), after, for_good: status == StatusCode::GONE })
}

const fn seconds(at: Timestamp) -> i64 {
    at.millis() / 1000
}

fn signature(key: &[u8], id: &str, seconds: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let tag = hmac::sign(&key, format!("{id}.{seconds}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's own libraries.
    #[test]
    fn a_signature_is_that_of_the_specification() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, "{\"test\": 2432232314}");
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn what_is_not_taken_says_why_and_when_it_may_be_told_again() {
        assert_eq!(judge(StatusCode::NO_CONTENT, None), Ok(()));
        let busy = judge(StatusCode::SERVICE_UNAVAILABLE, Some("30")).unwrap_err();
        assert_eq!((busy.after, busy.for_good), (Some(Duration::from_secs(30)), false));
        assert!(busy.why.contains("503"));
        assert!(judge(StatusCode::GONE, None).unwrap_err().for_good);
        assert!(judge(StatusCode::MOVED_PERMANENTLY, Some("soon")).unwrap_err().why.contains("redirects"));
    }
}
