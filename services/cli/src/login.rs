//! Logging in at an OpenID provider, and calling the API with its access tokens in place of a certificate.
//!
//! | module | what it does |
//! |---|---|
//! | `device_flow` | decides what to do about each answer of the provider (RFC 8628). Pure |
//! | `provider` | finds the provider's endpoints and calls them |
//! | `token` | the tokens, and the decision when they are renewed. Pure |
//! | `store` | the file with the tokens, and its lock |
//! | `session` | gives the access token for a call, and renews it |
//! | `channel` | adds the token to each call |

pub(crate) mod channel;
pub(crate) mod device_flow;
mod error;
pub(crate) mod provider;
pub(crate) mod session;
pub(crate) mod store;
pub(crate) mod token;

pub(crate) use error::LoginError;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What is asked for if nothing else is said: who the user is, and a token that renews the access token.
pub(crate) const DEFAULT_SCOPES: &str = "openid profile offline_access";

/// The `[login]` table of a context: the OpenID provider and the program's registration there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoginConfig {
    /// The provider's URL, as it writes it itself.
    pub(crate) issuer: String,
    /// The id of the program at the provider.
    pub(crate) client_id: String,
    /// The scopes to ask for, separated by spaces.
    #[serde(default = "default_scopes")]
    pub(crate) scopes: String,
    /// CA file (PEM) for the certificate of the provider; left out: the CAs of the operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
}

fn default_scopes() -> String {
    DEFAULT_SCOPES.to_owned()
}
