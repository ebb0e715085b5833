use super::*;

#[test]
fn what_a_leaf_writes_stands_under_what_it_follows_first() {
    let (rack, node) = (RackId::new(uuid::Uuid::from_u128(1)), NodeId::new(uuid::Uuid::from_u128(2)));
    let (scope, instance) = (Scope::Rack(rack), InstanceId::new(uuid::Uuid::from_u128(3)));
    let mac = "52:54:00:00:00:01".parse().unwrap();
    for service in Service::ALL.into_iter().filter(|service| *service != Service::Scheduler) {
        let mut written = vec![
            claim(scope, service, node).path,
            journal(scope, service, node).path,
            member(scope, service, instance).path,
            election(scope, service).path,
            ring(scope, service).path,
            ack(scope, service, instance).path,
            dead(scope, service, instance).path,
        ];
        written.extend(match service {
            Service::Power => vec![power(rack, node).path, firmware(rack, node).path, bios(rack, node).path],
            Service::Pxe => vec![pxe(rack, node).path, unknown(rack, mac).path],
            Service::Inventory => vec![agent(rack, node).path, inventory(rack, node).path],
            Service::Storage | Service::Scheduler => vec![],
        });
        let first = followed(scope, service).remove(0);
        assert!(written.iter().all(|path| path.starts_with(&first)), "{first}: {written:?}");
    }
}

#[test]
fn a_path_tells_whose_it_is() {
    let (rack, node): (RackId, NodeId) = (
        "00000000-0000-0000-0000-000000000001".parse().unwrap(),
        "00000000-0000-0000-0000-000000000002".parse().unwrap(),
    );
    let key = life(rack, node);
    assert_eq!(
        key.path(),
        "/ironmesh/v1/00000000-0000-0000-0000-000000000001/node/00000000-0000-0000-0000-000000000002/life"
    );
    assert_eq!(node_of(key.path()), Some((rack, node)));
    assert_eq!(node_of(rack_name("r1").path()), None);
    assert_eq!((life_of(key.path()), life_of(boot(rack, node).path())), (Some((rack, node)), None));
    let mac = "52:54:00:00:00:01".parse().unwrap();
    assert_eq!(port_of(port(rack, mac).path()), Some((rack, mac)));
    assert_eq!(port_of(key.path()), None);
    let scope = Scope::Rack(rack);
    for of_mesh in [ring(scope, Service::Power).path(), incarnation().path(), claim(scope, Service::Power, node).path()]
    {
        assert!(is_of_mesh(of_mesh), "{of_mesh}");
    }
    for other in [key.path(), journal(scope, Service::Power, node).path(), history(node).path(), ROOT] {
        assert!(!is_of_mesh(other), "{other}");
    }
    for of_node in [power(rack, node).path(), sheet(rack, node).path(), operation(rack, node).path()] {
        assert_eq!(node_of(of_node), Some((rack, node)), "{of_node}");
    }
    assert_eq!(node_of(claim(scope, Service::Power, node).path()), None);
    assert_eq!(last::<NodeId>(claim(Scope::Rack(rack), Service::Power, node).path()), Some(node));
}
