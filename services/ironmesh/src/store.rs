//! `ironmesh store`: looking after the store as a whole.

mod adopt;
mod backup;
mod cat;
mod check;
mod judge;
mod restore;
mod show;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

pub(crate) use self::judge::{QUOTA, is_worth_defragmenting};
pub(crate) use self::restore::{done as restore_was_said, noted as restored};
use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use keyspace::{Known, Store, snapshot, store::Pem};
use serde::Deserialize;
use service_kit::config::Common;

use crate::up::fail;

/// What can be done with the store as a whole.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Keep a copy of the store in a file.
    ///
    /// The file is etcd's own snapshot, with its checksum at the end: etcd's own tools read it too. It is written beside
    /// FILE and takes its name only when it is whole and on disk. BMC passwords and other secrets are sealed in it; the
    /// key that opens them is not in it: keep DIR/certs, too, or the file that service.sealing_key names.
    #[command(after_help = "Example:\n  ironmesh store backup --data /var/lib/ironmesh rack.backup")]
    Backup(Backup),
    /// Bring a copy back as the store of an `ironmesh up` that does not run.
    ///
    /// The store that was there is moved aside, and where to is said. After the next `ironmesh up` everything can be
    /// read, and changes are refused until `ironmesh store adopt`: what was done since the copy was made is not in it,
    /// and somebody should have looked at what that means for the machines.
    #[command(after_help = "Example:\n  ironmesh store restore --data /var/lib/ironmesh rack.backup")]
    Restore(Restore),
    /// See whether the store is sound.
    ///
    /// Looks at every member of etcd, at alarms, space and compaction, at what the keys take, and at every value. Exits
    /// with 1 where something is wrong, and says what is to be done.
    #[command(after_help = "Example:\n  ironmesh store check --config /etc/ironmesh/scheduler-service.toml")]
    Check(Reach),
    /// Let changes happen again in a restored backup.
    ///
    /// The store gets a new incarnation. Every service begins anew as another instance, with what the store holds, and
    /// nothing that was under way before is obeyed any more.
    #[command(after_help = "Example:\n  ironmesh store adopt --data /var/lib/ironmesh")]
    Adopt(Reach),
    /// Print the value of a key, unpacked.
    ///
    /// What is sealed stays sealed.
    #[command(after_help = "Example:\n  ironmesh store cat --data /var/lib/ironmesh dc/incarnation")]
    Cat(Cat),
}

/// How etcd is found.
#[derive(Debug, Clone, Args)]
pub(crate) struct Reach {
    /// The folder of an `ironmesh up`.
    #[arg(long, value_name = "DIR", required_unless_present = "config", conflicts_with = "config")]
    data: Option<PathBuf>,
    /// The configuration of any service, which says where etcd is and with which certificate it is asked.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Keeps a copy of the store in a file.
#[derive(Debug, Clone, Args)]
pub(crate) struct Backup {
    #[command(flatten)]
    reach: Reach,
    /// The file; it must not exist.
    file: PathBuf,
}

/// Brings a copy back.
#[derive(Debug, Clone, Args)]
pub(crate) struct Restore {
    /// The folder of an `ironmesh up` that does not run.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The copy.
    file: PathBuf,
}

/// Prints the value of a key.
#[derive(Debug, Clone, Args)]
pub(crate) struct Cat {
    #[command(flatten)]
    reach: Reach,
    /// The key, whole or without /ironmesh/v1/.
    key: String,
}

/// Carries out a command: 0 when it was done, 1 when it failed or something is wrong.
pub(crate) fn run(format: cli::Format, command: StoreCommand) -> ExitCode {
    // What is asked of etcd over HTTP, and etcd's own client, use the one provider of TLS.
    service_kit::tls::install_provider();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let outcome = runtime.block_on(async {
        match command {
            StoreCommand::Backup(command) => backup::run(&command).await.map(|()| ExitCode::SUCCESS),
            StoreCommand::Restore(command) => restore::run(&command).await.map(|()| ExitCode::SUCCESS),
            StoreCommand::Check(reach) => check::run(format, &reach).await,
            StoreCommand::Adopt(reach) => adopt::run(&reach).await.map(|()| ExitCode::SUCCESS),
            StoreCommand::Cat(command) => cat::run(&command).await.map(|()| ExitCode::SUCCESS),
        }
    });
    outcome.unwrap_or_else(|error| fail(&error))
}

/// Where etcd is, and with what it is asked.
#[derive(Debug, Clone)]
struct Access {
    common: Common,
    pem: [Vec<u8>; 3],
}

/// The table that every service's configuration has; its other tables are none of ours.
#[derive(Debug, Deserialize)]
struct AnyService {
    service: Common,
}

impl Reach {
    fn access(&self) -> Result<Access> {
        let file = match (&self.config, &self.data) {
            (Some(file), _) => file.clone(),
            (None, Some(data)) => {
                let mut files = service_folders(data)?.into_iter().map(|folder| folder.join("config.toml"));
                files.rfind(|file| file.exists()).with_context(|| {
                    format!("no service has run in {}; name the folder that ironmesh up was given", data.display())
                })?
            }
            (None, None) => bail!("name a folder with --data, or a service's configuration with --config"),
        };
        let shown = file.display();
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {shown}"))?;
        let AnyService { service } =
            toml::from_str(&text).with_context(|| format!("{shown} is not the configuration of a service"))?;
        let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        let pem = [read(&service.ca)?, read(&service.certificate)?, read(&service.key)?];
        Ok(Access { common: service, pem })
    }

    async fn store(&self) -> Result<Store> {
        let access = self.access()?;
        access.store(&access.common.etcd).await
    }

    /// What services have noted of the store, as far as their folders are at hand.
    fn notes(&self) -> Result<Vec<Known>> {
        match &self.data {
            Some(data) => notes(data),
            None => Ok(snapshot::noted(&self.access()?.common.data)?.into_iter().collect()),
        }
    }
}

impl Access {
    async fn store(&self, members: &[String]) -> Result<Store> {
        let [ca, certificate, key] = &self.pem;
        let pem = Pem { ca, certificate, key };
        Store::connect(members, pem).await.with_context(|| format!("cannot reach etcd at {}", members.join(", ")))
    }
}

/// What the services of an `ironmesh up` have noted of its store.
pub(crate) fn notes(data: &Path) -> Result<Vec<Known>> {
    let notes = service_folders(data)?.into_iter().filter_map(|folder| snapshot::noted(&folder).transpose());
    Ok(notes.collect::<Result<_, _>>()?)
}

/// The folders of an `ironmesh up` in which services work.
fn service_folders(data: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(data).with_context(|| format!("cannot read {}", data.display()))?;
    let folders = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.join("lock").exists());
    let mut folders: Vec<_> = folders.filter(|path| !path.ends_with("up")).collect();
    folders.sort();
    Ok(folders)
}

#[expect(clippy::print_stdout, reason = "this is what was asked for")]
pub(crate) fn answer(text: &str) {
    println!("{text}");
}
