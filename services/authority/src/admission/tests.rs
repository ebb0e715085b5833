use keyspace::value::Mark;

use super::*;

const NOW: i64 = 1_800_000_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(NOW + seconds * 1000)
}

fn rack(name: &str, services: &[Service]) -> HostRack {
    HostRack { rack: name.to_owned(), services: services.iter().copied().collect(), slot: 0 }
}

fn token() -> JoinToken {
    JoinToken {
        digest: "d".to_owned(),
        rack: Some("r7".to_owned()),
        services: [Service::Power, Service::Pxe].into(),
        store: true,
        scheduler: false,
        uses: 1,
        used: Vec::new(),
        created: Mark { by: "ann".to_owned(), at: at(-10) },
        expires: at(3600),
    }
}

fn used_by(host: &str, key: &str) -> JoinToken {
    let used = TokenUse { host: host.to_owned(), key: key.to_owned(), at: at(-5) };
    JoinToken { used: vec![used], ..token() }
}

fn host(name: &str, address: &str, key: &str) -> Host {
    Host {
        name: name.to_owned(),
        advertise: address.parse().unwrap(),
        key: key.to_owned(),
        racks: Vec::new(),
        store: false,
        scheduler: true,
        authority: false,
        weight: 200,
        joined: at(-100),
        drain: None,
        removal: None,
    }
}

/// A request of host h2, at 10.0.0.12, with the key "k2".
struct Asked {
    name: &'static str,
    advertise: &'static str,
    roles: Roles,
    weight: u32,
    time: Timestamp,
}

fn asked() -> Asked {
    let roles = Roles { racks: vec![rack("r7", &[Service::Power])], store: false, scheduler: false };
    Asked { name: "h2", advertise: "10.0.0.12", roles, weight: 0, time: at(0) }
}

fn outcome(token: &JoinToken, asked: &Asked, hosts: &[Host]) -> Result<Admitted, Refusal> {
    let racks = BTreeSet::from(["r7".to_owned(), "r8".to_owned()]);
    let datacenter = Datacenter { hosts, racks: &racks, built_in_etcd: true, now: at(0) };
    let applicant = Applicant {
        name: asked.name,
        advertise: asked.advertise.parse().unwrap(),
        key: "k2",
        roles: &asked.roles,
        weight: asked.weight,
        time: asked.time,
    };
    admit(token, &applicant, &datacenter)
}

#[test]
fn a_host_that_is_admitted_gets_what_it_asked_for_and_the_use_is_counted_once() {
    let Admitted { host, token } = outcome(&token(), &asked(), &[]).unwrap();
    assert_eq!(host.racks, [rack("r7", &[Service::Power])]);
    assert_eq!((host.store, host.scheduler, host.weight, host.joined), (false, false, 100, at(0)));
    assert_eq!(token.used.iter().map(|used| used.host.as_str()).collect::<Vec<_>>(), ["h2"]);
    let again = outcome(&token, &asked(), std::slice::from_ref(&host)).unwrap();
    assert_eq!((again.host, again.token), (host, token));
}

#[test]
fn a_host_that_joins_again_keeps_what_it_runs() {
    let before = Host {
        racks: vec![HostRack { slot: 1, ..rack("r8", &[Service::Storage]) }],
        drain: Some(Mark { by: "ann".to_owned(), at: at(-1) }),
        ..host("h2", "10.0.0.12", "k2")
    };
    let after = outcome(&token(), &asked(), std::slice::from_ref(&before)).unwrap().host;
    assert_eq!(after.racks, [before.racks[0].clone(), rack("r7", &[Service::Power])]);
    assert_eq!((after.scheduler, after.weight, after.joined), (true, 200, at(-100)));
    assert_eq!(after.drain, before.drain);
    let more = Asked { roles: Roles { racks: vec![rack("r7", &[Service::Pxe])], ..Roles::default() }, ..asked() };
    let more = outcome(&token(), &more, &[after]).unwrap().host;
    assert_eq!(more.racks[1], rack("r7", &[Service::Power, Service::Pxe]));
}

#[test]
fn each_reason_to_refuse_a_host_is_named() {
    let with = |roles: Roles| Asked { roles, ..asked() };
    let racks = |racks: Vec<HostRack>| with(Roles { racks, ..Roles::default() });
    let h1 = host("h1", "10.0.0.11", "k1");
    let full: Vec<_> = (0..MAX_RACKS).map(|slot| HostRack { slot, ..rack(&format!("x{slot}"), &[]) }).collect();
    let full = Host { racks: full, ..host("h2", "10.0.0.12", "k2") };
    let removal = Some(Mark { by: "ann".to_owned(), at: at(0) });
    let removed = Host { removal, ..host("h2", "10.0.0.12", "k2") };
    let store = || with(Roles { store: true, ..Roles::default() });
    let deleted = JoinToken { rack: Some("r9".to_owned()), ..token() };
    for (case, token, asked, hosts, words) in [
        ("expired", JoinToken { expires: at(0), ..token() }, asked(), vec![], "expired at"),
        ("used by another", used_by("h1", "k1"), asked(), vec![], "used by h1"),
        (
            "the name of another",
            token(),
            Asked { name: "h1", advertise: "10.0.0.12", ..asked() },
            vec![h1.clone()],
            "another host is named \"h1\"",
        ),
        (
            "the address of another",
            token(),
            Asked { advertise: "10.0.0.11", ..asked() },
            vec![h1.clone()],
            "\"h1\" has the address",
        ),
        (
            "another address",
            token(),
            Asked { advertise: "10.0.0.99", ..asked() },
            vec![host("h2", "10.0.0.12", "k2")],
            "with the address 10.0.0.12",
        ),
        ("removed", token(), asked(), vec![removed], "was removed"),
        ("removed, and its record is gone", used_by("h2", "k2"), asked(), vec![], "was removed"),
        ("a clock ahead", token(), Asked { time: at(61), ..asked() }, vec![], "differ by 61 s"),
        ("a clock behind", token(), Asked { time: at(-3600), ..asked() }, vec![], "differ by 3600 s"),
        (
            "another rack",
            token(),
            racks(vec![rack("r8", &[Service::Power])]),
            vec![],
            "is for rack \"r7\", not for rack \"r8\"",
        ),
        ("a rack, with a token for none", JoinToken { rack: None, ..token() }, asked(), vec![], "is for no rack"),
        ("a rack that is gone", deleted, racks(vec![rack("r9", &[Service::Power])]), vec![], "ironmesh rack create r9"),
        (
            "another service",
            token(),
            racks(vec![rack("r7", &[Service::Storage])]),
            vec![],
            "does not allow storage-service",
        ),
        ("the store", JoinToken { store: false, ..token() }, store(), vec![], "member of the store"),
        (
            "a scheduler",
            token(),
            with(Roles { scheduler: true, ..Roles::default() }),
            vec![],
            "does not allow a scheduler-service",
        ),
        ("nothing", token(), with(Roles::default()), vec![], "asks to run nothing"),
        ("a rack without services", token(), racks(vec![rack("r7", &[])]), vec![], "asks to run nothing"),
        ("too many racks", token(), asked(), vec![full], "serves 9 racks already"),
        ("a reserved name", token(), Asked { name: "authority", ..asked() }, vec![], "invalid name \"authority\""),
        ("no name", token(), Asked { name: "", ..asked() }, vec![], "invalid name \"\""),
        ("a path as its name", token(), Asked { name: "../h2", ..asked() }, vec![], "invalid name"),
        ("no address", token(), Asked { advertise: "0.0.0.0", ..asked() }, vec![], "no address"),
        ("a huge weight", token(), Asked { weight: 10_001, ..asked() }, vec![], "weight 10001 is too large"),
    ] {
        let refusal = outcome(&token, &asked, &hosts).unwrap_err().to_string();
        assert!(refusal.contains(words), "{case}: {refusal}");
    }
    let racks = BTreeSet::new();
    let datacenter = Datacenter { hosts: &[], racks: &racks, built_in_etcd: false, now: at(0) };
    let roles = Roles { store: true, ..Roles::default() };
    let (name, key, weight, time) = ("h2", "k2", 0, at(0));
    let applicant = Applicant { name, advertise: IpAddr::from([10, 0, 0, 12]), key, roles: &roles, weight, time };
    assert_eq!(admit(&token(), &applicant, &datacenter), Err(Refusal::OwnEtcd));
}

#[test]
fn a_repeated_request_takes_no_further_use() {
    for (token, host, is_good) in [
        (token(), None, true),
        (used_by("h2", "k2"), Some(("h2", "k2")), true),
        (used_by("h2", "k2"), Some(("h2", "k3")), false),
        // The same key under another name is another host.
        (used_by("h2", "k2"), Some(("h3", "k2")), false),
        (used_by("h2", "k2"), None, false),
        (JoinToken { uses: 2, ..used_by("h2", "k2") }, Some(("h3", "k3")), true),
        (JoinToken { expires: at(-1), ..used_by("h2", "k2") }, Some(("h2", "k2")), false),
    ] {
        assert_eq!(check_token(&token, host, at(0)).is_ok(), is_good, "{token:?} {host:?}");
    }
}
