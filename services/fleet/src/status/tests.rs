use domain::{
    id::{InstanceId, RackId},
    kernel_arguments::KernelArguments,
    service::Service::{Inventory, Power, Pxe, Scheduler, Storage},
};
use keyspace::{
    store::Versioned,
    value::{Mark, Rack, TokenUse},
};

use super::*;
use crate::{
    checks::tests::{host, running},
    survey::Running,
};

const LEAVES: [Service; 4] = [Power, Pxe, Storage, Inventory];

fn now() -> Timestamp {
    Timestamp::from_millis(1_000_000_000)
}

fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000_000 - seconds * 1000)
}

fn mark(seconds: i64) -> Option<Mark> {
    Some(Mark { by: "operator ann".to_owned(), at: ago(seconds) })
}

fn rack(name: &str) -> Versioned<Rack> {
    let value = Rack {
        id: RackId::new(Uuid::from_u128(1)),
        name: name.to_owned(),
        network: None,
        kernel: None,
        ramdisk: None,
        kernel_arguments: KernelArguments::default(),
    };
    Versioned { value, revision: 1, created: 1 }
}

fn instance() -> InstanceId {
    InstanceId::new(Uuid::from_u128(1))
}

/// Rack r1 on hosts h1 and h2, which also run the schedulers; a store on three hosts.
fn healthy() -> Facts {
    let mut facts = Facts { now: now(), ..Facts::default() };
    facts.survey.racks.push(rack("r1"));
    for name in ["h1", "h2", "h3"] {
        let mut host = host(name, "r1", &LEAVES);
        (host.store, host.scheduler) = (true, name != "h3");
        if name == "h3" {
            host.racks.clear();
        }
        facts.survey.hosts.push(Versioned { value: host, revision: 1, created: 1 });
    }
    for name in ["h1", "h2"] {
        facts.survey.running.extend(LEAVES.map(|service| running(service, "r1", name)));
        facts.survey.running.push(running(Scheduler, "", name));
    }
    let ring = |service, rack: &str| RingFacts {
        service,
        rack: rack.to_owned(),
        since: ago(7200),
        leader: Some(instance()),
        leaving: Vec::new(),
    };
    facts.survey.rings.extend(LEAVES.map(|service| ring(service, "r1")));
    facts.survey.rings.push(ring(Scheduler, ""));
    facts.nodes.insert("r1".to_owned(), BTreeMap::from([("active".to_owned(), 7)]));
    facts
}

fn token(expires_in: i64, used: bool) -> (Uuid, JoinToken) {
    let used = used.then(|| TokenUse { host: "h9".to_owned(), key: String::new(), at: now() });
    let token = JoinToken {
        digest: String::new(),
        rack: None,
        services: BTreeSet::new(),
        store: true,
        scheduler: false,
        uses: 1,
        used: used.into_iter().collect(),
        created: Mark { by: String::new(), at: now() },
        expires: ago(-expires_in),
    };
    (Uuid::from_u128(5), token)
}

fn told(facts: &Facts) -> Vec<(Severity, &'static str, String)> {
    problems(facts).into_iter().map(|problem| (problem.severity, problem.reason, problem.subject)).collect()
}

fn without(facts: &mut Facts, goes: impl Fn(&Running) -> bool) {
    facts.survey.running.retain(|running| !goes(running));
}

#[test]
fn of_a_healthy_datacenter_nothing_is_told() {
    assert_eq!(told(&healthy()), []);
    let mut one_command = healthy();
    one_command.survey.hosts.clear();
    without(&mut one_command, |running| running.host == "h2");
    assert_eq!(told(&one_command), [], "a rack of one command on one host has no host records");
}

type Change = fn(&mut Facts);

#[test]
fn each_problem_is_told_with_its_severity_and_a_next_step() {
    use Severity::{Error, Note, Warning};
    let table: &[(&str, Change, Severity, &str, &str, &str)] = &[
        (
            "a host without any service",
            |facts| without(facts, |running| running.host == "h2"),
            Error,
            "HOST_DOWN",
            "host h2",
            "ironmesh host remove h2 --force",
        ),
        (
            "a host without one service",
            |facts| without(facts, |running| running.host == "h2" && running.service == Pxe),
            Error,
            "HOST_DEGRADED",
            "host h2",
            "journalctl",
        ),
        (
            "a drained host",
            |facts| {
                facts.survey.hosts[1].value.drain = mark(60);
                without(facts, |running| running.host == "h2" && running.service != Scheduler);
            },
            Note,
            "HOST_DRAINED",
            "host h2",
            "ironmesh host undrain h2",
        ),
        (
            "a drain",
            |facts| facts.survey.hosts[1].value.drain = mark(60),
            Note,
            "HOST_DRAINING",
            "host h2",
            "journalctl",
        ),
        (
            "a drain that hangs",
            |facts| facts.survey.hosts[1].value.drain = mark(301),
            Warning,
            "HOST_DRAINING",
            "host h2",
            "journalctl",
        ),
        (
            "a removal that hangs",
            |facts| facts.survey.hosts[1].value.removal = mark(301),
            Warning,
            "HOST_REMOVING",
            "host h2",
            "authority",
        ),
        (
            "a service of a rack runs nowhere",
            |facts| without(facts, |running| running.service == Pxe),
            Error,
            "RACK_WITHOUT_SERVICE",
            "rack r1",
            "ironmesh token create --rack r1",
        ),
        (
            "a service of a rack runs on one host",
            |facts| without(facts, |running| running.host == "h2" && running.service == Pxe),
            Warning,
            "RACK_SINGLE_HOST",
            "rack r1",
            "ironmesh token create --rack r1",
        ),
        (
            "two instances of a service on one host",
            |facts| {
                without(facts, |running| running.host == "h2" && running.service == Pxe);
                facts.survey.running.push(running(Pxe, "r1", "h1"));
            },
            Warning,
            "RACK_SINGLE_HOST",
            "rack r1",
            "ironmesh token create --rack r1",
        ),
        (
            "a rack with nodes that no host serves",
            |facts| {
                facts.survey.racks.push(rack("r2"));
                facts.nodes.insert("r2".to_owned(), BTreeMap::from([("active".to_owned(), 1)]));
            },
            Error,
            "RACK_WITHOUT_HOST",
            "rack r2",
            "ironmesh token create --rack r2",
        ),
        (
            "a new rack",
            |facts| facts.survey.racks.push(rack("r2")),
            Note,
            "RACK_WITHOUT_HOST",
            "rack r2",
            "ironmesh token create --rack r2",
        ),
        (
            "the only scheduler",
            |facts| without(facts, |running| running.host == "h2" && running.service == Scheduler),
            Warning,
            "SINGLE_SCHEDULER",
            "schedulers",
            "ironmesh token create --scheduler",
        ),
        (
            "a store on two hosts",
            |facts| facts.survey.hosts[2].value.store = false,
            Warning,
            "STORE_MEMBERS",
            "store",
            "ironmesh token create --store",
        ),
        (
            "an island",
            |facts| facts.island = Some(("etcd does not answer".to_owned(), ago(90))),
            Error,
            "ISLAND",
            "store",
            "ironmesh store status",
        ),
        (
            "a ring without leader",
            |facts| facts.survey.rings[0].leader = None,
            Error,
            "RING_WITHOUT_LEADER",
            "power-service of rack r1",
            "logs",
        ),
        (
            "a ring whose leader is gone",
            |facts| facts.survey.rings[4].leader = Some(InstanceId::new(Uuid::from_u128(99))),
            Error,
            "RING_WITHOUT_LEADER",
            "scheduler-service",
            "logs",
        ),
        (
            "an instance that does not let go",
            |facts| facts.survey.rings[1].leaving.push((instance(), ago(301))),
            Error,
            "RING_LEAVING",
            "pxe-service of rack r1",
            "ironmesh lock list",
        ),
        (
            "a token that expires unused",
            |facts| facts.tokens.push(token(3599, false)),
            Note,
            "TOKEN_UNUSED",
            "join token 00000000-0000-0000-0000-000000000005",
            "ironmesh token delete 00000000-0000-0000-0000-000000000005",
        ),
        (
            "a certificate that expires",
            |facts| facts.certificate = Some("it expires in 3 d".to_owned()),
            Warning,
            "CERTIFICATE",
            "scheduler-service",
            "authority",
        ),
    ];
    for (case, change, severity, reason, subject, next) in table {
        let mut facts = healthy();
        change(&mut facts);
        let found = problems(&facts);
        let problem = found.iter().find(|problem| (problem.reason, problem.subject.as_str()) == (reason, subject));
        let problem = problem.unwrap_or_else(|| panic!("{case}: {found:?}"));
        assert_eq!(problem.severity, *severity, "{case}: {found:?}");
        assert!(problem.next_step.contains(next), "{case}: {problem:?}");
        assert!(found.is_sorted_by_key(|problem| std::cmp::Reverse(problem.severity)), "{case}: {found:?}");
    }
}

#[test]
fn what_is_not_wrong_is_not_told() {
    let table: &[(&str, Change)] = &[
        ("a token that was used", |facts| facts.tokens.push(token(60, true))),
        ("a token with time left", |facts| facts.tokens.push(token(3601, false))),
        ("an instance that lets go", |facts| facts.survey.rings[1].leaving.push((instance(), ago(10)))),
        ("a ring that no instance is in any more", |facts| {
            let ring = RingFacts { leader: None, rack: "gone".to_owned(), ..facts.survey.rings[0].clone() };
            facts.survey.rings.push(ring);
        }),
        ("a second instance on a host", |facts| facts.survey.running.push(running(Pxe, "r1", "h1"))),
        ("services that were started by hand", |facts| facts.survey.running.push(running(Pxe, "r1", ""))),
    ];
    for (case, change) in table {
        let mut facts = healthy();
        change(&mut facts);
        assert_eq!(told(&facts), [], "{case}");
    }
}
