//! Sends events to a receiver, signed as the Standard Webhooks specification requires.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::time::Timestamp;
use reqwest::{StatusCode, header, header::HeaderName};
use ring::hmac;
use service_kit::clock;
use service_kit::outbound_http::{Outbound, OutboundClient, OutboundError, OutboundRequest, Purpose, Trust};
use uuid::Uuid;

use super::{InvalidWebhook, WebhookEvent, config::WebhookConfig};

/// HTTP client of one webhook.
#[derive(Debug)]
pub(super) struct WebhookClient {
    client: OutboundClient,
    config: WebhookConfig,
}

/// Failed delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeliveryError {
    pub(super) reason: String,
    /// Minimum delay before the next attempt, which [`retry_delay`](domain::webhook_delivery::retry_delay) limits.
    pub(super) retry_after: Option<Duration>,
    /// Whether the receiver responded 410 Gone.
    pub(super) is_final: bool,
}

impl WebhookClient {
    /// Creates the client of a webhook.
    ///
    /// # Errors
    /// The webhook's CA certificates are invalid.
    pub(super) fn new(config: WebhookConfig, outbound: &Outbound) -> Result<Self, InvalidWebhook> {
        let client = outbound.client(Purpose::Webhook, &Trust::Ca(config.ca.clone()))?;
        Ok(Self { client, config })
    }

    pub(super) const fn config(&self) -> &WebhookConfig {
        &self.config
    }

    /// Sends one event of the webhook with an id.
    ///
    /// # Errors
    /// Without a response the receiver may have accepted the event nevertheless.
    pub(super) async fn send(&self, webhook: Uuid, event: &WebhookEvent<'_>) -> Result<(), DeliveryError> {
        let now = clock::now();
        let id = format!("{webhook}.{}", event.id());
        let body = self.config.query.encode(event, now);
        let seconds = seconds(now);
        let signature = signature(self.config.key.expose(), &id, seconds, &body);
        let unreached = |error: OutboundError| DeliveryError {
            reason: format!("the request failed: {error}"),
            retry_after: error.is_permanent().then_some(Duration::MAX),
            is_final: false,
        };
        let mut request = OutboundRequest::post(self.config.url.as_str(), body)
            .map_err(unreached)?
            .header(header::CONTENT_TYPE, "application/json")
            .header(HeaderName::from_static("webhook-id"), id)
            .header(HeaderName::from_static("webhook-timestamp"), seconds.to_string())
            .header(HeaderName::from_static("webhook-signature"), signature);
        if let Some(token) = &self.config.token {
            request = request.header(header::AUTHORIZATION, [b"Bearer ", token.expose()].concat());
        }
        let answer = self.client.send(request).await.map_err(unreached)?;
        check_response(answer.status(), answer.header(&header::RETRY_AFTER))
    }
}

/// Checks the status of a response.
fn check_response(status: StatusCode, retry_after: Option<&str>) -> Result<(), DeliveryError> {
    if status.is_success() {
        return Ok(());
    }
    let after = retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    let hint = if status.is_redirection() { "; redirects are not followed: set url to where it leads" } else { "" };
    Err(DeliveryError {
        reason: format!("it answers with {status}{hint}"),
        retry_after: after,
        is_final: status == StatusCode::GONE,
    })
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
    fn a_signature_is_as_in_the_specification() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, "{\"test\": 2432232314}");
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_failed_delivery_has_a_reason_and_the_requested_delay() {
        assert_eq!(check_response(StatusCode::NO_CONTENT, None), Ok(()));
        let busy = check_response(StatusCode::SERVICE_UNAVAILABLE, Some("30")).unwrap_err();
        assert_eq!((busy.retry_after, busy.is_final), (Some(Duration::from_secs(30)), false));
        assert!(busy.reason.contains("503"));
        assert!(check_response(StatusCode::GONE, None).unwrap_err().is_final);
        assert!(check_response(StatusCode::MOVED_PERMANENTLY, Some("soon")).unwrap_err().reason.contains("redirects"));
    }
}
