//! Records of nodes: read from the view, changed by one conditional transaction.

mod facts;
mod image;
mod node;
mod port;
mod ports;
mod power;
mod rack;
mod rehome;
mod spec;
mod transition;

use std::sync::Arc;

use domain::{
    failure::Failure,
    generation::Generation,
    id::{ImageId, NodeId, OperationId, RackId},
    image::Image,
    net::MacAddr,
    provision::{self, Event, NodeFacts},
    raw_command::BmcRequest,
};
use keyspace::{
    Change, Expect, Key, View, key,
    node_index::{PortIndex, RackIndex},
    seal::{Sealer, seal_raw_data},
    store::Versioned,
    value::{AgentSeen, BootDecision, Holder, Intent, Inventory, Life, Operation, Port, PowerSeen, PxeSeen, Rack},
};
use mesh::{Claim, Mesh};
use serde::Serialize;
use service_kit::clock;

use crate::{Error, RequestContext, peers::Peers};

pub use node::{NewNode, NodeChange};
pub use port::StoredPort;
pub(crate) use port::{PortChange, is_rearrangeable, keeps_macs};
pub(crate) use power::{last_failure, power_failure};
pub use power::{power_target, settled, wants_power};
pub use spec::Held;
use transition::transition;
pub use transition::{Moved, due, turn};

/// Access to the records. Clones share the state.
#[derive(Debug, Clone)]
pub struct Registry {
    /// Membership of this replica, which every write depends on.
    pub mesh: Mesh,
    /// Key by which secrets are sealed.
    pub sealer: Sealer,
    /// Revisions that the other replicas have applied.
    pub peers: Peers,
    /// Ports by node.
    port_index: Arc<PortIndex>,
    /// Racks by node.
    rack_index: Arc<RackIndex>,
    /// Held during an enrollment: each takes the lowest free address, so concurrent ones would conflict.
    enrolling: Arc<tokio::sync::Mutex<()>>,
}

/// All records of a node.
#[derive(Debug, Clone)]
pub struct Record {
    /// Rack of the node.
    pub rack: RackId,
    /// Id of the node.
    pub node: NodeId,
    /// Intended state.
    pub intent: Versioned<Intent>,
    /// Provisioning state and generation.
    pub life: Versioned<Life>,
    /// Last operation, if there was one.
    pub operation: Option<Versioned<Operation>>,
    /// Boot decision, if one is valid.
    pub boot: Option<Versioned<BootDecision>>,
    /// Observations of the power-service.
    pub power: Option<PowerSeen>,
    /// Observations of the pxe-service.
    pub pxe: Option<PxeSeen>,
    /// Observations of the node's agent.
    pub agent: Option<AgentSeen>,
    /// Last hardware report.
    pub inventory: Option<Inventory>,
    /// Ports by MAC.
    pub ports: Vec<(MacAddr, Versioned<Port>)>,
}

impl Record {
    /// The last failure that was not corrected since.
    pub fn failure(&self) -> Option<Failure> {
        last_failure(&self.life.value, self.power.as_ref()).cloned()
    }

    /// Returns the running operation.
    pub fn running(&self) -> Option<&Operation> {
        self.operation.as_ref().map(|read| &read.value).filter(|operation| operation.is_running())
    }

    /// Returns the protocol of the agent that does the node's work.
    pub fn protocol(&self) -> keyspace::value::Protocol {
        self.intent.value.protocol(self.running())
    }
}

impl Registry {
    /// Creates the registry over a mesh's view and store.
    pub fn new(mesh: Mesh, sealer: Sealer) -> Self {
        let port_index = Arc::new(PortIndex::new(mesh.view().clone()));
        let rack_index = Arc::new(RackIndex::new(mesh.view().clone()));
        Self { mesh, sealer, peers: Peers::default(), port_index, rack_index, enrolling: Arc::default() }
    }

    /// Commits a client's change, and waits until it can be read through every replica.
    pub async fn commit(&self, context: &RequestContext, change: Change) -> Result<(), Error> {
        self.commit_beginning(context, change, None).await
    }

    /// Commits a change that begins an operation.
    pub(crate) async fn commit_beginning(
        &self,
        context: &RequestContext,
        change: Change,
        operation: Option<OperationId>,
    ) -> Result<(), Error> {
        let revision = self.mesh.commit(context.mark(change, operation)?).await?;
        self.peers.have(&self.mesh, revision, context.deadline).await
    }

    /// Replaces one record as a client requests, if this replica is a member and the record is as it was read.
    ///
    /// # Errors
    /// A conflict if the record changed since it was read; those of [`Self::commit`].
    pub(crate) async fn replace<V: Serialize>(
        &self,
        context: &RequestContext,
        key: &Key<V>,
        before: &Versioned<V>,
        now: &V,
    ) -> Result<(), Error> {
        let change = self.mesh.as_member()?.put(key, now, Expect::Revision(before.revision))?;
        self.commit(context, change).await
    }

    /// Replaces one record of a node as its owner, if the claim is still held and the record is as it was read.
    ///
    /// # Errors
    /// A conflict if the claim was lost or the record changed since it was read; those of [`Mesh::commit`].
    pub(crate) async fn replace_claimed<V: Serialize>(
        &self,
        claim: &Claim,
        key: &Key<V>,
        before: &Versioned<V>,
        now: &V,
    ) -> Result<(), Error> {
        let change = self.mesh.fenced(claim).put(key, now, Expect::Revision(before.revision))?;
        self.mesh.commit(change).await?;
        Ok(())
    }

    /// View of the store.
    pub fn view(&self) -> &View {
        self.mesh.view()
    }

    /// Finds a node by its id or name.
    pub fn find(&self, name: &str) -> Result<(RackId, NodeId), Error> {
        let missing = || Error::Missing { kind: "node", name: name.to_owned() };
        let node = match name.parse::<NodeId>() {
            Ok(node) => node,
            Err(_) => NodeId::new(self.view().get(&key::node_name(name)).ok_or_else(missing)?.value.id),
        };
        let rack = self.rack_of(node).ok_or_else(missing)?;
        Ok((rack, node))
    }

    /// Returns the rack of a node.
    pub fn rack_of(&self, node: NodeId) -> Option<RackId> {
        self.rack_index.rack_of(node)
    }

    /// Reads all records of a node.
    pub fn record(&self, rack: RackId, node: NodeId) -> Option<Record> {
        let view = self.view();
        let ports = self.port_index.of(node).into_iter();
        Some(Record {
            rack,
            node,
            intent: view.get(&key::intent(rack, node))?,
            life: view.get(&key::life(rack, node))?,
            operation: view.get(&key::operation(rack, node)),
            boot: view.get(&key::boot(rack, node)),
            power: view.get(&key::power(rack, node)).map(|read| read.value),
            pxe: view.get(&key::pxe(rack, node)).map(|read| read.value),
            agent: view.get(&key::agent(rack, node)).map(|read| read.value),
            inventory: view.get(&key::inventory(rack, node)).map(|read| read.value),
            ports: ports.filter(|((of, _), _)| *of == rack).map(|((_, mac), port)| (mac, port)).collect(),
        })
    }

    /// Reads all records of a node that is named by its id or name.
    pub fn named(&self, name: &str) -> Result<Record, Error> {
        let (rack, node) = self.find(name)?;
        self.record(rack, node).ok_or_else(|| Error::Missing { kind: "node", name: name.to_owned() })
    }

    /// Lists the nodes of a rack, or of all racks, in the order of their ids.
    pub fn nodes(&self, only: Option<RackId>) -> Vec<(NodeId, RackId)> {
        let mut nodes = Vec::new();
        for (_, rack) in self.view().list(&key::racks()) {
            let rack = rack.value.id;
            if only.is_none_or(|only| only == rack) {
                nodes.extend(self.view().nodes(rack).into_iter().map(|node| (node, rack)));
            }
        }
        nodes.sort_unstable();
        nodes
    }

    /// Returns a rack by its id.
    pub fn rack(&self, rack: RackId) -> Option<Versioned<Rack>> {
        self.view().get(&key::rack(rack))
    }

    /// Finds a rack by its id or name. The empty name is valid.
    pub fn rack_named(&self, name: &str) -> Result<Versioned<Rack>, Error> {
        let missing = || Error::Missing { kind: "rack", name: name.to_owned() };
        let id = match name.parse::<RackId>() {
            Ok(rack) => rack,
            Err(_) => RackId::new(self.view().get(&key::rack_name(name)).ok_or_else(missing)?.value.id),
        };
        self.rack(id).ok_or_else(missing)
    }

    /// Finds an image by its id or name.
    pub fn image_named(&self, name: &str) -> Result<Versioned<Image>, Error> {
        let missing = || Error::Missing { kind: "image", name: name.to_owned() };
        let id = match name.parse::<ImageId>() {
            Ok(image) => image,
            Err(_) => ImageId::new(self.view().get(&key::image_name(name)).ok_or_else(missing)?.value.id),
        };
        self.image(id).ok_or_else(missing)
    }

    /// Returns an image by its id.
    pub fn image(&self, image: ImageId) -> Option<Versioned<Image>> {
        self.view().get(&key::image(image))
    }

    /// Adds a state transition to a change that already has its preconditions.
    pub fn add_move(
        &self,
        change: Change,
        record: &Record,
        moved: &Moved,
        intent: Option<&Intent>,
    ) -> Result<Change, keyspace::Error> {
        let (rack, node) = (record.rack, record.node);
        let mut change = change.put(&key::life(rack, node), &moved.life, Expect::Revision(record.life.revision))?;
        let mut intent = intent.or_else(|| moved.forget_deployment.then_some(&record.intent.value)).cloned();
        if moved.forget_deployment
            && let Some(intent) = &mut intent
        {
            intent.deployment = None;
            if let Some(read) = self.view().get(&key::node_spec(rack, node)) {
                change = self.give_up_instance(change, node, read.value.spec.instance());
                change = self.end_allocation(change, &read.value.spec);
                let mut after = read.value.clone();
                driver_info::forget_instance(intent, &mut after.spec);
                change = change.put(&key::node_spec(rack, node), &after, Expect::Revision(read.revision))?;
            }
        }
        if let Some(intent) = intent {
            change = change.put(&key::intent(rack, node), &intent, Expect::Revision(record.intent.revision))?;
        }
        let before = record.operation.as_ref();
        if let Some(operation) =
            moved.operation.as_ref().filter(|now| before.is_none_or(|before| before.value != **now))
        {
            change = change.put(&key::operation(rack, node), operation, Expect::same(before))?;
        }
        if moved.revoke_boot && record.boot.is_some() {
            change = change.delete(&key::boot(rack, node), Expect::same(record.boot.as_ref()));
        }
        let holder = holder(node, &record.intent.value.name);
        ports::find(change, rack, node, &holder, &moved.ports)
    }

    /// Computes the records after an event. Nothing is stored.
    ///
    /// # Errors
    /// [`provision::Refused`] if the state machine refuses the event.
    pub fn moved(
        &self,
        record: &Record,
        asked: (Event, NodeFacts),
        failure: Option<Failure>,
    ) -> Result<Moved, provision::Refused> {
        let id = OperationId::new(uuid::Uuid::new_v4());
        let operation = record.operation.as_ref().map(|read| &read.value);
        let generation = record.life.value.generation;
        let agent = record.agent.as_ref().filter(|agent| agent.generation == generation && agent.reboots);
        let boot = record.boot.as_ref().map(|boot| &boot.value);
        let rebooting = agent.zip(operation).map(|(agent, work)| work.made_before_reboot(boot, agent.reaches));
        let mut moved = transition(&record.life.value, operation, asked, rebooting, failure, id, clock::now())?;
        if moved.take_facts {
            self.take_facts(record, &mut moved);
        }
        Ok(moved)
    }

    /// Stores a request to the BMC outside an operation, under a new generation.
    pub async fn accept_power(
        &self,
        context: &RequestContext,
        record: &Record,
        request: impl Into<BmcRequest>,
    ) -> Result<Generation, Error> {
        let BmcRequest { target, data } = request.into().accepted(clock::now());
        provision::change_power(record.life.value.state, target, self.facts(record, &[]))?;
        let life = Life { generation: record.life.value.generation.next(), ..record.life.value.clone() };
        let (place, intent) = ((record.rack, record.node), &record.intent.value);
        let seal = |data| seal_raw_data(&self.sealer, place, intent, life.generation, &data);
        let raw_data = data.map(seal).transpose().map_err(|source| Error::Sealed { node: record.node, source })?;
        let intent = Intent { power: Some(target), raw_data, ..intent.clone() };
        let change = self
            .mesh
            .as_member()?
            .put(&key::life(record.rack, record.node), &life, Expect::Revision(record.life.revision))?
            .put(&key::intent(record.rack, record.node), &intent, Expect::Revision(record.intent.revision))?;
        self.commit(context, change).await?;
        Ok(life.generation)
    }
}

/// Returns the holder of a unique key for a node.
fn holder(node: NodeId, name: &str) -> Holder {
    Holder { kind: "node".to_owned(), id: node.uuid(), name: name.to_owned() }
}
