//! Accepted requests and the work that they cause.

use clap::{Args, Subcommand};
use domain::time::Timestamp;
use proto::api::v1::{ListOperationsRequest, Operation};
use serde_json::Value;

use crate::{
    call::Api,
    error::Error,
    human::{ago, length},
    json,
    output::Screen,
    table,
};

/// What can be asked of operations.
#[derive(Debug, Subcommand)]
pub enum OperationCommand {
    /// List each node's latest operation, oldest first.
    #[command(after_help = "Example:\n  ironmesh operation list --running")]
    List(List),
}

/// Which operations.
#[derive(Debug, Clone, Args)]
pub struct List {
    /// Only those that run.
    #[arg(long)]
    running: bool,
}

pub(crate) async fn run(screen: &Screen, api: &Api, command: OperationCommand) -> Result<(), Error> {
    let OperationCommand::List(List { running }) = command;
    let answer = api.operations().list_operations(ListOperationsRequest { running }).await?.into_inner();
    screen.show(
        || {
            let heading = ["NODE", "PHASE", "BEGAN", "TOOK", "OUTCOME", "ID"];
            table::list(screen, &heading, answer.operations.iter().map(|operation| row(screen, operation)))
        },
        || answer.operations.iter().map(json::operation).collect::<Value>(),
    )
}

fn row(screen: &Screen, operation: &Operation) -> Vec<String> {
    let now = screen.now();
    let end = if operation.ended_ms == 0 { now } else { Timestamp::from_millis(operation.ended_ms) };
    let outcome = match &operation.failure {
        Some(failure) => format!("{}: {}", failure.cause, failure.text),
        None if operation.ended_ms == 0 => "running".to_owned(),
        None => "done".to_owned(),
    };
    vec![
        operation.node_name.clone(),
        operation.phase.clone(),
        ago(now, operation.since_ms),
        length(end.since(Timestamp::from_millis(operation.since_ms))),
        outcome,
        operation.id.clone(),
    ]
}
