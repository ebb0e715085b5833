//! Selectors of nodes.

use domain::{driver::Driver, id::RackId};
use keyspace::value::NodeSpec;
use proto::{api::v1::NodeSelector, convert::Invalid};
use scheduler_core::select::{Attributes, Facts, Selector};
use uuid::Uuid;

fn node() -> Facts {
    let spec = NodeSpec {
        resource_class: Some("big".to_owned()),
        traits: vec!["CUSTOM_A".to_owned(), "CUSTOM_B".to_owned()],
        owner: Some("p".to_owned()),
        ..NodeSpec::default()
    };
    Facts {
        id: "00000000-0000-4000-8000-000000000001".to_owned(),
        name: "r1-n07".to_owned(),
        rack: RackId::new(Uuid::from_u128(5)),
        state: "available",
        driver: Driver::FakeHardware,
        failed: false,
        attributes: Attributes::from(&spec),
    }
}

fn read(wire: NodeSelector) -> Result<Selector, Invalid> {
    Selector::read(Some(wire), |_| Ok(RackId::new(Uuid::from_u128(5))))
}

fn selects(wire: NodeSelector) -> bool {
    read(wire).unwrap().selects(&node())
}

fn list(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn all_that_is_set_must_hold_and_one_of_several_values_is_enough() {
    assert!(selects(NodeSelector::default()));
    let free = NodeSelector { states: list(&["active", "available"]), racks: list(&["r"]), ..Default::default() };
    assert!(selects(free.clone()));
    assert!(!selects(NodeSelector { owners: list(&["q"]), ..free.clone() }));
    assert!(!selects(NodeSelector { maintenance: Some(true), ..free.clone() }));
    assert!(selects(NodeSelector { failed: Some(false), drivers: list(&["fake-hardware"]), ..free }));
}

#[test]
fn a_node_must_have_all_traits() {
    assert!(selects(NodeSelector { traits: list(&["CUSTOM_A", "CUSTOM_B"]), ..Default::default() }));
    assert!(!selects(NodeSelector { traits: list(&["CUSTOM_A", "CUSTOM_C"]), ..Default::default() }));
}

#[test]
fn a_driver_that_is_none_is_refused_by_name() {
    let wire = NodeSelector { drivers: list(&["impi"]), ..Default::default() };
    let refused = read(wire).unwrap_err();
    assert!(refused.to_string().contains("impi"), "{refused}");
}

#[test]
fn a_name_is_like_a_pattern_with_stars_and_question_marks() {
    let is_like = |name: &str, pattern: &str| {
        let wire = NodeSelector { nodes: list(&[pattern]), ..Default::default() };
        read(wire).unwrap().selects(&Facts { name: name.to_owned(), ..node() })
    };
    for (pattern, fits) in [
        ("r1-n07", true),
        ("r1-*", true),
        ("*07", true),
        ("*n0?", true),
        ("r*n*7", true),
        ("*", true),
        ("", false),
        ("r1", false),
        ("r2-*", false),
        ("*n0", false),
        ("?", false),
    ] {
        assert_eq!(is_like("r1-n07", pattern), fits, "{pattern}");
    }
    assert!(is_like("", "*") && is_like("", "") && is_like("aab", "*ab"));
}
