//! Why logging in, or using a login, failed.

use durable_file::DurableFileError;
use service_kit::outbound_http::OutboundError;

/// Why logging in, or using a login, failed. The texts contain no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    /// The issuer is no URL that is fit for one.
    #[error("the issuer {0:?} must be an https:// URL without query and fragment")]
    Issuer(String),
    /// The provider cannot be reached.
    #[error("cannot reach the OpenID provider: {0}")]
    Unreachable(#[from] OutboundError),
    /// The provider answered that it cannot serve a request now.
    #[error("the OpenID provider cannot answer now (status {0}); repeat the command later")]
    Away(u16),
    /// A file cannot be used.
    #[error("{0}")]
    File(#[from] DurableFileError),
    /// The CA file for the provider cannot be used.
    #[error("the CA file {path} for the OpenID provider cannot be used: {why}")]
    Ca {
        /// Path of the file.
        path: String,
        /// Reason.
        why: String,
    },
    /// The provider has no configuration at the issuer's URL.
    #[error("{issuer} is no OpenID provider: {url} was answered with {why}; check the issuer")]
    NotAProvider {
        /// The configured issuer.
        issuer: String,
        /// The URL of the configuration.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// The configuration is another issuer's (OpenID Connect Discovery §4.3).
    #[error(
        "{configured} says that its issuer is {found:?}; use that as the issuer if it is the provider that you mean"
    )]
    OtherIssuer {
        /// The configured issuer.
        configured: String,
        /// The issuer in the configuration.
        found: String,
    },
    /// The provider does not offer what is needed.
    #[error(
        "{issuer} offers no login for programs without a browser ({missing}); an administrator of the provider can enable \
             the device authorization grant for the client"
    )]
    Unsupported {
        /// The issuer.
        issuer: String,
        /// The missing endpoint.
        missing: &'static str,
    },
    /// The provider's answer cannot be used.
    #[error("the answer of the OpenID provider cannot be used: {0}")]
    Malformed(String),
    /// The provider refused a request for another reason.
    #[error("the OpenID provider refused: {0}")]
    Refused(String),
    /// The user refused.
    #[error("the login was refused in the browser; start again with ironmesh login")]
    Denied,
    /// The user did not answer in time.
    #[error("the code has expired before the login was confirmed; start again with ironmesh login")]
    CodeExpired,
    /// The user did not answer in time, as far as the program could learn.
    #[error(
        "the code has expired, and the OpenID provider could not be asked at last: {0}; start again with ironmesh login"
    )]
    CodeExpiredUnheard(String),
    /// The provider cannot be asked for the outcome of a login.
    #[error("cannot ask the OpenID provider whether the login was confirmed: {0}")]
    Unheard(String),
    /// There is no login.
    #[error("not logged in; log in with ironmesh login")]
    NotLoggedIn,
    /// The login cannot be renewed.
    #[error("the login has ended ({0}); log in again with ironmesh login")]
    Ended(String),
    /// The login cannot be renewed, because the provider gave no refresh token.
    #[error(
        "the access token has ended, and the provider gave no refresh token (the scope offline_access asks for one); log in \
         again with ironmesh login"
    )]
    NoRefreshToken,
    /// Another process renews the login and does not end.
    #[error("another process holds {0}; end it, or repeat the command later")]
    Locked(String),
}

impl LoginError {
    /// Returns whether the same may succeed in a moment, without a change of the configuration or a new login.
    pub(crate) const fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable(error) => error.is_transient(),
            Self::Away(_) | Self::Locked(_) => true,
            Self::Issuer(_)
            | Self::File(_)
            | Self::Ca { .. }
            | Self::NotAProvider { .. }
            | Self::OtherIssuer { .. }
            | Self::Unsupported { .. }
            | Self::Malformed(_)
            | Self::Refused(_)
            | Self::Denied
            | Self::CodeExpired
            | Self::CodeExpiredUnheard(_)
            | Self::Unheard(_)
            | Self::NotLoggedIn
            | Self::Ended(_)
            | Self::NoRefreshToken => false,
        }
    }
}
