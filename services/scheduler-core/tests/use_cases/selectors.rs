//! Selectors of nodes.

use domain::{
    driver::Driver,
    id::{NodeId, RackId},
    provision::State,
    time::Timestamp,
};
use keyspace::value::{Intent, Life, NodeSpec, Stamped};
use proto::{api::v1::NodeSelector, convert::Invalid};
use scheduler_core::{node_view::NodeView, select::Selector};
use uuid::Uuid;

fn named(name: &str) -> NodeView {
    let now = Timestamp::from_millis(0);
    let intent = Intent::new(name.to_owned(), Driver::FakeHardware, now);
    let life = Life { state: State::Available, ..Life::newborn(now) };
    let (rack, node) = (RackId::new(Uuid::from_u128(5)), NodeId::new(Uuid::from_u128(1)));
    let spec = NodeSpec {
        resource_class: Some("big".to_owned()),
        traits: vec!["CUSTOM_A".to_owned(), "CUSTOM_B".to_owned()],
        owner: Some("p".to_owned()),
        ..NodeSpec::default()
    };
    let mut node = NodeView::new(rack, node, intent, life, 1);
    node.record = Stamped::created(spec, now);
    node
}

fn read(wire: NodeSelector) -> Result<Selector, Invalid> {
    Selector::read(Some(wire), |_| Ok(RackId::new(Uuid::from_u128(5))))
}

fn selects(wire: NodeSelector) -> bool {
    read(wire).unwrap().selects(&named("r1-n07"))
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
        read(wire).unwrap().selects(&named(name))
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
