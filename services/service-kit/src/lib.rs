//! What every service does alike, so that learning one service is learning five.
//!
//! | module | what it does |
//! |---|---|
//! | [`run`](mod@run) | the life of a process, from arguments to exit code |
//! | [`config`] | one TOML file, read once and checked whole |
//! | [`host`] | the only way to spawn, and the only way to learn of shutdown |
//! | [`telemetry`] | logs, traces with W3C context, metrics |
//! | [`tls`] | mutual TLS with certificates that change while we run, and who the caller is |
//! | [`serve`], [`client`] | the two ends of every gRPC call |
//! | [`status`] | where an error becomes a gRPC status |
//! | [`socket`] | UDP that knows when and where a datagram arrived |
//! | [`timeline`] | what one replica saw of boots, for whoever watches |
//! | [`clock`] | wall time, one door |

pub mod client;
pub mod clock;
pub mod config;
pub mod health;
pub mod host;
pub mod run;
pub mod serve;
pub mod socket;
pub mod status;
pub mod telemetry;
pub mod timeline;
pub mod tls;

pub use host::Host;
pub use run::{Kit, run};
