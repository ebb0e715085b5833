//! The door for agents that speak Ironic's protocol (`ironic-python-agent`): three calls come in, commands go back.
//!
//! Such an agent is bound to its boot as ours is, by the boot token, which is its *agent token* here (hexadecimal). It
//! is given with the first lookup of a boot, and never again; what comes of its work is stored where ours is.

pub(crate) mod door;
mod inspection;
mod line;
mod report;
mod talk;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use domain::{generation::Generation, id::NodeId, net::MacAddr, timeline::Mark};
use keyspace::{
    Expect, key,
    key::Scope,
    store::Versioned,
    value::{AgentSeen, AgentWork, BootDecision, Protocol},
};
use mesh::WorkGuard;
use serde_json::{Value, json};
use service_kit::{
    clock,
    status::{Failure as _, Kind, chain},
};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use wire_ironic::{
    agent::{AgentConfig, Heartbeat, Lookup, shows_token},
    error::{Class, Error as Wire, text},
    fields::masked,
    version::Version,
};

use self::talk::Peer;
use crate::{
    Error,
    agent::{Agents, Caller},
    metrics,
};

/// Seconds that may pass between two heartbeats; the agent takes between a third and two thirds of it.
const HEARTBEAT: u32 = 90;
/// What stands where a token was given already.
const GIVEN: &str = "******";

/// A call, read as far as it can be without knowing a node.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The version that it speaks.
    pub(crate) version: Version,
    /// Its path below `/v1`, without slashes at its ends.
    pub(crate) path: String,
    /// What stands behind the question mark.
    pub(crate) pairs: Vec<(String, String)>,
    /// Its body; null: none.
    pub(crate) body: Value,
    /// Scheme and host that links begin with.
    pub(crate) base: String,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) body: Option<Value>,
}

/// Why there is none.
#[derive(Debug)]
pub(crate) enum Unsaid {
    /// The caller is told this.
    Refused(Wire),
    /// Another replica owns the node; where agents reach it.
    Elsewhere(String),
}

impl From<Wire> for Unsaid {
    fn from(error: Wire) -> Self {
        Self::Refused(error)
    }
}

/// The agents of this rack that speak Ironic's protocol. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Ironic {
    pub(crate) agents: Agents,
    /// Whom we talk with, and where it is called.
    talks: Arc<Mutex<HashMap<NodeId, Peer>>>,
}

/// A node that boots such an agent at present.
#[derive(Debug, Clone)]
struct Booting {
    node: NodeId,
    decision: Versioned<BootDecision>,
}

impl Booting {
    const fn generation(&self) -> Generation {
        self.decision.value.generation
    }
}

impl Ironic {
    pub(crate) fn new(agents: Agents) -> Self {
        Self { agents, talks: Arc::default() }
    }

    /// Answers a call.
    pub(crate) async fn answer(&self, asked: &Asked) -> Result<Said, Unsaid> {
        let steps: Vec<_> = asked.path.split('/').collect();
        match steps.as_slice() {
            ["lookup"] => self.lookup(asked).await,
            ["heartbeat", node] => self.heartbeat(asked, node).await,
            ["continue_inspection"] => self.inspected(asked).await,
            _ => Err(text::no_such_path().into()),
        }
    }

    async fn lookup(&self, asked: &Asked) -> Result<Said, Unsaid> {
        let lookup = Lookup::read(asked.version, &asked.pairs)?;
        let uuid = lookup.node_uuid.as_deref();
        let booting = self.booting(uuid, &lookup.addresses).ok_or_else(text::resource_not_found)?;
        let guard = self.begin_work(&booting)?;
        let token = if !shows_token(asked.version) {
            None
        } else if self.bind(&guard, &booting).await? {
            Some(self.token(&booting)?)
        } else {
            Some(GIVEN.to_owned())
        };
        Ok(Said { status: 200, body: Some(self.found(&booting, asked, token)) })
    }

    /// What an agent is told of its node and of itself.
    fn found(&self, booting: &Booting, asked: &Asked, token: Option<String>) -> Value {
        let config =
            AgentConfig { heartbeat_timeout: HEARTBEAT, agent_md5_checksum_enable: false, ..AgentConfig::usual(token) };
        let mut node = self.shown(booting.node);
        if let Some(members) = node.as_object_mut() {
            let links = wire_ironic::links::resource(&asked.base, &format!("nodes/{}", booting.node));
            members.insert("links".to_owned(), links);
        }
        json!({"node": node, "config": config})
    }

    /// A node as its agent needs it: without anything secret.
    fn shown(&self, node: NodeId) -> Value {
        let read = self.agents.mesh.view().get(&key::sheet(self.agents.rack, node));
        let fields = read.map(|read| read.value.fields).unwrap_or_default();
        let of = |name: &str| masked(fields.get(name).cloned().unwrap_or_else(|| json!({})));
        json!({
            "uuid": node,
            "properties": of("properties"),
            "instance_info": of("instance_info"),
            "driver_internal_info": {},
        })
    }

    async fn heartbeat(&self, asked: &Asked, node: &str) -> Result<Said, Unsaid> {
        let empty = serde_json::Map::new();
        let node: NodeId = node.parse().map_err(|_| text::not_found("Node", node))?;
        let known = self.peer(node).map(|peer| peer.url);
        let beat = Heartbeat::read(asked.version, asked.body.as_object().unwrap_or(&empty), known.as_deref())?;
        beat.check_version()?;
        if self.agents.mesh.view().get(&key::life(self.agents.rack, node)).is_none() {
            return Err(text::not_found("Node", &node.to_string()).into());
        }
        let booting = self.decided(node).ok_or_else(Heartbeat::wrong_token)?;
        if !bool::from(self.token(&booting)?.as_bytes().ct_eq(beat.agent_token.as_bytes())) {
            metrics::hello("wrong token");
            return Err(Heartbeat::wrong_token().into());
        }
        if !self.is_present(&booting) {
            // Its work has failed, or is done: it need not know.
            return Ok(Said { status: 202, body: None });
        }
        let guard = self.begin_work(&booting)?;
        self.bind(&guard, &booting).await?;
        self.agents.census.heard(node);
        if self.agents.mesh.view().get(&key::agent(self.agents.rack, node)).is_some_and(|agent| {
            agent.value.generation == booting.generation() && agent.value.is_at_work(&booting.decision.value)
        }) {
            self.check_address(node, &beat.callback_url)?;
            self.talk(guard, booting, Peer { url: beat.callback_url, certificate: beat.agent_verify_ca });
        }
        Ok(Said { status: 202, body: None })
    }

    /// An agent is called where its machine is, and nowhere else, whatever it says.
    fn check_address(&self, node: NodeId, url: &str) -> Result<(), Wire> {
        let refused = |why: &str| Err(Class::Invalid.says(format!("The callback_url {url:?} is not used: {why}")));
        let Some(host) = line::host(url) else { return refused("it must name its host by an IPv4 address") };
        let ports = self.agents.mesh.view().list(&key::ports(self.agents.rack)).into_iter();
        let mut own = ports.filter(|(_, port)| port.value.node == node).filter_map(|(_, port)| port.value.address);
        if own.any(|address| address == host) {
            return Ok(());
        }
        refused("it is not the address that the machine has from us")
    }

    /// The node that boots such an agent, by its id or by the MAC of a port.
    fn booting(&self, uuid: Option<&str>, addresses: &[String]) -> Option<Booting> {
        if let Some(uuid) = uuid {
            return self.of(uuid.parse().ok()?);
        }
        let view = self.agents.mesh.view();
        let macs = addresses.iter().filter_map(|address| address.parse::<MacAddr>().ok());
        let mut ports = macs.filter_map(|mac| view.get(&key::port(self.agents.rack, mac)));
        ports.find_map(|port| self.of(port.value.node))
    }

    fn of(&self, node: NodeId) -> Option<Booting> {
        self.decided(node).filter(|booting| self.is_present(booting))
    }

    /// The last boot of a node, where its agent speaks Ironic's protocol.
    fn decided(&self, node: NodeId) -> Option<Booting> {
        let decision = self.agents.mesh.view().get(&key::boot(self.agents.rack, node));
        let decision = decision.filter(|read| read.value.protocol == Protocol::Ironic)?;
        Some(Booting { node, decision })
    }

    /// Whether somebody still waits for what a boot is to bring.
    fn is_present(&self, booting: &Booting) -> bool {
        let life = self.agents.mesh.view().get(&key::life(self.agents.rack, booting.node));
        life.is_some_and(|life| life.value.generation == booting.generation() && life.value.state.is_busy())
    }

    fn begin_work(&self, booting: &Booting) -> Result<WorkGuard, Unsaid> {
        self.agents.mesh.begin_work(booting.node).map_err(|error| self.unsaid(booting.node, &error.into()))
    }

    /// The token of a boot, as the agent has it: 64 hexadecimal digits.
    fn token(&self, booting: &Booting) -> Result<String, Unsaid> {
        let opened =
            self.agents.sealer.open(&format!("{}/boot-token", booting.node), &booting.decision.value.boot_token);
        let sealed = |source| self.unsaid(booting.node, &Error::Sealed { node: booting.node, source });
        opened.map(|token| hex::encode(token.expose())).map_err(sealed)
    }

    /// Who an agent of this boot is to the rest of the service.
    fn caller(booting: &Booting, token: &str) -> Caller {
        let key = hex::encode(Sha256::digest(token.as_bytes()));
        Caller { node: booting.node, generation: booting.generation(), key }
    }

    /// Binds the boot to whoever asks now; false: it is bound already.
    async fn bind(&self, guard: &WorkGuard, booting: &Booting) -> Result<bool, Unsaid> {
        let (node, generation) = (booting.node, booting.generation());
        let key = key::agent(self.agents.rack, node);
        let known = self.agents.mesh.view().get(&key);
        if known.as_ref().is_some_and(|known| known.value.generation == generation) {
            return Ok(false);
        }
        let caller = Self::caller(booting, &self.token(booting)?);
        let bound = async {
            let claim = self.agents.mesh.claim(guard).await?;
            let by = claim.instance();
            let seen = AgentSeen::bound(generation, caller.key, AgentWork::Underway, clock::now(), by);
            let decided = Expect::Revision(booting.decision.revision);
            let change = self.agents.mesh.fenced(&claim).expect(&key::boot(self.agents.rack, node), decided);
            self.agents.mesh.commit(change.put(&key, &seen, Expect::same(known.as_ref()))?).await
        };
        bound.await.map_err(|error| self.unsaid(node, &error.into()))?;
        metrics::hello("bound");
        self.agents.timeline.note(node, generation, Mark::AgentHello, "it speaks Ironic's protocol");
        self.agents.census.heard(node);
        Ok(true)
    }

    /// What went wrong in us, as agents are told: they ask again for everything but a 4xx of theirs.
    fn unsaid(&self, node: NodeId, error: &Error) -> Unsaid {
        if let Error::Mesh(mesh::Error::NotOwner { instance, .. }) = error {
            let members = self
                .agents
                .mesh
                .view()
                .list(&key::members(Scope::Rack(self.agents.rack), domain::service::Service::Inventory));
            let owner = members.into_iter().find(|(path, _)| key::last(path) == Some(*instance));
            if let Some((_, member)) = owner.filter(|(_, member)| !member.value.ironic_endpoint.is_empty()) {
                return Unsaid::Elsewhere(member.value.ironic_endpoint);
            }
        }
        Unsaid::Refused(match error.kind() {
            Kind::Conflict => text::locked(&node.to_string(), "another request"),
            Kind::NotOwner | Kind::Unavailable | Kind::Island | Kind::NotNow => text::busy(&chain(error)),
            Kind::Invalid | Kind::Missing | Kind::Taken | Kind::Denied | Kind::Internal => {
                tracing::warn!(%node, error = %chain(error), "an agent's call came to nothing");
                Class::Server.says("Ironmesh could not do it; its log says why")
            }
        })
    }

    fn peer(&self, node: NodeId) -> Option<Peer> {
        self.talks.lock().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()
    }
}
