//! The device authorization grant (RFC 8628): the user confirms a code in any browser, and the program asks meanwhile
//! whether that happened. Pure.

use std::time::Duration;

use domain::time::Timestamp;
use serde::Deserialize;

use super::{
    LoginError,
    token::{SecretToken, Tokens},
};
use crate::human::clean;

/// The grant type of the token request (RFC 8628 §3.4).
pub(crate) const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// Interval between two requests if the provider does not say one (RFC 8628 §3.2).
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);
/// What `slow_down` adds to it (RFC 8628 §3.5).
const SLOW_DOWN_STEP: Duration = Duration::from_secs(5);
/// Bounds of the interval.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
const MAX_INTERVAL: Duration = Duration::from_secs(60);
/// Maximum time for which a code is polled, whatever the provider says.
const MAX_LIFETIME: Duration = Duration::from_secs(60 * 60);
/// How long before the end of a code the last request is sent.
const LAST_REQUEST_MARGIN: Duration = Duration::from_secs(1);
/// Maximum length of what is shown of a provider's text, in characters.
const MAX_SHOWN_CHARS: usize = 200;

/// The answer to a device authorization request (RFC 8628 §3.2).
#[derive(Debug)]
pub(crate) struct DeviceAuthorization {
    /// What the program asks with.
    pub(crate) device_code: SecretToken,
    /// What the user enters.
    pub(crate) user_code: String,
    /// Where the user enters it.
    pub(crate) verification_uri: String,
    /// The same with the code in it, if the provider has such.
    pub(crate) verification_uri_complete: Option<String>,
    lifetime: Duration,
    interval: Duration,
}

#[derive(Deserialize)]
struct DeviceResponse {
    device_code: String,
    user_code: String,
    // Some providers had this before the RFC.
    #[serde(alias = "verification_url")]
    verification_uri: String,
    verification_uri_complete: Option<String>,
    expires_in: f64,
    interval: Option<f64>,
}

impl DeviceAuthorization {
    /// Reads the answer of a device authorization endpoint.
    ///
    /// # Errors
    /// [`LoginError::Malformed`]
    pub(crate) fn read(body: &[u8]) -> Result<Self, LoginError> {
        let malformed = |why: &str| LoginError::Malformed(why.to_owned());
        // The error of the parser may contain the device code.
        let read: DeviceResponse = serde_json::from_slice(body).map_err(|_| {
            malformed("it needs device_code, user_code, verification_uri and expires_in (RFC 8628 §3.2)")
        })?;
        let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).ok();
        let lifetime = seconds(read.expires_in).filter(|lifetime| !lifetime.is_zero());
        let is_code =
            |code: &str| !code.is_empty() && code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_code(&read.user_code) {
            return Err(malformed("its user_code cannot be shown"));
        }
        if !is_page(&read.verification_uri) || !read.verification_uri_complete.as_deref().is_none_or(is_page) {
            return Err(malformed("its verification_uri is not an https:// URL"));
        }
        Ok(Self {
            device_code: SecretToken::new(read.device_code),
            user_code: read.user_code,
            verification_uri: read.verification_uri,
            verification_uri_complete: read.verification_uri_complete,
            lifetime: lifetime.ok_or_else(|| malformed("its expires_in is not a positive number"))?.min(MAX_LIFETIME),
            interval: read.interval.and_then(seconds).unwrap_or(DEFAULT_INTERVAL).clamp(MIN_INTERVAL, MAX_INTERVAL),
        })
    }
}

impl DeviceAuthorization {
    /// Returns how long the codes are valid.
    pub(crate) const fn lifetime(&self) -> Duration {
        self.lifetime
    }
}

/// Returns whether a user may be sent to a URL: one of HTTPS, without characters that a terminal acts on.
fn is_page(url: &str) -> bool {
    let is_shown_as_it_is = url.bytes().all(|byte| byte.is_ascii_graphic());
    is_shown_as_it_is && reqwest::Url::parse(url).is_ok_and(|url| url.scheme() == "https")
}

/// Outcome of a token request.
#[derive(Debug, Clone)]
pub(crate) enum Answer<'a> {
    /// A response.
    Response {
        /// HTTP status.
        status: u16,
        /// Body.
        body: &'a [u8],
    },
    /// None, because of the network.
    None {
        /// The reason.
        why: String,
        /// Whether a repetition may be answered.
        is_transient: bool,
    },
}

/// What to do next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Ask again after this time.
    Wait(Duration),
    /// The user has confirmed.
    LoggedIn(Tokens),
    /// It failed.
    Failed(LoginError),
}

/// Decides how long the program asks, and how often.
#[derive(Debug)]
pub(crate) struct Polling {
    /// What the provider asks for.
    interval: Duration,
    /// The last pause before a request that was not answered. Grows until the next answer.
    backoff: Duration,
    lifetime: Duration,
    /// Why the last request was not answered; `None` if it was.
    unheard: Option<String>,
}

impl Polling {
    pub(crate) const fn new(authorization: &DeviceAuthorization) -> Self {
        let DeviceAuthorization { interval, lifetime, .. } = *authorization;
        Self { interval, backoff: interval, lifetime, unheard: None }
    }

    /// Returns how long to wait before the first request.
    pub(crate) const fn first(&self) -> Duration {
        self.interval
    }

    /// Decides about an answer that came this long after the codes.
    pub(crate) fn decide(&mut self, answer: Answer<'_>, elapsed: Duration, now: Timestamp) -> Next {
        let (status, body) = match answer {
            Answer::None { why, is_transient: true } => return self.wait_unheard(why, elapsed),
            Answer::None { why, is_transient: false } => return Next::Failed(LoginError::Unheard(why)),
            Answer::Response { status, body } => (status, body),
        };
        match status {
            200 => match Tokens::read(body, None, now) {
                Ok(tokens) => Next::LoggedIn(tokens),
                Err(error) => Next::Failed(error),
            },
            status if is_away(status) => self.wait_unheard(format!("it answered {status}"), elapsed),
            _ => {
                (self.backoff, self.unheard) = (self.interval, None);
                let error = OAuthError::read(body);
                match error.error.as_str() {
                    "authorization_pending" => self.wait(self.interval, elapsed),
                    "slow_down" => self.slow_down(elapsed),
                    // The second one is Entra ID's.
                    "access_denied" | "authorization_declined" => Next::Failed(LoginError::Denied),
                    "expired_token" => Next::Failed(LoginError::CodeExpired),
                    _ => Next::Failed(LoginError::Refused(error.shown(status))),
                }
            }
        }
    }

    /// Waits longer after each request without an answer (RFC 8628 §3.5).
    fn wait_unheard(&mut self, why: String, elapsed: Duration) -> Next {
        self.backoff = self.backoff.saturating_mul(2).min(MAX_INTERVAL);
        self.unheard = Some(why);
        self.wait(self.backoff, elapsed)
    }

    /// Waits longer from now on. The provider is not asked earlier than it wants, even if the code expires meanwhile.
    fn slow_down(&mut self, elapsed: Duration) -> Next {
        self.interval = (self.interval + SLOW_DOWN_STEP).min(MAX_INTERVAL);
        self.backoff = self.interval;
        if elapsed + self.interval >= self.lifetime { self.expired() } else { Next::Wait(self.interval) }
    }

    /// Waits, and for the last request only until shortly before the code expires: the user may confirm it late.
    fn wait(&self, pause: Duration, elapsed: Duration) -> Next {
        let left = self.lifetime.saturating_sub(elapsed).saturating_sub(LAST_REQUEST_MARGIN);
        if left.is_zero() { self.expired() } else { Next::Wait(pause.min(left)) }
    }

    fn expired(&self) -> Next {
        let error = self.unheard.clone().map_or(LoginError::CodeExpired, LoginError::CodeExpiredUnheard);
        Next::Failed(error)
    }
}

/// Returns whether a status says that a repetition may succeed (RFC 6585 §4, RFC 9110 §15.6).
pub(super) const fn is_away(status: u16) -> bool {
    matches!(status, 429 | 500..=599)
}

/// An error of a provider (RFC 6749 §5.2).
#[derive(Debug, Default, Deserialize)]
pub(crate) struct OAuthError {
    #[serde(default)]
    pub(crate) error: String,
    #[serde(default)]
    error_description: String,
}

impl OAuthError {
    /// Reads the body of an answer; an empty error if it is none.
    pub(crate) fn read(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }

    /// Returns the text to show.
    pub(crate) fn shown(&self, status: u16) -> String {
        let text = match (self.error.as_str(), self.error_description.as_str()) {
            ("", _) => format!("it answered {status}"),
            (error, "") => error.to_owned(),
            (error, description) => format!("{error}: {description}"),
        };
        clean(&text).replace('\n', " ").chars().take(MAX_SHOWN_CHARS).collect()
    }
}

#[cfg(test)]
mod tests;
