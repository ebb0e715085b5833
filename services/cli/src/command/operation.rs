//! Accepted requests and the work that they cause.

use clap::{Args, Subcommand};
use proto::api::v1::{ListOperationsRequest, Operation};
use serde_json::Value;

use crate::{
    call::Api,
    error::Error,
    human::{ago, at, length},
    json,
    output::Screen,
    pages, table, words,
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
    let page = async |page_token| {
        let request = ListOperationsRequest { page_token, running, ..Default::default() };
        let answer = api.operations().list_operations(request).await?.into_inner();
        Ok((answer.operations, answer.next_page_token))
    };
    let operations = pages::all(page).await?;
    screen.show(
        || {
            let heading = ["NODE", "PHASE", "BEGAN", "TOOK", "OUTCOME", "ID"];
            table::list(screen, &heading, operations.iter().map(|operation| row(screen, operation)))
        },
        || operations.iter().map(json::operation).collect::<Value>(),
    )
}

fn row(screen: &Screen, operation: &Operation) -> Vec<String> {
    let now = screen.now();
    let took = at(operation.start_time).map(|start| length(at(operation.end_time).unwrap_or(now).since(start)));
    let outcome = match &operation.failure {
        Some(failure) => format!("{}: {}", failure.cause, failure.text),
        None if operation.end_time.is_none() => "running".to_owned(),
        None => "done".to_owned(),
    };
    vec![
        operation.node_name.clone(),
        words::phase(operation.phase()),
        ago(now, operation.start_time),
        took.unwrap_or_default(),
        outcome,
        operation.id.clone(),
    ]
}
