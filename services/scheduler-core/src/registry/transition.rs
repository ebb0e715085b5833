//! Computes the records after a state transition. Pure.

use domain::{
    failure::Failure,
    id::OperationId,
    net::MacAddr,
    provision::{self, Effect, Event, NodeFacts, Phase, Verb},
    step::{ReservedStep, Step},
    step_plan::{self, NextStep},
    time::Timestamp,
};
use keyspace::value::{Inspection, Life, Operation};

/// Records after a state transition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// New provisioning state and generation.
    pub life: Life,
    /// Operation, if one runs or ended.
    pub operation: Option<Operation>,
    /// Whether the deployment is removed.
    pub forget_deployment: bool,
    /// Whether the boot decision is revoked.
    pub revoke_boot: bool,
    /// Whether the reported hardware becomes the node's.
    pub take_facts: bool,
    /// MACs that become ports of the node.
    pub ports: Vec<MacAddr>,
}

/// Applies a transition's effects to the records. `id` is the id of a new operation. `rebooting` is the number of steps that
/// the agent has done, if it requests a reboot.
pub(super) fn transition(
    life: &Life,
    operation: Option<&Operation>,
    (event, facts): (Event, NodeFacts),
    rebooting: Option<u32>,
    failure: Option<Failure>,
    id: OperationId,
    now: Timestamp,
) -> Result<Moved, provision::Refused> {
    let (state, effects) = provision::step(life.state, event, facts)?;
    let mut moved = Moved {
        life: Life { state, since: now, waiting: None, ..life.clone() },
        operation: operation.cloned(),
        forget_deployment: false,
        revoke_boot: false,
        take_facts: false,
        ports: Vec::new(),
    };
    for effect in effects {
        match effect {
            Effect::Open(phase) => {
                moved.operation = Some(Operation {
                    id,
                    phase,
                    since: now,
                    steps: Vec::new(),
                    made: 0,
                    without_ramdisk: false,
                    by_stand_in: false,
                    ended: None,
                    failure: None,
                    trace: String::new(),
                });
                moved.life.set_failure(None);
                moved.life.boots_lost = 0;
                if phase == Phase::Inspect {
                    moved.life.inspection = Some(begun(life.inspection.as_ref(), now));
                }
            }
            Effect::Close => {
                moved.life.set_failure(None);
                end(&mut moved.operation, now, None);
            }
            Effect::Fail => {
                moved.life.set_failure(failure.clone());
                end(&mut moved.operation, now, failure.clone());
            }
            Effect::NewGeneration => moved.life.generation = moved.life.generation.next(),
            Effect::RevokeBoot => moved.revoke_boot = true,
            Effect::CountSteps => match rebooting {
                Some(made) => reboot(&mut moved, made),
                None => count(&mut moved.operation),
            },
            Effect::ForgetDeployment => moved.forget_deployment = true,
            Effect::TakeFacts => {
                moved.take_facts = true;
                if let Some(inspection) = &mut moved.life.inspection {
                    inspection.finished_at = Some(now);
                }
            }
        }
    }
    match event {
        Event::Again => moved.life.boots_lost += 1,
        Event::Called => moved.life.boots_lost = 0,
        Event::Asked(_)
        | Event::Answered
        | Event::Prepared
        | Event::Worked
        | Event::Made
        | Event::Held
        | Event::Awaits
        | Event::Reboots
        | Event::Finished
        | Event::GaveUp => {}
    }
    if matches!(event, Event::Called | Event::Made | Event::Asked(Verb::Unhold))
        && matches!(turn(moved.operation.as_ref()), NextStep::Power(_))
    {
        // Starts a new generation; the booted system does not outlive it.
        moved.life.generation = moved.life.generation.next();
        moved.revoke_boot = true;
    }
    Ok(moved)
}

/// Returns the next of an operation's steps.
pub fn turn(operation: Option<&Operation>) -> NextStep {
    operation.map_or(NextStep::Undivided, |operation| {
        let made = usize::try_from(operation.made).unwrap_or(usize::MAX);
        step_plan::next_step(&operation.steps, made, |step| operation.simulates(step))
    })
}

/// Returns the number of steps that are done after the next part.
pub fn due(operation: &Operation) -> u32 {
    operation.made.saturating_add(u32::try_from(turn(Some(operation)).step_count()).unwrap_or(u32::MAX))
}

/// Marks the next part as done.
fn count(operation: &mut Option<Operation>) {
    let made = u32::try_from(turn(operation.as_ref()).step_count()).unwrap_or(u32::MAX);
    if let Some(operation) = operation {
        operation.made = operation.made.saturating_add(made);
    }
}

/// Marks steps as done and adds the reboot after them: the next agent's boot or, if none is booted at once, a reboot step.
fn reboot(moved: &mut Moved, made: u32) {
    let Some(operation) = &mut moved.operation else { return };
    let at = usize::try_from(made).unwrap_or(usize::MAX).min(operation.steps.len());
    operation.made = made;
    let reboots_itself = match operation.steps.get(at).map(Step::reserved) {
        Some(None | Some(ReservedStep::Power(_))) => true,
        None | Some(Some(ReservedStep::Hold | ReservedStep::Wait(_))) => false,
    };
    if !reboots_itself {
        operation.steps.insert(at, Step::reboot());
    }
    moved.life.generation = moved.life.generation.next();
    moved.revoke_boot = true;
}

/// Starts an inspection. The results of the previous one stay until it has succeeded.
fn begun(before: Option<&Inspection>, now: Timestamp) -> Inspection {
    let remarks = before.map(|before| before.remarks.clone()).unwrap_or_default();
    Inspection { started_at: now, finished_at: before.and_then(|before| before.finished_at), remarks }
}

fn end(operation: &mut Option<Operation>, now: Timestamp, failure: Option<Failure>) {
    if let Some(operation) = operation {
        operation.ended = Some(now);
        operation.failure = failure;
    }
}

#[cfg(test)]
mod tests {
    use domain::{
        failure::Cause,
        provision::{Phase, Stage, State},
    };

    use super::*;

    fn id() -> OperationId {
        OperationId::new(uuid::Uuid::from_u128(9))
    }

    fn life(state: State) -> Life {
        Life { state, ..Life::newborn(Timestamp::from_millis(0)) }
    }

    /// A transition of a node without an operation.
    fn moved(life: &Life, event: Event, millis: i64) -> Moved {
        transition(life, None, (event, NodeFacts::default()), None, None, id(), Timestamp::from_millis(millis)).unwrap()
    }

    #[test]
    fn a_deploy_opens_an_operation_and_its_failure_ends_it_with_the_cause() {
        let now = Timestamp::from_millis(5);
        let open = moved(&life(State::Available), Event::Asked(Verb::Deploy), 5);
        assert!(open.operation.as_ref().is_some_and(|it| it.ended.is_none() && open.life.generation.number() == 1));
        let failure = Failure { cause: Cause::NoDisk, text: "none".to_owned(), at: now };
        let end = (Event::GaveUp, NodeFacts::default());
        let (life, operation) = (&open.life, open.operation.as_ref());
        let failed = transition(life, operation, end, None, Some(failure.clone()), id(), now).unwrap();
        assert_eq!(failed.life.state, State::Failed { during: Phase::Deploy });
        assert_eq!(failed.life.failure, Some(failure.clone()));
        assert_eq!(failed.operation.unwrap().failure, Some(failure));
        assert!(failed.revoke_boot);
    }

    #[test]
    fn an_inspection_notes_when_it_began_and_when_the_last_good_one_ended() {
        let at = Timestamp::from_millis;
        let noted = |life: &Life| life.inspection.as_ref().map(|it| (it.started_at, it.finished_at));
        let begun = moved(&life(State::Manageable), Event::Asked(Verb::Inspect), 1).life;
        assert_eq!(noted(&begun), Some((at(1), None)));
        let last = Life { state: State::Inspecting { stage: Stage::Finish }, ..begun };
        let ended = moved(&last, Event::Finished, 2);
        assert!(ended.take_facts);
        let again = moved(&ended.life, Event::Asked(Verb::Inspect), 3).life;
        assert_eq!(noted(&again), Some((at(3), Some(at(2)))));
        let failed = moved(&again, Event::GaveUp, 4);
        assert_eq!((failed.life.inspection, failed.take_facts), (again.inspection, false));
    }

    #[test]
    fn lost_boots_are_counted_until_the_agent_calls() {
        let again = moved(&life(State::Deploying { stage: Stage::Boot }), Event::Again, 5).life;
        assert_eq!((again.boots_lost, again.generation.number()), (1, 1));
        assert_eq!(moved(&again, Event::Called, 5).life.boots_lost, 0);
    }

    #[test]
    fn a_step_that_wants_a_reboot_is_followed_by_the_boot_of_the_next_agent_or_by_a_reboot_of_its_own() {
        let step = |name: &str| Step { interface: "bios".to_owned(), step: name.to_owned(), args: Default::default() };
        let cleaning = life(State::Cleaning { stage: Stage::Work, manual: true });
        let after = |names: &[&str], made: u32| {
            let opened = moved(&life(State::Manageable), Event::Asked(Verb::Clean), 1);
            let mut operation = opened.operation.unwrap();
            operation.steps = names.iter().map(|name| step(name)).collect();
            let made = (Some(&operation), (Event::Made, NodeFacts::default()), Some(made));
            let moved = transition(&cleaning, made.0, made.1, made.2, None, id(), Timestamp::from_millis(2)).unwrap();
            assert!(moved.revoke_boot && moved.life.generation > cleaning.generation);
            let operation = moved.operation.unwrap();
            (operation.made, operation.steps.into_iter().map(|step| step.step).collect::<Vec<_>>())
        };
        assert_eq!(after(&["apply", "erase"], 1), (1, vec!["apply".to_owned(), "erase".to_owned()]));
        for next in [vec![], vec!["hold"], vec!["wait"]] {
            let names: Vec<_> = ["apply"].into_iter().chain(next.iter().copied()).collect();
            let wanted: Vec<String> =
                ["apply", "reboot"].into_iter().chain(next.iter().copied()).map(str::to_owned).collect();
            assert_eq!(after(&names, 1), (1, wanted));
        }
        assert_eq!(after(&["apply", "power_off"], 1).1, ["apply", "power_off"]);
    }
}
