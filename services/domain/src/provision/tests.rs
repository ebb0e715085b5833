use std::{fmt::Write as _, fs, path::Path};

use super::*;

fn states() -> Vec<State> {
    let stages = [Stage::Prepare, Stage::Boot, Stage::Work, Stage::Finish];
    let phases = [
        Phase::Verify,
        Phase::Inspect,
        Phase::Deploy,
        Phase::Delete,
        Phase::Clean,
        Phase::Adopt,
        Phase::Rescue,
        Phase::Unrescue,
        Phase::Service,
    ];
    let mut all = vec![
        State::Enroll,
        State::Verifying,
        State::Manageable,
        State::Available,
        State::DeployHold,
        State::Active,
        State::Deleting,
        State::CleanHold,
        State::Adopting,
        State::Rescue,
        State::ServiceHold,
    ];
    for stage in stages {
        all.extend([
            State::Inspecting { stage },
            State::Deploying { stage },
            State::Cleaning { stage },
            State::Rescuing { stage },
            State::Unrescuing { stage },
            State::Servicing { stage },
        ]);
    }
    all.extend(phases.map(|during| State::Failed { during }));
    all
}

fn events() -> Vec<Event> {
    let seen =
        [Event::Answered, Event::Prepared, Event::Called, Event::Worked, Event::Finished, Event::Again, Event::GaveUp];
    Verb::ALL.iter().map(|verb| Event::Asked(*verb)).chain(seen).collect()
}

#[test]
fn the_whole_machine_is_as_the_golden_table_says() {
    let mut table = String::new();
    for state in states() {
        for event in events() {
            if let Ok((next, effects)) = step(state, event) {
                writeln!(table, "{state:?} + {event:?} -> {next:?} {effects:?}").unwrap();
            }
        }
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/provision/golden/step.txt");
    if option_env!("UPDATE").is_some() {
        fs::write(&golden, &table).unwrap();
    }
    assert_eq!(table, fs::read_to_string(&golden).unwrap(), "UPDATE=1 rewrites the table; read its diff");
}

#[test]
fn every_busy_state_that_is_built_can_fail_and_so_never_sticks() {
    for state in states() {
        let reachable = states()
            .iter()
            .any(|from| events().iter().any(|event| step(*from, *event).is_ok_and(|(to, _)| to == state)));
        if state.is_busy() && reachable {
            assert!(step(state, Event::GaveUp).is_ok(), "{state:?}");
        }
    }
}

#[test]
fn a_refusal_names_what_can_be_asked_instead() {
    let refused = step(State::Enroll, Event::Asked(Verb::Deploy)).unwrap_err();
    assert_eq!(refused.to_string(), "a node in state enroll can not deploy; from here it can: manage");
    let refused = step(State::Manageable, Event::Asked(Verb::Clean)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "clean is not built yet; from state manageable a node can: provide, inspect, adopt"
    );
}
