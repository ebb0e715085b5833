use keyspace::value::RestoredBackup;

use super::*;

fn sound() -> Facts {
    let member = Member {
        url: "https://a:2379".to_owned(),
        cluster: 7,
        leads: true,
        is_led: true,
        size: 100 << 20,
        in_use: 80 << 20,
        quota: Some(QUOTA),
        ..Member::default()
    };
    Facts { members: vec![member], revision: 1000, compacted: 900, etcdctl: "etcdctl".to_owned(), ..Facts::default() }
}

fn whats(facts: &Facts) -> String {
    find_problems(facts).into_iter().map(|finding| format!("{}: {}\n", finding.what, finding.next)).collect()
}

#[test]
fn nothing_is_wrong_with_a_sound_store() {
    assert_eq!(whats(&sound()), "");
}

#[test]
fn each_thing_that_is_wrong_is_named_with_what_to_do() {
    let with = |change: &dyn Fn(&mut Facts)| {
        let mut facts = sound();
        change(&mut facts);
        let found = find_problems(&facts);
        assert_eq!(found.len(), 1, "{found:?}");
        whats(&facts)
    };
    let full = with(&|facts| facts.alarms.push(Alarm::NoSpace));
    for step in ["NOSPACE", "etcdctl compact 1000", "etcdctl defrag", "etcdctl alarm disarm"] {
        assert!(full.contains(step), "{full}");
    }
    assert!(with(&|facts| facts.alarms.push(Alarm::Corrupt)).contains("CORRUPT"));
    assert!(with(&|facts| facts.members[0].quota = Some(2 << 30)).contains("2.0 GiB only"));
    assert!(
        with(&|facts| (facts.members[0].size, facts.members[0].in_use) = (7 << 30, 6 << 30)).contains("7.0 GiB of 8.0")
    );
    assert!(with(&|facts| facts.members[0].in_use = 1 << 20).contains("defragment one member at a time"));
    assert!(with(&|facts| facts.members[0].is_led = false).contains("no leader"));
    assert!(with(&|facts| facts.members[0].trouble = Some("refused".to_owned())).contains("does not answer: refused"));
    assert!(
        with(&|facts| facts.members.push(Member { cluster: 8, is_led: true, ..Member::default() }))
            .contains("clusters")
    );
    assert!(with(&|facts| facts.revision = 900 + MAX_KEPT_REVISIONS + 1).contains("periodic"));
    let how = RestoredBackup { known: 9, found: 5 };
    assert!(with(&|facts| facts.incarnation.restored_backup = Some(how)).contains("ironmesh store adopt"));
}

#[test]
fn keys_are_counted_by_family_and_what_can_not_be_read_is_named() {
    let pair =
        |path: &str, value: &[u8]| Pair { path: path.to_owned(), value: value.to_vec(), revision: 1, created: 1 };
    let (rack, node) = ("00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002");
    let large = format!("{{\"highest\":{{\"token\":1,\"generation\":1}},\"padding\":\"{}\"}}", "x".repeat(9000));
    let contents = Contents::of(&[
        pair("/ironmesh/v1/dc/power-service/ack/00000000-0000-0000-0000-00000000000a", b"{\"epoch\":1}"),
        pair("/ironmesh/v1/dc/power-service/ack/00000000-0000-0000-0000-00000000000b", b"{\"epoch\":"),
        pair("/ironmesh/v1/dc/unheard/of", b"1"),
        pair(&format!("/ironmesh/v1/{rack}/power-service/journal/{node}"), large.as_bytes()),
    ]);
    assert_eq!((contents.families["ack"].keys, contents.all().keys, contents.unknown), (2, 3, 1));
    assert_eq!(contents.unreadable.len(), 1);
    assert!(contents.unreadable[0].0.ends_with("0b"));
    assert_eq!(contents.over.iter().map(|(_, group, _)| *group).collect::<Vec<_>>(), [Group::Ownership]);
    let facts = Facts { contents, ..sound() };
    assert!(whats(&facts).contains("store cat /ironmesh/v1/dc/power-service/ack/00000000-0000-0000-0000-00000000000b"));
}
