//! `ironmesh store`: maintains the store.

mod adopt;
mod backup;
mod cat;
mod check;
mod health;
mod host_file;
mod init;
mod member;
mod members;
mod restore;
mod seal_key;
mod show;
mod status;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

pub(crate) use self::health::{QUOTA, is_worth_defragmenting};
use self::host_file::HostFile;
pub(crate) use self::init::{Checks, ensure as ensure_access};
pub(crate) use self::restore::{clear as clear_restored, restored};
pub(crate) use self::show::columns;
use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use keyspace::{Known, Store, snapshot, store::Pem};
use serde::Deserialize;
use service_kit::{config::Common, tls::Files};

use crate::{
    console::{answer, fail},
    pem_files,
};

/// Commands for the store as a whole.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Back up the store to a file.
    ///
    /// The file is a snapshot in etcd's own format, with a checksum. It is written under a temporary name and renamed
    /// when it is complete and on disk. BMC passwords and other secrets are encrypted in it; the keys are not part of
    /// it: also back up DIR/certs, or the scheduler-service's file in service.sealing_keys.
    #[command(after_help = "Example:\n  ironmesh store backup --data /var/lib/ironmesh rack.backup")]
    Backup(Backup),
    /// Restore a backup into the store of a stopped `ironmesh up` or of a stopped host.
    ///
    /// The restored store has one member; the members of other hosts join it again. After the loss of a majority of the
    /// members, --own-data makes such a store of what the member of this host has.
    ///
    /// The current store is moved aside, and its new path is printed. After the next `ironmesh up` everything can be
    /// read, but changes are refused until `ironmesh store adopt`: changes since the backup are lost, and an operator
    /// must check what that means for the machines.
    #[command(after_help = "Example:\n  ironmesh store restore --data /var/lib/ironmesh rack.backup")]
    Restore(Restore),
    /// Check the health of the store.
    ///
    /// Checks all etcd members, alarms, space, compaction, the size of the keys, and every value. Exits with 1 if there
    /// are problems, and prints what to do.
    #[command(after_help = "Example:\n  ironmesh store check --config /etc/ironmesh/scheduler-service.toml")]
    Check(StoreLocation),
    /// Show the members of etcd: health, leader, space, latency, and what to do.
    ///
    /// Works without a quorum, too. Exits with 1 if there are problems, and prints what to do. store check also reads
    /// every value.
    #[command(after_help = "Example:\n  ironmesh store status --data /var/lib/ironmesh")]
    Status(StoreLocation),
    /// Change the members of etcd by hand.
    #[command(subcommand)]
    Member(member::MemberCommand),
    /// Accept changes to a restored backup.
    ///
    /// The store gets a new incarnation. All services rejoin as new instances with the content of the store, and
    /// previous instructions are no longer obeyed.
    #[command(after_help = "Example:\n  ironmesh store adopt --data /var/lib/ironmesh")]
    Adopt(StoreLocation),
    /// Show the users and roles that etcd must have, and with --apply create them.
    ///
    /// Each service has an etcd user, whose role lets it write its own keys only; operators have none. Prints the missing
    /// users, roles and permissions for all racks as commands of etcdctl. Run it after a rack was created, and once for
    /// an etcd that ironmesh up does not start itself. Needs the certificate of etcd's user root: with --data that of the
    /// data directory's certs/etcd-root.pem.
    #[command(after_help = "Example:\n  ironmesh store init --data /var/lib/ironmesh --apply")]
    Init(Init),
    /// Print the value of a key, decompressed.
    ///
    /// Encrypted secrets stay encrypted.
    #[command(after_help = "Example:\n  ironmesh store cat --data /var/lib/ironmesh dc/incarnation")]
    Cat(Cat),
    /// Rotate the keys that encrypt the secrets in the store, and show who has them.
    #[command(subcommand)]
    SealKey(seal_key::SealKeyCommand),
}

/// How to find etcd.
#[derive(Debug, Clone, Args)]
pub(crate) struct StoreLocation {
    /// Data directory of `ironmesh up`.
    #[arg(long, value_name = "DIR", required_unless_present = "config", conflicts_with = "config")]
    data: Option<PathBuf>,
    /// Configuration of a scheduler-service, with the etcd members and the certificates.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Certificate of etcd's user root (PEM) to use instead of the service's, which may not back up the store.
    #[arg(long, value_name = "FILE", requires_all = ["config", "key"])]
    certificate: Option<PathBuf>,
    /// Private key of that certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
}

/// Back up the store to a file.
#[derive(Debug, Clone, Args)]
pub(crate) struct Backup {
    #[command(flatten)]
    location: StoreLocation,
    /// The file; it must not exist.
    file: PathBuf,
}

/// Restore a backup.
#[derive(Debug, Clone, Args)]
pub(crate) struct Restore {
    /// Data directory of a stopped `ironmesh up` or of a stopped host.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The backup.
    #[arg(required_unless_present = "own_data")]
    file: Option<PathBuf>,
    /// Use the data of this member of etcd instead of a backup: after the majority of the members was lost for good.
    #[arg(long, conflicts_with = "file")]
    own_data: bool,
}

/// Show or create etcd's users and roles.
#[derive(Debug, Clone, Args)]
pub(crate) struct Init {
    #[command(flatten)]
    location: StoreLocation,
    /// Member of etcd, as https://10.0.0.1:2379, instead of those in the configuration; may be repeated.
    #[arg(long, value_name = "URL", value_parser = member)]
    etcd: Vec<String>,
    /// Create what is missing, and make etcd check permissions.
    #[arg(long)]
    apply: bool,
}

/// Print the value of a key.
#[derive(Debug, Clone, Args)]
pub(crate) struct Cat {
    #[command(flatten)]
    location: StoreLocation,
    /// The key, with or without /ironmesh/v1/.
    #[arg(value_name = "KEY")]
    path: String,
}

/// Runs a command. Exits with 0 on success, and with 1 on failure or if there are problems.
pub(crate) fn run(format: cli::Format, command: StoreCommand) -> ExitCode {
    // Our HTTP client and the etcd client use the same TLS provider.
    service_kit::tls::install_provider();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let outcome = runtime.block_on(async {
        match command {
            StoreCommand::Backup(command) => backup::run(&command).await.map(|()| ExitCode::SUCCESS),
            StoreCommand::Restore(command) => restore::run(&command).await.map(|()| ExitCode::SUCCESS),
            StoreCommand::Check(location) => check::run(format, &location).await,
            StoreCommand::Status(location) => status::run(format, &location).await,
            StoreCommand::Member(command) => member::run(&command).await.map(|()| ExitCode::SUCCESS),
            StoreCommand::Adopt(location) => adopt::run(&location).await.map(|()| ExitCode::SUCCESS),
            StoreCommand::Init(command) => init::run(&command).await.map(|()| ExitCode::SUCCESS),
            StoreCommand::Cat(command) => cat::run(&command).await.map(|()| ExitCode::SUCCESS),
            StoreCommand::SealKey(command) => seal_key::run(&command).await.map(|()| ExitCode::SUCCESS),
        }
    });
    outcome.unwrap_or_else(|error| fail(&error))
}

/// The etcd members and the certificates to access them.
#[derive(Debug, Clone)]
struct Access {
    common: Common,
    files: Files,
    pem: [Vec<u8>; 3],
}

/// The table that all services have; the others are ignored.
#[derive(Debug, Deserialize)]
struct AnyService {
    service: Common,
}

impl StoreLocation {
    /// The store of an `ironmesh up`.
    pub(crate) fn of(data: &Path) -> Self {
        Self { data: Some(data.to_owned()), config: None, certificate: None, key: None }
    }

    /// Returns how to reach etcd: at these members, or at those of a service's configuration if there are none.
    fn access(&self, members: &[String]) -> Result<Access> {
        let mut common = if members.is_empty() || self.config.is_some() { self.common()? } else { Common::default() };
        if !members.is_empty() {
            common.etcd = members.to_vec();
        }
        let files = match (&self.data, &self.certificate, &self.key) {
            (Some(data), ..) => pem_files::administrator(data),
            (None, Some(certificate), Some(key)) => {
                Files { ca: common.etcd_ca.clone(), certificate: certificate.clone(), key: key.clone() }
            }
            (None, ..) => common.etcd_files(),
        };
        let pem = pem_files::read(&files)?;
        Ok(Access { common, files, pem })
    }

    /// As [`Self::access`], with the certificate of a service if there is none of etcd's administrator: any user of etcd
    /// may ask the members how they are.
    fn access_of_any_user(&self) -> Result<Access> {
        let has_administrator = |data: &PathBuf| pem_files::administrator(data).certificate.exists();
        if self.data.as_ref().is_none_or(has_administrator) {
            return self.access(&[]);
        }
        let common = self.common()?;
        let files = common.etcd_files();
        let pem = pem_files::read(&files)?;
        Ok(Access { common, files, pem })
    }

    /// Reads the table that all services have from the configuration of a service. If it follows etcd's members, those
    /// that it noted are added.
    fn common(&self) -> Result<Common> {
        let file = match (&self.config, &self.data) {
            (Some(file), _) => file.clone(),
            (None, Some(data)) => {
                let mut files = service_folders(data)?.into_iter().map(|folder| folder.join("config.toml"));
                match (files.rfind(|file| file.exists()), HostFile::read(data)?) {
                    (Some(file), _) => file,
                    (None, Some(host)) => return Ok(Common { etcd: host.members(), ..Common::default() }),
                    (None, None) => {
                        bail!("no service has run in {}; pass the data directory of ironmesh up", data.display())
                    }
                }
            }
            (None, None) => bail!("pass a data directory with --data, or a service's configuration with --config"),
        };
        let shown = file.display();
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {shown}"))?;
        let AnyService { mut service } =
            toml::from_str(&text).with_context(|| format!("{shown} is not a service configuration"))?;
        service.etcd = mesh::known_etcd_members(&service);
        Ok(service)
    }

    /// Connects to it.
    pub(crate) async fn store(&self) -> Result<Store> {
        let access = self.access(&[])?;
        access.store(&access.common.etcd).await
    }

    /// Returns what services have recorded about the store, as far as their directories are available.
    fn notes(&self) -> Result<Vec<Known>> {
        match &self.data {
            Some(data) => notes(data),
            None => Ok(snapshot::noted(&self.common()?.data)?.into_iter().collect()),
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

/// Returns what the services of an `ironmesh up` have recorded about its store.
pub(crate) fn notes(data: &Path) -> Result<Vec<Known>> {
    let notes = service_folders(data)?.into_iter().filter_map(|folder| snapshot::noted(&folder).transpose());
    Ok(notes.collect::<Result<_, _>>()?)
}

/// Returns the data directories of the services of an `ironmesh up`.
fn service_folders(data: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(data).with_context(|| format!("cannot read {}", data.display()))?;
    let folders = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.join("lock").exists());
    let mut folders: Vec<_> = folders.filter(|path| !path.ends_with("up")).collect();
    folders.sort();
    Ok(folders)
}

/// Parses the URL of a member.
pub(crate) fn member(text: &str) -> Result<String> {
    let rest = text.strip_prefix("https://").filter(|rest| !rest.is_empty() && !rest.contains('/'));
    rest.with_context(|| format!("{text:?}: must be https://HOST:PORT; etcd requires TLS"))?;
    Ok(text.to_owned())
}
