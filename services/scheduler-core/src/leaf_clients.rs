//! Connections to leaves: to a node's owner, or to every replica of a rack's service.

use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::{
    id::{InstanceId, NodeId, RackId},
    service::Service,
};
use keyspace::{View, key, key::Scope, store::Versioned, value::Member};
use parking_lot::Mutex;
use service_kit::{
    client::{self, MeshChannel},
    tls::Tls,
};

use crate::Error;

/// Timeout of a call of a leaf.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Maximum number of cached connections. If there are more, the cache is cleared.
const MAX_CONNECTIONS: usize = 4096;

/// Cache of connections. Clones share the state.
#[derive(Debug, Clone)]
pub struct LeafClients {
    tls: Tls,
    view: View,
    open: Arc<Mutex<HashMap<(String, Service), MeshChannel>>>,
}

/// Replica of a leaf service.
#[derive(Debug, Clone)]
pub struct Replica {
    /// Id of the instance.
    pub instance: InstanceId,
    /// Member record.
    pub member: Member,
}

impl LeafClients {
    /// Creates the cache of connections; the view has the endpoints.
    pub fn new(tls: Tls, view: View) -> Self {
        Self { tls, view, open: Arc::default() }
    }

    /// Returns the replicas of a rack's service.
    pub fn replicas(&self, rack: RackId, service: Service) -> Vec<Replica> {
        let members: Vec<(String, Versioned<Member>)> = self.view.list(&key::members(Scope::Rack(rack), service));
        members
            .into_iter()
            .filter_map(|(path, member)| Some(Replica { instance: key::last(&path)?, member: member.value }))
            .collect()
    }

    /// Returns a connection to the node's owner in a service of its rack.
    pub fn to_owner(&self, rack: RackId, service: Service, node: NodeId) -> Result<MeshChannel, Error> {
        let unreachable = || Error::Leaf(format!("no {service} of the rack answers; see: ironmesh rack show"));
        let ring = self.view.ring(Scope::Rack(rack), service).ok_or_else(unreachable)?;
        let owner = ring.value.ring.owner(node).ok_or_else(unreachable)?;
        let member = self.view.get(&key::member(Scope::Rack(rack), service, owner)).ok_or_else(unreachable)?;
        self.to(rack, service, &member.value.endpoint, Some(CALL_TIMEOUT))
    }

    /// Returns a connection to a replica. `deadline` is `None` for streams.
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
        if open.len() >= MAX_CONNECTIONS {
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

    /// Returns a connection for streams to another scheduler.
    pub fn to_scheduler(&self, endpoint: &str) -> Result<MeshChannel, Error> {
        client::mesh_channel(&self.tls, endpoint, Service::Scheduler, "", None)
            .map_err(|error| Error::Leaf(error.to_string()))
    }

    fn rack_name(&self, rack: RackId) -> String {
        self.view.get(&key::rack(rack)).map(|rack| rack.value.name).unwrap_or_default()
    }
}
