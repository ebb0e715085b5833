//! One pass over one node: owned? → read → plan → at most one effect.

use std::{sync::Arc, time::Duration};

use domain::{
    driver::Driver,
    failure::Failure,
    id::NodeId,
    plan::{Act, Plan, Progress, Thing, plan},
    provision::Event,
};
use keyspace::{key, value::Operation};
use mesh::{Claim, WorkGuard};
use service_kit::{clock, telemetry};
use tokio::time::Instant;
use tracing::Instrument as _;

use super::{ACT_POLL_INTERVAL, Next, seen};
use crate::{
    Error,
    app_state::AppState,
    effect, metrics,
    registry::{Moved, Record, settled, wants_power},
};

/// Maximum number of state transitions in one pass. The next pass continues.
const MAX_TRANSITIONS: u32 = 8;
/// Delay of the next pass over a node that another replica owns or that is being handed over.
const OTHER_OWNER_DELAY: Duration = Duration::from_secs(1);

/// Due work of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// None: the node does not exist, or rests with the requested power state.
    Nothing,
    /// The node rests, but has not reached the requested power state.
    Power,
    /// Work of the running operation.
    Operation,
}

/// Returns the due work of a node. Most changes concern resting nodes, so this reads as little as possible.
fn due(shared: &AppState, node: NodeId) -> Due {
    let (Some(rack), view) = (shared.registry.rack_of(node), shared.registry.view()) else { return Due::Nothing };
    let Some(life) = view.get(&key::life(rack, node)).map(|read| read.value) else { return Due::Nothing };
    if life.state.is_busy() {
        return Due::Operation;
    }
    let wants_power = view.get(&key::intent(rack, node)).is_some_and(|intent| intent.value.power.is_some());
    let power = || view.get(&key::power(rack, node)).map(|power| power.value);
    let is_due = wants_power && settled(power().as_ref(), life.generation) == Progress::Unknown;
    if is_due { Due::Power } else { Due::Nothing }
}

/// Returns whether the node needs work.
pub(super) fn is_wanted(shared: &AppState, node: NodeId) -> bool {
    due(shared, node) != Due::Nothing && shared.registry.mesh.owns(node)
}

/// Whether a node rests but for the power that is wanted of it, which news of leaves are no reason to ask for once more.
pub(super) fn awaits_power(shared: &AppState, node: NodeId) -> bool {
    due(shared, node) == Due::Power
}

fn read(shared: &AppState, node: NodeId) -> Option<Record> {
    shared.registry.record(shared.registry.rack_of(node)?, node)
}

/// Reads the running operation.
fn running(shared: &AppState, node: NodeId) -> Option<Operation> {
    let read = shared.registry.view().get(&key::operation(shared.registry.rack_of(node)?, node))?;
    Some(read.value).filter(Operation::is_running)
}

/// Makes one pass. It takes only the node's id and reads the current records.
pub(super) async fn pass(shared: &Arc<AppState>, node: NodeId) -> Next {
    if due(shared, node) == Due::Nothing {
        // Observations of an operation may arrive after its end.
        if shared.live_state.is_unkept(node) && shared.registry.mesh.owns(node) && shared.live_state.take_unkept(node) {
            shared.pending_history.add(node, &shared.live_state);
        }
        return Next::Changed;
    }
    let guard = match shared.registry.mesh.begin_work(node) {
        Ok(guard) => guard,
        Err(error) => {
            tracing::debug!(%node, error = %service_kit::status::chain(&error), "not now");
            return Next::Within(OTHER_OWNER_DELAY);
        }
    };
    let span = tracing::info_span!("pass", %node);
    if let Some(operation) = running(shared, node) {
        telemetry::continue_trace(&span, &operation.trace);
    }
    let work = work(shared, &guard, node).instrument(span);
    let outcome = tokio::select! {
        outcome = work => outcome,
        () = guard.lost() => return Next::Within(OTHER_OWNER_DELAY),
    };
    outcome.unwrap_or_else(|error| {
        tracing::info!(%node, error = %service_kit::status::chain(&error), "reconcile pass failed, will retry");
        Next::Within(ACT_POLL_INTERVAL)
    })
}

async fn work(shared: &Arc<AppState>, guard: &WorkGuard, node: NodeId) -> Result<Next, Error> {
    let claim = shared.registry.mesh.claim(guard).await?;
    for _ in 0..MAX_TRANSITIONS {
        let Some(record) = read(shared, node) else { return Ok(Next::Changed) };
        if let Some(target) = wants_power(&record) {
            effect::power::ensure(shared, &record, claim, target).await?;
            return Ok(Next::Within(ACT_POLL_INTERVAL));
        }
        let (wanted, seen) = (seen::wanted(&record), seen::seen(&record, &shared.live_state));
        let now = clock::now();
        match plan(&wanted, &seen, &shared.limits, now) {
            Plan::Rest => return Ok(Next::Changed),
            Plan::Wait(waiting) => {
                let left = waiting.until.since(now) + Duration::from_millis(10);
                // A heartbeat does not wake the loop, because agents send them all the time.
                let hears = waiting.thing == Thing::Pause;
                return Ok(Next::Within(if hears { left.min(OTHER_OWNER_DELAY) } else { left }));
            }
            Plan::Step(event, failure) => step(shared, claim, &record, event, failure).await?,
            Plan::Act(act, _) => {
                if !self::act(shared, claim, &record, act).await? {
                    return Ok(Next::Within(ACT_POLL_INTERVAL));
                }
            }
        }
    }
    Ok(Next::Within(Duration::ZERO))
}

/// Carries out one act. Returns true if its result is known, so that the plan can continue.
async fn act(shared: &Arc<AppState>, claim: Claim, record: &Record, act: Act) -> Result<bool, Error> {
    let begun = Instant::now();
    let (node, generation) = (record.node, record.life.value.generation);
    let outcome = match act {
        Act::AskBmc => {
            let answer = effect::power::ask(shared, record).await?;
            let known = answer != Progress::Underway;
            shared.live_state.answered(node, generation, |answered| answered.bmc = answer);
            Ok(known)
        }
        Act::MintBootDecision => match effect::boot::mint(shared, record, claim).await {
            Ok(()) => Ok(true),
            Err(effect::NotMinted::Never(failure)) => {
                step(shared, claim, record, Event::GaveUp, Some(failure)).await.map(|()| true)
            }
            Err(effect::NotMinted::NotNow(error)) => Err(error),
        },
        Act::SendSteps => effect::boot::hand(shared, record, claim).await.map(|()| true),
        Act::AdoptAgentSteps => effect::boot::take_steps(shared, record, claim).await.map(|()| true),
        Act::EnsureImages => {
            let answer = effect::images::ensure(shared, record).await;
            let known = answer != Progress::Underway;
            shared.live_state.answered(node, generation, |answered| answered.images = answer);
            Ok(known)
        }
        Act::EnsureBoot => {
            let answer = effect::boot::ensure(shared, record, claim).await;
            let known = answer != Progress::Underway;
            shared.live_state.answered(node, generation, |answered| answered.boot = answer);
            Ok(known)
        }
        Act::EnsurePower(target) => effect::power::ensure(shared, record, claim, target).await.map(|()| false),
    };
    metrics::effect(begun);
    outcome
}

/// Applies a state transition, by a fenced write.
async fn step(
    shared: &Arc<AppState>,
    claim: Claim,
    record: &Record,
    event: Event,
    failure: Option<Failure>,
) -> Result<(), Error> {
    let registry = &shared.registry;
    let moved = registry.moved(record, (event, registry.facts(record, &[])), failure)?;
    let mut change = registry.add_move(registry.mesh.fenced(&claim), record, &moved, None)?;
    if event == Event::Made && record.intent.value.driver == Driver::FakeHardware {
        change = effect::fake::add_bios(shared, record, &moved, change).await?;
    }
    registry.mesh.commit(change).await?;
    metrics::step(word(event));
    let (state, before) = (moved.life.state, record.life.value.state);
    if state.ironic_name() != before.ironic_name() {
        tracing::info!(node = %record.node, %state, "moved");
        shared.live_state.tell(Some(record.node), "STATE", state.to_string());
    }
    if let Some(failure) = &moved.life.failure {
        let text = format!("{}: {}; {}", failure.cause.word(), failure.text, failure.cause.next_step());
        tracing::warn!(node = %record.node, cause = failure.cause.word(), text = failure.text, "failed");
        shared.live_state.tell(Some(record.node), "FAILURE", text);
    }
    if moved.take_facts {
        tell_found(shared, record.node, &moved);
    }
    if !state.is_busy() {
        shared.pending_history.add(record.node, &shared.live_state);
    }
    Ok(())
}

/// Publishes the result of an inspection.
fn tell_found(shared: &AppState, node: NodeId, moved: &Moved) {
    for mac in &moved.ports {
        shared.live_state.tell(Some(node), "PORT", format!("{mac} was found and is its port from now on"));
    }
    for remark in moved.life.inspection.iter().flat_map(|inspection| &inspection.remarks) {
        tracing::warn!(%node, remark, "inspected");
        shared.live_state.tell(Some(node), "REMARK", remark.clone());
    }
}

const fn word(event: Event) -> &'static str {
    match event {
        Event::Asked(_) => "asked",
        Event::Answered => "answered",
        Event::Prepared => "prepared",
        Event::Called => "called",
        Event::Worked => "worked",
        Event::Made => "made",
        Event::Held => "held",
        Event::Awaits => "awaits",
        Event::Reboots => "reboots",
        Event::Finished => "finished",
        Event::Again => "again",
        Event::GaveUp => "gave up",
    }
}
