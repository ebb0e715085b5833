use super::*;
use crate::store::MemberState;

/// Health of a member in a table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Is {
    Leader,
    Up,
    Dead,
    /// A learner that runs.
    Learner,
    /// A learner that has never run.
    NewLearner,
}
use Is::{Dead, Leader, Learner, NewLearner, Up};

fn url(id: u64) -> String {
    format!("https://10.0.0.{id}:2380")
}

fn report((id, is): (u64, Is)) -> MemberReport {
    let has_run = is != NewLearner;
    let member = ClusterMember {
        id,
        name: if has_run { format!("h{id}") } else { String::new() },
        peer_urls: vec![url(id)],
        client_urls: if has_run { vec![format!("https://10.0.0.{id}:2379")] } else { vec![] },
        is_learner: matches!(is, Learner | NewLearner),
    };
    let leader = if is == Leader { id } else { 99 };
    let state = matches!(is, Leader | Up | Learner).then(|| MemberState { id, leader, ..MemberState::default() });
    MemberReport { member, state, ..MemberReport::default() }
}

fn wanted(id: u64) -> WantedMember {
    WantedMember { name: format!("h{id}"), peer_urls: vec![url(id)], data: MemberData::Kept }
}

fn add(id: u64) -> Action {
    Action::AddLearner { name: format!("h{id}"), peer_urls: vec![url(id)] }
}

fn remove(id: u64) -> Action {
    Action::Remove { id, why: RemoveReason::NotWanted }
}

fn would_lose(id: u64) -> Action {
    Action::Wait(WaitReason::WouldLoseQuorum { label: format!("h{id}") })
}

#[test]
fn the_next_change_brings_the_members_nearer_to_the_hosts_and_never_costs_the_quorum() {
    // Why, the members, the hosts that should have one, and the next action.
    type Case = (&'static str, Vec<(u64, Is)>, Vec<u64>, Action);
    let table: Vec<Case> = vec![
        ("one of one", vec![(1, Leader)], vec![1], Action::Done),
        ("one of three", vec![(1, Leader)], vec![1, 2, 3], add(2)),
        ("one joins at a time", vec![(1, Leader), (2, Learner)], vec![1, 2, 3], Action::Promote { id: 2 }),
        ("two of three", vec![(1, Leader), (2, Up)], vec![1, 2, 3], add(3)),
        ("three of three", vec![(1, Leader), (2, Up), (3, Up)], vec![1, 2, 3], Action::Done),
        (
            "a learner that was never started",
            vec![(1, Leader), (2, NewLearner)],
            vec![1, 2],
            Action::Wait(WaitReason::LearnerSilent { label: url(2) }),
        ),
        ("a learner whose host gave up", vec![(1, Leader), (2, NewLearner)], vec![1], remove(2)),
        ("a dead member whose host comes back", vec![(1, Leader), (2, Up), (3, Dead)], vec![1, 2, 3], Action::Done),
        ("a dead one is removed first", vec![(1, Leader), (2, Up), (3, Dead)], vec![1, 2, 4], remove(3)),
        ("then the next one is added", vec![(1, Leader), (2, Up)], vec![1, 2, 4], add(4)),
        ("a live one is replaced by adding first", vec![(1, Leader), (2, Up), (3, Up)], vec![1, 2, 4], add(4)),
        ("and removed afterwards", vec![(1, Leader), (2, Up), (3, Up), (4, Up)], vec![1, 2, 4], remove(3)),
        ("the leader last", vec![(1, Leader), (2, Up), (3, Up)], vec![3], remove(2)),
        ("the leader too", vec![(1, Leader), (3, Up)], vec![3], remove(1)),
        ("a dead one of two", vec![(1, Leader), (2, Dead)], vec![1], {
            Action::Wait(WaitReason::NoQuorum { healthy: 1, voters: 2 })
        }),
        ("two dead of five", vec![(1, Leader), (2, Up), (3, Up), (4, Dead), (5, Dead)], vec![1, 2, 3], remove(4)),
        (
            "a live one of three with a dead one that stays",
            vec![(1, Leader), (2, Up), (3, Dead)],
            vec![1, 3],
            would_lose(2),
        ),
        (
            "a dead one is removed while a learner waits",
            vec![(1, Leader), (2, Up), (3, Dead), (4, NewLearner)],
            vec![1, 2, 4],
            remove(3),
        ),
        ("the last one is never removed", vec![(1, Leader)], vec![], would_lose(1)),
        (
            "seven are enough",
            (1..=7).map(|id| (id, if id == 1 { Leader } else { Up })).collect(),
            (1..=8).collect(),
            Action::Wait(WaitReason::TooMany { name: "h8".to_owned() }),
        ),
        ("no leader", vec![(1, Dead), (2, Dead), (3, Up)], vec![1, 2, 3], {
            Action::Wait(WaitReason::NoQuorum { healthy: 1, voters: 3 })
        }),
    ];
    for (why, members, hosts, expected) in table {
        let members: Vec<_> = members.into_iter().map(report).collect();
        let hosts: Vec<_> = hosts.into_iter().map(wanted).collect();
        assert_eq!(next_action(&members, &hosts), expected, "{why}");
    }
}

#[test]
fn a_host_that_lost_its_data_or_moved_is_told_from_one_that_is_down() {
    let lost = |id| WantedMember { data: MemberData::Lost, ..wanted(id) };
    let moved = |id| WantedMember { peer_urls: vec![url(id + 100)], ..wanted(id) };
    let data_lost = |id| Action::Remove { id, why: RemoveReason::DataLost };
    let update = |id| Action::Update { id, peer_urls: vec![url(id + 100)] };
    let three = vec![(1, Leader), (2, Up), (3, Dead)];
    let table = [
        ("set up anew", three.clone(), vec![wanted(1), wanted(2), lost(3)], data_lost(3)),
        ("removed, added next", vec![(1, Leader), (2, Up)], vec![wanted(1), wanted(2), lost(3)], add(3)),
        ("moved", three.clone(), vec![wanted(1), wanted(2), moved(3)], update(3)),
        ("down", three, vec![wanted(1), wanted(2), wanted(3)], Action::Done),
        (
            "a claim that its data is lost, while it runs",
            vec![(1, Leader), (2, Up), (3, Up)],
            vec![wanted(1), wanted(2), lost(3)],
            Action::Done,
        ),
        (
            "a learner that has never run",
            vec![(1, Leader), (2, NewLearner)],
            vec![wanted(1), lost(2)],
            Action::Wait(WaitReason::LearnerSilent { label: url(2) }),
        ),
        (
            "another host at the address of a dead one",
            vec![(1, Leader), (2, Up), (3, Dead)],
            vec![wanted(1), wanted(2), WantedMember { name: "new".to_owned(), ..wanted(3) }],
            remove(3),
        ),
        (
            "a host with another name than its member, which runs",
            vec![(1, Leader)],
            vec![WantedMember { name: "renamed".to_owned(), ..wanted(1) }],
            Action::Done,
        ),
        (
            "set up anew and moved",
            vec![(1, Leader), (2, Up), (3, Dead)],
            {
                let both = WantedMember { data: MemberData::Lost, ..moved(3) };
                vec![wanted(1), wanted(2), both]
            },
            data_lost(3),
        ),
    ];
    for (why, members, hosts, expected) in table {
        let members: Vec<_> = members.into_iter().map(report).collect();
        assert_eq!(next_action(&members, &hosts), expected, "{why}");
    }
}

#[test]
fn a_majority_is_more_than_half_and_even_numbers_are_advised_against() {
    // Voters, the majority, how many may be lost, and whether there is advice.
    let table = [
        (1, 1, 0, Some(Advice::Single)),
        (2, 2, 0, Some(Advice::Even(2))),
        (3, 2, 1, None),
        (4, 3, 1, Some(Advice::Even(4))),
        (5, 3, 2, None),
        (6, 4, 2, Some(Advice::Even(6))),
        (7, 4, 3, None),
    ];
    for (count, most, lost, expected) in table {
        assert_eq!((majority(count), tolerated(count), advice(count)), (most, lost, expected), "{count}");
    }
    let text = Advice::Even(4).to_string();
    assert_eq!(text, "4 members tolerate the loss of 1, as 3 do; 5 tolerate 2");
}

#[test]
fn the_initial_cluster_names_all_members_and_the_one_that_joins() {
    let members: Vec<_> = [(1, Up), (2, Up), (3, NewLearner)].map(|member| report(member).member).into();
    assert_eq!(initial_cluster(&members, 3, "h3"), format!("h1={},h2={},h3={}", url(1), url(2), url(3)));
    assert_eq!(initial_cluster(&members, 9, "h9"), format!("h1={},h2={},member-3={}", url(1), url(2), url(3)));
}
