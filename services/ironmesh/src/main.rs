//! The single binary: the command line, every service by its name, and a whole rack from one command.

mod certificate;
mod certs;
mod console;
#[expect(dead_code, reason = "no command moves a member of etcd yet")]
mod etcd;
mod etcd_space;
mod host;
mod leftover_etcd;
mod pem_files;
mod sealing;
mod store;
mod up;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use service_kit::run::{Arguments, run_with};

/// mimalloc: a request makes many small allocations that are freed on other threads, for which the system allocator
/// locks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Turns racks of powered-off metal into verified, running operating systems.
#[derive(Debug, Parser)]
#[command(name = "ironmesh", version, max_term_width = 100, propagate_version = true)]
struct Ironmesh {
    #[command(flatten)]
    global: cli::Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Ask(cli::Command),
    /// Print shell completions.
    Completion(cli::Completion),
    /// Run a whole rack: etcd, all services and certificates.
    Up(up::Options),
    /// Make this machine the first host of a new datacenter.
    Init(host::init::Options),
    /// Make this machine a host of a datacenter, or let a host serve another rack.
    Join(host::join::Options),
    /// List, drain and remove hosts, and run this one.
    #[command(subcommand)]
    Host(host::HostCommand),
    /// Create a certificate and a context for a user, or list, renew and revoke certificates.
    Certificate(certificate::Certificate),
    /// Maintain the store: back up, restore, check.
    ///
    /// These commands access etcd directly and work while the mesh is down.
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Run a power-service.
    PowerService(Arguments),
    /// Run a pxe-service.
    PxeService(Arguments),
    /// Run a storage-service.
    StorageService(Arguments),
    /// Run an inventory-service.
    InventoryService(Arguments),
    /// Run a scheduler-service.
    SchedulerService(Arguments),
}

fn main() -> ExitCode {
    let Ironmesh { global, command } = Ironmesh::parse();
    match command {
        Command::Ask(command) => ask(global, command),
        Command::Completion(completion) => cli::completion(&completion, &mut Ironmesh::command()),
        Command::Up(options) => up::run(options),
        Command::Init(options) => host::init::run(options),
        Command::Join(options) => host::join::run(options),
        Command::Host(command) => host::run(global.output, command, |command| ask(global, cli::Command::Host(command))),
        Command::Certificate(command) => certificate::run(global.output, command),
        Command::Store(command) => store::run(global.output, command),
        Command::PowerService(arguments) => run_with("power-service", &arguments, power_service::run),
        Command::PxeService(arguments) => run_with("pxe-service", &arguments, pxe_service::run),
        Command::StorageService(arguments) => run_with("storage-service", &arguments, storage_service::run),
        Command::InventoryService(arguments) => run_with("inventory-service", &arguments, inventory_service::run),
        Command::SchedulerService(arguments) => run_with("scheduler-service", &arguments, scheduler_service::run),
    }
}

fn ask(global: cli::Global, command: cli::Command) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(cli::run(global, command)),
        Err(error) => console::fail(&error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_holds_together() {
        Ironmesh::command().debug_assert();
    }
}
