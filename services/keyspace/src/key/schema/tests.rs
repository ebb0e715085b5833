use super::*;
use crate::key::{ROOT, followed, image_name, is_of_mesh, last, life_of, node_name, node_of, port_of, rack_name};

fn rack_id() -> RackId {
    RackId::new(Uuid::from_u128(1))
}

fn node_id() -> NodeId {
    NodeId::new(Uuid::from_u128(2))
}

fn instance_id() -> InstanceId {
    InstanceId::new(Uuid::from_u128(3))
}

fn mac_address() -> MacAddr {
    "52:54:00:00:00:01".parse().unwrap()
}

/// A key of each row, its path, and what it is read as.
fn samples() -> Vec<(String, Parsed)> {
    let (rack, node, mac, id) = (rack_id(), node_id(), mac_address(), Uuid::from_u128(5));
    let (scope, service, instance) = (Scope::Rack(rack), Service::Power, instance_id());
    let (bmc, ip): (BmcAddr, Ipv4Addr) = ("10.0.0.1:623".parse().unwrap(), Ipv4Addr::new(10, 0, 0, 7));
    let image = ImageId::new(Uuid::from_u128(4));
    let text = |text: &str| text.to_owned();
    let path = |key: &str| key.to_owned();
    vec![
        (path(incarnation().path()), Parsed::Incarnation {}),
        (path(revoked_certificate("0a1b").path()), Parsed::RevokedCertificate { serial: text("0a1b") }),
        (path(host("h1").path()), Parsed::Host { name: text("h1") }),
        (path(join_token(id).path()), Parsed::JoinToken { id }),
        (path(super::rack(rack).path()), Parsed::Rack { rack }),
        (path(name("rack", "r1").path()), Parsed::Name { kind: text("rack"), name: text("r1") }),
        (path(super::mac(mac).path()), Parsed::Mac { mac }),
        (path(super::bmc(&bmc).path()), Parsed::Bmc { address: bmc.clone() }),
        (path(super::image(image).path()), Parsed::Image { image }),
        (path(chassis(id).path()), Parsed::Chassis { id }),
        (path(portgroup(id).path()), Parsed::Portgroup { id }),
        (path(deploy_template(id).path()), Parsed::DeployTemplate { id }),
        (path(runbook(id).path()), Parsed::Runbook { id }),
        (path(inspection_rule(id).path()), Parsed::InspectionRule { id }),
        (path(volume_connector(id).path()), Parsed::VolumeConnector { id }),
        (path(volume_target(id).path()), Parsed::VolumeTarget { id }),
        (path(allocation(id).path()), Parsed::Allocation { id }),
        (path(webhook(id).path()), Parsed::Webhook { id }),
        (path(delivered(id).path()), Parsed::Delivered { webhook: id }),
        (path(history(node).path()), Parsed::History { node }),
        (path(request(id).path()), Parsed::Request { id }),
        (path(bulk(id).path()), Parsed::Bulk { id }),
        (path(bulk_drive(id).path()), Parsed::BulkDrive { id }),
        (path(intent(rack, node).path()), Parsed::Intent { rack, node }),
        (path(life(rack, node).path()), Parsed::Life { rack, node }),
        (path(boot(rack, node).path()), Parsed::Boot { rack, node }),
        (path(operation(rack, node).path()), Parsed::Operation { rack, node }),
        (path(node_spec(rack, node).path()), Parsed::NodeSpec { rack, node }),
        (path(port(rack, mac).path()), Parsed::Port { rack, mac }),
        (path(address(rack, ip).path()), Parsed::Address { rack, address: ip }),
        (path(power(rack, node).path()), Parsed::Power { rack, node }),
        (path(firmware(rack, node).path()), Parsed::Firmware { rack, node }),
        (path(bios(rack, node).path()), Parsed::Bios { rack, node }),
        (path(pxe(rack, node).path()), Parsed::Pxe { rack, node }),
        (path(unknown(rack, mac).path()), Parsed::Unknown { rack, mac }),
        (path(agent(rack, node).path()), Parsed::Agent { rack, node }),
        (path(inventory(rack, node).path()), Parsed::Inventory { rack, node }),
        (path(claim(scope, service, node).path()), Parsed::Claim { scope, service, node }),
        (path(journal(scope, service, node).path()), Parsed::Journal { scope, service, node }),
        (path(member(scope, service, instance).path()), Parsed::Member { scope, service, instance }),
        (path(election(scope, service).path()), Parsed::Election { scope, service }),
        (path(ring(scope, service).path()), Parsed::Ring { scope, service }),
        (path(ack(scope, service, instance).path()), Parsed::Ack { scope, service, instance }),
        (path(dead(scope, service, instance).path()), Parsed::Dead { scope, service, instance }),
    ]
}

#[test]
fn every_key_is_read_back_from_its_path() {
    let samples = samples();
    assert_eq!(samples.len(), ROWS.len(), "one of each row");
    for ((path, parsed), row) in samples.iter().zip(ROWS) {
        assert_eq!(parse(path).as_ref(), Some(parsed), "{path}");
        assert!(std::ptr::eq(parsed.row(), *row), "{path} in the order of the table");
    }
}

#[test]
fn the_paths_are_those_of_the_last_release() {
    let paths: String = samples().into_iter().map(|(path, _)| path + "\n").collect();
    golden("paths.txt", &paths);
}

#[test]
fn the_table_in_the_documentation_is_that_of_the_rows() {
    golden("keys.md", &markdown());
}

fn golden(name: &str, text: &str) {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/key/golden").join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "{}; UPDATE=1 rewrites it", file.display());
}

#[test]
fn families_have_the_names_of_their_literals() {
    let family = |path: &str| parse(path).map(|parsed| parsed.row().family());
    for (path, name) in [
        (intent(rack_id(), node_id()).path(), "node/intent"),
        (bios(rack_id(), node_id()).path(), "node/bios"),
        (operation(rack_id(), node_id()).path(), "node-operation"),
        (ring(Scope::Datacenter, Service::Scheduler).path(), "ring"),
        (bulk_drive(Uuid::nil()).path(), "bulk-drive"),
        (unknown(rack_id(), mac_address()).path(), "unknown"),
    ] {
        assert_eq!(family(path), Some(name), "{path}");
    }
}

#[test]
fn no_two_rows_have_the_same_family() {
    let mut families: Vec<_> = ROWS.iter().map(|row| row.family()).collect();
    families.sort_unstable();
    let count = families.len();
    families.dedup();
    assert_eq!(families.len(), count);
}

#[test]
fn a_path_that_is_none_of_the_tables_is_not_read() {
    let rack = rack_id();
    for path in [
        String::new(),
        "/other".to_owned(),
        ROOT.to_owned(),
        format!("{ROOT}dc/something/else"),
        format!("{ROOT}dc/rack/r1"),
        format!("{ROOT}{rack}/node/n1/life"),
        format!("{ROOT}{rack}/node/{}", node_id()),
        format!("{ROOT}{rack}/node/{}/life/more", node_id()),
        format!("{ROOT}{rack}/port/{}/more", mac_address()),
        format!("{ROOT}elsewhere/power-service/ring"),
        format!("{ROOT}{rack}/web-service/ring"),
        format!("{ROOT}dc/incarnation/a/b/c/d/e/f/g"),
    ] {
        assert_eq!(parse(&path), None, "{path}");
    }
}

#[test]
fn a_name_may_have_slashes() {
    let key = name("instance", "a/b/c/d/e/f");
    assert_eq!(parse(key.path()), Some(Parsed::Name { kind: "instance".to_owned(), name: "a/b/c/d/e/f".to_owned() }));
    assert_eq!(parse(rack_name("").path()), Some(Parsed::Name { kind: "rack".to_owned(), name: String::new() }));
    for (key, kind) in [(node_name("n1"), "node"), (image_name("n1"), "image")] {
        assert_eq!(key.path(), name(kind, "n1").path());
    }
}

#[test]
fn schedulers_have_the_datacenters_scope_and_leaves_may_have_it() {
    let key = claim(Scope::Datacenter, Service::Power, node_id());
    assert_eq!(key.path(), format!("{ROOT}dc/power-service/claim/{}", node_id()));
    let expected = Parsed::Claim { scope: Scope::Datacenter, service: Service::Power, node: node_id() };
    assert_eq!(parse(key.path()), Some(expected));
}

#[test]
fn a_prefix_is_the_beginning_of_its_keys_and_of_no_others() {
    let (rack, scope) = (rack_id(), Scope::Rack(rack_id()));
    for (prefix, key) in [
        (racks().path().to_owned(), super::rack(rack).path().to_owned()),
        (images().path().to_owned(), image(ImageId::new(Uuid::nil())).path().to_owned()),
        (webhooks().path().to_owned(), webhook(Uuid::nil()).path().to_owned()),
        (requests().path().to_owned(), request(Uuid::nil()).path().to_owned()),
        (bulks().path().to_owned(), bulk(Uuid::nil()).path().to_owned()),
        (ports(rack).path().to_owned(), port(rack, mac_address()).path().to_owned()),
        (addresses(rack).path().to_owned(), address(rack, Ipv4Addr::LOCALHOST).path().to_owned()),
        (unknowns(rack).path().to_owned(), unknown(rack, mac_address()).path().to_owned()),
        (claims(scope, Service::Power).path().to_owned(), claim(scope, Service::Power, node_id()).path().to_owned()),
        (members(scope, Service::Pxe).path().to_owned(), member(scope, Service::Pxe, instance_id()).path().to_owned()),
        (acks(scope, Service::Pxe).path().to_owned(), ack(scope, Service::Pxe, instance_id()).path().to_owned()),
        (deads(scope, Service::Pxe).path().to_owned(), dead(scope, Service::Pxe, instance_id()).path().to_owned()),
    ] {
        assert!(prefix.ends_with('/') && key.starts_with(&prefix), "{prefix} {key}");
        let others = samples().into_iter().filter(|(path, _)| path.starts_with(&prefix));
        let mut rows: Vec<_> = others.map(|(_, parsed)| parsed.row().path).collect();
        rows.dedup();
        assert!(rows.len() <= 1, "{prefix}: {rows:?}");
    }
}

#[test]
fn what_a_leaf_writes_stands_under_what_it_follows_first() {
    let (rack, node, scope) = (rack_id(), node_id(), Scope::Rack(rack_id()));
    for service in Service::ALL.into_iter().filter(|service| *service != Service::Scheduler) {
        let mut written = vec![
            claim(scope, service, node).path().to_owned(),
            journal(scope, service, node).path().to_owned(),
            member(scope, service, instance_id()).path().to_owned(),
            election(scope, service).path().to_owned(),
            ring(scope, service).path().to_owned(),
            ack(scope, service, instance_id()).path().to_owned(),
            dead(scope, service, instance_id()).path().to_owned(),
        ];
        let own = samples().into_iter().filter(|(_, parsed)| parsed.row().writer == service.name());
        written.extend(own.map(|(path, _)| path));
        let first = followed(scope, service).remove(0);
        assert_eq!(first, format!("{ROOT}{rack}/{service}/"));
        assert!(written.iter().all(|path| path.starts_with(&first)), "{first}: {written:?}");
    }
}

#[test]
fn each_service_follows_what_the_table_says_and_nothing_else() {
    let rack = rack_id();
    let followed = |service| {
        let mut followed = followed(Scope::Rack(rack), service);
        followed.iter_mut().for_each(|prefix| *prefix = prefix.replace(&format!("{ROOT}{rack}/"), ""));
        followed.sort_unstable();
        followed
    };
    let always = ["incarnation".to_owned(), format!("rack/{rack}"), "revoked-certificate/".to_owned()];
    let always = always.map(|path| format!("{ROOT}dc/{path}"));
    for (service, others) in [
        (Service::Power, &["node/", "power-service/"][..]),
        (Service::Storage, &["storage-service/"]),
        (
            Service::Inventory,
            &["inventory-service/", "node-spec/", "node/", "port/", "pxe-service/node/", "storage-service/member/"],
        ),
        (
            Service::Pxe,
            &[
                "inventory-service/member/",
                "inventory-service/node/",
                "node/",
                "port/",
                "power-service/node/",
                "pxe-service/",
                "storage-service/member/",
            ],
        ),
    ] {
        let expected: Vec<_> = always.iter().map(String::as_str).chain(others.iter().copied()).collect();
        assert_eq!(followed(service), expected, "{service}");
    }
    assert_eq!(crate::key::followed(Scope::Datacenter, Service::Scheduler), [ROOT]);
}

#[test]
fn rows_under_one_prefix_have_the_same_followers() {
    let prefix = |row: &Row| row.path.split_inclusive('/').take_while(|part| !part.starts_with("{node}")).collect();
    for row in ROWS.iter().filter(|row| row.path.contains("/node/")) {
        let (own, same): (String, _) = (prefix(row), row.followers);
        let differs = ROWS.iter().find(|other| prefix(other) == own && other.followers != same);
        assert!(differs.is_none(), "{} and {}", row.path, differs.map_or("", |other| other.path));
    }
}

#[test]
fn a_path_tells_whose_it_is() {
    let (rack, node, scope) = (rack_id(), node_id(), Scope::Rack(rack_id()));
    let key = life(rack, node);
    assert_eq!(node_of(key.path()), Some((rack, node)));
    assert_eq!(node_of(rack_name("r1").path()), None);
    assert_eq!((life_of(key.path()), life_of(boot(rack, node).path())), (Some((rack, node)), None));
    assert_eq!(port_of(port(rack, mac_address()).path()), Some((rack, mac_address())));
    assert_eq!(port_of(key.path()), None);
    for of_node in [power(rack, node).path(), node_spec(rack, node).path(), operation(rack, node).path()] {
        assert_eq!(node_of(of_node), Some((rack, node)), "{of_node}");
    }
    assert_eq!(node_of(claim(scope, Service::Power, node).path()), None);
    assert_eq!(last::<NodeId>(claim(scope, Service::Power, node).path()), Some(node));
}

#[test]
fn what_a_key_is_about_is_told_for_claims_journals_and_histories_too() {
    let (rack, node, scope) = (rack_id(), node_id(), Scope::Rack(rack_id()));
    let about = |path: &str| parse(path).map(|parsed| parsed.about());
    assert_eq!(about(life(rack, node).path()), Some(About { rack: Some(rack), node: Some(node) }));
    for path in [claim(scope, Service::Power, node).path(), history(node).path()] {
        assert_eq!(about(path), Some(About { rack: None, node: Some(node) }), "{path}");
    }
    assert_eq!(about(racks().path()), None);
}

#[test]
fn membership_leadership_and_ownership_are_the_meshs() {
    let (rack, node, scope) = (rack_id(), node_id(), Scope::Rack(rack_id()));
    for path in [ring(scope, Service::Power).path(), incarnation().path(), claim(scope, Service::Power, node).path()] {
        assert!(is_of_mesh(path), "{path}");
    }
    for path in [life(rack, node).path(), journal(scope, Service::Power, node).path(), history(node).path(), ROOT] {
        assert!(!is_of_mesh(path), "{path}");
    }
}

#[test]
fn a_value_that_is_not_what_its_key_says_is_told() {
    let row = Parsed::Ack { scope: Scope::Datacenter, service: Service::Power, instance: instance_id() }.row();
    assert!(row.check(b"{\"epoch\":1}").is_ok());
    assert!(matches!(row.check(b"{\"epoch\":"), Err(ValueError::Json(_))));
}

#[test]
fn a_packed_value_is_checked_unpacked() {
    let row = Parsed::History { node: node_id() }.row();
    let packed = zstd::bulk::compress(b"[]", 0).unwrap();
    assert!(matches!(row.check(&packed[..packed.len() - 1]), Err(ValueError::Packed(_))));
    assert_eq!(decompress(&packed).unwrap(), b"[]");
    assert_eq!(decompress(b"{}").unwrap(), b"{}");
}
