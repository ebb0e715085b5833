//! LeafClients to leaves: to a node's owner, or to every replica of a rack's service.

use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::{
    id::{InstanceId, NodeId, RackId},
    service::Service,
};
use keyspace::{
    View, key,
    key::Scope,
    store::Versioned,
    value::{Member, StoredRing},
};
use parking_lot::Mutex;
use service_kit::{
    client::{self, MeshChannel},
    tls::Tls,
};

use crate::Error;

/// How long one call of a leaf may take.
const DEADLINE: Duration = Duration::from_secs(15);
/// LeafClients kept; endpoints that are no more go with the rest.
const MOST: usize = 4096;

/// The lines. Clones are the same.
#[derive(Debug, Clone)]
pub struct LeafClients {
    tls: Tls,
    view: View,
    open: Arc<Mutex<HashMap<(String, Service), MeshChannel>>>,
}

/// A replica of a leaf.
#[derive(Debug, Clone)]
pub struct Replica {
    pub instance: InstanceId,
    pub member: Member,
}

impl LeafClients {
    pub fn new(tls: Tls, view: View) -> Self {
        Self { tls, view, open: Arc::default() }
    }

    /// The replicas of a rack's service.
    pub fn replicas(&self, rack: RackId, service: Service) -> Vec<Replica> {
        let members: Vec<(String, Versioned<Member>)> = self.view.list(&key::members(Scope::Rack(rack), service));
        members
            .into_iter()
            .filter_map(|(path, member)| Some(Replica { instance: key::last(&path)?, member: member.value }))
            .collect()
    }

    /// A line to the node's owner in a service of its rack.
    pub fn to_owner(&self, rack: RackId, service: Service, node: NodeId) -> Result<MeshChannel, Error> {
        let unreachable = || Error::Leaf(format!("no {service} of the rack answers; see: ironmesh rack show"));
        let ring: Versioned<StoredRing> =
            self.view.get(&key::ring(Scope::Rack(rack), service)).ok_or_else(unreachable)?;
        let owner = ring.value.ring.owner(node).ok_or_else(unreachable)?;
        let member = self.view.get(&key::member(Scope::Rack(rack), service, owner)).ok_or_else(unreachable)?;
        self.to(rack, service, &member.value.endpoint, Some(DEADLINE))
    }

    /// A line to a replica; `deadline`: `None` for streams.
    pub fn to(
        &self,
        rack: RackId,
        service: Service,
        endpoint: &str,
        deadline: Option<Duration>,
    ) -> Result<MeshChannel, Error> {
        let name = self.rack_name(rack);
        let make = || {
            client::mesh_channel(&self.tls, endpoint, service, &name, deadline)
                .map_err(|error| Error::Leaf(error.to_string()))
        };
        if deadline.is_none() {
            return make();
        }
        let mut open = self.open.lock();
        if open.len() >= MOST {
            open.clear();
        }
        let wanted = (endpoint.to_owned(), service);
        if let Some(line) = open.get(&wanted) {
            return Ok(line.clone());
        }
        let line = make()?;
        open.insert(wanted, line.clone());
        Ok(line)
    }

    /// A line for streams to another scheduler.
    pub fn to_scheduler(&self, endpoint: &str) -> Result<MeshChannel, Error> {
        client::mesh_channel(&self.tls, endpoint, Service::Scheduler, "", None)
            .map_err(|error| Error::Leaf(error.to_string()))
    }

    fn rack_name(&self, rack: RackId) -> String {
        self.view.get(&key::rack(rack)).map(|rack| rack.value.name).unwrap_or_default()
    }
}
