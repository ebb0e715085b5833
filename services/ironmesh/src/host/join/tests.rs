use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

fn parsed(words: &str) -> Options {
    let words = format!("join 10.0.0.11 --token-file - {words}");
    Line::try_parse_from(words.split_whitespace()).unwrap().options
}

fn rack(name: &str, services: &[Service]) -> HostRack {
    HostRack { rack: name.to_owned(), services: services.iter().copied().collect(), slot: 0 }
}

fn allowed() -> Allowed {
    let roles = Roles { racks: vec![rack("r7", &[Service::Power, Service::Pxe])], store: true, scheduler: false };
    Allowed { datacenter: "fra1".to_owned(), trust_domain: "ironmesh".to_owned(), roles }
}

#[test]
fn an_authority_has_an_address_and_its_port() {
    for (text, expected) in [
        ("10.0.0.11", Some("10.0.0.11:7380")),
        ("10.0.0.11:7000", Some("10.0.0.11:7000")),
        ("fd00::11", Some("[fd00::11]:7380")),
        ("[fd00::11]", Some("[fd00::11]:7380")),
        ("[fd00::11]:7000", Some("[fd00::11]:7000")),
        ("h1.example", Some("h1.example:7380")),
        ("h1:7380", Some("h1:7380")),
        ("", None),
        ("h1:", None),
        (":7380", None),
        ("h1:0", None),
        ("https://h1", None),
        ("h1,h2", None),
    ] {
        assert_eq!(authority_address(text).ok().as_deref(), expected, "{text}");
    }
}

#[test]
fn a_host_runs_what_the_options_name_or_everything_that_the_token_allows() {
    let power = rack("r7", &[Service::Power]);
    for (words, expected) in [
        ("", allowed().roles),
        ("--store", Roles { store: true, ..Roles::default() }),
        ("--services power", Roles { racks: vec![power.clone()], ..Roles::default() }),
        ("--services power --store", Roles { racks: vec![power], store: true, scheduler: false }),
        // The authority refuses it.
        ("--scheduler", Roles { scheduler: true, ..Roles::default() }),
    ] {
        assert_eq!(roles(&parsed(words), &allowed()), expected, "{words}");
    }
}

#[test]
fn a_host_that_joins_again_keeps_what_it_is() {
    let mut before = crate::host::config::tests::host("10.0.0.12".parse().unwrap());
    before.set = vec!["power.poll=30s".to_owned()];
    before.racks[0].interface = "eth1".to_owned();
    before.racks[0].addresses = vec![Ipv4Addr::new(10, 77, 7, 2)];
    let options = parsed("--set pxe.device=x");
    let r8 = Allowed { roles: Roles { racks: vec![rack("r8", &[Service::Power])], ..Roles::default() }, ..allowed() };
    let all = together(identities::roles(&before), &r8.roles);
    let answer = JoinResponse {
        roles: Some(all.to_wire()),
        cluster: Some(Cluster {
            etcd: vec!["https://10.0.0.11:2379".to_owned()],
            schedulers: vec!["10.0.0.11:7390".to_owned()],
            built_in_etcd: true,
        }),
        ..JoinResponse::default()
    };
    let answer = JoinResponse {
        roles: answer.roles.map(|mut roles| {
            roles.racks[1].slot = 1;
            roles
        }),
        ..answer
    };
    let host = Joining {
        options: &options,
        allowed: &r8,
        name: "h2",
        advertise: before.advertise,
        authority: "10.0.0.11:7380",
    };
    let after = host.configuration(Some(before.clone()), &answer).unwrap();
    assert_eq!(after.racks[0], before.racks[0]);
    assert_eq!((after.racks[1].name.as_str(), after.racks[1].slot), ("r8", 1));
    assert_eq!(after.set, ["power.poll=30s", "pxe.device=x"]);
    assert_eq!((after.scheduler, after.weight, after.monitor), (before.scheduler, before.weight, before.monitor));
}
