//! How every service becomes a part of the mesh: folder, key, store, view, rack, membership.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use domain::{id::RackId, service::Service};
use keyspace::{
    Store, View,
    key::{self, Scope},
    seal::Sealer,
    snapshot,
    store::Pem,
    view,
};
use service_kit::{Kit, status};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{DataDirError, DataDirLock, Endpoints, MemberConfig, Mesh, SafetyParams};

/// How long a service waits for etcd when it starts and has no view on disk.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it tries.
const AGAIN: Duration = Duration::from_millis(500);

/// Between two tries of certificates that changed.
const RENEW: Duration = Duration::from_secs(2);

/// Why a service can not begin.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Its folder is taken or unusable.
    #[error(transparent)]
    Folder(#[from] DataDirError),
    /// The store is away, and there is no view on disk.
    #[error("etcd has not answered at {members} for {waited:?}; start it, or name its members in service.etcd")]
    NoEtcd {
        /// Where it was looked for.
        members: String,
        /// For how long.
        waited: Duration,
        /// What the last try came to.
        source: keyspace::Error,
    },
    /// It was asked to stop before it had begun.
    #[error("asked to stop while waiting for etcd at {0}")]
    Stopped(String),
    /// The store refused; or the sealing key can not be used.
    #[error("cannot begin")]
    Store(#[from] keyspace::Error),
    /// Its configuration names a rack that there is not.
    #[error("there is no rack named {0:?}; make it with: ironmesh rack create {0:?}, or name another in service.rack")]
    NoRack(String),
}

/// A service's part of the mesh.
#[derive(Debug, Clone)]
pub struct Joined {
    /// Ownership.
    pub mesh: Mesh,
    /// Opens and seals secrets.
    pub sealer: Sealer,
    /// The rack that it serves; none for a scheduler.
    pub rack: Option<RackId>,
}

impl Joined {
    /// The rack of a leaf.
    ///
    /// # Errors
    /// [`JoinError::NoRack`]: only a scheduler has none.
    pub fn rack(&self) -> Result<RackId, JoinError> {
        self.rack.ok_or_else(|| JoinError::NoRack(String::new()))
    }
}

/// Joins the mesh; the view is followed and the membership kept as vital tasks of the kit's host.
///
/// # Errors
/// [`JoinError`]
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
    let sealer = Sealer::from_file(&common.sealing_key)?;
    let [ca, certificate, own_key] = kit.tls.pem();
    let pem = Pem { ca: &ca, certificate: &certificate, key: &own_key };
    let store = Store::connect(&common.etcd, pem).await?;
    // Before anything is read: what is read from a store that went back may be older than what is known here.
    match snapshot::noted(&common.data) {
        Ok(Some(known)) => store.expect(known),
        Ok(None) => {}
        Err(error) => tracing::warn!(error = %status::chain(&error), "what was known of the store is lost"),
    }
    let wait = Wait::new(kit);
    let scope = if service == Service::Scheduler {
        Scope::Datacenter
    } else {
        Scope::Rack(find_rack(&wait, &store, &common.rack, common.data.join("rack")).await?)
    };
    let prefixes = key::followed(scope, service);
    let file = common.data.join("view.zst");
    let view = Box::pin(open(&wait, &store, &prefixes, &file)).await?;
    let config = MemberConfig { service, scope, endpoints, safety };
    let mesh = Mesh::new(config, store.clone(), view.clone());
    let left = CancellationToken::new();
    // The view goes on until this instance has handed over.
    let end = left.clone().cancelled_owned();
    kit.host.spawn_essential("view", async move { view.follow(store, prefixes, Some(file), end).await });
    kit.host.spawn(renew(kit.clone(), mesh.store().clone()));
    let (member, host) = (mesh.clone(), kit.host.clone());
    kit.host.spawn_essential("membership", async move {
        member.live(host, lock).await;
        left.cancel();
    });
    let rack = match scope {
        Scope::Rack(rack) => Some(rack),
        Scope::Datacenter => None,
    };
    Ok(Joined { mesh, sealer, rack })
}

/// Waiting for etcd, said so that whoever reads the log knows where and what to do.
struct Wait<'k> {
    kit: &'k Kit,
    begun: Instant,
}

impl<'k> Wait<'k> {
    fn new(kit: &'k Kit) -> Self {
        Self { kit, begun: Instant::now() }
    }

    /// Waits for the next try, where there is to be one.
    async fn again(&self, source: keyspace::Error) -> Result<(), JoinError> {
        let members = self.kit.common.etcd.join(", ");
        if !source.is_away() || matches!(source, keyspace::Error::RestoredBackup(_)) {
            return Err(source.into());
        }
        if self.begun.elapsed() > PATIENCE {
            return Err(JoinError::NoEtcd { members, waited: PATIENCE, source });
        }
        let left = PATIENCE.saturating_sub(self.begun.elapsed()).as_secs();
        let error = status::chain(&source);
        tracing::warn!(members, error, "waiting for etcd; giving up in {left} s");
        tokio::select! {
            () = self.kit.host.stopping() => Err(JoinError::Stopped(members)),
            () = tokio::time::sleep(AGAIN) => Ok(()),
        }
    }
}

/// Has etcd asked with the certificates that are in use. Where it does not know them yet, those before go on.
async fn renew(kit: Kit, store: Store) {
    let mut changes = kit.tls.changes();
    let renewing = async {
        while changes.changed().await.is_ok() {
            loop {
                let [ca, certificate, key] = kit.tls.pem();
                let pem = Pem { ca: &ca, certificate: &certificate, key: &key };
                let Err(error) = store.reconnect(&kit.common.etcd, pem).await else { break };
                let error = status::chain(&error);
                tracing::warn!(error, "etcd does not take the certificates that changed; keeping to those before");
                tokio::time::sleep(RENEW).await;
            }
            tracing::info!("etcd takes the certificates that changed");
        }
    };
    tokio::select! {
        () = kit.host.stopping() => {}
        () = renewing => {}
    }
}

async fn open(wait: &Wait<'_>, store: &Store, prefixes: &[String], file: &Path) -> Result<View, JoinError> {
    loop {
        match Box::pin(view::open(store, prefixes, file)).await {
            Ok(view) => return Ok(view),
            Err(error) => wait.again(error).await?,
        }
    }
}

/// The rack of this name; an island reads it from where it was noted when it was last found.
async fn find_rack(wait: &Wait<'_>, store: &Store, name: &str, note: PathBuf) -> Result<RackId, JoinError> {
    loop {
        match store.get(&key::rack_name(name)).await {
            Ok(Some(holder)) => {
                let rack = RackId::new(holder.value.id);
                if let Err(error) = std::fs::write(&note, rack.to_string()) {
                    tracing::warn!(%error, "cannot note the rack's id");
                }
                return Ok(rack);
            }
            Ok(None) => return Err(JoinError::NoRack(name.to_owned())),
            Err(error) => {
                let noted = std::fs::read_to_string(&note).ok().and_then(|text| text.trim().parse().ok());
                match noted {
                    Some(rack) => return Ok(rack),
                    None => wait.again(error).await?,
                }
            }
        }
    }
}
