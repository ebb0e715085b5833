//! The command line: calls the scheduler-service's public API and shows the answers.
//!
//! The one binary merges [`Command`] and [`Global`] into its own tree and calls [`run`]; [`completion`] needs the whole
//! tree and is therefore a separate function.
//!
//! | module | what it does |
//! |---|---|
//! | `context` | finds the endpoint, and the certificate or the login |
//! | `login` | logs in at an OpenID provider, and adds its tokens to calls |
//! | `call` | clients of the API's services |
//! | `once` | repeats a request until it is answered, so that it is carried out once |
//! | `refusal` | tells whether a connection was refused |
//! | `command` | one module per noun: decodes arguments, calls the API, shows the answer |
//! | `pages` | follows the pages of a list to the end |
//! | `timeline_chart` | draws a boot |
//! | `output`, `table`, `human`, `words`, `json`, `serialize` | all output |

mod call;
pub mod command;
mod context;
mod error;
mod human;
mod json;
mod login;
mod once;
mod output;
mod pages;
mod refusal;
mod serialize;
mod table;
mod timeline_chart;
mod words;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use crate::command::host::HostCommand;
use crate::{
    call::Api,
    command::{
        allocation::{Allocate, AllocationCommand},
        bulk::BulkCommand,
        event::Events,
        image::ImageCommand,
        lock::LockCommand,
        login::{Login, Logout, Whoami},
        node::NodeCommand,
        operation::OperationCommand,
        rack::RackCommand,
        status::StatusOptions,
        token::TokenCommand,
        webhook::WebhookCommand,
    },
    error::Error,
    output::Screen,
};

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// File with the endpoint and the certificate or the login [default: $IRONMESH_CONTEXT, else
    /// ~/.config/ironmesh/client.toml].
    ///
    /// `ironmesh up --data DIR` writes it to DIR/client.toml. It is TOML with the keys endpoint (host:port, or several
    /// separated by commas), ca, certificate and key; `ironmesh login` writes one with the table [login] in place of
    /// certificate and key. Relative paths are relative to the file's directory.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection and output")]
    pub context: Option<PathBuf>,
    /// Output format: a table for people, JSON or YAML for programs, or names only.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table, help_heading = "Connection and output")]
    pub output: Format,
}

/// Output formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: fits the terminal, may change between versions.
    Table,
    /// For programs: complete, snake_case, stable; times in RFC 3339.
    Json,
    /// As JSON, written as YAML.
    Yaml,
    /// The name of each object on a line, or its id if it has no name.
    Name,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Enroll machines, deploy systems on them, and find out why one fails.
    ///
    /// A node is one machine with its BMC. It is named by its name or its id.
    #[command(subcommand)]
    Node(NodeCommand),
    /// Register images that are written to disks or booted from the network.
    #[command(subcommand)]
    Image(ImageCommand),
    /// Manage racks: their provisioning networks, what their machines boot, and their replicas.
    #[command(subcommand)]
    Rack(RackCommand),
    /// List hosts, drain them and remove them.
    ///
    /// The binary's own tree has the command, with those that work on the host itself.
    #[command(skip)]
    Host(HostCommand),
    /// Create tokens with which hosts join the datacenter, list and delete them.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Show the datacenter on one screen: its racks, hosts and store, what is wrong and what to do.
    ///
    /// The exit code is 1 if something does not work.
    #[command(
        after_help = "Examples:\n  ironmesh status\n  ironmesh status --watch\n  ironmesh status -o json | jq '.problems'"
    )]
    Status(StatusOptions),
    /// Apply one verb to many nodes, a limited number at a time.
    #[command(subcommand)]
    Bulk(BulkCommand),
    /// Reserve a node that meets requirements, now or when one becomes free.
    ///
    /// The allocation becomes the node's instance, and no other allocation gets the node. Deploy it with ironmesh node
    /// deploy.
    #[command(
        after_help = "Examples:\n  ironmesh allocate db --resource-class big --trait CUSTOM_NVME --count 3 --group db --apart \
                      rack --queue 2h\n  ironmesh allocate --resource-class big --trait CUSTOM_NVME --dry-run"
    )]
    Allocate(Box<Allocate>),
    /// Show allocations, and release their nodes.
    #[command(subcommand)]
    Allocation(AllocationCommand),
    /// Show accepted requests and the work that they cause.
    #[command(subcommand)]
    Operation(OperationCommand),
    /// Show which service works on which node, and break a lock whose holder hangs.
    #[command(subcommand)]
    Lock(LockCommand),
    /// Show events: state changes, boots, failures.
    Events(Events),
    /// Notify receivers of changes to nodes by HTTP requests.
    #[command(subcommand)]
    Webhook(WebhookCommand),
    /// Log in at an OpenID provider, in place of using a certificate.
    ///
    /// Shows a page and a code; confirm the code there, with any browser on any device (RFC 8628). The tokens are stored
    /// beside the context, in a file that only you can read, and are renewed while the provider allows it.
    #[command(
        after_help = "Examples:\n  ironmesh login --issuer https://id.example/realms/lab --client-id ironmesh --server \
                      scheduler:7000 --ca ca.pem\n  ironmesh login"
    )]
    Login(Login),
    /// End the login of the context: revoke its tokens and remove them.
    #[command(after_help = "Example:\n  ironmesh logout")]
    Logout(Logout),
    /// Show who the API takes you for, with which role, and until when.
    #[command(after_help = "Example:\n  ironmesh whoami -o json")]
    Whoami(Whoami),
}

/// Writes a shell's completions.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  ironmesh completion bash > /etc/bash_completion.d/ironmesh")]
pub struct Completion {
    /// The shell.
    pub shell: Shell,
}

/// Runs a command. Exit codes: 0: success; 1: it failed; 2: the usage is invalid, or no scheduler-service was reached.
///
/// Dropping the future ends the command; work that the mesh has accepted continues.
pub async fn run(global: Global, command: Command) -> ExitCode {
    let screen = Screen::of_process(global.output);
    attempt(&screen, &global, command).await
}

async fn attempt(screen: &Screen, global: &Global, command: Command) -> ExitCode {
    let named = global.context.as_deref();
    if let Command::Logout(_) = command {
        // It calls the provider alone, and needs nothing of the site.
        return ended(screen, "", command::login::logout(screen, named).await);
    }
    let opened = if let Command::Login(asked) = &command {
        // It writes the context.
        Box::pin(command::login::login(screen, named, asked.clone())).await
    } else {
        context::find(named).and_then(|context| Api::new(&context))
    };
    let (endpoint, outcome) = match opened {
        Ok(api) => {
            let outcome = Box::pin(dispatch(screen, &api, command)).await;
            // The runtime ends with the command, and a renewal in it with the runtime.
            api.settle().await;
            (api.endpoint.clone(), outcome)
        }
        Err(error) => (String::new(), Err(error)),
    };
    ended(screen, &endpoint, outcome)
}

/// Shows an error, and returns the exit code.
fn ended(screen: &Screen, endpoint: &str, outcome: Result<(), Error>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(text) = error.told(endpoint) {
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
        Command::Host(command) => command::host::run(screen, api, command).await,
        Command::Token(command) => command::token::run(screen, api, command).await,
        Command::Status(options) => command::status::run(screen, api, options).await,
        Command::Operation(command) => command::operation::run(screen, api, command).await,
        Command::Lock(command) => command::lock::run(screen, api, command).await,
        Command::Webhook(command) => command::webhook::run(screen, api, command).await,
        Command::Events(events) => command::event::run(screen, api, events).await,
        Command::Login(_) | Command::Whoami(_) => command::login::whoami(screen, api).await,
        // It was carried out before.
        Command::Logout(_) => Ok(()),
    }
}

/// Formats an answer for programs; returns an empty text for [`Format::Table`].
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
