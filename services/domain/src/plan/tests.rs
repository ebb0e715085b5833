mod stand_ins;
use super::*;
use crate::power::Persistence;
use crate::provision::{self, Phase};
use crate::step_plan;

fn desired(state: State) -> Desired {
    Desired {
        state,
        since: Timestamp::from_millis(0),
        generation: Generation::from_number(1),
        boots_lost: 0,
        executor: Executor::Agent,
        step_plan: StepPlan::default(),
        boot_mode: BootMode::Bios,
        boot_persistence: BootPersistence::Default,
        keeps_boot_order: false,
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
    let mut observed = Observed { reported: true, ..Observed::default() };
    let mut acts = Vec::new();
    for second in 0..40 {
        match plan(&desired(state), &observed, &Limits::default(), at(second)) {
            Plan::Rest => break,
            Plan::Wait(waiting) => match waiting.thing {
                Thing::Agent => observed.agent_bound = Some(at(second)),
                Thing::Work => observed.work = Progress::Done(at(second)),
                other @ (Thing::Bmc | Thing::Images | Thing::BootFiles | Thing::Power | Thing::Pause | Thing::Life) => {
                    panic!("waits for {other:?}")
                }
            },
            Plan::Act(act, _) => {
                acts.push(act);
                let done = Progress::Done(at(second));
                match act {
                    Act::MintBootDecision | Act::SendSteps => (observed.minted, observed.steps_sent) = (true, true),
                    Act::EnsureImages => observed.images = done,
                    Act::EnsureBoot => observed.boot = done,
                    Act::EnsurePower(_) => observed.power_target = done,
                    Act::AskBmc => observed.bmc = done,
                    Act::AdoptAgentSteps => panic!("no agent listed steps"),
                }
            }
            Plan::Step(event, failure) => {
                assert_eq!(failure, None);
                let (next, effects) = provision::step(state, event, facts).unwrap();
                if effects.contains(&provision::Effect::NewGeneration) {
                    observed.power_target = Progress::Unknown;
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
    let (mut observed, mut acts, mut made, mut since) = (Observed::default(), Vec::new(), 0, at(0));
    for second in 0..60 {
        let next_step = step_plan::next_step(&steps, made, |_| false);
        let ramdisk = steps.iter().any(|step| step.reserved().is_none());
        let desired = Desired {
            executor,
            since,
            step_plan: StepPlan { next: next_step, ramdisk, agent_continues },
            ..desired(state)
        };
        let event = match plan(&desired, &observed, &Limits::default(), at(second)) {
            Plan::Rest if state == State::CleanHold => Event::Asked(provision::Verb::Unhold),
            Plan::Rest => break,
            Plan::Wait(waiting) => {
                match waiting.thing {
                    Thing::Agent => observed.agent_bound = Some(at(second)),
                    Thing::Pause => observed.agent_heard = Some(at(second)),
                    Thing::Bmc | Thing::Images | Thing::BootFiles | Thing::Power | Thing::Work | Thing::Life => {
                        observed.work = Progress::Done(at(second));
                    }
                }
                continue;
            }
            Plan::Act(act, _) => {
                acts.push(act);
                match act {
                    Act::MintBootDecision | Act::SendSteps => {
                        (observed.minted, observed.steps_sent, observed.work) = (true, true, Progress::Unknown)
                    }
                    Act::EnsureImages => observed.images = Progress::Done(at(second)),
                    Act::EnsureBoot => observed.boot = Progress::Done(at(second)),
                    Act::EnsurePower(_) => observed.power_target = Progress::Done(at(second)),
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
            observed.steps_sent = false;
        }
        is_new |= matches!(event, Event::Called | Event::Made | Event::Asked(provision::Verb::Unhold))
            && matches!(step_plan::next_step(&steps, made, |_| false), NextStep::Power(_));
        if is_new {
            observed = Observed::default();
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
        let observed = Observed { agent_heard: heard.map(at), ..Observed::default() };
        plan(&Desired { step_plan: waits(pause), since: at(10), ..desired(state) }, &observed, &limits, at(now))
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
    let desired = desired(State::Inspecting { stage: Stage::Work });
    let failed = |observed: &Observed, now| match plan(&desired, observed, &limits, now) {
        Plan::Step(Event::GaveUp, Some(failure)) => Some(failure.cause),
        Plan::Rest | Plan::Wait(_) | Plan::Act(..) | Plan::Step(..) => None,
    };
    let late = at(0).plus(limits.boot);
    let mut observed = Observed { agent_bound: Some(at(0)), agent_heard: Some(at(299)), ..Observed::default() };
    assert_eq!((failed(&observed, at(299)), failed(&observed, late)), (None, Some(Cause::NoReport)));
    observed.agent_heard = Some(at(10));
    assert_eq!(failed(&observed, at(10).plus(limits.agent)), Some(Cause::AgentLost));
    observed.work = Progress::Done(at(11));
    assert_eq!(failed(&observed, at(12)), Some(Cause::NoReport), "done without a report");
    observed.reported = true;
    assert_eq!(plan(&desired, &observed, &limits, at(12)), Plan::Step(Event::Worked, None));
}

#[test]
fn a_boot_without_progress_is_retried_and_then_fails_with_its_diagnosis() {
    let limits = Limits::default();
    let observed = Observed {
        power_target: Progress::Done(at(10)),
        last_mark: Some(at(20)),
        diagnosis: Some((Cause::TftpBlocked, "stopped at the loader".to_owned())),
        ..Observed::default()
    };
    let mut desired = desired(deploying(Stage::Boot));
    let late = at(20).plus(limits.boot);
    assert!(matches!(plan(&desired, &observed, &limits, at(300)), Plan::Wait(Waiting { thing: Thing::Agent, .. })));
    assert_eq!(plan(&desired, &observed, &limits, late), Plan::Step(Event::Again, None));
    desired.boots_lost = 2;
    let Plan::Step(Event::GaveUp, Some(failure)) = plan(&desired, &observed, &limits, late) else { panic!("goes on") };
    assert_eq!((failure.cause, failure.text.as_str()), (Cause::TftpBlocked, "stopped at the loader (after 3 boots)"));
}

#[test]
fn an_agent_that_stops_calling_is_lost() {
    let limits = Limits::default();
    let mut observed = Observed { agent_bound: Some(at(5)), ..Observed::default() };
    let desired = desired(deploying(Stage::Work));
    assert!(matches!(plan(&desired, &observed, &limits, at(119)), Plan::Wait(_)));
    let Plan::Step(Event::GaveUp, Some(failure)) = plan(&desired, &observed, &limits, at(120)) else {
        panic!("goes on")
    };
    assert_eq!(failure.cause, Cause::AgentLost);
    observed.agent_heard = Some(at(100));
    assert!(matches!(plan(&desired, &observed, &limits, at(120)), Plan::Wait(_)));
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
        let observed = Observed { minted: true, ..Observed::default() };
        assert!(
            matches!(plan(&desired(state), &observed, &limits, never), Plan::Step(Event::GaveUp, Some(_))),
            "{state:?}"
        );
    }
    // A boot fails by its power, and then by its agent.
    for stage in [deploying(Stage::Boot), State::Inspecting { stage: Stage::Boot }] {
        let last = Desired { boots_lost: limits.boots, ..desired(stage) };
        for power_target in [Progress::Unknown, Progress::Done(at(1))] {
            let observed = Observed { minted: true, power_target, ..Observed::default() };
            assert!(matches!(plan(&last, &observed, &limits, never), Plan::Step(Event::GaveUp, Some(_))), "{stage:?}");
        }
    }
}

#[test]
fn a_node_at_rest_needs_no_work() {
    for state in [State::Available, State::Active, State::Failed { during: Phase::Deploy }] {
        assert_eq!(plan(&desired(state), &Observed::default(), &Limits::default(), at(0)), Plan::Rest);
    }
}

#[test]
fn a_machine_that_was_read_as_off_lost_its_power_unless_its_agent_still_calls() {
    let desired = desired(deploying(Stage::Work));
    let observed = |off: Option<i64>, heard| Observed {
        off_at: off.map(at),
        agent_bound: Some(at(0)),
        agent_heard: Some(at(heard)),
        ..Observed::default()
    };
    let limits = Limits::default();
    let lost = plan(&desired, &observed(Some(40), 41), &limits, at(71));
    assert!(matches!(&lost, Plan::Step(Event::GaveUp, Some(why)) if why.cause == Cause::PowerLost), "{lost:?}");
    // A BMC that reports off while the agent calls is wrong, and a BMC that reports nothing proves nothing.
    for (observed, now) in [(observed(Some(40), 60), 71), (observed(None, 41), 160)] {
        assert!(matches!(plan(&desired, &observed, &limits, at(now)), Plan::Wait(_)), "{observed:?}");
    }
    let Plan::Wait(waiting) = plan(&desired, &observed(Some(40), 41), &limits, at(50)) else { panic!("it waits") };
    assert_eq!(waiting.until, at(71), "the next pass is due when the power counts as lost");
}

#[test]
fn a_boot_that_lost_its_power_is_retried_and_finally_fails_with_power_lost() {
    let observed = Observed {
        power_target: Progress::Done(at(0)),
        off_at: Some(at(10)),
        diagnosis: Some((Cause::NoDhcp, "no DHCP".to_owned())),
        ..Observed::default()
    };
    let first = desired(deploying(Stage::Boot));
    assert!(matches!(plan(&first, &observed, &Limits::default(), at(39)), Plan::Wait(_)));
    assert_eq!(plan(&first, &observed, &Limits::default(), at(40)), Plan::Step(Event::Again, None));
    let last = Desired { boots_lost: 2, ..first };
    let lost = plan(&last, &observed, &Limits::default(), at(40));
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
    let cleaning = desired(State::Cleaning { stage: Stage::Work, manual: false });
    let mut observed =
        Observed { has_agent_steps: true, agent_bound: Some(at(1)), work: Progress::Underway, ..Observed::default() };
    let limits = Limits::default();
    let late = cleaning.since.plus(limits.agent * 2);
    assert!(
        matches!(plan(&cleaning, &observed, &limits, late), Plan::Act(Act::AdoptAgentSteps, _)),
        "even after an absence of the scheduler"
    );
    observed.has_agent_steps = false;
    let course = StepPlan { next: NextStep::Work(2), ramdisk: true, agent_continues: true };
    let taken = Desired { step_plan: course, ..cleaning.clone() };
    observed.minted = true;
    assert!(matches!(plan(&taken, &observed, &limits, cleaning.since), Plan::Act(Act::SendSteps, _)));
}

#[test]
fn what_is_late_while_a_boot_is_prepared_is_told_by_what_was_waited_for() {
    let (limits, desired, late) = (Limits::default(), desired(deploying(Stage::Prepare)), at(31 * 60));
    let with = |minted, images, boot| Observed { minted, images, boot, ..Observed::default() };
    let (unknown, done) = (Progress::Unknown, Progress::Done(at(0)));
    for (observed, source, cause) in [
        (with(false, unknown.clone(), unknown.clone()), "an image is still being converted", Cause::ImageSlow),
        (with(true, unknown.clone(), unknown.clone()), "an image is still being downloaded", Cause::ImageUnreachable),
        (with(true, done.clone(), unknown), "the pxe-service has no boot file", Cause::RamdiskMissing),
        (with(true, done.clone(), Progress::Underway), "the same, and it says so", Cause::RamdiskMissing),
    ] {
        let Plan::Step(Event::GaveUp, Some(failure)) = plan(&desired, &observed, &limits, late) else {
            panic!("{source}")
        };
        assert_eq!(failure.cause, cause, "{source}: {}", failure.text);
    }
    let in_time = plan(&desired, &Observed::default(), &limits, at(60));
    assert!(matches!(in_time, Plan::Act(Act::MintBootDecision, Waiting { thing: Thing::Images, .. })), "{in_time:?}");
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
        NextStep::AwaitService,
        NextStep::Done,
    ];
    let turns = turns.into_iter().chain([NextStep::Work(1), NextStep::Simulated(1)]);
    let plans = turns.flat_map(|next| {
        [(false, false), (true, false), (true, true)].map(|(ramdisk, agent_continues)| StepPlan {
            next,
            ramdisk,
            agent_continues,
        })
    });
    for (step_plan, state) in plans.flat_map(|plan| busy().into_iter().map(move |state| (plan, state))) {
        for executor in [Executor::Agent, Executor::Fake, Executor::StandIn] {
            let desired = Desired { executor, step_plan, ..desired(state) };
            assert_ne!(
                plan(&desired, &Observed::default(), &limits, desired.since),
                Plan::Rest,
                "{state:?} {executor:?}"
            );
            let late = desired.since.plus(Duration::from_secs(25 * 3600));
            // Power reached its target long ago and nothing happened since.
            let observed =
                Observed { power_target: Progress::Done(desired.since), minted: true, ..Observed::default() };
            for observed in [Observed::default(), observed] {
                let ends = plan(&desired, &observed, &limits, late);
                assert!(
                    matches!(ends, Plan::Step(..)) || matches!(ends, Plan::Act(Act::MintBootDecision, _)),
                    "{state:?} {ends:?}"
                );
            }
        }
    }
}

#[test]
fn boot_orders_last_as_long_as_the_node_demands() {
    let (once, always) = (Persistence::Once, Persistence::Persistent);
    for (boot_persistence, network, disk) in [
        (BootPersistence::Default, once, always),
        (BootPersistence::Always, always, always),
        (BootPersistence::Never, once, once),
    ] {
        let order = |stage| {
            let desired = Desired { boot_persistence, ..desired(deploying(stage)) };
            let observed = Observed {
                minted: true,
                images: Progress::Done(at(0)),
                boot: Progress::Done(at(0)),
                ..Observed::default()
            };
            let plan = plan(&desired, &observed, &Limits::default(), at(1));
            let Plan::Act(Act::EnsurePower(PowerTarget::Booted { boot: Some(boot) }), _) = plan else {
                panic!("{plan:?}")
            };
            (boot.device, boot.persistence)
        };
        assert_eq!(order(Stage::Boot), (BootDevice::Pxe, network), "{boot_persistence:?}");
        assert_eq!(order(Stage::Finish), (BootDevice::Disk, disk), "{boot_persistence:?}");
    }
}

#[test]
fn a_step_of_fake_hardware_waits_for_service_until_a_user_or_the_deadline_ends_it() {
    let step_plan = StepPlan { next: NextStep::AwaitService, ..StepPlan::default() };
    let of = |stage, seconds| {
        let desired = Desired { executor: Executor::Fake, step_plan, ..desired(State::Servicing { stage }) };
        plan(&desired, &Observed::default(), &Limits::default(), at(seconds))
    };
    assert_eq!(of(Stage::Work, 0), Plan::Step(Event::Awaits, None));
    let (waits, _) =
        provision::step(State::Servicing { stage: Stage::Work }, Event::Awaits, provision::NodeFacts::default())
            .unwrap();
    assert_eq!(waits.ironic_name(), "service wait");
    assert!(matches!(of(Stage::Boot, 10), Plan::Wait(waiting) if waiting.thing == Thing::Agent));
    assert!(matches!(of(Stage::Boot, 301), Plan::Step(Event::GaveUp, Some(_))));
    for verb in [provision::Verb::Abort, provision::Verb::Undeploy] {
        assert!(waits.verbs().contains(&verb), "{verb}");
    }
}

#[test]
fn a_bmc_without_boot_management_is_not_told_what_to_boot_from() {
    for (state, device) in [
        (State::Deploying { stage: Stage::Boot }, BootDevice::Pxe),
        (State::Cleaning { stage: Stage::Boot, manual: false }, BootDevice::Pxe),
        (State::Deploying { stage: Stage::Finish }, BootDevice::Disk),
    ] {
        let of = |keeps_boot_order| {
            let desired = Desired { keeps_boot_order, ..desired(state) };
            match plan(&desired, &Observed::default(), &Limits::default(), at(1)) {
                Plan::Act(Act::EnsurePower(PowerTarget::Booted { boot }), _) => boot.map(|boot| boot.device),
                other @ (Plan::Rest | Plan::Wait(_) | Plan::Act(..) | Plan::Step(..)) => panic!("{state:?} {other:?}"),
            }
        };
        assert_eq!((of(false), of(true)), (Some(device), None), "{state:?}");
    }
}
