//! Inputs of the plan: the intended state and the observations of a node, for its current generation.

use std::time::Duration;

use domain::{
    failure::{Cause, Failure},
    plan::{Desired, Observed, Plan, Progress, Waiting, plan},
    power::Power,
    provision::{Phase, State},
    step,
    step_plan::StepPlan,
    timeline,
};
use keyspace::value::AgentWork;

use service_kit::clock;

use crate::{
    app_state::AppState,
    live_state::{LiveState, NodeLive},
    registry::{Record, due, power_target, turn},
};

/// Returns the intended state of a node.
pub fn wanted(record: &Record) -> Desired {
    let (life, intent) = (&record.life.value, &record.intent.value);
    Desired {
        state: life.state,
        since: life.since,
        generation: life.generation,
        boots_lost: life.boots_lost,
        executor: intent.executor(record.running()),
        step_plan: step_plan(record),
        boot_mode: intent.boot_mode,
        boot_persistence: intent.boot_persistence,
        keeps_boot_order: intent.keeps_boot_order,
        wait_for_life: intent.wait_for_life_seconds.map(|seconds| Duration::from_secs(seconds.into())),
    }
}

/// Returns the plan of the operation's steps.
fn step_plan(record: &Record) -> StepPlan {
    let Some(operation) = record.running() else { return StepPlan::default() };
    StepPlan {
        next: turn(Some(operation)),
        ramdisk: !operation.without_ramdisk && operation.steps.iter().any(|step| step.reserved().is_none()),
        agent_continues: record.protocol().is_ironics(),
    }
}

/// Returns the observations of a node.
pub fn seen(record: &Record, hot: &LiveState) -> Observed {
    let generation = record.life.value.generation;
    let NodeLive { heard, answered, .. } = hot.of(record.node);
    let answered = answered.filter(|(known, _)| *known == generation).map(|(_, answered)| answered).unwrap_or_default();
    let entries = hot.boot(record.node, generation);
    let agent = record.agent.as_ref().filter(|agent| agent.generation == generation);
    let pxe = record.pxe.as_ref().filter(|pxe| pxe.generation == generation);
    Observed {
        bmc: answered.bmc,
        off_at: record.power.as_ref().filter(|power| power.power == Power::Off).map(|power| power.seen_at),
        power_target: power_target(record, generation),
        steps_sent: is_handed(record),
        minted: record.boot.as_ref().is_some_and(|boot| boot.value.generation == generation),
        images: answered.images,
        boot: answered.boot,
        agent_bound: agent.map(|agent| agent.bound_at),
        work: work(record),
        has_agent_steps: agent.is_some_and(|agent| !agent.lists.is_empty()) && lists(record),
        reported: record.inventory.as_ref().is_some_and(|inventory| inventory.inspection == Some(generation)),
        agent_heard: heard,
        last_mark: entries.last().map(|entry| entry.at),
        life: pxe.and_then(|pxe| pxe.life_at),
        diagnosis: timeline::diagnose(&entries),
    }
}

/// Returns whether the agent's own clean steps are needed: the request named none, and the disks are to be wiped.
fn lists(record: &Record) -> bool {
    record.running().is_some_and(|operation| operation.steps.is_empty())
        && matches!(record.life.value.state, State::Cleaning { manual: false, .. })
}

/// Returns whether the boot decision of this generation contains the next steps.
fn is_handed(record: &Record) -> bool {
    let decision = record.boot.as_ref().filter(|boot| boot.value.generation == record.life.value.generation);
    let due = record.operation.as_ref().map(|operation| due(&operation.value));
    decision.is_some_and(|decision| Some(decision.value.reaches()) == due)
}

/// Returns the progress of the work as the agent reports it. A step that no agent has fails at once.
fn work(record: &Record) -> Progress {
    let running = record.running();
    let steps = running.map(|operation| operation.steps.as_slice()).unwrap_or_default();
    // An agent with its own steps reports unknown steps itself.
    let asked = if record.protocol().is_ironics() { &[] } else { steps };
    let phase = running.map_or(Phase::ManualClean, |operation| operation.phase);
    if let Some(step) = step::first_unsupported(asked, record.intent.value.driver, phase) {
        let (name, driver) = (format!("{}.{}", step.interface, step.step), record.intent.value.driver);
        let text = format!("the driver {driver} does not support the step {name}");
        return Progress::Failed(Failure { cause: Cause::UnknownStep, text, at: record.life.value.since });
    }
    let agent = record.agent.as_ref().filter(|agent| agent.generation == record.life.value.generation);
    match agent.map(|agent| &agent.work) {
        None => Progress::Unknown,
        Some(AgentWork::Underway) => Progress::Underway,
        Some(AgentWork::Done { .. }) if !is_done(record) => Progress::Underway,
        Some(AgentWork::Done { at }) => Progress::Done(*at),
        Some(AgentWork::Failed { failure }) => Progress::Failed(failure.clone()),
    }
}

/// Returns whether the agent has done all steps of the boot decision.
fn is_done(record: &Record) -> bool {
    let Some((agent, decision)) = record.agent.as_ref().zip(record.boot.as_ref()) else { return true };
    !agent.is_at_work(&decision.value)
}

/// Returns what the node waits for, by the same plan as the owner's passes.
pub fn waiting(app: &AppState, record: &Record) -> Option<Waiting> {
    match plan(&wanted(record), &seen(record, &app.live_state), &app.limits, clock::now()) {
        Plan::Wait(waiting) | Plan::Act(_, waiting) => Some(waiting),
        Plan::Rest | Plan::Step(..) => None,
    }
}
