//! Infrastructure shared by all services: process lifecycle, configuration, telemetry, TLS and gRPC.
//!
//! | module | content |
//! |---|---|
//! | [`run`](mod@run) | process lifecycle, from command-line arguments to exit code |
//! | [`config`] | loads and checks the TOML configuration file |
//! | [`host`] | spawns background tasks and signals shutdown |
//! | [`telemetry`] | logs, traces with W3C context, metrics |
//! | [`tls`] | mutual TLS with certificates that are reloaded, and the identity of the caller |
//! | [`join_token`] | the text of the tokens with which hosts join |
//! | [`bearer_token`] | tokens in place of an operator's certificate |
//! | [`listener`] | accepts HTTP and gRPC connections, within limits of each peer |
//! | [`serve`], [`client`] | gRPC servers and clients |
//! | [`outbound_http`] | HTTP client for servers that others run |
//! | [`status`] | converts errors to gRPC statuses |
//! | [`socket`] | UDP sockets that report when and where a datagram arrived |
//! | [`timeline`] | in-memory boot timeline of one replica |
//! | [`clock`] | wall-clock time |

pub mod bearer_token;
pub mod client;
pub mod clock;
pub mod config;
pub mod health;
pub mod host;
pub mod join_token;
pub mod listener;
mod names;
pub mod outbound_http;
pub mod ports;
pub mod run;
pub mod serve;
pub mod socket;
pub mod status;
pub mod telemetry;
pub mod timeline;
pub mod tls;

pub use host::Host;
pub use run::{Kit, run};
