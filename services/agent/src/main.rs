//! `ironmesh-agent`: the agent that runs in memory on a node.

use std::{env, path::PathBuf, process::ExitCode};

use agent::{
    config::{BOOT_FILE, BootFile},
    error::Error,
    machine::{Machine, say},
};
use service_kit::{Host, status};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "usage: ironmesh-agent [--boot-file PATH] [--version]";

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| say(format_args!("panicked: {panic}"))));
    let mut path = PathBuf::from(BOOT_FILE);
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.next()) {
            ("--boot-file", Some(given)) => path = given.into(),
            ("--version", None) => {
                say(env!("CARGO_PKG_VERSION"));
                return ExitCode::SUCCESS;
            }
            _ => {
                say(USAGE);
                return ExitCode::from(2);
            }
        }
    }
    say(format_args!("version {}", env!("CARGO_PKG_VERSION")));
    match run(&path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(status::chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(path: &std::path::Path) -> Result<(), Error> {
    let boot = BootFile::read(path)?;
    say(format_args!("node {}, generation {}", boot.node, boot.generation));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Runtime { source })?;
    runtime.block_on(async {
        let host = Host::default();
        let stop = host.clone();
        host.spawn(async move {
            if let Ok(mut terminated) = signal(SignalKind::terminate()) {
                terminated.recv().await;
                stop.stop();
            }
        });
        agent::run(boot, Machine::here(), host).await
    })
}
