use super::*;
use crate::provision::{self, Phase};

fn wanted(state: State) -> Wanted {
    Wanted {
        state,
        since: Timestamp::from_millis(0),
        generation: Generation::from_number(1),
        boots_lost: 0,
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

#[test]
fn a_deploy_goes_from_available_to_active_by_the_plan_alone() {
    let (mut state, _) = provision::step(State::Available, Event::Asked(provision::Verb::Deploy)).unwrap();
    let mut seen = Seen::default();
    let mut acts = Vec::new();
    for second in 0..40 {
        match plan(&wanted(state), &seen, &Limits::default(), at(second)) {
            Plan::Rest => break,
            Plan::Wait(waiting) => match waiting.thing {
                Thing::Agent => seen.agent_bound = Some(at(second)),
                Thing::Work => seen.work = Progress::Done(at(second)),
                other @ (Thing::Bmc | Thing::Images | Thing::BootFiles | Thing::Power | Thing::Life) => {
                    panic!("waits for {other:?}")
                }
            },
            Plan::Act(act, _) => {
                acts.push(act);
                match act {
                    Act::Mint => seen.minted = true,
                    Act::EnsureImages => seen.images = Progress::Done(at(second)),
                    Act::EnsureBoot => seen.boot = Progress::Done(at(second)),
                    Act::EnsurePower(_) => seen.power_target = Progress::Done(at(second)),
                    Act::AskBmc => panic!("the BMC is known"),
                }
            }
            Plan::Step(event, failure) => {
                assert_eq!(failure, None);
                let (next, effects) = provision::step(state, event).unwrap();
                if effects.contains(&provision::Effect::NewGeneration) {
                    seen.power_target = Progress::Unknown;
                }
                state = next;
            }
        }
    }
    assert_eq!(state, State::Active);
    let booted = |device, persistence| {
        Act::EnsurePower(PowerTarget::Booted { boot: Some(Boot { device, persistence, mode: BootMode::Bios }) })
    };
    assert_eq!(
        acts,
        [
            Act::Mint,
            Act::EnsureImages,
            Act::EnsureBoot,
            booted(BootDevice::Pxe, Persistence::Once),
            booted(BootDevice::Disk, Persistence::Persistent)
        ]
    );
}

#[test]
fn a_boot_without_progress_is_tried_again_and_then_given_up_with_its_diagnosis() {
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
fn an_agent_that_is_not_heard_is_lost_and_one_that_is_heard_is_not() {
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
fn no_busy_state_waits_without_an_end() {
    let limits = Limits::default();
    let never = at(10_000_000);
    for state in [
        State::Verifying,
        State::Deleting,
        deploying(Stage::Prepare),
        deploying(Stage::Work),
        deploying(Stage::Finish),
        State::Cleaning { stage: Stage::Finish },
    ] {
        let seen = Seen { minted: true, ..Seen::default() };
        assert!(matches!(plan(&wanted(state), &seen, &limits, never), Plan::Step(Event::GaveUp, Some(_))), "{state:?}");
    }
}

#[test]
fn what_rests_is_left_alone() {
    for state in [State::Available, State::Active, State::Failed { during: Phase::Deploy }] {
        assert_eq!(plan(&wanted(state), &Seen::default(), &Limits::default(), at(0)), Plan::Rest);
    }
}

#[test]
fn a_machine_that_was_read_off_at_work_lost_its_power_unless_its_agent_is_still_heard() {
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
    // A BMC that says off while the agent goes on is wrong, and one that says nothing proves nothing.
    for (seen, now) in [(seen(Some(40), 60), 71), (seen(None, 41), 160)] {
        assert!(matches!(plan(&wanted, &seen, &limits, at(now)), Plan::Wait(_)), "{seen:?}");
    }
    let Plan::Wait(waiting) = plan(&wanted, &seen(Some(40), 41), &limits, at(50)) else { panic!("it waits") };
    assert_eq!(waiting.until, at(71), "it is looked at again when it counts as lost");
}

#[test]
fn a_machine_that_lost_its_power_while_it_booted_is_booted_again_and_in_the_end_said_to_have_lost_it() {
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
