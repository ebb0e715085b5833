//! Executes instructions at BMCs: takes over as `domain::ring::bmc_takeover` demands, then sends one journalled command at a
//! time.

use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::{
    failure::{Cause, Failure},
    generation::InstructionVersion,
    id::{NodeId, RackId},
    power::{BootDevice, Power, PowerTarget},
};
use keyspace::{
    Expect, key,
    store::Versioned,
    value::{self, Intent, PowerSeen, Settled},
};
use mesh::{Claim, Joined, JournalWriter, Mesh, WorkGuard};
use parking_lot::Mutex;
use service_kit::{Host, clock, timeline::Timeline};
use tokio::time::timeout;

use self::{
    attempt::{AttemptError, Instruction, Stopped},
    patience::Patience,
    rejected::RejectedLogins,
};
use crate::{
    Error,
    bmc::BmcError,
    config, metrics,
    session::{BmcDrivers, BmcTarget},
};

mod attempt;
mod observe;
mod patience;
mod raw_data;
mod rejected;

/// How long to wait until our own view shows what we wrote. If it takes longer, the rack is about to become an island.
const VIEW_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an instruction that a user waits for is retried.
const INTERACTIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// The running instructions. Clones share the same state.
#[derive(Clone)]
pub(crate) struct Work {
    joined: Joined,
    rack: RackId,
    drivers: BmcDrivers,
    limits: Arc<config::Power>,
    timeline: Timeline,
    host: Host,
    running: Arc<Mutex<HashMap<NodeId, InstructionVersion>>>,
    rejected: RejectedLogins,
}

impl Work {
    pub(crate) fn new(
        joined: Joined,
        drivers: BmcDrivers,
        limits: config::Power,
        timeline: Timeline,
        host: Host,
    ) -> Result<Self, Error> {
        let rack = joined.rack()?;
        let (limits, running, rejected) = (Arc::new(limits), Arc::default(), RejectedLogins::default());
        Ok(Self { joined, rack, drivers, limits, timeline, host, running, rejected })
    }

    fn mesh(&self) -> &Mesh {
        &self.joined.mesh
    }

    fn intent(&self, node: NodeId) -> Result<Intent, Error> {
        let read = self.mesh().view().get(&key::intent(self.rack, node));
        read.map(|read| read.value).ok_or(Error::UnknownNode(node))
    }

    /// Returns how to reach the BMC of a node, and the record that says so.
    fn bmc_target(&self, node: NodeId) -> Result<(BmcTarget, Option<value::Bmc>), Error> {
        let recorded = self.mesh().view().get(&key::power(self.rack, node)).map(|recorded| recorded.value.power);
        let intent = self.intent(node)?;
        let record = intent.bmc.clone();
        Ok((BmcTarget::resolve(self.rack, node, intent, recorded, &self.joined.sealer)?, record))
    }

    /// Starts an instruction. Does nothing if it is running or completed.
    pub(crate) fn ensure(&self, node: NodeId, version: InstructionVersion, target: PowerTarget) -> Result<(), Error> {
        let guard = self.mesh().begin_work(node)?;
        self.intent(node)?;
        if self.is_settled(node, version) {
            return Ok(());
        }
        {
            let mut running = self.running.lock();
            match running.get(&node) {
                Some(at) if version.is_older_than(*at) => return Err(Error::Outdated(node)),
                // One instruction at a time: a newer one is requested again and starts when this one has ended.
                Some(_) => return Ok(()),
                None => running.insert(node, version),
            };
        }
        let work = self.clone();
        self.host.spawn(async move {
            work.execute(guard, version, target).await;
            work.running.lock().remove(&node);
        });
        Ok(())
    }

    fn is_settled(&self, node: NodeId, version: InstructionVersion) -> bool {
        let read = self.mesh().view().get(&key::power(self.rack, node));
        read.and_then(|read| read.value.settled).is_some_and(|settled| settled.generation >= version.generation)
    }

    async fn execute(&self, guard: WorkGuard, version: InstructionVersion, target: PowerTarget) {
        let node = guard.node();
        let instruction = Instruction { version, target, requested_at: clock::now() };
        let attempts = async {
            let budget = self.retry_timeout(target);
            let mut patience = Patience::new(budget);
            loop {
                match self.attempt(&guard, instruction, &mut patience).await {
                    Ok(()) => return Ok(()),
                    Err(AttemptError::Stopped(stopped)) => return Err(stopped),
                    Err(AttemptError::Paused) => {}
                    Err(AttemptError::Transient(error)) => {
                        let paused = patience.pause(error).await.map(drop);
                        paused.map_err(|error| Stopped::Failed(given_up(&error, budget)))?;
                    }
                }
            }
        };
        let outcome = tokio::select! {
            outcome = attempts => outcome,
            () = guard.lost() => Err(Stopped::Relinquished(mesh::Error::HandingOver { node })),
        };
        match outcome {
            Ok(()) => {
                // A machine that boots from the network once is about to be inspected or deployed.
                if matches!(target, PowerTarget::Booted { boot: Some(boot) } if boot.device == BootDevice::Pxe) {
                    drop(self.read_firmware_in_background(node));
                }
                metrics::instruction("reached");
            }
            Err(Stopped::Relinquished(error)) => {
                tracing::info!(node = %node, error = %chain(&error), "instruction left to the next owner");
                return metrics::instruction("left");
            }
            Err(Stopped::Failed(failure)) => {
                metrics::instruction("failed");
                if let Err(error) = self.settle_failed(&guard, version, failure).await {
                    tracing::warn!(node = %node, error = %chain(&error), "cannot store a failed instruction");
                    return;
                }
            }
        }
        self.wait_until_visible(&guard, version).await;
    }

    /// Waits until our own view shows the result of an instruction. Until then it counts as running, or a repeated
    /// request would start it again.
    async fn wait_until_visible(&self, guard: &WorkGuard, version: InstructionVersion) {
        let node = guard.node();
        let mut news = self.mesh().view().subscribe();
        let seeing = async { while !self.is_settled(node, version) && news.next().await.is_some() {} };
        tokio::select! {
            seen = timeout(VIEW_TIMEOUT, seeing) => if seen.is_err() {
                tracing::warn!(node = %node, "own view does not show a completed instruction");
            },
            () = guard.lost() => {}
        }
    }

    /// How long transient failures of an instruction are retried. It is short for boot orders and interrupts, which a
    /// user waits for, and ends when a command that is sent once is not sent any more.
    fn retry_timeout(&self, target: PowerTarget) -> Duration {
        let sendable = target.send_by().map_or(Duration::MAX, |by| by.since(clock::now()));
        match target {
            PowerTarget::BootOrder { .. } | PowerTarget::Interrupted { .. } => {
                self.limits.instruction.min(INTERACTIVE_TIMEOUT).min(sendable)
            }
            PowerTarget::On
            | PowerTarget::Off
            | PowerTarget::SoftOff { .. }
            | PowerTarget::Booted { .. }
            | PowerTarget::SoftBooted { .. } => {
                let own = target.by().map_or(Duration::ZERO, |by| by.since(clock::now()));
                self.limits.instruction.max(own)
            }
            PowerTarget::BmcReset { .. } | PowerTarget::RawCommand { .. } => self.limits.instruction.min(sendable),
        }
    }

    async fn settle_failed(
        &self,
        guard: &WorkGuard,
        version: InstructionVersion,
        failure: Failure,
    ) -> Result<(), mesh::Error> {
        tracing::warn!(node = %guard.node(), cause = failure.cause.word(), text = failure.text, "instruction failed");
        let claim = self.mesh().claim(guard).await?;
        let key = key::power(self.rack, guard.node());
        let read = self.mesh().view().get(&key);
        let settled = Settled { generation: version.generation, at: clock::now(), failure: Some(failure) };
        let seen = power_record(None, read.as_ref().map(|read| &read.value), claim, Some(settled));
        let change = self.mesh().fenced(&claim).put(&key, &seen, Expect::same(read.as_ref()))?;
        self.mesh().commit(change).await.map(drop)
    }

    async fn settle(
        &self,
        journal: &mut JournalWriter,
        version: InstructionVersion,
        power: Option<Power>,
    ) -> Result<(), mesh::Error> {
        let claim = journal.claim();
        let key = key::power(self.rack, claim.node());
        let read = self.mesh().view().get(&key);
        let settled = Settled { generation: version.generation, at: clock::now(), failure: None };
        let seen = |before: Option<&Versioned<PowerSeen>>| {
            power_record(power, before.map(|read| &read.value), claim, Some(settled.clone()))
        };
        let written =
            journal.write_with(|change| change.put(&key, &seen(read.as_ref()), Expect::same(read.as_ref()))).await;
        match written {
            // A poll stored the power meanwhile, or our view is behind. No other instance holds the claim, so
            // overwriting is safe.
            Err(mesh::Error::Store(keyspace::Error::Conflict)) => {
                let read = self.mesh().store().get(&key).await.map_err(mesh::Error::Store)?;
                journal.write_with(|change| change.put(&key, &seen(read.as_ref()), Expect::same(read.as_ref()))).await
            }
            written => written,
        }
    }
}

/// The record of a power that was read, or the one before with what ended, if it was not read.
fn power_record(read: Option<Power>, before: Option<&PowerSeen>, claim: Claim, settled: Option<Settled>) -> PowerSeen {
    match (read, before) {
        (None, Some(before)) => PowerSeen { settled, ..before.clone() },
        (read, _) => {
            let power = read.unwrap_or(Power::Off);
            PowerSeen { power, seen_at: clock::now(), seen_by: claim.instance(), settled, trouble: None }
        }
    }
}

fn failure(cause: Cause, text: String) -> Failure {
    Failure { cause, text, at: clock::now() }
}

/// The failure of an instruction whose time is over, or that the BMC refuses.
fn given_up(error: &BmcError, budget: Duration) -> Failure {
    let repeated = if error.verdict().may_pass() {
        format!("; the BMC was asked again for {} s", budget.as_secs())
    } else {
        String::new()
    };
    failure(error.cause(), format!("{error}{repeated}"))
}

fn chain(error: &dyn std::error::Error) -> String {
    service_kit::status::chain(error)
}
