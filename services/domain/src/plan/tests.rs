use super::*;
use crate::provision::{self, Phase};
use crate::step_plan;

fn wanted(state: State) -> Wanted {
    Wanted {
        state,
        since: Timestamp::from_millis(0),
        generation: Generation::from_number(1),
        boots_lost: 0,
        executor: Executor::Agent,
        step_plan: StepPlan::default(),
        boot_mode: BootMode::Bios,
        wait_for_life: None,
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn deploying(stage: Stage) -> State {
    State::Deploying { stage }
}

/// Runs a verb by the plan alone, with every act succeeding. Returns the final state and the acts.
fn goes(from: State, verb: provision::Verb) -> (State, Vec<Act>) {
    let facts = provision::NodeFacts { cleans_after_use: true, ..provision::NodeFacts::default() };
    let (mut state, _) = provision::step(from, Event::Asked(verb), facts).unwrap();
    let mut seen = Seen { reported: true, ..Seen::default() };
    let mut acts = Vec::new();
    for second in 0..40 {
        match plan(&wanted(state), &seen, &Limits::default(), at(second)) {
            Plan::Rest => break,
            Plan::Wait(waiting) => match waiting.thing {
                Thing::Agent => seen.agent_bound = Some(at(second)),
                Thing::Work => seen.work = Progress::Done(at(second)),
                other @ (Thing::Bmc | Thing::Images | Thing::BootFiles | Thing::Power | Thing::Pause | Thing::Life) => {
                    panic!("waits for {other:?}")
                }
            },
            Plan::Act(act, _) => {
                acts.push(act);
                let done = Progress::Done(at(second));
                match act {
                    Act::MintBootDecision | Act::SendSteps => (seen.minted, seen.steps_sent) = (true, true),
                    Act::EnsureImages => seen.images = done,
                    Act::EnsureBoot => seen.boot = done,
                    Act::EnsurePower(_) => seen.power_target = done,
                    Act::AskBmc => seen.bmc = done,
                    Act::AdoptAgentSteps => panic!("no agent listed steps"),
                }
            }
            Plan::Step(event, failure) => {
                assert_eq!(failure, None);
                let (next, effects) = provision::step(state, event, facts).unwrap();
                if effects.contains(&provision::Effect::NewGeneration) {
                    seen.power_target = Progress::Unknown;
                }
                state = next;
            }
        }
    }
    (state, acts)
}

fn booted(device: BootDevice, persistence: Persistence) -> Act {
    Act::EnsurePower(PowerTarget::Booted { boot: Some(Boot { device, persistence, mode: BootMode::Bios }) })
}

#[test]
fn a_deploy_goes_from_available_to_active_by_the_plan_alone() {
    let (state, acts) = goes(State::Available, provision::Verb::Deploy);
    assert_eq!(state, State::Active);
    let network = booted(BootDevice::Pxe, Persistence::Once);
    let disk = booted(BootDevice::Disk, Persistence::Persistent);
    assert_eq!(acts, [Act::MintBootDecision, Act::EnsureImages, Act::EnsureBoot, network, disk]);
}

/// Runs manual cleaning with these steps by the plan alone. Returns the final state and the acts. Holds end at once, and
/// the agent executes everything that it is sent.
fn cleans(steps: &[&str], executor: Executor, agent_continues: bool) -> (State, Vec<Act>) {
    let step = |name: &&str| crate::step::Step {
        interface: "deploy".to_owned(),
        step: (*name).to_owned(),
        args: serde_json::Map::new(),
    };
    let steps: Vec<_> = steps.iter().map(step).collect();
    let facts = provision::NodeFacts::default();
    let (mut state, _) = provision::step(State::Manageable, Event::Asked(provision::Verb::Clean), facts).unwrap();
    let (mut seen, mut acts, mut made, mut since) = (Seen::default(), Vec::new(), 0, at(0));
    for second in 0..60 {
        let next_step = step_plan::next_step(&steps, made);
        let ramdisk = steps.iter().any(|step| step.reserved().is_none());
        let wanted = Wanted {
            executor,
            since,
            step_plan: StepPlan { next: next_step, ramdisk, agent_continues },
            ..wanted(state)
        };
        let event = match plan(&wanted, &seen, &Limits::default(), at(second)) {
            Plan::Rest if state == State::CleanHold => Event::Asked(provision::Verb::Unhold),
            Plan::Rest => break,
            Plan::Wait(waiting) => {
                match waiting.thing {
                    Thing::Agent => seen.agent_bound = Some(at(second)),
                    Thing::Pause => seen.agent_heard = Some(at(second)),
                    Thing::Bmc | Thing::Images | Thing::BootFiles | Thing::Power | Thing::Work | Thing::Life => {
                        seen.work = Progress::Done(at(second));
                    }
                }
                continue;
            }
            Plan::Act(act, _) => {
                acts.push(act);
                match act {
                    Act::MintBootDecision | Act::SendSteps => {
                        (seen.minted, seen.steps_sent, seen.work) = (true, true, Progress::Unknown)
                    }
                    Act::EnsureImages => seen.images = Progress::Done(at(second)),
                    Act::EnsureBoot => seen.boot = Progress::Done(at(second)),
                    Act::EnsurePower(_) => seen.power_target = Progress::Done(at(second)),
                    Act::AskBmc | Act::AdoptAgentSteps => panic!("{act:?}"),
                }
                continue;
            }
            Plan::Step(event, failure) => {
                assert_eq!(failure, None, "{steps:?}");
                event
            }
        };
        let (next, effects) = provision::step(state, event, facts).unwrap();
        let mut is_new = effects.contains(&provision::Effect::NewGeneration);
        if effects.contains(&provision::Effect::CountSteps) {
            made += next_step.step_count();
            seen.steps_sent = false;
        }
        is_new |= matches!(event, Event::Called | Event::Made | Event::Asked(provision::Verb::Unhold))
            && matches!(step_plan::next_step(&steps, made), NextStep::Power(_));
        if is_new {
            seen = Seen::default();
        }
        (state, since) = (next, at(second));
    }
    (state, acts)
}

#[test]
fn steps_are_executed_in_order_and_the_machine_boots_for_those_that_need_its_agent() {
    let boot = [Act::MintBootDecision, Act::EnsureImages, Act::EnsureBoot, booted(BootDevice::Pxe, Persistence::Once)];
    let (off, on) = (Act::EnsurePower(PowerTarget::Off), Act::EnsurePower(PowerTarget::On));
    let after = |first: &[Act], then: &[Act]| [first, then].concat();
    let cleans = |steps, executor, agent_continues| {
        let (state, acts) = cleans(steps, executor, agent_continues);
        assert_eq!(state, State::Manageable, "{steps:?} {acts:?}");
        acts
    };
    // One agent continues after a hold or a wait; one that accepts no further steps is booted again.
    let held = &["erase_devices_metadata", "hold", "wait", "erase_devices"];
    assert_eq!(cleans(held, Executor::Agent, true), after(&boot, &[Act::SendSteps, off]));
    let held = &["erase_devices_metadata", "hold", "erase_devices"];
    assert_eq!(cleans(held, Executor::Agent, false), [&boot[..], &boot, &[off]].concat());
    assert_eq!(cleans(&["hold", "erase_devices"], Executor::Agent, false), after(&boot, &[off]));
    // An agent ends with its machine's power.
    let through = &["erase_devices", "power_off", "erase_devices"];
    assert_eq!(cleans(through, Executor::Agent, true), [&boot[..], &[off], &boot, &[off]].concat());
    // If no step needs an agent, nothing boots and the machine stays as the steps leave it.
    assert_eq!(cleans(&["power_off", "hold", "power_on"], Executor::Agent, true), [off, on]);
    assert_eq!(cleans(&["hold", "wait"], Executor::Agent, true), []);
    assert_eq!(cleans(&["erase_devices", "hold", "wait"], Executor::Fake, false), [off]);
}

#[test]
fn a_pause_ends_by_the_clock_or_by_the_agents_next_call_and_always_has_a_deadline() {
    let waits = |pause| StepPlan { next: NextStep::Pause(pause), ramdisk: true, agent_continues: true };
    let (state, limits) = (State::Cleaning { stage: Stage::Work, manual: true }, Limits::default());
    let planned = |pause, heard: Option<i64>, now| {
        let seen = Seen { agent_heard: heard.map(at), ..Seen::default() };
        plan(&Wanted { step_plan: waits(pause), since: at(10), ..wanted(state) }, &seen, &limits, at(now))
    };
    let seven = Some(Duration::from_secs(7));
    assert!(matches!(planned(seven, Some(12), 16), Plan::Wait(Waiting { thing: Thing::Pause, .. })));
    assert_eq!(planned(seven, None, 17), Plan::Step(Event::Made, None));
    assert!(matches!(planned(None, Some(9), 16), Plan::Wait(_)), "it was heard before");
    assert_eq!(planned(None, Some(12), 16), Plan::Step(Event::Made, None));
    assert!(
        matches!(planned(None, None, 10_000), Plan::Step(Event::GaveUp, Some(why)) if why.cause == Cause::AgentLost)
    );
}

#[test]
fn an_inspection_boots_the_agent_and_ends_manageable_with_power_off() {
    for from in [State::Manageable, State::Failed { during: Phase::Inspect }] {
        let (state, acts) = goes(from, provision::Verb::Inspect);
        assert_eq!(state, State::Manageable);
        let network = booted(BootDevice::Pxe, Persistence::Once);
        let off = Act::EnsurePower(PowerTarget::Off);
        assert_eq!(acts, [Act::MintBootDecision, Act::EnsureImages, Act::EnsureBoot, network, off]);
    }
}

#[test]
fn an_adoption_asks_the_bmc_and_does_nothing_else() {
    for from in [State::Manageable, State::Failed { during: Phase::Adopt }] {
        assert_eq!(goes(from, provision::Verb::Adopt), (State::Active, vec![Act::AskBmc]));
    }
}

#[test]
fn an_inspection_without_a_report_fails_even_if_its_agent_keeps_calling() {
    let limits = Limits::default();
    let wanted = wanted(State::Inspecting { stage: Stage::Work });
    let failed = |seen: &Seen, now| match plan(&wanted, seen, &limits, now) {
        Plan::Step(Event::GaveUp, Some(failure)) => Some(failure.cause),
        Plan::Rest | Plan::Wait(_) | Plan::Act(..) | Plan::Step(..) => None,
    };
    let late = at(0).plus(limits.boot);
    let mut seen = Seen { agent_bound: Some(at(0)), agent_heard: Some(at(299)), ..Seen::default() };
    assert_eq!((failed(&seen, at(299)), failed(&seen, late)), (None, Some(Cause::NoReport)));
    seen.agent_heard = Some(at(10));
    assert_eq!(failed(&seen, at(10).plus(limits.agent)), Some(Cause::AgentLost));
    seen.work = Progress::Done(at(11));
    assert_eq!(failed(&seen, at(12)), Some(Cause::NoReport), "done without a report");
    seen.reported = true;
    assert_eq!(plan(&wanted, &seen, &limits, at(12)), Plan::Step(Event::Worked, None));
}

#[test]
fn a_boot_without_progress_is_retried_and_then_fails_with_its_diagnosis() {
    let limits = Limits::default();
    let seen = Seen {
        power_target: Progress::Done(at(10)),
        last_mark: Some(at(20)),
        diagnosis: Some((Cause::TftpBlocked, "stopped at the loader".to_owned())),
        ..Seen::default()
    };
    let mut wanted = wanted(deploying(Stage::Boot));
    let late = at(20).plus(limits.boot);
    assert!(matches!(plan(&wanted, &seen, &limits, at(300)), Plan::Wait(Waiting { thing: Thing::Agent, .. })));
    assert_eq!(plan(&wanted, &seen, &limits, late), Plan::Step(Event::Again, None));
    wanted.boots_lost = 2;
    let Plan::Step(Event::GaveUp, Some(failure)) = plan(&wanted, &seen, &limits, late) else { panic!("goes on") };
    assert_eq!((failure.cause, failure.text.as_str()), (Cause::TftpBlocked, "stopped at the loader (after 3 boots)"));
}

#[test]
fn an_agent_that_stops_calling_is_lost() {
    let limits = Limits::default();
    let mut seen = Seen { agent_bound: Some(at(5)), ..Seen::default() };
    let wanted = wanted(deploying(Stage::Work));
    assert!(matches!(plan(&wanted, &seen, &limits, at(119)), Plan::Wait(_)));
    let Plan::Step(Event::GaveUp, Some(failure)) = plan(&wanted, &seen, &limits, at(120)) else { panic!("goes on") };
    assert_eq!(failure.cause, Cause::AgentLost);
    seen.agent_heard = Some(at(100));
    assert!(matches!(plan(&wanted, &seen, &limits, at(120)), Plan::Wait(_)));
}

#[test]
fn every_wait_of_a_busy_state_ends() {
    let limits = Limits::default();
    let never = at(10_000_000);
    for state in [
        State::Verifying,
        State::Deleting,
        State::Adopting,
        deploying(Stage::Prepare),
        deploying(Stage::Work),
        deploying(Stage::Finish),
        State::Cleaning { stage: Stage::Finish, manual: false },
        State::Inspecting { stage: Stage::Prepare },
        State::Inspecting { stage: Stage::Work },
        State::Inspecting { stage: Stage::Finish },
    ] {
        let seen = Seen { minted: true, ..Seen::default() };
        assert!(matches!(plan(&wanted(state), &seen, &limits, never), Plan::Step(Event::GaveUp, Some(_))), "{state:?}");
    }
    // A boot fails by its power, and then by its agent.
    for stage in [deploying(Stage::Boot), State::Inspecting { stage: Stage::Boot }] {
        let last = Wanted { boots_lost: limits.boots, ..wanted(stage) };
        for power_target in [Progress::Unknown, Progress::Done(at(1))] {
            let seen = Seen { minted: true, power_target, ..Seen::default() };
            assert!(matches!(plan(&last, &seen, &limits, never), Plan::Step(Event::GaveUp, Some(_))), "{stage:?}");
        }
    }
}

#[test]
fn a_node_at_rest_needs_no_work() {
    for state in [State::Available, State::Active, State::Failed { during: Phase::Deploy }] {
        assert_eq!(plan(&wanted(state), &Seen::default(), &Limits::default(), at(0)), Plan::Rest);
    }
}

#[test]
fn a_machine_that_was_read_as_off_lost_its_power_unless_its_agent_still_calls() {
    let wanted = wanted(deploying(Stage::Work));
    let seen = |off: Option<i64>, heard| Seen {
        off_at: off.map(at),
        agent_bound: Some(at(0)),
        agent_heard: Some(at(heard)),
        ..Seen::default()
    };
    let limits = Limits::default();
    let lost = plan(&wanted, &seen(Some(40), 41), &limits, at(71));
    assert!(matches!(&lost, Plan::Step(Event::GaveUp, Some(why)) if why.cause == Cause::PowerLost), "{lost:?}");
    // A BMC that reports off while the agent calls is wrong, and a BMC that reports nothing proves nothing.
    for (seen, now) in [(seen(Some(40), 60), 71), (seen(None, 41), 160)] {
        assert!(matches!(plan(&wanted, &seen, &limits, at(now)), Plan::Wait(_)), "{seen:?}");
    }
    let Plan::Wait(waiting) = plan(&wanted, &seen(Some(40), 41), &limits, at(50)) else { panic!("it waits") };
    assert_eq!(waiting.until, at(71), "the next pass is due when the power counts as lost");
}

#[test]
fn a_boot_that_lost_its_power_is_retried_and_finally_fails_with_power_lost() {
    let seen = Seen {
        power_target: Progress::Done(at(0)),
        off_at: Some(at(10)),
        diagnosis: Some((Cause::NoDhcp, "no DHCP".to_owned())),
        ..Seen::default()
    };
    let first = wanted(deploying(Stage::Boot));
    assert!(matches!(plan(&first, &seen, &Limits::default(), at(39)), Plan::Wait(_)));
    assert_eq!(plan(&first, &seen, &Limits::default(), at(40)), Plan::Step(Event::Again, None));
    let last = Wanted { boots_lost: 2, ..first };
    let lost = plan(&last, &seen, &Limits::default(), at(40));
    assert!(matches!(&lost, Plan::Step(Event::GaveUp, Some(why)) if why.cause == Cause::PowerLost), "{lost:?}");
}

/// Every state in which an operation runs.
fn busy() -> Vec<State> {
    let mut all = vec![State::Verifying, State::Deleting, State::Adopting];
    for stage in [Stage::Prepare, Stage::Boot, Stage::Work, Stage::Finish] {
        all.extend([
            State::Inspecting { stage },
            State::Deploying { stage },
            State::Cleaning { stage, manual: false },
            State::Cleaning { stage, manual: true },
            State::Rescuing { stage },
            State::Servicing { stage },
        ]);
    }
    all.push(State::Unrescuing { stage: Stage::Finish });
    all
}

#[test]
fn the_clean_steps_of_an_agent_are_adopted_before_its_work_is_checked() {
    let cleaning = wanted(State::Cleaning { stage: Stage::Work, manual: false });
    let mut seen =
        Seen { has_agent_steps: true, agent_bound: Some(at(1)), work: Progress::Underway, ..Seen::default() };
    let limits = Limits::default();
    let late = cleaning.since.plus(limits.agent * 2);
    assert!(
        matches!(plan(&cleaning, &seen, &limits, late), Plan::Act(Act::AdoptAgentSteps, _)),
        "even after an absence of the scheduler"
    );
    seen.has_agent_steps = false;
    let course = StepPlan { next: NextStep::Work(2), ramdisk: true, agent_continues: true };
    let taken = Wanted { step_plan: course, ..cleaning.clone() };
    seen.minted = true;
    assert!(matches!(plan(&taken, &seen, &limits, cleaning.since), Plan::Act(Act::SendSteps, _)));
}

#[test]
fn every_busy_state_has_work_and_a_deadline_with_either_executor() {
    let limits = Limits { boots: 1, fake: Duration::from_secs(5), ..Limits::default() };
    let longest = Some(step_plan::MAX_PAUSE);
    let turns = [
        NextStep::Undivided,
        NextStep::Hold,
        NextStep::Pause(None),
        NextStep::Pause(longest),
        NextStep::Power(PowerTarget::Off),
        NextStep::Done,
    ];
    let turns = turns.into_iter().chain([NextStep::Work(1)]);
    let plans = turns.flat_map(|next| {
        [(false, false), (true, false), (true, true)].map(|(ramdisk, agent_continues)| StepPlan {
            next,
            ramdisk,
            agent_continues,
        })
    });
    for (step_plan, state) in plans.flat_map(|plan| busy().into_iter().map(move |state| (plan, state))) {
        for executor in [Executor::Agent, Executor::Fake] {
            let wanted = Wanted { executor, step_plan, ..wanted(state) };
            assert_ne!(plan(&wanted, &Seen::default(), &limits, wanted.since), Plan::Rest, "{state:?} {executor:?}");
            let late = wanted.since.plus(Duration::from_secs(25 * 3600));
            // Power reached its target long ago and nothing happened since.
            let seen = Seen { power_target: Progress::Done(wanted.since), minted: true, ..Seen::default() };
            for seen in [Seen::default(), seen] {
                let ends = plan(&wanted, &seen, &limits, late);
                assert!(
                    matches!(ends, Plan::Step(..)) || matches!(ends, Plan::Act(Act::MintBootDecision, _)),
                    "{state:?} {ends:?}"
                );
            }
        }
    }
}
