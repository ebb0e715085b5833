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
        Phase::ManualClean,
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
            State::Cleaning { stage, manual: false },
            State::Cleaning { stage, manual: true },
            State::Rescuing { stage },
            State::Unrescuing { stage },
            State::Servicing { stage },
        ]);
    }
    all.extend(phases.map(|during| State::Failed { during }));
    all
}

fn events() -> Vec<Event> {
    Event::all().collect()
}

#[test]
fn the_whole_machine_is_as_the_golden_table_says() {
    let mut table = String::new();
    for state in states() {
        for event in events() {
            if let Ok((next, effects)) = step(state, event, given()) {
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
            .any(|from| events().iter().any(|event| step(*from, *event, given()).is_ok_and(|(to, _)| to == state)));
        if state.is_busy() && reachable {
            assert!(step(state, Event::GaveUp, given()).is_ok(), "{state:?}");
        }
    }
}

#[test]
fn a_refusal_names_what_can_be_asked_instead() {
    let refused = step(State::Enroll, Event::Asked(Verb::Deploy), given()).unwrap_err();
    assert_eq!(refused.to_string(), "a node in state enroll can not deploy; from here it can: manage");
}

/// As a node has it that nobody said anything of.
fn given() -> Given {
    Given { cleans_after_use: true, ..Given::default() }
}

/// What a person may ask for, state by state: Ironic's own table, by its words.
const ASKED: &[(&str, &str)] = &[
    ("enroll", "manage"),
    ("manageable", "provide inspect clean adopt"),
    ("available", "manage deploy"),
    ("active", "rebuild undeploy rescue service"),
    ("wait call-back", "undeploy abort"),
    ("deploy failed", "deploy rebuild undeploy"),
    ("deploy hold", "abort unhold"),
    ("error", "rebuild undeploy"),
    ("clean wait", "abort"),
    ("clean hold", "abort unhold"),
    ("clean failed", "manage"),
    ("inspect wait", "abort"),
    ("inspect failed", "manage inspect"),
    ("adopt failed", "manage adopt"),
    ("rescue", "undeploy rescue unrescue"),
    ("rescue wait", "undeploy abort"),
    ("rescue failed", "undeploy rescue unrescue"),
    ("unrescue failed", "undeploy rescue unrescue"),
    ("service wait", "undeploy abort"),
    ("service hold", "abort service unhold"),
    ("service failed", "undeploy abort rescue service"),
];

#[test]
fn a_person_may_ask_for_what_ironics_table_has_and_to_abort_what_is_going_on() {
    // No step leads to a failed verification: such a node is enrolled again.
    for state in states().into_iter().filter(|state| *state != State::Failed { during: Phase::Verify }) {
        let name = state.ironic_name();
        let table = ASKED.iter().find(|(of, _)| *of == name).map_or("", |(_, verbs)| verbs);
        let mut wanted: Vec<&str> = table.split_whitespace().collect();
        let mut verbs: Vec<String> = state.verbs().iter().map(Verb::to_string).collect();
        // Ours takes an abort wherever work is going on that can be given up, not only where it waits.
        if state.is_busy() {
            verbs.retain(|verb| verb != "abort");
            wanted.retain(|verb| *verb != "abort");
        }
        verbs.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(verbs, wanted, "{state:?} ({name})");
    }
}

#[test]
fn who_is_retired_is_not_made_available_by_cleaning() {
    let last = State::Cleaning { stage: Stage::Finish, manual: false };
    let retired = Given { retired: true, ..given() };
    assert_eq!(step(last, Event::Finished, retired).unwrap().0, State::Manageable);
    assert_eq!(step(last, Event::Finished, given()).unwrap().0, State::Available);
    let (state, _) = step(State::Deleting, Event::Finished, Given { retired: true, ..Given::default() }).unwrap();
    assert_eq!(state, State::Manageable);
}

#[test]
fn whether_a_machine_is_cleaned_is_given() {
    let provide = |cleans_before_use| {
        let given = Given { cleans_before_use, ..Given::default() };
        step(State::Manageable, Event::Asked(Verb::Provide), given).unwrap().0
    };
    assert_eq!(provide(false), State::Available);
    assert_eq!(provide(true), State::Cleaning { stage: Stage::Prepare, manual: false });
}

#[test]
fn a_state_that_was_stored_before_there_was_manual_cleaning_is_still_read() {
    let read: State = serde_json::from_str(r#"{"state": "cleaning", "stage": "boot"}"#).unwrap();
    assert_eq!(read, State::Cleaning { stage: Stage::Boot, manual: false });
    assert_eq!(serde_json::to_string(&read).unwrap(), r#"{"state":"cleaning","stage":"boot"}"#);
}
