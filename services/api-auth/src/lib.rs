//! Authentication of the REST API and of operators' tokens at the gRPC API, the required role of each RPC, and audit
//! records.
//!
//! | module | content |
//! |---|---|
//! | [`config`] | configuration of all methods |
//! | `authenticator` | selects the method by the headers of a request |
//! | `sender` | what the head of a request tells of its sender, before credentials |
//! | `basic`, `keystone`, `jwt` | passwords, Keystone tokens, tokens of an OpenID provider |
//! | [`role_table`] | the role that an operator's certificate must have for each RPC |
//! | [`audit`] | records of changes |
//! | [`Error`] | reasons why a method cannot be used |

pub mod audit;
mod authenticator;
mod basic;
pub mod config;
mod error;
pub mod forwarded;
mod identity_server;
mod jwt;
mod keystone;
mod refusal;
pub mod role_table;
mod sender;
mod turns;

pub use authenticator::{Authenticator, Denied};
pub use config::{AuthConfig, Jwt, Keystone};
pub use error::Error;
pub use sender::{SenderError, host};
