//! Who is asking, and what they may: authentication of the REST API, the role of each RPC, and audit records.
//!
//! | module | content |
//! |---|---|
//! | [`config`] | configuration of all ways to authenticate |
//! | `authenticator` | chooses the way that a request's header belongs to |
//! | `basic`, `keystone`, `jwt` | passwords, tokens of Keystone, tokens signed by an OpenID provider |
//! | [`role_table`] | which role an operator's certificate must have for each RPC |
//! | [`audit`] | records of changes |

#![expect(
    missing_docs,
    reason = "shared by the scheduler's crates alone; its items are documented where they are not plain"
)]

pub mod audit;
mod authenticator;
mod basic;
pub mod config;
mod identity_server;
mod jwt;
mod keystone;
mod refusal;
pub mod role_table;

pub use authenticator::{Authenticator, Denied};
pub use config::{AuthConfig, Jwt, Keystone};
