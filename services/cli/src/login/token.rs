//! The tokens of a login, and when they are renewed. Pure.

use std::{fmt, time::Duration};

use domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::LoginError;

/// How long before its end an access token is renewed: longer than the deadline of a call.
const RENEWAL_MARGIN: Duration = Duration::from_secs(60);
/// How long a token is used whose provider does not say when it ends. The server says so.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(300);

/// A token, which is never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub(crate) struct SecretToken(String);

impl SecretToken {
    pub(crate) const fn new(token: String) -> Self {
        Self(token)
    }

    /// Returns the token, to be sent.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretToken(…)")
    }
}

/// The tokens of a login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tokens {
    /// What a call is made with.
    pub(crate) access_token: SecretToken,
    /// What the next access token is requested with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refresh_token: Option<SecretToken>,
    /// When the access token was received, in milliseconds since the Unix epoch.
    pub(crate) received_ms: i64,
    /// When the access token ends, in milliseconds since the Unix epoch.
    pub(crate) expires_ms: i64,
}

/// A successful answer of a token endpoint (RFC 6749 §5.1).
#[derive(Deserialize)]
struct TokenResponse {
    access_token: String,
    token_type: String,
    expires_in: Option<f64>,
    refresh_token: Option<String>,
}

impl Tokens {
    /// Reads the answer of a token endpoint. A refresh token that is not replaced stays (RFC 6749 §6).
    ///
    /// # Errors
    /// [`LoginError::Malformed`]
    pub(crate) fn read(body: &[u8], previous: Option<&SecretToken>, now: Timestamp) -> Result<Self, LoginError> {
        // The error of the parser may contain a part of the answer.
        let malformed = |why: &str| LoginError::Malformed(why.to_owned());
        let read: TokenResponse =
            serde_json::from_slice(body).map_err(|_| malformed("it has no access_token and token_type"))?;
        if !read.token_type.eq_ignore_ascii_case("bearer") {
            return Err(malformed("its tokens are not of the type Bearer (RFC 6750)"));
        }
        let is_sendable = |token: &str| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_sendable(&read.access_token) {
            return Err(malformed("its access token has characters that no token has"));
        }
        let lifetime = read.expires_in.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let refresh_token = read.refresh_token.filter(|token| is_sendable(token)).map(SecretToken::new);
        Ok(Self {
            access_token: SecretToken::new(read.access_token),
            refresh_token: refresh_token.or_else(|| previous.cloned()),
            received_ms: now.millis(),
            expires_ms: now.plus(lifetime.unwrap_or(UNKNOWN_LIFETIME)).millis(),
        })
    }

    /// Returns how usable the access token is.
    pub(crate) fn freshness(&self, now: Timestamp) -> Freshness {
        let (left, lifetime) = (self.expires_ms.saturating_sub(now.millis()), self.expires_ms - self.received_ms);
        let margin = i64::try_from(RENEWAL_MARGIN.as_millis()).unwrap_or(0).min(lifetime / 4);
        if left <= 0 {
            Freshness::Expired
        } else if left <= margin {
            Freshness::EndsSoon
        } else {
            Freshness::Fresh
        }
    }
}

/// How usable an access token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// It is used.
    Fresh,
    /// It is renewed, and used if that fails.
    EndsSoon,
    /// It must be renewed.
    Expired,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn tokens(lifetime: i64) -> Tokens {
        let answer = json!({"access_token": "a", "token_type": "Bearer", "expires_in": lifetime, "refresh_token": "r"});
        Tokens::read(answer.to_string().as_bytes(), None, NOW).unwrap()
    }

    #[test]
    fn a_token_is_renewed_before_it_ends() {
        use Freshness::{EndsSoon, Expired, Fresh};
        // Lifetime, age, and what is done.
        for (lifetime, age, expected) in [
            (3600, 0, Fresh),
            (3600, 3539, Fresh),
            (3600, 3540, EndsSoon),
            (3600, 3599, EndsSoon),
            (3600, 3600, Expired),
            (3600, 99_999, Expired),
            (20, 14, Fresh),
            (20, 15, EndsSoon),
            (20, 20, Expired),
            (0, 0, Expired),
        ] {
            let now = Timestamp::from_millis(NOW.millis() + age * 1000);
            assert_eq!(tokens(lifetime).freshness(now), expected, "{lifetime} s, after {age} s");
        }
    }

    #[test]
    fn an_answer_of_a_token_endpoint_is_read_or_refused_without_its_secrets() {
        let kept = SecretToken::new("kept".to_owned());
        // The answer, its source, and the refresh token; `None` if the answer is refused.
        for (answer, source, refresh) in [
            (
                json!({"access_token": "hush", "token_type": "Bearer", "refresh_token": "r2"}),
                "RFC 6749 §5.1",
                Some("r2"),
            ),
            (json!({"access_token": "hush", "token_type": "bearer"}), "RFC 6749 §6: the old one stays", Some("kept")),
            (
                json!({"access_token": "hush", "token_type": "BEARER", "expires_in": 3600.5}),
                "Entra ID v1",
                Some("kept"),
            ),
            (json!({"access_token": "hush", "token_type": "DPoP"}), "RFC 9449 §5", None),
            (json!({"access_token": "hush"}), "RFC 6749 §5.1: token_type is required", None),
            (json!({"token_type": "Bearer", "id_token": "hush"}), "RFC 6749 §5.1: access_token is required", None),
            (json!({"access_token": "hu\nsh", "token_type": "Bearer"}), "header injection", None),
            (json!({"access_token": "", "token_type": "Bearer"}), "an empty token", None),
            (json!({"access_token": {"hush": 1}, "token_type": "Bearer"}), "another shape", None),
            (json!(["hush"]), "another shape", None),
        ] {
            match (Tokens::read(answer.to_string().as_bytes(), Some(&kept), NOW), refresh) {
                (Ok(tokens), Some(refresh)) => {
                    assert_eq!(tokens.refresh_token.as_ref().unwrap().reveal(), refresh, "{source}");
                    assert!(!format!("{tokens:?}").contains("hush"), "{source}");
                }
                (Err(error), None) => assert!(!format!("{error} {error:?}").contains("hush"), "{source}: {error}"),
                (found, _) => panic!("{source}: {found:?}"),
            }
        }
    }
}
