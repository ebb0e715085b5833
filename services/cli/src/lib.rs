//! The command line, for people: it asks the scheduler-service over its public API and draws what comes back.
//!
//! The one binary merges [`Command`] and [`Global`] into its own tree and calls [`run`]; [`completion`] needs the whole
//! tree and is therefore a function beside it.
//!
//! | module | what it does |
//! |---|---|
//! | `context` | whom to call, and with which certificate |
//! | `call` | the lines to the API's services |
//! | `once` | what changes something is sent until it is answered, and carried out once |
//! | `command` | one file per noun: decode arguments, one call, show the answer |
//! | `draw` | a boot as a picture |
//! | `output`, `table`, `words`, `json`, `form` | the only way out |

mod call;
pub mod command;
mod context;
mod error;
mod human;
mod json;
mod once;
mod output;
mod serialize;
mod table;
mod timeline_chart;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::{
    call::Api,
    command::{
        allocation::{Allocate, AllocationCommand},
        bulk::BulkCommand,
        event::Events,
        image::ImageCommand,
        lock::LockCommand,
        node::NodeCommand,
        operation::OperationCommand,
        rack::RackCommand,
        webhook::WebhookCommand,
    },
    error::Error,
    output::Screen,
};

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The file that says whom to call and with which certificate [default: $IRONMESH_CONTEXT, else
    /// ~/.config/ironmesh/client.toml].
    ///
    /// `ironmesh up --data DIR` writes it to DIR/client.toml. It is TOML with the keys endpoint (host:port, or several with
    /// commas between them), ca, certificate and key; paths that are not absolute count from the file's folder.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection and output")]
    pub context: Option<PathBuf>,
    /// How answers are written: a table for people, JSON or YAML for programs, or names alone.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table, help_heading = "Connection and output")]
    pub output: Format,
}

/// How answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: fits the terminal, may change.
    Table,
    /// For programs: complete, snake_case, stable; times in RFC 3339.
    Json,
    /// The same as YAML.
    Yaml,
    /// The name of each thing on a line, or its id where it has none.
    Name,
}

/// What a person can ask for.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Enrol machines, bring systems up on them, and see why one does not.
    ///
    /// A node is one machine with its BMC. It is named by its name or its id.
    #[command(subcommand)]
    Node(NodeCommand),
    /// Register what is written to disks and booted from the network.
    #[command(subcommand)]
    Image(ImageCommand),
    /// Look after racks: their provisioning network, what their machines boot, who serves them.
    #[command(subcommand)]
    Rack(RackCommand),
    /// Ask one thing of many nodes, some at a time.
    #[command(subcommand)]
    Bulk(BulkCommand),
    /// Find a node for somebody who wants one, now or when one becomes free.
    ///
    /// The node's instance is the allocation then, and nobody else is given it. What deploys it is ironmesh node deploy.
    #[command(
        after_help = "Examples:\n  ironmesh allocate db --resource-class big --trait CUSTOM_NVME --count 3 --group db --apart \
                      rack --queue 2h\n  ironmesh allocate --resource-class big --trait CUSTOM_NVME --dry-run"
    )]
    Allocate(Box<Allocate>),
    /// See allocations, and give their nodes back.
    #[command(subcommand)]
    Allocation(AllocationCommand),
    /// See accepted requests and the work that they cause.
    #[command(subcommand)]
    Operation(OperationCommand),
    /// See who is at work on which node, and take a node from somebody who hangs.
    #[command(subcommand)]
    Lock(LockCommand),
    /// See what happens: states, boots, failures.
    Events(Events),
    /// Have others told of what nodes become, by requests of ours.
    #[command(subcommand)]
    Webhook(WebhookCommand),
}

/// Writes the completions of a shell.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  ironmesh completion bash > /etc/bash_completion.d/ironmesh")]
pub struct Completion {
    /// The shell.
    pub shell: Shell,
}

/// Carries out a command: 0 when it was done, 1 when it failed, 2 when it can not be asked that way or nobody could be
/// reached.
///
/// Dropping it ends the command here; what the mesh has accepted goes on.
pub async fn run(global: Global, command: Command) -> ExitCode {
    let screen = Screen::of_process(global.output);
    attempt(&screen, &global, command).await
}

async fn attempt(screen: &Screen, global: &Global, command: Command) -> ExitCode {
    let (endpoint, outcome) = match context::find(global.context.as_deref()).and_then(|context| Api::new(&context)) {
        Ok(api) => (api.endpoint.clone(), Box::pin(dispatch(screen, &api, command)).await),
        Err(error) => (String::new(), Err(error)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(text) = error.told(&endpoint) {
                screen.note(&text);
            }
            error.exit_code()
        }
    }
}

async fn dispatch(screen: &Screen, api: &Api, command: Command) -> Result<(), Error> {
    match command {
        Command::Node(command) => command::node::run(screen, api, command).await,
        Command::Allocate(asked) => command::allocation::allocate(screen, api, *asked).await,
        Command::Allocation(command) => command::allocation::run(screen, api, command).await,
        Command::Bulk(command) => command::bulk::run(screen, api, command).await,
        Command::Image(command) => command::image::run(screen, api, command).await,
        Command::Rack(command) => command::rack::run(screen, api, command).await,
        Command::Operation(command) => command::operation::run(screen, api, command).await,
        Command::Lock(command) => command::lock::run(screen, api, command).await,
        Command::Webhook(command) => command::webhook::run(screen, api, command).await,
        Command::Events(events) => command::event::run(screen, api, events).await,
    }
}

/// An answer for programs as text; nothing for a table.
#[must_use]
pub fn written(format: Format, answer: &serde_json::Value) -> String {
    serialize::written(format, answer).unwrap_or_default()
}

/// Writes a shell's completions of the whole `tree` to standard output.
pub fn completion(completion: &Completion, tree: &mut clap::Command) -> ExitCode {
    let mut script = Vec::new();
    let name = tree.get_name().to_owned();
    clap_complete::generate(completion.shell, tree, name, &mut script);
    match Screen::of_process(Format::Table).raw(&script) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.exit_code(),
    }
}

#[cfg(test)]
mod tests;
