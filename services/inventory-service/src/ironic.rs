//! Serves agents that use Ironic's protocol (`ironic-python-agent`): they make three kinds of calls and are sent
//! commands.
//!
//! Such an agent is bound to its boot by the boot token, like our own agent. The token is Ironic's *agent token*
//! (hexadecimal). It is returned by the first lookup of a boot only. Results are stored like those of our own agent.

mod agent_client;
mod callers;
pub(crate) mod http;
mod inspection;
mod report;
mod session;

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use domain::{generation::Generation, id::NodeId, net::MacAddr, timeline::Mark};
use keyspace::{
    Expect, key,
    key::Scope,
    seal::Place,
    store::Versioned,
    value::{AgentSeen, AgentWork, BootDecision, ExtraFields, Protocol, Work},
};
use mesh::WorkGuard;
use parking_lot::Mutex;
use serde_json::{Value, json};
use service_kit::{
    clock,
    outbound_http::Outbound,
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

use self::agent_client::Peer;
pub(crate) use self::callers::is_from_this_host;
use crate::{
    Error,
    agent::{Agents, Caller},
    metrics,
};

/// Heartbeat timeout in seconds; the agent sends a heartbeat after between a third and two thirds of it.
const HEARTBEAT_TIMEOUT_SECS: u32 = 90;
/// Placeholder for a token that was already returned.
const TOKEN_PLACEHOLDER: &str = "******";

/// Where a call came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// From this address, to the listener on the provisioning network.
    Network(IpAddr),
    /// Through the REST API of a scheduler, whose configuration allows it.
    Scheduler {
        /// Whether it came to that API over loopback of this host, and without the headers of a proxy.
        local: bool,
    },
}

/// A call of an agent, parsed as far as possible without the node.
#[derive(Debug, Clone)]
pub(crate) struct AgentCall {
    /// Where it came from.
    pub(crate) origin: Origin,
    /// API version of the call.
    pub(crate) version: Version,
    /// Path below `/v1`, without leading and trailing slashes.
    pub(crate) path: String,
    /// Query parameters.
    pub(crate) pairs: Vec<(String, String)>,
    /// JSON body; null if there is none.
    pub(crate) body: Value,
    /// Scheme and host for links.
    pub(crate) base: String,
}

/// The response to a call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AgentResponse {
    pub(crate) status: u16,
    pub(crate) body: Option<Value>,
}

/// Why a call is not answered here.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The call is refused with this error.
    Refused(Wire),
    /// Another replica owns the node; the value is its listener for agents.
    Redirect(String),
}

impl From<Wire> for CallError {
    fn from(error: Wire) -> Self {
        Self::Refused(error)
    }
}

/// The agents of this rack that use Ironic's protocol. Clones share the same state.
#[derive(Debug, Clone)]
pub(crate) struct Ironic {
    pub(crate) agents: Agents,
    /// The agents with which a session is running.
    sessions: Arc<Mutex<HashMap<NodeId, Peer>>>,
    /// Calls agents.
    outbound: Outbound,
}

/// A node that is booting such an agent.
#[derive(Debug, Clone)]
struct PendingBoot {
    node: NodeId,
    decision: Versioned<BootDecision>,
}

impl PendingBoot {
    const fn generation(&self) -> Generation {
        self.decision.value.generation
    }

    /// Returns whether the node has no machine, so that a stand-in for an agent calls.
    fn is_stand_in(&self) -> bool {
        self.decision.value.protocol == Protocol::StandIn
    }
}

impl Ironic {
    pub(crate) fn new(agents: Agents, outbound: Outbound) -> Self {
        Self { agents, sessions: Arc::default(), outbound }
    }

    /// Answers a call.
    pub(crate) async fn answer(&self, call: &AgentCall) -> Result<AgentResponse, CallError> {
        let steps: Vec<_> = call.path.split('/').collect();
        match steps.as_slice() {
            ["lookup"] => self.lookup(call).await,
            ["heartbeat", node] => self.heartbeat(call, node).await,
            ["continue_inspection"] => self.inspected(call).await,
            _ => Err(text::no_such_path().into()),
        }
    }

    async fn lookup(&self, call: &AgentCall) -> Result<AgentResponse, CallError> {
        let lookup = Lookup::read(call.version, &call.pairs)?;
        let uuid = lookup.node_uuid.as_deref();
        let booting = self.booting(uuid, &lookup.addresses).ok_or_else(text::resource_not_found)?;
        self.check_origin(call, booting.node)?;
        if !self.has_booted(&booting) {
            // Agents repeat the lookup.
            return Err(text::resource_not_found().into());
        }
        let guard = self.begin_work(&booting)?;
        let token = if !shows_token(call.version) {
            None
        } else if self.bind(&guard, &booting).await? {
            Some(self.token(&booting)?)
        } else {
            Some(TOKEN_PLACEHOLDER.to_owned())
        };
        Ok(AgentResponse { status: 200, body: Some(self.lookup_response(&booting, call, token)?) })
    }

    /// Returns the response to a lookup: the node and the configuration of the agent.
    fn lookup_response(
        &self,
        booting: &PendingBoot,
        call: &AgentCall,
        token: Option<String>,
    ) -> Result<Value, CallError> {
        let config = AgentConfig {
            heartbeat_timeout: HEARTBEAT_TIMEOUT_SECS,
            agent_md5_checksum_enable: false,
            ..AgentConfig::with_defaults(token)
        };
        let mut node = self.node_document(booting.node).map_err(|error| text::busy(&chain(&error)))?;
        if let Some(members) = node.as_object_mut() {
            let links = wire_ironic::links::resource(&call.base, &format!("nodes/{}", booting.node));
            members.insert("links".to_owned(), links);
        }
        Ok(json!({"node": node, "config": config}))
    }

    /// Returns the node as its agent needs it, without secrets.
    fn node_document(&self, node: NodeId) -> Result<Value, Error> {
        let spec = self.agents.node_spec(node)?;
        let shown = |fields: ExtraFields| masked(Value::Object(fields.into_map()));
        Ok(json!({
            "uuid": node,
            "properties": shown(spec.properties),
            "instance_info": shown(spec.instance_info.unwrap_or_default()),
            "driver_internal_info": {},
        }))
    }

    async fn heartbeat(&self, call: &AgentCall, node: &str) -> Result<AgentResponse, CallError> {
        let empty = serde_json::Map::new();
        let node: NodeId = node.parse().map_err(|_| text::not_found("Node", node))?;
        let known = self.peer(node).map(|peer| peer.url);
        let beat = Heartbeat::read(call.version, call.body.as_object().unwrap_or(&empty), known.as_deref())?;
        beat.check_version()?;
        if self.agents.mesh.view().get(&key::life(self.agents.rack, node)).is_none() {
            return Err(text::not_found("Node", &node.to_string()).into());
        }
        self.check_origin(call, node)?;
        let booting = self.last_boot(node).ok_or_else(Heartbeat::wrong_token)?;
        if !bool::from(self.token(&booting)?.as_bytes().ct_eq(beat.agent_token.as_bytes())) {
            metrics::hello("wrong token");
            return Err(Heartbeat::wrong_token().into());
        }
        if !self.is_awaited(&booting) {
            // The work has failed or is done; the agent need not know.
            return Ok(AgentResponse { status: 202, body: None });
        }
        let is_stand_in = booting.is_stand_in();
        let peer = Peer { url: beat.callback_url, certificate: beat.agent_verify_ca, is_stand_in };
        // It sends its report when it wants to, as to Ironic, and is not called.
        let is_called = !(is_stand_in && booting.decision.value.work == Work::Inspect);
        if is_called {
            // First: an agent that cannot be called shows no progress, so that its operation ends in time.
            self.check_callback(call.origin, node, &peer)?;
        }
        let guard = self.begin_work(&booting)?;
        self.bind(&guard, &booting).await?;
        self.agents.heartbeats.record(node);
        if !is_called {
            return Ok(AgentResponse { status: 202, body: None });
        }
        if self.agents.mesh.view().get(&key::agent(self.agents.rack, node)).is_some_and(|agent| {
            agent.value.generation == booting.generation() && agent.value.is_at_work(&booting.decision.value)
        }) {
            self.start_session(guard, booting, peer);
        }
        Ok(AgentResponse { status: 202, body: None })
    }

    /// Checks that a call comes from an address that we assigned to the machine: an agent of this node runs nowhere else.
    /// The response to other callers is that there is no such node.
    fn check_origin(&self, call: &AgentCall, node: NodeId) -> Result<(), CallError> {
        match call.origin {
            Origin::Scheduler { .. } => Ok(()),
            Origin::Network(address) if self.is_own_address(node, address) => Ok(()),
            Origin::Network(address) => {
                metrics::hello("wrong address");
                tracing::warn!(%node, %address, path = call.path, "refused a call that does not come from the node's address");
                Err(text::resource_not_found().into())
            }
        }
    }

    /// Returns whether we assigned this address to the machine.
    fn is_own_address(&self, node: NodeId, address: IpAddr) -> bool {
        let ports = self.agents.mesh.view().list(&key::ports(self.agents.rack)).into_iter();
        let mut own = ports.filter(|(_, port)| port.value.node == node).filter_map(|(_, port)| port.value.address);
        own.any(|own| address.to_canonical() == own)
    }

    /// Returns whether the node was booted for this decision. Until then no agent of this boot runs.
    fn has_booted(&self, booting: &PendingBoot) -> bool {
        let (view, rack) = (self.agents.mesh.view(), self.agents.rack);
        let pxe = view.get(&key::pxe(rack, booting.node)).map(|read| read.value);
        let life = view.get(&key::life(rack, booting.node));
        life.is_some_and(|life| callers::has_booted(&booting.decision.value, life.value.state, pxe.as_ref()))
    }

    /// Checks that the agent may be called at the URL of its heartbeat.
    fn check_callback(&self, origin: Origin, node: NodeId, peer: &Peer) -> Result<(), Wire> {
        let refused = |why: &str| Class::Invalid.error(format!("The callback_url {:?} is refused: {why}", peer.url));
        domain::url_text::check(&peer.url).map_err(|error| refused(&error.to_string()))?;
        let is_own = |address| self.is_own_address(node, address);
        callers::check_callback(peer, origin, is_own, self.outbound.policy()).map_err(refused)
    }

    /// Returns the node that is booting such an agent, by its id or by the MAC address of a port.
    fn booting(&self, uuid: Option<&str>, addresses: &[String]) -> Option<PendingBoot> {
        if let Some(uuid) = uuid {
            return self.pending_boot(uuid.parse().ok()?);
        }
        let view = self.agents.mesh.view();
        let macs = addresses.iter().filter_map(|address| address.parse::<MacAddr>().ok());
        let mut ports = macs.filter_map(|mac| view.get(&key::port(self.agents.rack, mac)));
        ports.find_map(|port| self.pending_boot(port.value.node))
    }

    fn pending_boot(&self, node: NodeId) -> Option<PendingBoot> {
        self.last_boot(node).filter(|booting| self.is_awaited(booting))
    }

    /// Returns the last boot of a node if its agent uses Ironic's protocol.
    fn last_boot(&self, node: NodeId) -> Option<PendingBoot> {
        let decision = self.agents.mesh.view().get(&key::boot(self.agents.rack, node));
        let booting = PendingBoot { node, decision: decision.filter(|read| read.value.protocol.is_ironics())? };
        let intent = self.agents.mesh.view().get(&key::intent(self.agents.rack, node))?.value;
        callers::has_protocol_of(&booting.decision.value, intent.driver).then_some(booting)
    }

    /// Returns whether the boot is still the node's last one. An operation that has ended has no boot, or another one.
    fn is_current(&self, booting: &PendingBoot) -> bool {
        self.last_boot(booting.node).is_some_and(|last| last.generation() == booting.generation())
    }

    /// Returns whether the result of the boot is still awaited.
    fn is_awaited(&self, booting: &PendingBoot) -> bool {
        let life = self.agents.mesh.view().get(&key::life(self.agents.rack, booting.node));
        life.is_some_and(|life| life.value.generation == booting.generation() && life.value.state.is_busy())
    }

    fn begin_work(&self, booting: &PendingBoot) -> Result<WorkGuard, CallError> {
        self.agents.mesh.begin_work(booting.node).map_err(|error| self.call_error(booting.node, &error.into()))
    }

    /// Returns the token of a boot as the agent knows it: 64 hexadecimal digits.
    fn token(&self, booting: &PendingBoot) -> Result<String, CallError> {
        let place = Place::boot_token(self.agents.rack, booting.node);
        let opened = self.agents.sealer.open(&place, &booting.decision.value.boot_token);
        let sealed = |source| self.call_error(booting.node, &Error::Sealed { node: booting.node, source });
        opened.map(|token| hex::encode(token.expose())).map_err(sealed)
    }

    /// Returns the identity of this boot's agent.
    fn caller(booting: &PendingBoot, token: &str) -> Caller {
        let key = hex::encode(Sha256::digest(token.as_bytes()));
        Caller { node: booting.node, generation: booting.generation(), key }
    }

    /// Binds the boot. Returns `false` if it was already bound.
    async fn bind(&self, guard: &WorkGuard, booting: &PendingBoot) -> Result<bool, CallError> {
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
        bound.await.map_err(|error| self.call_error(node, &error.into()))?;
        metrics::hello("bound");
        self.agents.timeline.note(node, generation, Mark::AgentHello, "ironic-python-agent");
        self.agents.heartbeats.record(node);
        Ok(true)
    }

    /// Converts an error to Ironic's form. Agents retry all errors but client errors (4xx).
    fn call_error(&self, node: NodeId, error: &Error) -> CallError {
        if let Error::Mesh(mesh::Error::NotOwner { instance, .. }) = error {
            let members = self
                .agents
                .mesh
                .view()
                .list(&key::members(Scope::Rack(self.agents.rack), domain::service::Service::Inventory));
            let owner = members.into_iter().find(|(path, _)| key::last(path) == Some(*instance));
            if let Some((_, member)) = owner.filter(|(_, member)| !member.value.ironic_endpoint.is_empty()) {
                return CallError::Redirect(member.value.ironic_endpoint);
            }
        }
        CallError::Refused(match error.kind() {
            Kind::Conflict => text::locked(&node.to_string(), "another request"),
            Kind::NotOwner | Kind::Unavailable | Kind::Island | Kind::NotNow => text::busy(&chain(error)),
            Kind::Invalid | Kind::Missing | Kind::Taken | Kind::Denied | Kind::Internal => {
                tracing::warn!(%node, error = %chain(error), "call of an agent failed");
                Class::Server.error("internal error of inventory-service; see its log")
            }
        })
    }

    fn peer(&self, node: NodeId) -> Option<Peer> {
        self.sessions.lock().get(&node).cloned()
    }
}
