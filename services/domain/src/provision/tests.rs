use std::{fmt::Write as _, fs, path::Path};

use super::*;
use crate::power::{BmcReset, Boot, BootDevice, BootMode, Persistence};

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
fn every_transition_is_as_in_the_golden_table() {
    let mut table = String::new();
    for state in states() {
        for event in events() {
            if let Ok((next, effects)) = step(state, event, facts()) {
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
fn every_busy_state_can_fail() {
    for state in states() {
        let reachable = states()
            .iter()
            .any(|from| events().iter().any(|event| step(*from, *event, facts()).is_ok_and(|(to, _)| to == state)));
        if state.is_busy() && reachable {
            assert!(step(state, Event::GaveUp, facts()).is_ok(), "{state:?}");
        }
    }
}

#[test]
fn a_refusal_names_the_allowed_verbs() {
    let refused = step(State::Enroll, Event::Asked(Verb::Deploy), facts()).unwrap_err();
    assert_eq!(refused.to_string(), "a node in state enroll cannot deploy; from here it can: manage");
}

/// Facts of a node with default settings.
fn facts() -> NodeFacts {
    NodeFacts { cleans_after_use: true, ..NodeFacts::default() }
}

/// Allowed verbs of each state, from Ironic's table.
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
fn the_allowed_verbs_are_those_of_ironic_and_abort() {
    // No transition leads to a failed verification: the node returns to enroll.
    for state in states().into_iter().filter(|state| *state != State::Failed { during: Phase::Verify }) {
        let name = state.ironic_name();
        let table = ASKED.iter().find(|(of, _)| *of == name).map_or("", |(_, verbs)| verbs);
        let mut wanted: Vec<&str> = table.split_whitespace().collect();
        let mut verbs: Vec<String> = state.verbs().iter().map(Verb::to_string).collect();
        // Unlike Ironic, an abort is allowed in every state whose work can be given up, not only in waiting ones.
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
fn cleaning_does_not_make_a_retired_node_available() {
    let last = State::Cleaning { stage: Stage::Finish, manual: false };
    let retired = NodeFacts { retired: true, ..facts() };
    assert_eq!(step(last, Event::Finished, retired).unwrap().0, State::Manageable);
    assert_eq!(step(last, Event::Finished, facts()).unwrap().0, State::Available);
    let (state, _) =
        step(State::Deleting, Event::Finished, NodeFacts { retired: true, ..NodeFacts::default() }).unwrap();
    assert_eq!(state, State::Manageable);
}

#[test]
fn the_facts_decide_whether_a_node_is_cleaned() {
    let provide = |cleans_before_use| {
        let facts = NodeFacts { cleans_before_use, ..NodeFacts::default() };
        step(State::Manageable, Event::Asked(Verb::Provide), facts).unwrap().0
    };
    assert_eq!(provide(false), State::Available);
    assert_eq!(provide(true), State::Cleaning { stage: Stage::Prepare, manual: false });
}

#[test]
fn a_cleaning_state_without_the_manual_flag_is_still_readable() {
    let read: State = serde_json::from_str(r#"{"state": "cleaning", "stage": "boot"}"#).unwrap();
    assert_eq!(read, State::Cleaning { stage: Stage::Boot, manual: false });
    assert_eq!(serde_json::to_string(&read).unwrap(), r#"{"state":"cleaning","stage":"boot"}"#);
}

#[test]
fn a_protected_node_cannot_be_undeployed_rebuilt_or_removed() {
    let protected = NodeFacts { protected: true, in_maintenance: true, ..facts() };
    for state in states() {
        for verb in [Verb::Undeploy, Verb::Rebuild] {
            assert!(step(state, Event::Asked(verb), protected).is_err(), "{state:?} {verb}");
        }
        assert_eq!(remove(state, protected), Err(Refused::Protected), "{state:?}");
    }
    let asked = step(State::Active, Event::Asked(Verb::Undeploy), NodeFacts { protected: true, ..facts() });
    assert_eq!(asked, Err(Refused::Protected));
    // An operation that was accepted before the protection continues.
    assert!(step(State::Deleting, Event::Finished, protected).is_ok());
}

#[test]
fn each_fact_refuses_only_its_verbs() {
    let refused = |facts: NodeFacts| {
        let mut verbs = Vec::new();
        for verb in Verb::ALL.iter().copied() {
            let differs = states().iter().any(|state| {
                step(*state, Event::Asked(verb), facts).is_ok()
                    != step(*state, Event::Asked(verb), self::facts()).is_ok()
            });
            verbs.extend(differs.then(|| verb.to_string()));
        }
        verbs.join(" ")
    };
    let of = |facts: NodeFacts| NodeFacts { cleans_after_use: true, ..facts };
    assert_eq!(refused(of(NodeFacts { retired: true, ..NodeFacts::default() })), "provide");
    assert_eq!(refused(of(NodeFacts { protected: true, ..NodeFacts::default() })), "rebuild undeploy");
    assert_eq!(
        refused(of(NodeFacts { in_maintenance: true, ..NodeFacts::default() })),
        "deploy rebuild clean rescue unrescue service"
    );
    for network_boot in [NetworkBoot::NoPort, NetworkBoot::NoAddress] {
        assert_eq!(refused(of(NodeFacts { network_boot, ..NodeFacts::default() })), "deploy rebuild clean inspect");
    }
    assert_eq!(refused(of(NodeFacts { inspect: Support::No, ..NodeFacts::default() })), "inspect");
    assert_eq!(refused(of(NodeFacts { rescue: Support::No, ..NodeFacts::default() })), "rescue");
    assert_eq!(refused(of(NodeFacts { service: Support::No, ..NodeFacts::default() })), "service");
    assert_eq!(refused(of(NodeFacts { has_instance: true, stays_on: true, ..NodeFacts::default() })), "");
}

#[test]
fn a_node_with_an_instance_can_be_removed_only_in_maintenance() {
    let with_instance = NodeFacts { has_instance: true, ..facts() };
    assert_eq!(remove(State::Available, with_instance), Err(Refused::HasInstance));
    assert_eq!(remove(State::Active, NodeFacts { in_maintenance: true, ..with_instance }), Ok(()));
    assert_eq!(remove(State::Active, facts()), Err(Refused::NotRemovable { state: State::Active }));
    assert_eq!(remove(State::Available, facts()), Ok(()));
}

#[test]
fn power_cannot_be_changed_during_an_operation_or_removed_from_a_node_that_must_stay_on() {
    let boot = State::Deploying { stage: Stage::Boot };
    assert_eq!(change_power(boot, PowerTarget::On, facts()), Err(Refused::Busy { state: boot }));
    assert_eq!(change_power(State::Active, PowerTarget::Off, facts()), Ok(()));
    let stays_on = NodeFacts { stays_on: true, ..facts() };
    assert_eq!(change_power(State::Active, PowerTarget::Off, stays_on), Err(Refused::StaysOn));
    assert_eq!(change_power(State::Active, PowerTarget::Booted { boot: None }, stays_on), Ok(()));
}

#[test]
fn a_command_to_the_bmc_needs_an_ipmi_node_at_rest_and_is_not_replaced() {
    let reset = PowerTarget::BmcReset { reset: BmcReset::Cold, by: None };
    let raw = PowerTarget::RawCommand { netfn: 6, command: 1, by: None };
    let nmi = PowerTarget::Interrupted { by: None };
    let disk = Boot { device: BootDevice::Disk, persistence: Persistence::Once, mode: BootMode::Uefi };
    let order = PowerTarget::BootOrder { boot: disk };
    let boot = State::Deploying { stage: Stage::Boot };
    let awaits = |target| NodeFacts { awaits: Some(target), ..facts() };
    let other_driver = NodeFacts { ipmi_commands: Support::No, ..facts() };
    let in_maintenance = NodeFacts { in_maintenance: true, protected: true, stays_on: true, ..facts() };
    let not_carried_out = NodeFacts { not_carried_out: [Interface::Power].into_iter().collect(), ..facts() };
    for (state, target, facts, right, source) in [
        (State::Active, reset, facts(), Ok(()), "a node in use"),
        (State::Enroll, raw, facts(), Ok(()), "Ironic asks for no state"),
        (State::Active, raw, in_maintenance, Ok(()), "it concerns no power and no deployment"),
        (State::Active, reset, other_driver, Err(Refused::NoIpmiCommands), "redfish, or vendor_interface no-vendor"),
        (State::Active, raw, other_driver, Err(Refused::NoIpmiCommands), "redfish, or vendor_interface no-vendor"),
        (State::Active, PowerTarget::Off, other_driver, Ok(()), "no command of IPMI"),
        (boot, reset, facts(), Err(Refused::Busy { state: boot }), "locked in Ironic"),
        (boot, raw, facts(), Err(Refused::Busy { state: boot }), "locked in Ironic"),
        (
            State::Active,
            raw,
            not_carried_out,
            Err(Refused::NotCarriedOut { interface: Interface::Power }),
            "the power-service does not drive it",
        ),
        (State::Active, reset, awaits(PowerTarget::On), Err(Refused::AwaitsPower), "locked in Ironic"),
        (State::Active, nmi, awaits(PowerTarget::On), Err(Refused::AwaitsPower), "locked in Ironic"),
        (State::Active, nmi, facts(), Ok(()), "nothing is under way"),
        (State::Active, order, awaits(PowerTarget::On), Err(Refused::AwaitsPower), "locked in Ironic"),
        (State::Active, PowerTarget::Off, awaits(nmi), Ok(()), "its client is told"),
        (State::Active, raw, awaits(reset), Err(Refused::AwaitsPower), "locked in Ironic"),
        (State::Active, PowerTarget::Off, awaits(raw), Err(Refused::AwaitsPower), "the command would be lost"),
        (State::Active, PowerTarget::Off, awaits(PowerTarget::On), Ok(()), "only the last power state counts"),
    ] {
        assert_eq!(change_power(state, target, facts), right, "{target:?}: {source}");
    }
    let deploy = Event::Asked(Verb::Deploy);
    assert_eq!(step(State::Available, deploy, awaits(raw)), Err(Refused::AwaitsPower), "the command would be lost");
    assert!(step(State::Available, deploy, awaits(PowerTarget::On)).is_ok(), "an operation replaces a power state");
}
