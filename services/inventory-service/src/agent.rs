//! Authenticates agents, gives them instructions, and stores their results.

use std::collections::BTreeMap;

use domain::{
    failure::{Cause, Failure},
    generation::Generation,
    hardware::Hardware,
    id::{NodeId, RackId},
    image::Digest as ImageDigest,
    service::Service,
    step::Step,
    timeline::{Entry, Mark},
};
use keyspace::{
    Expect, key,
    key::Scope,
    seal::{Place, Sealer},
    store::Versioned,
    value::{AgentSeen, AgentWork, BootDecision, NodeSpec, Properties, Work},
};
use mesh::{Mesh, WorkGuard};
use proto::agent::v1 as wire;
use service_kit::{Host, clock, timeline::Timeline};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::{Error, heartbeats::Heartbeats, metrics, report};

/// Feature level of agents that evaluate hints for disks (`HelloRequest.feature_level`).
const DISK_HINTS_LEVEL: u32 = 1;

/// The identity that an agent claims on every call.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) node: NodeId,
    pub(crate) generation: Generation,
    /// SHA-256 (hexadecimal) of its public key, which the TLS connection proved.
    pub(crate) key: String,
}

/// Returns the SHA-256 (hexadecimal) of a certificate's public key.
pub(crate) fn key_of(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(hex::encode(Sha256::digest(certificate.public_key().raw)))
}

/// The agents of this rack. Clones share the same state.
#[derive(Debug, Clone)]
pub(crate) struct Agents {
    pub(crate) rack: RackId,
    pub(crate) mesh: Mesh,
    pub(crate) sealer: Sealer,
    pub(crate) timeline: Timeline,
    pub(crate) heartbeats: Heartbeats,
    pub(crate) host: Host,
}

impl Agents {
    fn decision(&self, caller: &Caller) -> Option<Versioned<BootDecision>> {
        let read = self.mesh.view().get(&key::boot(self.rack, caller.node))?;
        (read.value.generation == caller.generation).then_some(read)
    }

    fn seen(&self, node: NodeId) -> Option<Versioned<AgentSeen>> {
        self.mesh.view().get(&key::agent(self.rack, node))
    }

    /// Binds the boot to the caller's key if the boot token is right. Idempotent for the same key. The feature level is stored
    /// with the binding: the call for work may reach this service after a restart, or another replica.
    pub(crate) async fn hello(&self, caller: &Caller, token: &[u8], feature_level: u32) -> Result<(), Error> {
        let node = caller.node;
        let guard = self.mesh.begin_work(node)?;
        let decision = self.decision(caller).ok_or(Error::BootToken(node))?;
        let place = Place::boot_token(self.rack, node);
        let expected =
            self.sealer.open(&place, &decision.value.boot_token).map_err(|source| Error::Sealed { node, source })?;
        if !bool::from(expected.expose().ct_eq(token)) {
            metrics::hello("wrong token");
            return Err(Error::BootToken(node));
        }
        let known = self.seen(node);
        if let Some(bound) = known.as_ref().filter(|known| known.value.generation == caller.generation) {
            if bound.value.key == caller.key {
                // It differs where a service of an earlier version bound the boot.
                if bound.value.feature_level != feature_level {
                    let seen = AgentSeen { feature_level, ..bound.value.clone() };
                    self.write(&guard, caller, bound, seen).await?;
                }
                return Ok(());
            }
            metrics::hello("two machines");
            let text = "two machines claim to be this node: the boot token is already bound to another key".to_owned();
            self.timeline.note(node, caller.generation, Mark::AgentRefused, &*text);
            let failure = Failure { cause: Cause::TwoMachines, text, at: clock::now() };
            let seen = AgentSeen { work: AgentWork::Failed { failure }, reaches: 0, ..bound.value.clone() };
            self.write(&guard, caller, bound, seen).await?;
            return Err(Error::TwoMachines(node));
        }
        let claim = self.mesh.claim(&guard).await?;
        let (bound_key, by) = (caller.key.clone(), claim.instance());
        let seen = AgentSeen::bound(caller.generation, bound_key, AgentWork::Underway, clock::now(), by);
        let seen = AgentSeen { feature_level, ..seen };
        let key = key::agent(self.rack, node);
        let change = self
            .mesh
            .fenced(&claim)
            .expect(&key::boot(self.rack, node), Expect::Revision(decision.revision))
            .put(&key, &seen, Expect::same(known.as_ref()))
            .map_err(mesh::Error::from)?;
        self.mesh.commit(change).await?;
        metrics::hello("bound");
        self.timeline.note(node, caller.generation, Mark::AgentHello, "");
        self.heartbeats.record(node);
        Ok(())
    }

    /// Returns the agent's record if it is bound to the caller.
    fn bound(&self, caller: &Caller) -> Result<Versioned<AgentSeen>, Error> {
        self.seen(caller.node)
            .filter(|seen| seen.value.generation == caller.generation && seen.value.key == caller.key)
            .ok_or(Error::NotBound(caller.node))
    }

    /// Stores the hardware report of a machine.
    pub(crate) async fn report(&self, caller: &Caller, hardware: Hardware) -> Result<(), Error> {
        let guard = self.mesh.begin_work(caller.node)?;
        self.bound(caller)?;
        self.heartbeats.record(caller.node);
        let description = report::describe(&hardware);
        let claim = self.mesh.claim(&guard).await?;
        let key = key::inventory(self.rack, caller.node);
        let known = self.mesh.view().get(&key);
        let inspects = self.decision(caller).is_some_and(|decision| decision.value.work == Work::Inspect);
        let inspection = inspects.then_some(caller.generation);
        if let Some(inventory) = report::merge(known.as_ref(), hardware, inspection, clock::now(), claim.instance()) {
            let change = self.mesh.fenced(&claim).put(&key, &inventory, Expect::same(known.as_ref()));
            self.mesh.commit(change.map_err(mesh::Error::from)?).await?;
        }
        self.timeline.note(caller.node, caller.generation, Mark::AgentReport, description);
        Ok(())
    }

    /// Starts the work of a bound agent. Returns the guard for it and the instruction. An agent that would ignore a part of
    /// the instruction gets none, and the work fails.
    pub(crate) async fn begin(&self, caller: &Caller) -> Result<(WorkGuard, wire::WorkResponse), Error> {
        let guard = self.mesh.begin_work(caller.node)?;
        let bound = self.bound(caller)?;
        let rest = wire::work_response::Instruction::Rest(wire::work_response::Rest {});
        let instruction =
            if bound.value.work == AgentWork::Underway { self.instruction(caller)? } else { rest.clone() };
        if bound.value.feature_level >= needed_level(&instruction) {
            return Ok((guard, wire::WorkResponse { instruction: Some(instruction) }));
        }
        let text = "the agent ramdisk is older than this service and would ignore root_device and skip_block_devices of the \
                    node, so nothing was written or wiped; build the ramdisk anew, and register it for the rack";
        self.timeline.note(caller.node, caller.generation, Mark::AgentRefused, text);
        let failure = Failure { cause: Cause::RamdiskMissing, text: text.to_owned(), at: clock::now() };
        let seen = AgentSeen { work: AgentWork::Failed { failure }, reaches: 0, ..bound.value.clone() };
        self.write(&guard, caller, &bound, seen).await?;
        Ok((guard, wire::WorkResponse { instruction: Some(rest) }))
    }

    /// Returns what clients set at a node.
    ///
    /// # Errors
    /// [`Error::NodeUnreadable`]: it may name disks that must not be written.
    pub(crate) fn node_spec(&self, node: NodeId) -> Result<NodeSpec, Error> {
        let (key, view) = (key::node_spec(self.rack, node), self.mesh.view());
        // In this order, a record that is created meanwhile is an error once, and not a node without one.
        let read = view.get(&key).map(|read| read.value.spec);
        spec_of(read, view.has(&key)).ok_or(Error::NodeUnreadable(node))
    }

    fn instruction(&self, caller: &Caller) -> Result<wire::work_response::Instruction, Error> {
        let node = caller.node;
        let decision = self.decision(caller).ok_or(Error::BootToken(node))?.value;
        let spec = self.node_spec(node)?;
        let skipped = Properties::of(&spec.properties).skipped_disks().into_iter();
        let skipped_disks: Vec<_> = skipped.map(disk_hints).collect();
        let (name, digest, encoding, unpacked_size, config_drive) = match decision.work {
            Work::Wipe => return Ok(wire::work_response::Instruction::Wipe(wire::Wipe { skipped_disks })),
            Work::Inspect => return Ok(wire::work_response::Instruction::Inspect(wire::Inspect {})),
            // Our own agent has no service steps and is never booted for them.
            Work::Service => return Ok(wire::work_response::Instruction::Rest(wire::work_response::Rest {})),
            Work::Write { name, digest, encoding, unpacked_size, config_drive } => {
                (name, digest, encoding, unpacked_size, config_drive)
            }
        };
        let sealed = |source| Error::Sealed { node, source };
        let files = self.sealer.open_files(&Place::config_drive(self.rack, node), &config_drive).map_err(sealed)?;
        let urls = self.urls(&digest);
        if urls.is_empty() {
            // All storage-services may have just lost their leases; an agent without a URL would give up.
            return Err(Error::NoStorage(node));
        }
        Ok(wire::work_response::Instruction::Write(wire::Write {
            image_name: name,
            digest: digest.to_string(),
            urls,
            encoding: wire::Encoding::from(encoding).into(),
            unpacked_size: unpacked_size.unwrap_or(0),
            disk: String::new(),
            config_drive: files.into_iter().collect(),
            root_device: Some(spec.root_device()).filter(|hints| !hints.is_empty()).map(disk_hints),
            skipped_disks,
        }))
    }

    /// Returns the URLs in the rack of the file with this digest.
    pub(crate) fn urls(&self, digest: &ImageDigest) -> Vec<String> {
        let members = self.mesh.view().list(&key::members(Scope::Rack(self.rack), Service::Storage)).into_iter();
        members.map(|(_, member)| format!("http://{}/files/{digest}", member.value.data_endpoint)).collect()
    }

    /// Handles an event of the agent. Returns `true` if it is the result of the work and has been stored.
    pub(crate) async fn handle_event(
        &self,
        guard: &WorkGuard,
        caller: &Caller,
        news: AgentEvent,
    ) -> Result<bool, Error> {
        self.heartbeats.record(caller.node);
        let (decision, mut reaches, mut reboots) = (self.decision(caller).map(|read| read.value), 0, false);
        let work = match news {
            AgentEvent::Heartbeat => return Ok(false),
            AgentEvent::Entry(entry) => {
                self.note(caller, entry);
                return Ok(false);
            }
            AgentEvent::Finished(part) => {
                reaches = part.unwrap_or_else(|| decision.as_ref().map_or(0, BootDecision::reaches));
                AgentWork::Done { at: clock::now() }
            }
            AgentEvent::Reboots(made) => {
                (reaches, reboots) = (made, true);
                AgentWork::Done { at: clock::now() }
            }
            AgentEvent::Lists(lists) => {
                let bound = self.bound(caller)?;
                if bound.value.lists != lists {
                    self.write(guard, caller, &bound, AgentSeen { lists, ..bound.value.clone() }).await?;
                }
                return Ok(false);
            }
            AgentEvent::Failed(failure) => {
                self.timeline.note(caller.node, caller.generation, Mark::AgentFailed, &*failure.text);
                AgentWork::Failed { failure: Failure { at: clock::now(), ..failure } }
            }
        };
        let bound = self.bound(caller)?;
        let is_at_work =
            decision.map_or(bound.value.work == AgentWork::Underway, |decision| bound.value.is_at_work(&decision));
        if is_at_work {
            let seen = AgentSeen { work, reaches, reboots, ..bound.value.clone() };
            self.write(guard, caller, &bound, seen).await?;
        }
        Ok(true)
    }

    fn note(&self, caller: &Caller, entry: Entry) {
        // Agents may only report what they can know.
        let known = [Mark::ImageProgress, Mark::ImageWritten, Mark::ConfigDriveWritten, Mark::Wiped, Mark::Inspected];
        if known.contains(&entry.mark) {
            let subject: String = entry.subject.chars().filter(|c| !c.is_control()).take(200).collect();
            self.timeline.note_amount(caller.node, caller.generation, entry.mark, subject, entry.amount);
        }
    }

    async fn write(
        &self,
        guard: &WorkGuard,
        caller: &Caller,
        known: &Versioned<AgentSeen>,
        seen: AgentSeen,
    ) -> Result<(), Error> {
        let claim = self.mesh.claim(guard).await?;
        let seen = AgentSeen { seen_at: clock::now(), seen_by: claim.instance(), ..seen };
        let key = key::agent(self.rack, caller.node);
        let change = self.mesh.fenced(&claim).put(&key, &seen, Expect::Revision(known.revision));
        self.mesh.commit(change.map_err(mesh::Error::from)?).await?;
        Ok(())
    }
}

/// Returns what is set at a node whose record was read, or which has none. `None` if its record cannot be read.
fn spec_of(read: Option<NodeSpec>, exists: bool) -> Option<NodeSpec> {
    if exists { read } else { Some(read.unwrap_or_default()) }
}

/// Returns the least feature level of an agent that carries out an instruction.
const fn needed_level(instruction: &wire::work_response::Instruction) -> u32 {
    use wire::work_response::Instruction;
    match instruction {
        Instruction::Write(wire::Write { root_device, skipped_disks, .. })
            if root_device.is_some() || !skipped_disks.is_empty() =>
        {
            DISK_HINTS_LEVEL
        }
        Instruction::Wipe(wire::Wipe { skipped_disks }) if !skipped_disks.is_empty() => DISK_HINTS_LEVEL,
        Instruction::Write(_) | Instruction::Wipe(_) | Instruction::Rest(_) | Instruction::Inspect(_) => 0,
    }
}

/// Hints for a disk, as the agent is sent them.
fn disk_hints(hints: BTreeMap<String, String>) -> wire::DiskHints {
    wire::DiskHints { hints: hints.into_iter().collect() }
}

/// An event that an agent reports.
#[derive(Debug, Clone)]
pub(crate) enum AgentEvent {
    /// The agent is alive.
    Heartbeat,
    /// An entry for the timeline.
    Entry(Entry),
    /// The work is done, with the number of completed steps; `None` if all given steps are completed.
    Finished(Option<u32>),
    /// The clean steps that the agent offers.
    Lists(Vec<Step>),
    /// The number of completed steps, the last of which requires a reboot.
    Reboots(u32),
    /// The work failed.
    Failed(Failure),
}

#[cfg(test)]
mod tests;
