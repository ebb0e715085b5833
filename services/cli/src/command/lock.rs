//! Locks: which service works on which node.

use clap::{Args, Subcommand};
use domain::{service::Service, time::Timestamp};
use proto::api::v1::{BreakLockRequest, ListLocksRequest, Lock, ServiceKind};
use serde_json::Value;

use crate::{
    call::Api,
    error::Error,
    human::{ago, at, length, or_dash},
    json,
    once::once,
    output::Screen,
    pages, table, words,
};

/// What can be asked of locks.
#[derive(Debug, Subcommand)]
pub enum LockCommand {
    /// List locks, oldest first.
    ///
    /// A lock is what runs on a node under its owner's claim: the scheduler's operation, or a command to the BMC whose
    /// outcome is not known yet.
    #[command(after_help = "Example:\n  ironmesh lock list n1")]
    List(List),
    /// Take a node from the holder of a lock.
    ///
    /// Its work is ended, and nothing that it started can write any more; the node's owner in the ring claims the node again
    /// and continues from the stored state. Use it for work that hangs: slow work ends at its deadline by itself.
    #[command(after_help = "Example:\n  ironmesh lock break n1 power-service --token 1234")]
    Break(Break),
}

/// Which locks.
#[derive(Debug, Clone, Args)]
pub struct List {
    /// The node's name or id; left out: all nodes.
    #[arg(default_value = "", hide_default_value = true)]
    node: String,
}

/// Which lock.
#[derive(Debug, Clone, Args)]
pub struct Break {
    /// The node's name or id.
    node: String,
    /// The service that works on it, as `lock list` names it.
    service: Service,
    /// The token that `lock list` shows: a lock with another token is not broken.
    #[arg(long)]
    token: u64,
}

pub(crate) async fn run(screen: &Screen, api: &Api, command: LockCommand) -> Result<(), Error> {
    match command {
        LockCommand::List(List { node }) => {
            let page = async |page_token| {
                let request = ListLocksRequest { page_token, node: node.clone(), ..Default::default() };
                let answer = api.locks().list_locks(request).await?.into_inner();
                Ok((answer.locks, answer.next_page_token))
            };
            let locks = pages::all(page).await?;
            let heading =
                ["NODE", "SERVICE", "PURPOSE", "SINCE", "GIVES UP", "HOLDER", "ENDPOINT", "TOKEN", "BROKEN BY"];
            screen.show(
                || table::list(screen, &heading, locks.iter().map(|lock| row(screen.now(), lock))),
                || locks.iter().map(json::lock).collect::<Value>(),
            )
        }
        LockCommand::Break(Break { node, service, token }) => {
            let request = BreakLockRequest { node: node.clone(), service: ServiceKind::from(service).into(), token };
            once(request, async |request| api.locks().break_lock(request).await).await?;
            screen
                .note(&format!("broke the {service}'s lock of node {node}; its owner continues from the stored state"));
            Ok(())
        }
    }
}

fn row(now: Timestamp, lock: &Lock) -> Vec<String> {
    let deadline = match at(lock.expire_time) {
        None => String::new(),
        Some(expire) if expire > now => format!("in {}", length(expire.since(now))),
        Some(expire) => format!("overdue {}", length(now.since(expire))),
    };
    vec![
        lock.node_name.clone(),
        words::service(lock.service()).to_owned(),
        lock.purpose.clone(),
        ago(now, lock.start_time),
        deadline,
        lock.holder.chars().take(8).collect(),
        or_dash(&lock.endpoint),
        lock.token.to_string(),
        lock.broken_by.clone(),
    ]
}
