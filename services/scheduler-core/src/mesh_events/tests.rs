use domain::generation::{InstructionVersion, Token};
use keyspace::value::JournalEntry;
use uuid::Uuid;

use super::*;

fn instance(number: u128) -> InstanceId {
    InstanceId::new(Uuid::from_u128(number))
}

fn node() -> NodeId {
    NodeId::new(Uuid::from_u128(77))
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn member(endpoint: &str, stopping: bool) -> Option<Member> {
    Some(Member { endpoint: endpoint.to_owned(), weight: 1, stopping, ..Member::default() })
}

fn claim(holder: u128) -> Option<Claim> {
    Some(Claim { instance: instance(holder), since: at(0), after: None, broken: None })
}

fn told(hot: &LiveState) -> Vec<(&'static str, String)> {
    hot.events(usize::MAX).0.into_iter().map(|event| (event.kind, event.text)).collect()
}

#[test]
fn every_key_of_the_mesh_is_known_by_its_path() {
    let (rack, power) = (Scope::Rack("00000000-0000-0000-0000-000000000007".parse().unwrap()), Service::Power);
    assert_eq!(about(key::member(rack, power, instance(1)).path()), Some(About::Member(rack, power, instance(1))));
    assert_eq!(about(key::election(rack, power).path()), Some(About::Election(rack, power)));
    let dc = Scope::Datacenter;
    assert_eq!(about(key::ring(dc, Service::Scheduler).path()), Some(About::Ring(dc, Service::Scheduler)));
    assert_eq!(about(key::claim(rack, power, node()).path()), Some(About::Claim(rack, power, node())));
    assert_eq!(about(key::journal(rack, power, node()).path()), Some(About::Journal(rack, power, node())));
    let Scope::Rack(id) = rack else { unreachable!() };
    assert_eq!(about(key::operation(id, node()).path()), Some(About::Operation(node())));
    for other in [key::life(id, node()).path(), key::incarnation().path(), key::ack(rack, power, instance(1)).path()] {
        assert_eq!(about(other), None, "{other}");
    }
}

#[test]
fn one_that_stops_leaves_and_one_that_does_not_say_so_is_lost() {
    let (hot, mut witness) = (LiveState::default(), MeshEvents::default());
    for (path, number, stops) in [("a", 1, true), ("b", 2, false)] {
        let mut seen = |member| witness.member(&hot, path, Service::Power, instance(number), member);
        seen(member(path, false));
        seen(member(path, false));
        if stops {
            seen(member(path, true));
        }
        seen(None);
        seen(None);
    }
    let kinds: Vec<_> = told(&hot).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["JOINED", "STOPPING", "LEFT", "JOINED", "LOST"]);
}

#[test]
fn a_takeover_is_told_with_both_names_and_a_first_claim_is_none() {
    let (hot, mut witness) = (LiveState::default(), MeshEvents::default());
    witness.member(&hot, "a", Service::Power, instance(1), member("10.0.0.1:5", false));
    witness.member(&hot, "a", Service::Power, instance(1), None);
    for holder in [1, 1, 2] {
        witness.claim(&hot, "c", Service::Power, node(), claim(holder));
    }
    let takeovers: Vec<_> = told(&hot).into_iter().filter(|(kind, _)| *kind == "TAKEOVER").collect();
    let [(_, text)] = takeovers.as_slice() else { panic!("{takeovers:?}") };
    let new = instance(2);
    assert_eq!(
        *text,
        format!("instance {new} took the power-service part of it over from power-service at 10.0.0.1:5")
    );
}

#[test]
fn what_has_not_ended_is_overdue_after_its_deadline_and_is_told_once() {
    let mut witness = MeshEvents::default();
    let (token, session) = (Token::from_number(1), 1);
    let entry = JournalEntry {
        version: InstructionVersion::default(),
        token,
        session,
        command: "power on".to_owned(),
        at: at(0),
        outcome: None,
    };
    let journal = |entry| Some(Journal { entry, ..Journal::default() });
    witness.journal("j", node(), journal(Some(entry.clone())));
    let running = witness.running.get_mut("j").unwrap();
    assert_eq!(running.overdue(at(1000)), None, "without a deadline nothing is late");
    running.deadline = Some(at(60));
    assert_eq!(running.overdue(at(64)), None);
    assert!(running.overdue(at(66)).is_some_and(|text| text.starts_with("power on should have ended")));
    running.is_told = true;
    assert_eq!(running.overdue(at(66)), None);
    let outcome = Some(keyspace::value::Outcome::Done);
    witness.journal("j", node(), journal(Some(JournalEntry { outcome, ..entry })));
    assert!(witness.running.is_empty());
}
