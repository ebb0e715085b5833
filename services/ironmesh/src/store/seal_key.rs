//! `ironmesh store seal-key`: lists, rotates, retires and exports sealing keys.

mod members;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Subcommand};
use domain::{id::RackId, service::Service};
use keyspace::{
    Store, key,
    seal::{KeyFile, Purpose, RackNames, Sealer, SealingKey, has_keys, reseal, usage},
};
use service_kit::clock;

use self::members::{Members, lacking, sealing};
use super::StoreLocation;
use crate::{
    console::{answer, say},
    sealing as files,
};

/// How long after its last use by a scheduler a key is kept, so that every write that was sealed with it has ended. It
/// exceeds the timeout of a transaction by far.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Number of records that a message names.
const MAX_NAMED: usize = 10;

/// Commands for the keys that encrypt the secrets in the store.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum SealKeyCommand {
    /// List the keys, how many records each of them seals, and which services lack it.
    #[command(after_help = "Example:\n  ironmesh store seal-key list --data /var/lib/ironmesh")]
    List(StoreLocation),
    /// Begin a rotation: add a key that is distributed to the services, but not used yet. Prints its id.
    ///
    /// The whole rotation, in which services keep running and every step can be repeated:
    ///
    /// 1. rotate: adds the key to the file of the scheduler-service, and with --data to those of the data directory's
    ///    other services. On other hosts, copy the file of the scheduler-service, and write those of the rack services
    ///    with export. Services read their files every 5 s.
    ///
    /// 2. activate: makes it the active key, which is refused as long as a running service lacks it. Copy the file of the
    ///    scheduler-service to the other schedulers again.
    ///
    /// 3. reseal: rewrites the records with it.
    ///
    /// 4. retire: removes the old key, which is refused as long as a record needs it. Boot decisions are not rewritten and
    ///    end with their boots. Write the files on other hosts again.
    #[command(after_help = "Example:\n  ironmesh store seal-key rotate --data /var/lib/ironmesh --purpose bmc")]
    Rotate(Rotate),
    /// Seal new secrets with a key that was distributed.
    #[command(after_help = "Example:\n  ironmesh store seal-key activate --data /var/lib/ironmesh 4f1d2a90c3b7")]
    Activate(OneKey),
    /// Seal every record again that is not sealed with an active key.
    ///
    /// Can be interrupted and repeated, while services run. A record that a service writes at the same time is read again.
    #[command(after_help = "Example:\n  ironmesh store seal-key reseal --data /var/lib/ironmesh")]
    Reseal(StoreLocation),
    /// Remove a key that seals no record any more.
    ///
    /// A rack that is cut off from etcd keeps records of its own: do not retire a key while one is.
    #[command(after_help = "Example:\n  ironmesh store seal-key retire --data /var/lib/ironmesh 4f1d2a90c3b7")]
    Retire(OneKey),
    /// Write the key file of a service: the keys of its rack and of what it may open, and no others.
    #[command(
        after_help = "Example:\n  ironmesh store seal-key export --config /etc/ironmesh/scheduler-service.toml \\\n    --service power-service --rack r1 power-service.keys"
    )]
    Export(Export),
    /// Create root keys for the scheduler-service of a new datacenter. The file must not exist.
    #[command(after_help = "Example:\n  ironmesh store seal-key create /etc/ironmesh/scheduler-service/sealing.keys")]
    Create(Create),
}

/// Begin a rotation.
#[derive(Debug, Clone, Args)]
pub(crate) struct Rotate {
    #[command(flatten)]
    location: StoreLocation,
    /// What the key is for: bmc, boot-token, config-drive or specification.
    #[arg(long)]
    purpose: Purpose,
    /// The only rack that it is for. Without it the key is for all racks, and takes the place of keys of single racks. The
    /// secrets of specification belong to no rack.
    #[arg(long, value_name = "NAME")]
    rack: Option<String>,
}

/// A key by its id.
#[derive(Debug, Clone, Args)]
pub(crate) struct OneKey {
    #[command(flatten)]
    location: StoreLocation,
    /// Id of the key.
    #[arg(value_name = "ID")]
    id: String,
}

/// Write the key file of a service.
#[derive(Debug, Clone, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    location: StoreLocation,
    /// The service.
    #[arg(long)]
    service: Service,
    /// Name of its rack.
    #[arg(long, default_value = "", value_name = "NAME")]
    rack: String,
    /// The file. An existing one is replaced and keeps its owner; give a new one to the user of the service (chown).
    file: PathBuf,
}

/// Create root keys.
#[derive(Debug, Clone, Args)]
pub(crate) struct Create {
    /// The file.
    file: PathBuf,
}

pub(super) async fn run(command: &SealKeyCommand) -> Result<()> {
    match command {
        SealKeyCommand::List(location) => list(location).await,
        SealKeyCommand::Rotate(command) => rotate(command).await,
        SealKeyCommand::Activate(command) => activate(command).await,
        SealKeyCommand::Reseal(location) => reseal_all(location).await,
        SealKeyCommand::Retire(command) => retire(command).await,
        SealKeyCommand::Export(command) => export(command),
        SealKeyCommand::Create(command) => create(&command.file),
    }
}

/// The root keys and where they are.
struct Root<'l> {
    location: &'l StoreLocation,
    path: PathBuf,
    keys: KeyFile,
    /// Held while the file is changed, so that two commands do not lose each other's changes, and shared while its keys are
    /// used, so that none of them is retired meanwhile.
    _lock: fs::File,
}

/// What a command does with the root keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LockMode {
    /// It changes them. It waits for all other commands, also for a pass of `reseal`, whose keys must not be retired.
    Change,
    /// It uses them as they are. It waits for changes alone.
    Use,
}

impl<'l> Root<'l> {
    fn load(location: &'l StoreLocation, mode: LockMode) -> Result<Self> {
        let path = match &location.data {
            Some(data) => files::root(data),
            None => location.common()?.sealing_keys,
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let lock = fs::File::open(folder).with_context(|| format!("cannot open {}", folder.display()))?;
        let locked = match mode {
            LockMode::Change => lock.lock(),
            LockMode::Use => lock.lock_shared(),
        };
        locked.with_context(|| format!("cannot lock {}", folder.display()))?;
        let keys = KeyFile::of_service(&path, Service::Scheduler, "")
            .context("the root keys of the scheduler-service are required")?;
        Ok(Self { location, path, keys, _lock: lock })
    }

    /// Writes the keys, and those of the services in the same data directory.
    fn save(&self) -> Result<()> {
        self.keys.save(&self.path)?;
        if let Some(data) = &self.location.data {
            for rack in files::racks(data)? {
                files::distribute(data, &rack)?;
            }
        } else {
            say(&format!(
                "{} has changed: copy it to the other schedulers, and write the files of the rack services again with \
                 ironmesh store seal-key export",
                self.path.display()
            ));
        }
        Ok(())
    }

    fn sealer(&self, racks: &BTreeMap<RackId, String>) -> Sealer {
        Sealer::new(self.keys.clone(), RackNames::Known(racks.clone()))
    }
}

async fn rack_names(store: &Store) -> Result<BTreeMap<RackId, String>> {
    let racks = store.list(&key::racks()).await.context("cannot read the racks")?;
    Ok(racks.into_iter().map(|(_, rack)| (rack.value.id, rack.value.name)).collect())
}

async fn list(location: &StoreLocation) -> Result<()> {
    let root = Root::load(location, LockMode::Use)?;
    let store = location.store().await?;
    let (members, mut used) = (Members::read(&store, &rack_names(&store).await?).await?, usage(&store).await?);
    answer(&format!(
        "{:<14}{:<15}{:<16}{:<8}{:<26}{:<9}LACKED BY",
        "ID", "PURPOSE", "RACK", "STATE", "CREATED", "RECORDS"
    ));
    for key in &root.keys.keys {
        let SealingKey { id, purpose, rack, state, created, .. } = key;
        let records = used.remove(id).unwrap_or_default().len();
        let rack = rack.as_deref().map_or_else(|| "(all)".to_owned(), |name| format!("{name:?}"));
        let (purpose, state, created) = (purpose.to_string(), state.to_string(), created.to_string());
        let lacked = lacking(&members, key).join(", ");
        let line = format!("{id:<14}{purpose:<15}{rack:<16}{state:<8}{created:<26}{records:<9}{lacked}");
        answer(line.trim_end());
    }
    for (id, records) in used {
        say(&format!("{} are sealed with the key {id}, which {} does not hold", named(&records), root.path.display()));
    }
    Ok(())
}

async fn rotate(command: &Rotate) -> Result<()> {
    let mut root = Root::load(&command.location, LockMode::Change)?;
    if let Some(rack) = &command.rack {
        let racks = rack_names(&command.location.store().await?).await?;
        ensure!(racks.values().any(|name| name == rack), "there is no rack named {rack:?}; see ironmesh rack list");
    }
    let id = root.keys.add_next(command.purpose, command.rack.as_deref(), clock::now())?;
    root.save()?;
    answer(&id);
    say(&format!("next, when all services have it: ironmesh store seal-key activate … {id}"));
    Ok(())
}

async fn activate(command: &OneKey) -> Result<()> {
    let mut root = Root::load(&command.location, LockMode::Change)?;
    let key = root.keys.check_activate(&command.id)?;
    let store = command.location.store().await?;
    let members = Members::read(&store, &rack_names(&store).await?).await?;
    let lacking = lacking(&members, key);
    ensure!(
        lacking.is_empty(),
        "the key {} has not reached {}: what is sealed with it could not be opened there. Services read their files every \
         5 s; write the file of one on another host with: ironmesh store seal-key export",
        command.id,
        lacking.join(", ")
    );
    root.keys.activate(&command.id)?;
    root.save()?;
    say(&format!("new secrets are sealed with {}; next: ironmesh store seal-key reseal …", command.id));
    Ok(())
}

async fn reseal_all(location: &StoreLocation) -> Result<()> {
    // For the whole pass, which takes minutes for the largest stores: what is sealed with a key must not outlive it. Services
    // hold no such lock, and `ironmesh up` writes their files at the next interval.
    let root = Root::load(location, LockMode::Use)?;
    let store = location.store().await?;
    let sealer = root.sealer(&rack_names(&store).await?);
    let result = reseal(&store, &sealer).await.context("the pass ended early; run it again")?;
    answer(&format!("{} of {} records were sealed again", result.rewritten, result.seen));
    for (path, why) in result.failed.iter().take(MAX_NAMED) {
        say(&format!("{path}: {why}"));
    }
    ensure!(result.failed.is_empty(), "{} records could not be sealed again; run it again", result.failed.len());
    Ok(())
}

async fn retire(command: &OneKey) -> Result<()> {
    let mut root = Root::load(&command.location, LockMode::Change)?;
    let (id, store) = (&command.id, command.location.store().await?);
    let writes_end = async {
        say(&format!("waiting {WRITE_TIMEOUT:?} for changes that began earlier"));
        tokio::time::sleep(WRITE_TIMEOUT).await;
    };
    root.keys = without(&store, &root.path, id, writes_end).await?;
    root.save()?;
    say(&format!("the key {id} was removed"));
    Ok(())
}

/// Returns the root keys of a file without a key that nothing uses, neither now nor once the writes that began earlier have
/// ended.
async fn without(store: &Store, path: &Path, id: &str, writes_end: impl Future<Output = ()>) -> Result<KeyFile> {
    KeyFile::of_service(path, Service::Scheduler, "")?.check_retire(id)?;
    check_unused(store, path, id).await?;
    writes_end.await;
    // A service may have started meanwhile with an old file, or the file may have been replaced.
    let mut keys = KeyFile::of_service(path, Service::Scheduler, "")?;
    keys.check_retire(id)?;
    check_unused(store, path, id).await?;
    if let Some(records) = usage(store).await?.remove(id) {
        bail!(
            "{} are sealed with the key {id}: run ironmesh store seal-key reseal, and wait for the end of running boots",
            named(&records)
        );
    }
    keys.retire(id)?;
    Ok(keys)
}

/// Checks that no running service seals with a key of a file.
async fn check_unused(store: &Store, path: &Path, id: &str) -> Result<()> {
    let still = sealing(&Members::read(store, &rack_names(store).await?).await?, id);
    ensure!(
        still.is_empty(),
        "{} still seal with the key {id}: services read their files every 5 s; copy {} to them if they are on other hosts",
        still.join(", "),
        path.display()
    );
    Ok(())
}

fn export(command: &Export) -> Result<()> {
    let root = Root::load(&command.location, LockMode::Use)?;
    ensure!(has_keys(command.service), "{} opens no secrets and needs no file", command.service);
    root.keys.for_service(command.service, &command.rack)?.save(&command.file)?;
    Ok(())
}

fn create(file: &Path) -> Result<()> {
    ensure!(!file.exists(), "{} exists, and the store may need its keys; move it away first", file.display());
    Ok(KeyFile::create(clock::now())?.save(file)?)
}

/// The number of records and the first of them.
fn named(records: &[String]) -> String {
    let first: Vec<_> = records.iter().take(MAX_NAMED).map(String::as_str).collect();
    let more = if records.len() > first.len() { ", …" } else { "" };
    format!("{} records ({}{more})", records.len(), first.join(", "))
}

#[cfg(test)]
mod tests;
