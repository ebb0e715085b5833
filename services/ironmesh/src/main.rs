//! The one binary: the command line, every service by its name, and a whole rack from one command.

mod store;
mod up;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use service_kit::run::{Arguments, run_with};

/// A request is many small allocations on one thread that end on another, which the system's allocator locks for.
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
    /// Writes the completions of a shell.
    Completion(cli::Completion),
    /// Runs one whole rack: etcd, every service, certificates and all, from one command.
    Up(up::Options),
    /// Makes a certificate and a context for somebody who is to ask the mesh for things, and says where the context is.
    Certificate(up::Certificate),
    /// Look after the store as a whole: copies of it, its health, a restored backup.
    ///
    /// Asks etcd itself, and no service: it works also while the mesh does not.
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Runs a power-service.
    PowerService(Arguments),
    /// Runs a pxe-service.
    PxeService(Arguments),
    /// Runs a storage-service.
    StorageService(Arguments),
    /// Runs an inventory-service.
    InventoryService(Arguments),
    /// Runs a scheduler-service.
    SchedulerService(Arguments),
}

fn main() -> ExitCode {
    let Ironmesh { global, command } = Ironmesh::parse();
    match command {
        Command::Ask(command) => ask(global, command),
        Command::Completion(completion) => cli::completion(&completion, &mut Ironmesh::command()),
        Command::Up(options) => up::run(options),
        Command::Certificate(wanted) => up::certify(&wanted),
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
        Err(error) => up::fail(&error.into()),
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
