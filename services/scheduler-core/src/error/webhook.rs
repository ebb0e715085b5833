//! Reasons for which a webhook is refused.

use keyspace::value::DeliveryInfo;
use reqwest::Url;
use service_kit::outbound_http::OutboundError;
use wire_ironic::fields::MASK;

/// Prefix of a key of the Standard Webhooks specification.
pub(crate) const KEY_PREFIX: &str = "whsec_";
/// Minimum length of a key, in bytes.
pub(crate) const MIN_KEY_BYTES: usize = 24;
/// Maximum length of a key, in bytes.
pub(crate) const MAX_KEY_BYTES: usize = 64;

/// Error of a URL that cannot be parsed.
type UrlError = <Url as std::str::FromStr>::Err;

/// Reason a webhook cannot work.
#[derive(Debug, thiserror::Error)]
pub enum InvalidWebhook {
    /// The name has invalid characters, is too long, or reads like an id.
    #[error(
        "name {0:?} is invalid: it must have 1 to 255 characters, each an ASCII letter, a digit, or one of - . _ ~, and must \
         not be a UUID"
    )]
    Name(String),
    /// A field is too long.
    #[error("{field} must not be longer than {max_chars} characters")]
    TooLong {
        /// The field.
        field: &'static str,
        /// Its maximum length, in characters.
        max_chars: usize,
    },
    /// The URL cannot be parsed.
    #[error("url {url:?} is no address")]
    Url {
        /// The URL.
        url: String,
        /// Reason.
        source: UrlError,
    },
    /// The URL has a character that a URL cannot have.
    #[error(transparent)]
    UrlText(#[from] domain::url_text::UrlTextError),
    /// The URL has another scheme than HTTP and HTTPS.
    #[error("url {0:?} must begin with https:// or http://")]
    Scheme(String),
    /// The URL contains credentials.
    #[error(
        "url must not have a user or a password in it: everybody who lists webhooks would read them; give a token in \
         delivery_info"
    )]
    Credentials,
    /// The API that the webhook's events belong to refuses the query.
    #[error(transparent)]
    Query(#[from] InvalidQuery),
    /// `delivery_info` has an unknown key.
    #[error("delivery_info has {0:?}, which is none of {keys}", keys = DeliveryInfo::KEYS.join(", "))]
    UnknownKey(String),
    /// The secret is the mask that clients read in its place.
    #[error("delivery_info/secret is {MASK}, which stands where a secret is not shown")]
    MaskedSecret,
    /// The secret is missing, or not a key of the Standard Webhooks specification.
    #[error(
        "delivery_info must have a secret that signs what is sent: {KEY_PREFIX} and then {MIN_KEY_BYTES} to \
         {MAX_KEY_BYTES} octets in base64, as `openssl rand -base64 32` makes them"
    )]
    Secret,
    /// The token cannot be sent in a header.
    #[error("delivery_info/token must be text of printable ASCII without spaces")]
    Token,
    /// The CA certificates cannot be parsed.
    #[error("delivery_info/ca must be certificates in PEM")]
    Ca,
    /// The stored webhook has no secret.
    #[error("it has no secret")]
    NoSecret,
    /// A stored secret cannot be opened.
    #[error(transparent)]
    Sealed(#[from] keyspace::Error),
    /// No HTTP client can be made with the CA certificates.
    #[error(transparent)]
    Client(#[from] OutboundError),
}

/// A query that is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct InvalidQuery {
    /// What is wrong with it.
    pub reason: String,
}
