//! Where proofs of death are published, and as which user of etcd.

use anyhow::{Context as _, Result};
use domain::{
    id::{InstanceId, RackId},
    service::Service,
};
use keyspace::{
    Store,
    key::{self, Scope},
    store::Pem,
};
use service_kit::tls::Files;

use crate::pem_files;

/// Publishes that a child process was reaped.
#[derive(Debug, Clone)]
pub(crate) enum Deaths {
    /// As etcd's administrator.
    Administrator {
        /// The store.
        store: Store,
        /// The rack of the process.
        rack: RackId,
    },
    /// As the etcd user of the service itself, on a host that has no other one.
    Own {
        /// Members of etcd.
        members: Vec<String>,
        /// The files of the service for etcd.
        files: Files,
        /// Name of its rack; `None` for a scheduler-service.
        rack: Option<String>,
    },
}

impl Deaths {
    /// Publishes the death of an instance.
    pub(crate) async fn publish(&self, service: Service, instance: InstanceId) -> Result<()> {
        let (store, scope, by) = match self {
            Self::Administrator { store, rack } => (store.clone(), Scope::of(service, *rack), "reaped by ironmesh up"),
            Self::Own { members, files, rack } => {
                let pem = pem_files::read(files)?;
                let pem = Pem { ca: &pem[0], certificate: &pem[1], key: &pem[2] };
                let store = Store::connect(members, pem).await.context("cannot create the etcd client")?;
                let scope = match rack {
                    None => Scope::Datacenter,
                    Some(name) => {
                        let holder = store.get(&key::rack_name(name)).await?;
                        Scope::Rack(RackId::new(holder.context("the rack is not in the store")?.value.id))
                    }
                };
                (store, scope, "reaped by ironmesh host run")
            }
        };
        mesh::publish_death(&store, mesh::Group { scope, service }, instance, by).await.context("etcd does not take it")
    }
}
