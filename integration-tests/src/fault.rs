//! Faults at chosen moments: a node's owner is killed, or stopped for longer than it may own anything, at a point of a
//! deployment that a seed draws from those that are visible from outside.

mod point;
mod world;

use std::{fmt, fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use domain::{
    generation::Generation,
    id::{InstanceId, NodeId},
    power::Power,
    service::Service,
};
use keyspace::value::{Journal, StoredRing};
use proto::api::v1::{Node, ServiceKind};
use rustix::process::Signal;
use service_kit::Host;
use tokio::time::Instant;

pub use self::{
    point::{Point, firmware_points, points},
    world::{Subject, World},
};
use crate::{
    check::{self, Deed, End, History},
    mesh::Api,
    rack::daemon::Daemon,
    record::{Recorder, Write},
};

/// Time for which a process is stopped: longer than T + W, after which it owns nothing
/// (services/mesh/OWNERSHIP.md).
const STOPPED: Duration = Duration::from_millis(8500);
/// Maximum time for the drawn point to occur: real firmware on a busy host takes minutes.
const COMING: Duration = Duration::from_secs(180);

/// Fault of the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL; its parent restarts it and proves its death.
    Kill,
    /// SIGSTOP for longer than T + W, then SIGCONT.
    Stop,
}

/// A number from the environment, to repeat a case; otherwise the default.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "a test is told by its environment and by nothing else")]
pub fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Prints a line with a measurement.
#[expect(clippy::print_stdout, reason = "a test's report, for who asks for its output")]
pub fn tell(line: impl fmt::Display) {
    println!("{line}");
}

/// The next number of a sequence that starts with a seed (splitmix64, Steele, Lea and Flood 2014).
pub const fn draw(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *seed;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Draws one of these.
pub fn pick<'a, T>(seed: &mut u64, from: &'a [T]) -> Option<&'a T> {
    let count = u64::try_from(from.len()).ok().filter(|count| *count > 0)?;
    from.get(usize::try_from(draw(seed) % count).ok()?)
}

/// Outcome of one fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The point at which it hit.
    pub point: Point,
    /// The node whose owner was hit.
    pub node: String,
    /// The process that was hit.
    pub victim: String,
    /// Whether a command was outstanding.
    pub outstanding: bool,
    /// From the fault to the first ring without the victim: its nodes may be claimed.
    pub takeover: Option<Duration>,
    /// From the requests until the last node is active.
    pub took: Duration,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.outstanding { "at work" } else { "idle" };
        write!(f, "{} ({state}) at {} of {}", self.victim, self.point, self.node)?;
        if let Some(takeover) = self.takeover {
            write!(f, ", out of the ring after {:.1} s", takeover.as_secs_f64())?;
        }
        write!(f, ", all active after {:.1} s", self.took.as_secs_f64())
    }
}

/// Deploys all machines of a lab, whose nodes are available, and hits one owner on the way.
///
/// # Errors
/// A node does not become active, its disk is not the image, or the checker finds a violation.
pub async fn deploy_through(
    api: &mut Api,
    lab: &impl World,
    recorder: &Recorder,
    (service, fault, mut seed): (Service, Fault, u64),
    (image, content): (&str, &[u8]),
    timeout: Duration,
) -> Result<Outcome> {
    let machine = pick(&mut seed, lab.machines()).context("no machine")?;
    let point = *pick(&mut seed, &machine.points(service)).context("no point")?;
    let node = machine.name().to_owned();
    let (from, begun) = (recorder.len(), Instant::now());
    let mut trap = if let Point::Unanswered(number) = point { Some(machine.trap(number)?) } else { None };
    for machine in lab.machines() {
        api.ask(machine.name(), "deploy", image).await?;
    }
    let id: NodeId = api.node(&node).await?.id.parse().map_err(|_| anyhow::anyhow!("{node} has no id"))?;
    match point {
        Point::Unanswered(_) => {
            let caught = trap.as_mut().context("no trap")?;
            tokio::time::timeout(COMING, &mut caught.was_caught).await.context("no command")?.context("no BMC")?;
        }
        Point::Said(words) => machine.says(words, COMING).await?,
        Point::Journalled(number) => {
            nth(recorder, from, number, |write| is_open(write, service, id)).await?;
        }
        Point::Written(key, number) => {
            nth(recorder, from, number, |write| {
                write.path.ends_with(&format!("{id}{key}")) || write.path.ends_with(&format!("{key}{id}"))
            })
            .await?;
        }
    }
    let (victim, instance) = owner(api, lab, service, &node).await?;
    let process = lab.mesh().service(&victim)?;
    let hit = recorder.len();
    let struck = Instant::now();
    strike(fault, process)?;
    let outstanding = service != Service::Power || trap.is_some() || is_at_work(recorder, service, id);
    drop(trap);
    for machine in lab.machines() {
        api.reach(machine.name(), "active", timeout).await?;
    }
    let took = begun.elapsed();
    let takeover = takeover(recorder, hit, service, instance, struck);
    let outcome = Outcome { point, node, victim, outstanding, takeover, took };
    judge(api, lab, recorder, content).await.with_context(|| outcome.to_string())?;
    Ok(outcome)
}

/// Kills the process, or stops it and continues it later.
fn strike(fault: Fault, process: Daemon) -> Result<()> {
    match fault {
        Fault::Kill => process.signal(Signal::KILL),
        Fault::Stop => {
            process.signal(Signal::STOP)?;
            // The thread ends with the runtime of the lab's namespace.
            Host::default().spawn(async move {
                tokio::time::sleep(STOPPED).await;
                // The process has ended with its rack, or continues.
                drop(process.signal(Signal::CONT));
            });
            Ok(())
        }
    }
}

async fn nth(recorder: &Recorder, from: usize, number: usize, is_it: impl Fn(&Write) -> bool) -> Result<()> {
    let mut from = from;
    for round in 1..=number {
        let write = recorder.hears(&format!("write {round}"), from, COMING, &is_it).await?;
        let passed =
            recorder.since(from).iter().position(|seen| seen.revision == write.revision && seen.path == write.path);
        from += passed.unwrap_or(0) + 1;
    }
    Ok(())
}

/// Whether this is a journal of the node with an entry whose outcome is unknown.
fn is_open(write: &Write, service: Service, node: NodeId) -> bool {
    write.path.ends_with(&format!("/{service}/journal/{node}"))
        && write.read::<Journal>().and_then(|journal| journal.entry).is_some_and(|entry| entry.outcome.is_none())
}

fn is_at_work(recorder: &Recorder, service: Service, node: NodeId) -> bool {
    let journal = recorder.journal(service, node).pop().and_then(|last| last.value);
    journal.is_some_and(|journal| {
        !journal.sessions.is_empty() || journal.entry.is_some_and(|entry| entry.outcome.is_none())
    })
}

/// The process that owns a node for a service: its name and instance.
///
/// # Errors
/// No process does.
pub async fn owner(api: &mut Api, lab: &impl World, service: Service, node: &str) -> Result<(String, InstanceId)> {
    let owners = api.node(node).await?.owners;
    let owner =
        owners.iter().find(|owner| owner.service() == ServiceKind::from(service)).context("no process owns it")?;
    for number in 1..=9 {
        let name = format!("{service}-{number}");
        let at = fs::read_to_string(lab.data().join(&name).join("grpc.address")).unwrap_or_default();
        if at.trim() == owner.endpoint {
            let instance = owner.instance.parse().map_err(|_| anyhow::anyhow!("{name} has no instance"))?;
            return Ok((name, instance));
        }
    }
    anyhow::bail!("no process answers at {}", owner.endpoint)
}

fn takeover(
    recorder: &Recorder,
    hit: usize,
    service: Service,
    victim: InstanceId,
    struck: Instant,
) -> Option<Duration> {
    let taken = recorder.since(hit).into_iter().find(|write| {
        write.path.ends_with(&format!("/{service}/ring"))
            && write.read::<StoredRing>().is_some_and(|stored| !stored.ring.names(victim))
    });
    taken.map(|write| write.at.saturating_duration_since(struck))
}

/// Input of the checker for all machines.
///
/// # Errors
/// Errors of the API.
pub async fn histories(api: &mut Api, lab: &impl World, recorder: &Recorder) -> Result<Vec<History>> {
    recorder.catches_up().await?;
    let mut histories = Vec::new();
    for machine in lab.machines() {
        let node = api.node(machine.name()).await?;
        histories.push(history(&node, recorder, machine.deeds(), (Power::On, machine.power()?))?);
    }
    Ok(histories)
}

/// Input of the checker for one node: the log of its BMC, and the requested and observed power.
///
/// # Errors
/// The node has no id.
pub fn history(node: &Node, recorder: &Recorder, bmc: Vec<Deed>, (wanted, is): (Power, Power)) -> Result<History> {
    let id: NodeId = node.id.parse().map_err(|_| anyhow::anyhow!("{} has no id", node.id))?;
    let ended = node.observed.as_ref().map_or(0, |observed| observed.power_settled_generation);
    Ok(History {
        node: id,
        bmc,
        claims: recorder.claims(Service::Power, id),
        journal: recorder.journal(Service::Power, id),
        end: Some(End {
            asked: Generation::from_number(node.generation),
            ended: Generation::from_number(ended),
            failure: None,
            wanted,
            is,
        }),
    })
}

/// Checks that nothing was lost, and that no two owners acted.
///
/// # Errors
/// The violations that the checker finds.
pub async fn judge(api: &mut Api, lab: &impl World, recorder: &Recorder, content: &[u8]) -> Result<()> {
    for machine in lab.machines() {
        machine.runs(content).await.with_context(|| machine.name().to_owned())?;
    }
    let histories = histories(api, lab, recorder).await?;
    let violations = check::check(&histories);
    let words: Vec<String> = violations.iter().map(ToString::to_string).collect();
    ensure!(violations.is_empty(), "the checker found: {words:#?}");
    Ok(())
}
