use std::net::{IpAddr, Ipv4Addr};

use domain::{
    id::InstanceId,
    service::Service::{self, Power, Pxe, Scheduler, Storage},
    time::Timestamp,
};
use keyspace::{
    store::Versioned,
    value::{HostRack, Mark},
};
use uuid::Uuid;

use super::*;

/// A host that is to run services of a rack.
pub(crate) fn host(name: &str, rack: &str, services: &[Service]) -> Host {
    let racks = vec![HostRack { rack: rack.to_owned(), services: services.iter().copied().collect(), slot: 0 }];
    Host {
        name: name.to_owned(),
        advertise: IpAddr::V4(Ipv4Addr::LOCALHOST),
        key: String::new(),
        racks,
        store: false,
        scheduler: false,
        authority: false,
        weight: 100,
        joined: Timestamp::default(),
        drain: None,
        removal: None,
    }
}

/// An instance that runs.
pub(crate) fn running(service: Service, rack: &str, host: &str) -> Running {
    Running {
        service,
        rack: rack.to_owned(),
        instance: InstanceId::new(Uuid::from_u128(1)),
        endpoint: format!("{host}:7400"),
        host: host.to_owned(),
        stopping: false,
        owns: 0,
        since: Timestamp::default(),
    }
}

pub(crate) fn mark() -> Mark {
    Mark { by: "operator ann".to_owned(), at: Timestamp::default() }
}

pub(crate) fn survey(hosts: Vec<Host>, running: Vec<Running>) -> Survey {
    let hosts = hosts.into_iter().map(|value| Versioned { value, revision: 1, created: 1 }).collect();
    Survey { hosts, running, ..Survey::default() }
}

#[test]
fn a_host_is_drained_if_another_one_runs_each_of_its_services() {
    let first = || host("h1", "r1", &[Power, Pxe]);
    let drained = || Host { drain: Some(mark()), ..host("h2", "r1", &[Power, Pxe]) };
    let second = || host("h2", "r1", &[Power, Pxe]);
    let own = || vec![running(Power, "r1", "h1"), running(Pxe, "r1", "h1")];
    let both = |more: Vec<Running>| [own(), more].concat();
    let of_second = || vec![running(Power, "r1", "h2"), running(Pxe, "r1", "h2")];
    let stops = |of: Running| Running { stopping: true, ..of };
    for (case, hosts, running, refusal) in [
        ("it is alone", vec![first()], own(), "rack \"r1\": power-service, pxe-service"),
        ("another runs all", vec![first(), second()], both(of_second()), ""),
        (
            "another is to run all, but is down",
            vec![first(), second()],
            own(),
            "rack \"r1\": power-service, pxe-service",
        ),
        (
            "another runs one",
            vec![first(), second()],
            both(vec![running(Power, "r1", "h2")]),
            "rack \"r1\": pxe-service",
        ),
        (
            "another stops one",
            vec![first(), second()],
            both(vec![running(Power, "r1", "h2"), stops(running(Pxe, "r1", "h2"))]),
            "rack \"r1\": pxe-service",
        ),
        ("another is drained", vec![first(), drained()], both(of_second()), "rack \"r1\": power-service, pxe-service"),
        (
            "another serves another rack",
            vec![first(), host("h2", "r2", &[Power, Pxe])],
            both(vec![running(Power, "r2", "h2"), running(Pxe, "r2", "h2")]),
            "rack \"r1\": power-service, pxe-service",
        ),
        (
            "services without a host take over",
            vec![first()],
            both(vec![running(Power, "r1", ""), running(Pxe, "r1", "")]),
            "",
        ),
        ("it serves no rack", vec![Host { racks: Vec::new(), scheduler: true, ..first() }], vec![], ""),
    ] {
        let survey = survey(hosts, running);
        let host = &survey.host("h1").unwrap().value;
        let told = may_drain(&survey, host, false).err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(told.is_empty(), refusal.is_empty(), "{case}: {told}");
        assert!(told.contains(&format!("({refusal})")) || refusal.is_empty(), "{case}: {told}");
        assert!(may_drain(&survey, host, true).is_ok(), "{case}, by force");
    }
    let removed = Host { removal: Some(mark()), ..first() };
    assert!(matches!(may_drain(&survey(vec![], vec![]), &removed, true), Err(Error::BeingRemoved(_))));
}

#[test]
fn a_host_is_removed_if_it_is_drained_and_neither_the_ca_nor_the_quorum_is_lost() {
    let drained = |name: &str| Host { drain: Some(mark()), ..host(name, "r1", &[Power]) };
    let store = |host: Host| Host { store: true, ..host };
    let up = |name: &str| store(Host { racks: Vec::new(), ..host(name, "", &[]) });
    let down = |name: &str| store(host(name, "r1", &[Storage]));
    let leaving = |name: &str| Host { removal: Some(mark()), ..up(name) };
    for (case, hosts, running, force, refusal) in [
        ("drained", vec![drained("h1")], vec![], false, ""),
        ("drained, but not yet stopped", vec![drained("h1")], vec![running(Power, "r1", "h1")], false, "drain"),
        ("not drained", vec![host("h1", "r1", &[Power])], vec![], false, "drain"),
        ("broken", vec![host("h1", "r1", &[Power])], vec![], true, ""),
        ("the authority", vec![Host { authority: true, ..drained("h1") }], vec![], true, "CA"),
        ("the only store", vec![store(drained("h1"))], vec![], true, "0 of 0"),
        ("one of two stores", vec![store(drained("h1")), up("h2")], vec![], false, ""),
        ("one of two stores, and the other is down", vec![store(drained("h1")), down("h2")], vec![], true, "0 of 1"),
        (
            "one of three stores, and another is down",
            vec![store(drained("h1")), up("h2"), down("h3")],
            vec![],
            false,
            "1 of 2",
        ),
        ("a dead one of three stores", vec![down("h1"), up("h2"), up("h3")], vec![], true, ""),
        (
            "one of three stores, and another is being removed",
            vec![store(drained("h1")), up("h2"), leaving("h3")],
            vec![],
            false,
            "",
        ),
        (
            "one of three stores, and the others are being removed",
            vec![store(drained("h1")), leaving("h2"), leaving("h3")],
            vec![],
            true,
            "0 of 0",
        ),
        (
            "drained with a scheduler-service that runs",
            vec![Host { scheduler: true, ..drained("h1") }],
            vec![running(Scheduler, "", "h1")],
            false,
            "",
        ),
    ] {
        let survey = survey(hosts, running);
        let host = &survey.host("h1").unwrap().value;
        let told = may_remove(&survey, host, force).err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(told.is_empty(), refusal.is_empty(), "{case}: {told}");
        assert!(told.contains(refusal), "{case}: {told}");
    }
}

#[test]
fn a_rack_is_deleted_if_nothing_belongs_to_it_and_who_does_is_named() {
    let names = |count: u8| (1..=count).map(|number| format!("n{number}")).collect::<Vec<_>>();
    for (case, hosts, nodes, running, refusal) in [
        ("nothing belongs to it", vec![], names(0), vec![], ""),
        ("a node", vec![], names(1), vec![], "nodes n1;"),
        ("many nodes", vec![], names(7), vec![], "nodes n1, n2, n3, n4, n5 and 2 more;"),
        ("a service", vec![], names(0), vec![running(Pxe, "r1", "h9")], "pxe-service at h9:7400"),
        ("a host that is down", vec![host("h1", "r1", &[Pxe])], names(0), vec![], "hosts h1"),
        ("a host of another rack", vec![host("h1", "r2", &[Pxe])], names(0), vec![], ""),
    ] {
        let survey = survey(hosts, vec![]);
        let told = may_delete_rack(&survey, "r1", &nodes, &running).err().map(|error| error.to_string());
        let told = told.unwrap_or_default();
        assert_eq!(told.is_empty(), refusal.is_empty(), "{case}: {told}");
        assert!(told.contains(refusal), "{case}: {told}");
    }
}
