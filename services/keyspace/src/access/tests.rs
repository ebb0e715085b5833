use uuid::Uuid;

use super::*;

fn rack(number: u128) -> RackId {
    RackId::new(Uuid::from_u128(number))
}

/// A key of each kind in rack 1 (`R`), and who beside the schedulers may read and write it: `p` power-service, `x`
/// pxe-service, `s` storage-service, `i` inventory-service, all of the same rack.
const KEYS: &[(&str, &str, &str)] = &[
    ("dc/incarnation", "pxsi", ""),
    ("dc/revoked-certificate/0a1b", "pxsi", ""),
    ("dc/host/h1", "", ""),
    ("dc/join-token/N", "", ""),
    ("dc/rack/R", "pxsi", ""),
    ("dc/rack/00000000-0000-0000-0000-000000000002", "", ""),
    ("dc/name/rack/r1", "pxsi", ""),
    ("dc/name/rack/r2", "", ""),
    ("dc/name/rack/r11", "", ""),
    ("dc/name/node/n1", "", ""),
    ("dc/mac/52:54:00:00:00:01", "", ""),
    ("dc/bmc/10.0.0.1:623", "", ""),
    ("dc/image/N", "", ""),
    ("dc/chassis/N", "", ""),
    ("dc/portgroup/N", "", ""),
    ("dc/deploy-template/N", "", ""),
    ("dc/runbook/N", "", ""),
    ("dc/inspection-rule/N", "", ""),
    ("dc/volume-connector/N", "", ""),
    ("dc/volume-target/N", "", ""),
    ("dc/allocation/N", "", ""),
    ("dc/webhook/N", "", ""),
    ("dc/delivered/N", "", ""),
    ("dc/history/N", "", ""),
    ("dc/request/N", "", ""),
    ("dc/bulk/N", "", ""),
    ("dc/bulk-drive/N", "", ""),
    ("dc/scheduler-service/member/N", "", ""),
    ("dc/scheduler-service/claim/N", "", ""),
    ("dc/scheduler-service/election", "", ""),
    ("R/node/N/intent", "pxi", ""),
    ("R/node/N/life", "pxi", ""),
    ("R/node/N/boot", "pxi", ""),
    ("R/node-operation/N", "", ""),
    ("R/node-spec/N", "i", ""),
    ("R/port/52:54:00:00:00:01", "xi", ""),
    ("R/address/10.0.0.7", "", ""),
    ("R/power-service/node/N/power", "px", "p"),
    ("R/power-service/node/N/firmware", "px", "p"),
    ("R/power-service/node/N/bios", "px", "p"),
    ("R/pxe-service/node/N/pxe", "xi", "x"),
    ("R/pxe-service/unknown/52:54:00:00:00:01", "x", "x"),
    ("R/inventory-service/node/N/agent", "xi", "i"),
    ("R/inventory-service/node/N/inventory", "xi", "i"),
    ("R/power-service/claim/N", "p", "p"),
    ("R/power-service/journal/N", "p", "p"),
    ("R/power-service/member/N", "p", "p"),
    ("R/power-service/election", "p", "p"),
    ("R/power-service/ring", "p", "p"),
    ("R/power-service/ack/N", "p", "p"),
    ("R/power-service/dead/N", "p", "p"),
    ("R/pxe-service/claim/N", "x", "x"),
    ("R/pxe-service/member/N", "x", "x"),
    ("R/pxe-service/election", "x", "x"),
    ("R/storage-service/claim/N", "s", "s"),
    ("R/storage-service/member/N", "xsi", "s"),
    ("R/storage-service/ring", "s", "s"),
    ("R/inventory-service/journal/N", "i", "i"),
    ("R/inventory-service/member/N", "xi", "i"),
    ("R/inventory-service/dead/N", "i", "i"),
];

fn path(text: &str, rack: RackId) -> String {
    let node = Uuid::from_u128(9).to_string();
    let segments = text.split('/').map(|segment| match segment {
        "R" => rack.to_string(),
        "N" => node.clone(),
        other => other.to_owned(),
    });
    format!("{ROOT}{}", segments.collect::<Vec<_>>().join("/"))
}

#[test]
fn each_service_reads_what_it_follows_and_writes_its_own_prefix_only() {
    let roles = rack_roles(rack(1), "r1");
    let (letters, services) = ("pxsi", [Service::Power, Service::Pxe, Service::Storage, Service::Inventory]);
    for (text, read, written) in KEYS {
        for (letter, service) in letters.chars().zip(services) {
            let role = roles.iter().find(|role| role.name == user(service, "r1")).unwrap();
            let key = path(text, rack(1));
            assert_eq!(role.allows(Access::Read, &key), read.contains(letter), "{service} reads {text}");
            assert_eq!(role.allows(Access::Write, &key), written.contains(letter), "{service} writes {text}");
            if text.starts_with('R') {
                let other = path(text, rack(2));
                let both = [Access::Read, Access::Write].map(|access| role.allows(access, &other));
                assert_eq!(both, [false; 2], "{service} and {text} of another rack");
            }
        }
        for access in [Access::Read, Access::Write] {
            assert!(scheduler_role().allows(access, &path(text, rack(2))), "scheduler-service and {text}");
        }
    }
}

#[test]
fn the_table_of_who_may_what_has_each_kind_of_key() {
    for row in key::schema::ROWS {
        let is_of_row = |(text, ..): &&(&str, &str, &str)| {
            key::parse(&path(text, rack(1))).is_some_and(|parsed| parsed.row().path == row.path)
        };
        assert!(KEYS.iter().any(|sample| is_of_row(&sample)), "{}", row.path);
    }
}

#[test]
fn each_service_may_read_every_prefix_that_its_view_follows_as_a_whole() {
    for role in rack_roles(rack(1), "r1") {
        let service = Service::ALL.into_iter().find(|service| user(*service, "r1") == role.name).unwrap();
        for prefix in key::followed(Scope::Rack(rack(1)), service) {
            let end = end_of_prefix(&prefix);
            let covers = |permission: &Permission| {
                permission.key <= prefix && permission.range_end >= end && permission.access != Access::Write
            };
            assert!(role.permissions.iter().any(covers), "{service}: {prefix}");
        }
    }
}

#[test]
fn no_role_reaches_outside_of_our_keys() {
    let outside = ["", "\0", "/", "/ironmesh/v1", "/ironmesh/v10", "/ironmesh/v2/x", "/registry/pods", "\u{ff}"];
    for role in rack_roles(rack(1), "").into_iter().chain([scheduler_role()]) {
        for key in outside {
            assert!(![Access::Read, Access::Write].iter().any(|access| role.allows(*access, key)), "{role:?} {key:?}");
        }
    }
}

#[test]
fn users_are_named_by_service_and_rack() {
    for (service, rack, name) in [
        (Service::Pxe, "r1", "pxe-service.r1"),
        (Service::Pxe, "", "pxe-service.default"),
        (Service::Power, "a-b", "power-service.a-b"),
        (Service::Storage, "r1", "storage-service.r1"),
        (Service::Scheduler, "", "scheduler-service"),
        (Service::Scheduler, "r1", "scheduler-service"),
    ] {
        assert_eq!(user(service, rack), name);
        assert_ne!(user(service, rack), ADMINISTRATOR);
    }
}

/// What etcd has after these steps.
fn after(mut present: Present, steps: &[Step]) -> Present {
    for step in steps {
        match step.clone() {
            Step::AddRole(role) => assert!(present.roles.insert(role, BTreeSet::new()).is_none()),
            Step::AddUser(user) => assert!(present.users.insert(user, BTreeSet::new()).is_none()),
            Step::Grant { role, permission } => {
                let held = present.roles.get_mut(&role).unwrap();
                held.retain(|old| (&old.key, &old.range_end) != (&permission.key, &permission.range_end));
                held.insert(permission);
            }
            Step::Revoke { role, permission } => assert!(present.roles.get_mut(&role).unwrap().remove(&permission)),
            Step::Assign { user, role } => {
                assert!(present.roles.contains_key(&role));
                assert!(present.users.get_mut(&user).unwrap().insert(role));
            }
            Step::Withdraw { user, role } => assert!(present.users.get_mut(&user).unwrap().remove(&role)),
            Step::Enable => present.enabled = true,
        }
    }
    present
}

#[test]
fn the_steps_lead_from_anything_to_the_wanted_roles_and_then_nothing_is_left_to_do() {
    let mut wanted = rack_roles(rack(1), "r1");
    wanted.push(scheduler_role());
    let new = after(Present::default(), &steps(&Present::default(), &wanted, true));
    assert!(new.enabled && new.roles.len() == 6 && new.users.len() == 6);
    let pxe = "pxe-service.r1";
    let all = Permission::prefix(Access::ReadWrite, "/");
    let changed = |change: &dyn Fn(&mut Present)| {
        let mut present = new.clone();
        change(&mut present);
        present
    };
    let role = |present: &mut Present| present.roles.get_mut(pxe).unwrap().clone();
    let root = "root".to_owned();
    for (case, present, count) in [
        ("nothing changed", new.clone(), 0),
        ("not enabled", changed(&|present| present.enabled = false), 1),
        ("too much allowed", changed(&|present| present.roles.get_mut(pxe).unwrap().extend([all.clone()])), 1),
        ("nothing allowed", changed(&|present| present.roles.get_mut(pxe).unwrap().clear()), wanted_of(&wanted, pxe)),
        ("another role", changed(&|present| present.users.get_mut(pxe).unwrap().extend([root.clone()])), 1),
        ("no role", changed(&|present| present.users.get_mut(pxe).unwrap().clear()), 1),
        ("no user", changed(&|present| present.users.retain(|user, _| user != pxe)), 2),
        ("no such role", changed(&|present| present.roles.retain(|role, _| role != pxe)), 1 + wanted_of(&wanted, pxe)),
        (
            "reads what it should write",
            changed(&|present| {
                let weak = role(present).into_iter().map(|held| Permission { access: Access::Read, ..held });
                let weak = weak.collect();
                present.roles.insert(pxe.to_owned(), weak);
            }),
            1,
        ),
        (
            "roles and users of others",
            changed(&|present| {
                present.roles.insert("backup".to_owned(), BTreeSet::from([all.clone()]));
                present.users.insert("ann".to_owned(), BTreeSet::from(["backup".to_owned()]));
            }),
            0,
        ),
    ] {
        let todo = steps(&present, &wanted, true);
        assert_eq!(todo.len(), count, "{case}: {todo:?}");
        let present = after(present, &todo);
        assert_eq!(steps(&present, &wanted, true), [], "{case}");
        assert_eq!(present.roles.get(pxe), new.roles.get(pxe), "{case}");
    }
    assert!(!steps(&Present::default(), &wanted, false).contains(&Step::Enable));
}

fn wanted_of(wanted: &[Role], name: &str) -> usize {
    wanted.iter().find(|role| role.name == name).unwrap().permissions.len()
}

#[test]
fn steps_are_shown_as_commands_of_etcdctl() {
    let permission = Permission::prefix(Access::Read, "/ironmesh/v1/x/");
    let (user, role) = ("pxe-service.r1".to_owned(), "pxe-service.r1".to_owned());
    for (step, text) in [
        (Step::AddRole(role.clone()), "role add pxe-service.r1"),
        (Step::AddUser(user.clone()), "user add --no-password pxe-service.r1"),
        (
            Step::Grant { role: role.clone(), permission: permission.clone() },
            "role grant-permission pxe-service.r1 read /ironmesh/v1/x/ /ironmesh/v1/x0",
        ),
        (
            Step::Revoke { role: role.clone(), permission },
            "role revoke-permission pxe-service.r1 /ironmesh/v1/x/ /ironmesh/v1/x0",
        ),
        (Step::Assign { user: user.clone(), role: role.clone() }, "user grant-role pxe-service.r1 pxe-service.r1"),
        (Step::Withdraw { user, role }, "user revoke-role pxe-service.r1 pxe-service.r1"),
        (Step::Enable, "auth enable"),
    ] {
        assert_eq!(step.to_string(), text);
    }
}

#[test]
fn a_host_reads_what_is_ordered_of_hosts_and_writes_nothing() {
    let role = host_role("h1");
    assert_eq!(role.name, "host.h1");
    for (key, reads) in [
        ("dc/host/h1", true),
        ("dc/host/h2", true),
        ("dc/incarnation", true),
        ("dc/revoked-certificate/0a1b", true),
        ("dc/scheduler-service/member/N", true),
        ("dc/scheduler-service/claim/N", false),
        ("dc/join-token/N", false),
        ("dc/bulk-drive/N", false),
        ("R/node/N/boot", false),
        ("R/node-spec/N", false),
        ("R/power-service/member/N", false),
    ] {
        let key = format!("{ROOT}{key}");
        assert_eq!(role.allows(Access::Read, &key), reads, "{key}");
        assert!(!role.allows(Access::Write, &key), "{key}");
    }
}
