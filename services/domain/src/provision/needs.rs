//! Interfaces that the work of each verb uses.

use super::{NodeFacts, State, Verb};
use crate::driver::{Interface, InterfaceSet};

/// Interfaces that boot a ramdisk.
const BOOTING: &[Interface] = &[Interface::Power, Interface::Management, Interface::Boot, Interface::Network];

/// Returns the interfaces that a verb uses in a state, until the operation ends.
pub(super) fn interfaces(state: State, verb: Verb, facts: NodeFacts) -> InterfaceSet {
    let (boots, more): (bool, &[Interface]) = match verb {
        Verb::Manage if state == State::Enroll => (false, &[Interface::Power, Interface::Management]),
        Verb::Manage | Verb::Abort | Verb::Unhold => (false, &[]),
        Verb::Provide => (facts.cleans_before_use, &[]),
        Verb::Deploy | Verb::Rebuild => (true, &[Interface::Deploy, Interface::Storage]),
        Verb::Undeploy => (facts.cleans_after_use, &[Interface::Power]),
        Verb::Clean | Verb::Service => (true, &[]),
        Verb::Inspect => (true, &[Interface::Inspect]),
        Verb::Rescue => (true, &[Interface::Rescue]),
        Verb::Unrescue | Verb::Adopt => (false, &[Interface::Power, Interface::Management]),
    };
    let boot = if boots { BOOTING } else { &[] };
    let steps = Interface::ALL.iter().filter(|interface| facts.step_interfaces.contains(**interface));
    boot.iter().chain(more).chain(steps).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Event, Phase, Refused, step};
    use super::*;

    #[test]
    fn a_verb_that_needs_an_interface_that_is_not_carried_out_is_refused_before_anything_changes() {
        let cleans = NodeFacts { cleans_after_use: true, cleans_before_use: true, ..NodeFacts::default() };
        for (state, verb, interface, is_refused) in [
            (State::Available, Verb::Deploy, Interface::Boot, true),
            (State::Available, Verb::Deploy, Interface::Deploy, true),
            (State::Active, Verb::Rebuild, Interface::Storage, true),
            (State::Active, Verb::Undeploy, Interface::Boot, true),
            (State::Active, Verb::Undeploy, Interface::Deploy, false),
            (State::Manageable, Verb::Clean, Interface::Boot, true),
            (State::Manageable, Verb::Clean, Interface::Inspect, false),
            (State::Manageable, Verb::Provide, Interface::Management, true),
            (State::Manageable, Verb::Inspect, Interface::Inspect, true),
            (State::Manageable, Verb::Inspect, Interface::Raid, false),
            (State::Enroll, Verb::Manage, Interface::Power, true),
            (State::Available, Verb::Manage, Interface::Power, false),
            (State::Failed { during: Phase::Clean }, Verb::Manage, Interface::Boot, false),
            (State::CleanHold, Verb::Abort, Interface::Power, false),
        ] {
            let facts = NodeFacts { not_carried_out: [interface].into_iter().collect(), ..cleans };
            let refused = step(state, Event::Asked(verb), facts).err();
            let expected = is_refused.then_some(Refused::NotCarriedOut { interface });
            assert_eq!(refused, expected, "{state} {verb} {interface}");
        }
    }

    #[test]
    fn a_step_of_an_interface_that_is_not_carried_out_is_refused() {
        let raid: InterfaceSet = [Interface::Raid].into_iter().collect();
        let facts = NodeFacts { not_carried_out: raid, step_interfaces: raid, ..NodeFacts::default() };
        let asked = |facts| step(State::Manageable, Event::Asked(Verb::Clean), facts);
        assert_eq!(asked(facts), Err(Refused::NotCarriedOut { interface: Interface::Raid }));
        assert!(asked(NodeFacts { step_interfaces: InterfaceSet::default(), ..facts }).is_ok());
    }
}
