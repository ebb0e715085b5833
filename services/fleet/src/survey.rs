//! What the store says of hosts, racks and running services, read at once.

use std::collections::BTreeMap;

use domain::{
    id::{InstanceId, NodeId, RackId},
    service::Service,
    time::Timestamp,
};
use keyspace::{
    View,
    key::{self, Scope},
    store::Versioned,
    value::{Host, Member, Rack},
};

/// A running instance of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The service.
    pub service: Service,
    /// Name of its rack; empty for a scheduler-service, too.
    pub rack: String,
    /// The instance.
    pub instance: InstanceId,
    /// Address of its gRPC API, as `host:port`.
    pub endpoint: String,
    /// The host that it runs on; empty if it was not told.
    pub host: String,
    /// Whether it is stopping and hands its nodes over.
    pub stopping: bool,
    /// Number of nodes that it owns.
    pub owns: usize,
    /// When it joined the mesh.
    pub since: Timestamp,
}

/// How the nodes of a rack are shared by the instances of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingFacts {
    /// The service.
    pub service: Service,
    /// Name of the rack; empty for the scheduler-service, too.
    pub rack: String,
    /// When it was written last: instances came or went then.
    pub since: Timestamp,
    /// The leader; `None` while none is elected.
    pub leader: Option<InstanceId>,
    /// Instances that have to let go of nodes, and since when.
    pub leaving: Vec<(InstanceId, Timestamp)>,
}

/// Hosts, racks and running services.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// All hosts, in the order of their names.
    pub hosts: Vec<Versioned<Host>>,
    /// All racks, in the order of their names.
    pub racks: Vec<Versioned<Rack>>,
    /// All running instances: services in order, leaves first, then in the order of their endpoints.
    pub running: Vec<Running>,
    /// All rings.
    pub rings: Vec<RingFacts>,
}

impl Survey {
    /// Reads it from the view.
    #[must_use]
    pub fn read(view: &View) -> Self {
        let mut hosts: Vec<_> = view.list(&key::hosts()).into_iter().map(|(_, host)| host).collect();
        hosts.sort_by(|a, b| a.value.name.cmp(&b.value.name));
        let mut racks: Vec<_> = view.list(&key::racks()).into_iter().map(|(_, rack)| rack).collect();
        racks.sort_by(|a, b| a.value.name.cmp(&b.value.name));
        let (mut running, mut rings) = (Vec::new(), Vec::new());
        let mut nodes = Vec::new();
        for rack in &racks {
            let own = view.nodes(rack.value.id);
            for service in Service::ALL.into_iter().filter(|service| *service != Service::Scheduler) {
                running.extend(instances(view, service, Some(&rack.value), &own));
                rings.extend(ring(view, service, Some(&rack.value)));
            }
            nodes.extend(own);
        }
        running.extend(instances(view, Service::Scheduler, None, &nodes));
        rings.extend(ring(view, Service::Scheduler, None));
        running.sort_by(|a: &Running, b| {
            (a.service, &a.rack, &a.endpoint, a.instance).cmp(&(b.service, &b.rack, &b.endpoint, b.instance))
        });
        Self { hosts, racks, running, rings }
    }

    /// Finds a host by its name.
    #[must_use]
    pub fn host(&self, name: &str) -> Option<&Versioned<Host>> {
        self.hosts.iter().find(|host| host.value.name == name)
    }

    /// The instances on a host.
    pub fn running_on<'s>(&'s self, host: &'s str) -> impl Iterator<Item = &'s Running> {
        self.running.iter().filter(move |running| running.host == host)
    }
}

fn instances(view: &View, service: Service, rack: Option<&Rack>, nodes: &[NodeId]) -> Vec<Running> {
    let scope = rack.map_or(Scope::Datacenter, |rack| Scope::Rack(rack.id));
    let members = view.list(&key::members(scope, service));
    if members.is_empty() {
        return Vec::new();
    }
    let mut owned = BTreeMap::<InstanceId, usize>::new();
    if let Some(ring) = view.ring(scope, service) {
        for owner in nodes.iter().filter_map(|node| ring.value.ring.owner(*node)) {
            let count = owned.entry(owner).or_default();
            *count = count.saturating_add(1);
        }
    }
    let running = |(path, member): (String, Versioned<Member>)| {
        let instance = key::last(&path)?;
        let Member { endpoint, host, stopping, since, .. } = member.value;
        let (rack, owns) = (rack.map(|rack| rack.name.clone()).unwrap_or_default(), owned.get(&instance));
        Some(Running { service, rack, instance, endpoint, host, stopping, owns: owns.copied().unwrap_or(0), since })
    };
    members.into_iter().filter_map(running).collect()
}

fn ring(view: &View, service: Service, rack: Option<&Rack>) -> Option<RingFacts> {
    let scope = rack.map_or(Scope::Datacenter, |rack| Scope::Rack(rack.id));
    let ring = view.ring(scope, service)?;
    let leader = view.get(&key::election(scope, service)).map(|election| election.value.instance);
    let leaving = ring.value.left.iter().map(|(instance, since)| (*instance, *since)).collect();
    let rack = rack.map(|rack| rack.name.clone()).unwrap_or_default();
    Some(RingFacts { service, rack, since: ring.value.since, leader, leaving })
}

/// The nodes of a rack, and the instances of its services.
#[must_use]
pub fn of_rack(survey: &Survey, view: &View, rack: RackId) -> (Vec<NodeId>, Vec<Running>) {
    let name = survey.racks.iter().find(|known| known.value.id == rack).map(|known| known.value.name.clone());
    let is_of_rack = |running: &&Running| running.service != Service::Scheduler && Some(&running.rack) == name.as_ref();
    (view.nodes(rack), survey.running.iter().filter(is_of_rack).cloned().collect())
}
