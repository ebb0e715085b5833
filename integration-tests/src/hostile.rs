//! Attacks on a running rack: one table per door, and what must hold during and after each attack.
//!
//! | module | door |
//! |---|---|
//! | `http1`, `http2`, `floods`, `crowd` | the REST and gRPC listeners, for peers without credentials or with those of one user |
//! | `tokens`, `grpc_tokens`, `certificates` | who a caller is |
//! | `users` | what users with credentials send |
//! | `boot`, `agents` | the provisioning network: DHCP, TFTP, boot files, calls of agents |
//! | `outbound` | what users have the services request |
//! | `store` | etcd, with certificates that were issued for something else |

pub mod agents;
pub mod boot;
pub mod certificates;
pub mod crowd;
pub mod floods;
pub mod grpc_tokens;
pub mod guard;
pub mod http1;
pub mod http2;
pub mod outbound;
pub mod raw;
pub mod store;
pub mod tokens;
pub mod users;

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use futures::future::LocalBoxFuture;

pub use self::guard::Guard;
use crate::fault::tell;

/// A row of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attack<H> {
    /// What the attacker does, as a sentence.
    pub name: &'static str,
    /// Where it comes from: a CVE, a clause of a specification, or a report.
    pub source: &'static str,
    /// How it is done, and what must hold.
    pub how: H,
}

/// Work of a row that is code: returns what was observed.
pub type Work<C> = for<'c> fn(&'c C) -> LocalBoxFuture<'c, Result<String>>;

/// A door's table: the names and sources of its attacks.
#[derive(Debug, Clone)]
pub struct Door {
    /// Name of its module.
    pub name: &'static str,
    /// Name and source of each attack.
    pub attacks: Vec<(&'static str, &'static str)>,
}

fn door<H>(name: &'static str, table: &[Attack<H>]) -> Door {
    Door { name, attacks: table.iter().map(|attack| (attack.name, attack.source)).collect() }
}

/// All doors.
#[must_use]
pub fn doors() -> Vec<Door> {
    vec![
        door("http1", http1::TABLE),
        door("http2", http2::TABLE),
        door("floods", floods::TABLE),
        door("crowd", crowd::TABLE),
        door("tokens", tokens::TABLE),
        door("grpc_tokens", grpc_tokens::TABLE),
        door("certificates", certificates::TABLE),
        door("users", users::TABLE),
        door("boot", boot::TABLE),
        door("agents", agents::TABLE),
        door("outbound", outbound::TABLE),
        door("store", store::TABLE),
    ]
}

/// Carries out every attack of a table, in its order, prints each with its result, and checks after each that the rack is
/// as it was.
///
/// # Errors
/// What did not hold, of all attacks.
pub async fn attack<H>(
    door: &str,
    table: &[Attack<H>],
    guard: &mut Guard,
    carry_out: impl AsyncFn(&H) -> Result<String>,
) -> Result<()> {
    let mut failed = BTreeMap::new();
    for Attack { name, source, how } in table {
        guard.begin()?;
        let result = match carry_out(how).await {
            Ok(observed) => guard.check().await.map(|cost| format!("{observed}; {cost}")),
            Err(error) => Err(error),
        };
        match result {
            Ok(held) => tell(format_args!("{door}: {name} ({source}): held: {held}")),
            Err(error) => {
                tell(format_args!("{door}: {name} ({source}): FAILED: {error:#}"));
                failed.insert(*name, format!("{error:#}"));
            }
        }
    }
    ensure!(failed.is_empty(), "{door}: {failed:#?}");
    Ok(())
}
