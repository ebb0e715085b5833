//! How a service joins the mesh: data directory, sealing keys, store, rack, view, membership.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use domain::{id::RackId, service::Service};
use durable_file::{Access, DurableFileError};
use keyspace::{
    Store, View,
    key::{self, Scope},
    seal::{KeyFile, RackNames, Sealer},
    snapshot,
    store::Pem,
    view,
};
use service_kit::{
    Host, Kit, status,
    tls::{self, Tls},
};
use tokio::{sync::watch, time::Instant};

use crate::{
    death_proof::{DataDirError, DataDirLock},
    etcd_members::{self, EtcdDiscovery},
    membership::{Endpoints, HostShare, MemberConfig},
    membership_thread::{self, Beats, MembershipThread},
    mesh::Mesh,
    revocations,
    safety_params::SafetyParams,
};

/// How long a service that starts without a view on disk waits for etcd.
const ETCD_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the file with the sealing keys is read, as those of the certificates.
const KEY_RELOAD_INTERVAL: Duration = Duration::from_secs(5);
/// Pause between two attempts to reach etcd.
const ETCD_RETRY_DELAY: Duration = Duration::from_millis(500);

/// Reason why a service cannot join the mesh.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Its data directory is taken or unusable.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// etcd does not answer, and there is no view on disk.
    #[error("etcd has not answered at {members} for {waited:?}; start it, or name its members in service.etcd")]
    NoEtcd {
        /// The addresses that were tried.
        members: String,
        /// How long they were tried.
        waited: Duration,
        /// The error of the last attempt.
        source: keyspace::Error,
    },
    /// It was asked to stop while it waited for etcd.
    #[error("asked to stop while waiting for etcd at {0}")]
    Stopped(String),
    /// The certificates for etcd cannot be used.
    #[error("cannot use the certificates for etcd")]
    EtcdCertificates(#[from] tls::Error),
    /// etcd refused the request, or the sealing keys cannot be used.
    #[error("cannot join the mesh")]
    Store(#[from] keyspace::Error),
    /// Its configuration names a rack that does not exist.
    #[error(
        "there is no rack named {0:?}; create it with: ironmesh rack create {0:?}, or name another one in service.rack"
    )]
    NoRack(String),
    /// The kernel refuses a thread.
    #[error("cannot start the thread that keeps the membership; check the limits on threads and open files")]
    Thread(#[source] std::io::Error),
}

/// What a service gets when it has joined the mesh.
#[derive(Debug, Clone)]
pub struct Joined {
    /// This process as an instance of the mesh.
    pub mesh: Mesh,
    /// Opens and seals secrets.
    pub sealer: Sealer,
    /// The rack that it serves; `None` for a scheduler.
    pub rack: Option<RackId>,
}

impl Joined {
    /// The rack that a leaf serves.
    ///
    /// # Errors
    /// [`JoinError::NoRack`] for a scheduler, which serves none.
    pub fn rack(&self) -> Result<RackId, JoinError> {
        self.rack.ok_or_else(|| JoinError::NoRack(String::new()))
    }
}

/// Joins the mesh. The view is followed and the membership kept on a thread of their own, without which the process stops.
///
/// # Errors
/// [`JoinError`]; each variant says what the operator can do.
pub async fn join(kit: &Kit, service: Service, endpoints: Endpoints) -> Result<Joined, JoinError> {
    join_with(kit, service, endpoints, SafetyParams::default()).await
}

/// Joins the mesh as [`join`] does, with safety parameters other than the default.
///
/// # Errors
/// [`JoinError`]
pub async fn join_with(
    kit: &Kit,
    service: Service,
    endpoints: Endpoints,
    safety: SafetyParams,
) -> Result<Joined, JoinError> {
    let common = &kit.common;
    let lock = DataDirLock::take(&common.data)?;
    // Before anything else is begun, because a wrong file is an operator's mistake.
    KeyFile::of_service(&common.sealing_keys, service, &common.rack)?;
    let etcd = Tls::load(common.etcd_files())?;
    let [ca, certificate, own_key] = etcd.pem();
    let pem = Pem { ca: &ca, certificate: &certificate, key: &own_key };
    let known = etcd_members::known_etcd_members(common);
    let store = Store::connect(&known, pem).await?;
    let (discovered, members) = watch::channel(known);
    // Before anything is read: a restored backup may be older than what is known here.
    match snapshot::noted(&common.data) {
        Ok(Some(known)) => store.expect(known),
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(error = %status::chain(&error), "cannot read what was known of the store, starting without it")
        }
    }
    let wait = Wait::new(kit, members.borrow().join(", "));
    let scope = if service == Service::Scheduler {
        Scope::Datacenter
    } else {
        Scope::Rack(find_rack(&wait, &store, &common.rack, common.data.join("rack")).await?)
    };
    let prefixes = key::followed(scope, service);
    let file = common.data.join("view.zst");
    let view = Box::pin(open(&wait, &store, &prefixes, &file)).await?;
    // Before anything is served.
    revocations::add(&view, kit.tls.revocations());
    let sealer = Sealer::from_file(&common.sealing_keys, service, &common.rack, RackNames::View(view.clone()))?;
    kit.host.spawn(follow_keys(sealer.clone(), kit.host.clone()));
    let share = HostShare { host: common.host.clone(), weight_percent: common.weight };
    let config = MemberConfig { service, scope, endpoints, safety, sealer: Some(sealer.clone()), share };
    let mesh = Mesh::new(config, store.clone(), view.clone());
    let beats = Beats::default();
    kit.host.spawn(beats.clone().beat(kit.host.clone()));
    kit.follow_certificate(etcd.clone());
    let thread = MembershipThread {
        kit: kit.clone(),
        etcd: etcd.clone(),
        mesh: mesh.clone(),
        lock,
        prefixes,
        file,
        beats,
        members: members.clone(),
    };
    kit.host.spawn_essential_thread("membership", move || thread.run()).map_err(JoinError::Thread)?;
    let changes = etcd.changes();
    if common.etcd_discovery {
        let discovery = EtcdDiscovery { store: store.clone(), data: common.data.clone(), members: discovered };
        kit.host.spawn(discovery.follow(kit.host.clone()));
    }
    kit.host.spawn(membership_thread::renew(kit.host.clone(), etcd, store, changes, members));
    let rack = match scope {
        Scope::Rack(rack) => Some(rack),
        Scope::Datacenter => None,
    };
    Ok(Joined { mesh, sealer, rack })
}

/// Uses the sealing keys of the changed file from then on, until the host stops.
async fn follow_keys(sealer: Sealer, host: Host) {
    // The last failure, which is logged once.
    let mut failure = None;
    loop {
        tokio::select! {
            () = host.stopping() => return,
            () = tokio::time::sleep(KEY_RELOAD_INTERVAL) => {}
        }
        match sealer.reload() {
            Ok(is_changed) => {
                failure = None;
                if is_changed {
                    tracing::info!(keys = ?sealer, "sealing keys changed");
                }
            }
            Err(error) => {
                let error = status::chain(&error);
                if failure.as_ref() != Some(&error) {
                    tracing::warn!(error, "cannot load the sealing keys, keeping the previous ones");
                    failure = Some(error);
                }
            }
        }
    }
}

/// Waits for etcd, and logs where and how long.
struct Wait<'k> {
    kit: &'k Kit,
    /// The addresses of etcd's members.
    members: String,
    started: Instant,
}

impl<'k> Wait<'k> {
    fn new(kit: &'k Kit, members: String) -> Self {
        Self { kit, members, started: Instant::now() }
    }

    /// Pauses before the next attempt, or returns why there is none.
    async fn pause_after(&self, source: keyspace::Error) -> Result<(), JoinError> {
        let members = self.members.clone();
        if !source.is_away() || matches!(source, keyspace::Error::RestoredBackup(_)) {
            return Err(source.into());
        }
        if self.started.elapsed() > ETCD_TIMEOUT {
            return Err(JoinError::NoEtcd { members, waited: ETCD_TIMEOUT, source });
        }
        let left = ETCD_TIMEOUT.saturating_sub(self.started.elapsed()).as_secs();
        let error = status::chain(&source);
        tracing::warn!(members, error, "waiting for etcd; giving up in {left} s");
        tokio::select! {
            biased;
            () = self.kit.host.stopping() => Err(JoinError::Stopped(members)),
            () = tokio::time::sleep(ETCD_RETRY_DELAY) => Ok(()),
        }
    }
}

async fn open(wait: &Wait<'_>, store: &Store, prefixes: &[String], file: &Path) -> Result<View, JoinError> {
    loop {
        match Box::pin(view::open(store, prefixes, file)).await {
            Ok(view) => return Ok(view),
            Err(error) => wait.pause_after(error).await?,
        }
    }
}

/// Reads the noted id of the rack.
fn noted_rack(note: &Path) -> Option<RackId> {
    let mend = "it is written again when etcd answers; until then the service cannot start";
    let noted = durable_file::read(note, mend).and_then(|text| {
        let text = String::from_utf8_lossy(&text);
        text.trim().parse().map_err(|error| DurableFileError::damaged(note, &error, mend))
    });
    match noted {
        Ok(rack) => Some(rack),
        Err(error) if error.is_missing() => None,
        Err(error) => {
            tracing::warn!(error = %status::chain(&error), "ignoring the noted id of the rack");
            None
        }
    }
}

/// Looks up the id of the rack with this name. If etcd does not answer, uses the id that was noted when it last did.
async fn find_rack(wait: &Wait<'_>, store: &Store, name: &str, note: PathBuf) -> Result<RackId, JoinError> {
    loop {
        match store.get(&key::rack_name(name)).await {
            Ok(Some(holder)) => {
                let rack = RackId::new(holder.value.id);
                if let Err(error) = durable_file::write(&note, rack.to_string().as_bytes(), Access::Owner) {
                    tracing::warn!(error = %status::chain(&error), "cannot note the id of the rack");
                }
                return Ok(rack);
            }
            Ok(None) => return Err(JoinError::NoRack(name.to_owned())),
            Err(error) => match noted_rack(&note) {
                Some(rack) => return Ok(rack),
                None => wait.pause_after(error).await?,
            },
        }
    }
}
