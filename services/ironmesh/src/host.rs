//! A host of a datacenter: `ironmesh init` makes a machine the first one, and `ironmesh host run` supervises what a host
//! runs. Commands that ask the API about hosts are those of the crate `cli`.

pub(crate) mod config;
mod files;
mod first;
mod group;
mod identities;
pub(crate) mod init;
pub(crate) mod join;
mod machine;
pub(crate) mod plan;
pub(crate) mod ports;
mod record;
mod run;
mod upkeep;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};

use crate::console::fail;

/// Data directory of a host.
const DEFAULT_DATA: &str = "/var/lib/ironmesh";

/// What can be done with hosts: on the host itself, and by the API.
#[derive(Debug, Subcommand)]
pub(crate) enum HostCommand {
    #[command(flatten)]
    Ask(cli::HostCommand),
    /// Run what this host runs: etcd, the scheduler-service and the services of racks.
    Run(run::Options),
    /// Print the addresses and ports of this host, for firewalls.
    #[command(
        after_help = "Examples:\n  ironmesh host ports\n  ironmesh host ports -o json | jq '.[] | select(.direction == \"in\")'"
    )]
    Ports(Ports),
}

/// Which host.
#[derive(Debug, Args)]
pub(crate) struct Ports {
    /// Data directory of the host.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA)]
    data: PathBuf,
}

/// Runs a command of the host itself, and has `ask` run those that ask the API.
pub(crate) fn run(
    format: cli::Format,
    command: HostCommand,
    ask: impl FnOnce(cli::HostCommand) -> ExitCode,
) -> ExitCode {
    match command {
        HostCommand::Ask(command) => ask(command),
        HostCommand::Run(options) => run::run(options),
        HostCommand::Ports(Ports { data }) => {
            run::show_ports(format, &data).map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS)
        }
    }
}
