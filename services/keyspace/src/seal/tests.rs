mod reseal;

use std::os::unix::fs::PermissionsExt as _;

use domain::{id::NodeId, time::Timestamp};
use uuid::Uuid;

use super::*;

const R1: RackId = RackId::new(Uuid::from_u128(1));
const R2: RackId = RackId::new(Uuid::from_u128(2));

fn node(number: u128) -> NodeId {
    NodeId::new(Uuid::from_u128(number))
}

fn racks() -> RackNames {
    RackNames::Known(BTreeMap::from([(R1, "r1".to_owned()), (R2, "r2".to_owned())]))
}

pub(super) fn scheduler() -> Sealer {
    Sealer::new(KeyFile::for_tests(), racks())
}

fn leaf(root: &KeyFile, service: Service, rack: &str) -> Sealer {
    Sealer::new(root.for_service(service, rack).unwrap(), racks())
}

/// A secret of each purpose in rack 1.
fn places() -> [Place; 4] {
    [
        Place::bmc_password(R1, node(1)),
        Place::boot_token(R1, node(1)),
        Place::config_drive(R1, node(1)),
        Place::specification(format!("{}/driver_info/ipmi_password", node(1))),
    ]
}

#[test]
fn each_service_opens_what_the_table_gives_it_in_its_own_rack_and_seals_nothing() {
    let root = KeyFile::create(Timestamp::default()).unwrap();
    let sealer = Sealer::new(root.clone(), racks());
    // Purposes in the order of `places`.
    for (service, opens) in [
        (Service::Scheduler, [true, true, true, true]),
        (Service::Power, [true, false, false, false]),
        (Service::Pxe, [false, true, false, false]),
        (Service::Inventory, [false, true, true, false]),
        (Service::Storage, [false, false, false, false]),
    ] {
        assert_eq!(has_keys(service), opens.contains(&true), "{service}");
        let file = root.for_service(service, "r1").unwrap();
        let given: Vec<_> =
            Purpose::ALL.iter().map(|purpose| file.keys.iter().any(|key| key.purpose == *purpose)).collect();
        assert_eq!(given, opens, "{service}");
        for (place, opens) in places().iter().zip(opens) {
            let sealed = sealer.seal(place, b"secret").unwrap();
            let opened = leaf(&root, service, "r1").open(place, &sealed);
            assert_eq!(opened.is_ok_and(|opened| opened.expose() == b"secret"), opens, "{service} {place}");
            if service != Service::Scheduler {
                leaf(&root, service, "r2").open(place, &sealed).unwrap_err();
                leaf(&root, service, "r1").seal(place, b"x").unwrap_err();
            }
        }
    }
}

#[test]
fn a_sealed_value_opens_in_its_place_alone() {
    let (sealer, place) = (scheduler(), Place::bmc_password(R1, node(1)));
    let sealed = sealer.seal(&place, b"labpass").unwrap();
    assert_eq!(sealer.open(&place, &sealed).unwrap().expose(), b"labpass");
    for (wrong, why) in [
        (Place::bmc_password(R1, node(2)), "another node"),
        (Place::bmc_key(R1, node(1)), "another field"),
        (Place::bmc_password(R2, node(1)), "another rack"),
        (Place::boot_token(R1, node(1)), "another purpose"),
        (Place::specification(place.to_string()), "another purpose with the same record"),
        (Place::bulk_drive(Uuid::nil()), "no rack"),
        (Place::bmc_password(RackId::new(Uuid::from_u128(9)), node(1)), "an unknown rack"),
    ] {
        assert!(sealer.open(&wrong, &sealed).is_err(), "{why}");
    }
    let other = Sealer::new(KeyFile::create(Timestamp::default()).unwrap(), racks());
    let text = other.open(&place, &sealed).unwrap_err().to_string();
    assert!(text.contains("test-bmc") && text.contains("seal-key export"), "{text}");
    let text = sealer.open(&Place::boot_token(R1, node(1)), &sealed).unwrap_err().to_string();
    assert!(text.contains("bmc of all racks") && text.contains("boot-token of rack \"r1\""), "{text}");
    // A stored value whose key was swapped for another one of the same purpose is damaged.
    let mut keys = KeyFile::for_tests();
    let next = keys.add_next(Purpose::Bmc, None, Timestamp::default()).unwrap();
    let swapped = Sealed { key: next, ..sealed };
    assert!(Sealer::new(keys, racks()).open(&place, &swapped).unwrap_err().to_string().contains("damaged"));
}

#[test]
fn the_same_secret_never_looks_the_same() {
    let (sealer, place) = (scheduler(), Place::specification("p"));
    assert_ne!(sealer.seal(&place, b"x").unwrap(), sealer.seal(&place, b"x").unwrap());
}

#[test]
fn a_key_is_distributed_before_it_is_used_and_opens_until_it_is_retired() {
    let (now, place) = (Timestamp::default(), Place::bmc_password(R1, node(1)));
    let mut root = KeyFile::create(now).unwrap();
    let first = root.keys.first().unwrap().id.clone();
    let before = root.clone();
    let sealed = Sealer::new(root.clone(), racks()).seal(&place, b"a").unwrap();
    let next = root.add_next(Purpose::Bmc, None, now).unwrap();
    assert!(matches!(root.add_next(Purpose::Bmc, None, now), Err(SealError::HasNext { key, .. }) if key == next));
    // Distributed: the old key still seals.
    assert_eq!(Sealer::new(root.clone(), racks()).seal(&place, b"b").unwrap().key, first);
    let distributed = root.clone();
    root.activate(&next).unwrap();
    let current = Sealer::new(root.clone(), racks()).seal(&place, b"c").unwrap();
    assert_eq!(current.key, next);
    assert_eq!(leaf(&root, Service::Power, "r1").open(&place, &sealed).unwrap().expose(), b"a", "the old key opens");
    assert_eq!(leaf(&distributed, Service::Power, "r1").open(&place, &current).unwrap().expose(), b"c");
    let missed = leaf(&before, Service::Power, "r1").open(&place, &current).unwrap_err().to_string();
    assert!(missed.contains(&next), "{missed}");
    let of_each_state = [(first.as_str(), true), (next.as_str(), false), ("nothing", false)];
    for (id, may_retire) in of_each_state {
        assert_eq!(root.clone().retire(id).is_ok(), may_retire, "{id}");
        assert!(root.clone().activate(id).is_err(), "{id}");
    }
    root.retire(&first).unwrap();
    leaf(&root, Service::Power, "r1").open(&place, &sealed).unwrap_err();
    leaf(&root, Service::Power, "r1").open(&place, &current).unwrap();
    let mut derived = root.for_service(Service::Power, "r1").unwrap();
    assert!(matches!(derived.add_next(Purpose::Bmc, None, now), Err(SealError::NotRoot(_))));
}

#[test]
fn a_key_of_one_rack_goes_before_the_key_of_all() {
    let (now, mut root) = (Timestamp::default(), KeyFile::for_tests());
    let own = root.add_next(Purpose::Bmc, Some("r1"), now).unwrap();
    root.activate(&own).unwrap();
    let sealer = Sealer::new(root.clone(), racks());
    assert_eq!(sealer.seal(&Place::bmc_password(R1, node(1)), b"x").unwrap().key, own);
    assert_eq!(sealer.seal(&Place::bmc_password(R2, node(2)), b"x").unwrap().key, "test-bmc");
    assert_eq!(root.key("test-bmc").unwrap().state, KeyState::Active);
    assert!(root.for_service(Service::Power, "r2").unwrap().key(&own).is_none());
}

#[test]
fn a_new_key_of_all_racks_takes_the_place_of_those_of_single_racks() {
    let (now, mut root) = (Timestamp::default(), KeyFile::for_tests());
    let own = root.add_next(Purpose::Bmc, Some("r1"), now).unwrap();
    root.activate(&own).unwrap();
    let prepared = root.add_next(Purpose::Bmc, Some("r2"), now).unwrap();
    let all = root.add_next(Purpose::Bmc, None, now).unwrap();
    root.activate(&all).unwrap();
    for (id, state) in [
        (own.as_str(), KeyState::Old),
        ("test-bmc", KeyState::Old),
        (&all, KeyState::Active),
        (&prepared, KeyState::Next),
        ("test-boot-token", KeyState::Active),
        ("test-config-drive", KeyState::Active),
    ] {
        assert_eq!(root.key(id).unwrap().state, state, "{id}");
    }
    assert_eq!(Sealer::new(root.clone(), racks()).seal(&Place::bmc_password(R1, node(1)), b"x").unwrap().key, all);
    for purpose in Purpose::ALL {
        let is_refused = matches!(root.add_next(purpose, Some("r3"), now), Err(SealError::NoRackOf(_)));
        assert_eq!(is_refused, purpose == Purpose::Specification, "{purpose}");
    }
}

#[test]
fn a_file_is_private_complete_and_of_this_service() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sealing.keys");
    let root = KeyFile::create(Timestamp::default()).unwrap();
    root.save(&path).unwrap();
    assert_eq!(fs_mode(&path), 0o600);
    assert_eq!(KeyFile::of_service(&path, Service::Scheduler, "").unwrap(), root);
    let power = root.for_service(Service::Power, "r1").unwrap();
    power.save(&path).unwrap();
    assert_eq!(KeyFile::of_service(&path, Service::Power, "r1").unwrap(), power);
    for (service, rack) in [(Service::Power, "r2"), (Service::Pxe, "r1"), (Service::Scheduler, "")] {
        let text = KeyFile::of_service(&path, service, rack).unwrap_err().to_string();
        assert!(text.contains("power-service of rack \"r1\"") && text.contains(service.name()), "{text}");
    }
    KeyFile::of_service(Path::new("/nowhere"), Service::Storage, "r1").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(KeyFile::load(&path).unwrap_err().to_string().contains("chmod o="));
    // What a file may hold instead; none of the messages repeats a secret.
    let secret = "5a".repeat(32);
    let cut = serde_json::to_string(&power).unwrap();
    let key = format!(
        r#"{{"id":"a","purpose":"bmc","state":"active","created":"2026-11-30T00:00:00Z","secret":"{secret}"}}"#
    );
    for text in [
        secret.clone(),
        String::new(),
        cut[..cut.len() / 2].to_owned(),
        key.clone(),
        format!(r#"{{"service":"power-service","keys":[{key},{key}]}}"#),
        format!(r#"{{"service":"power-service","keys":[{}]}}"#, key.replace("active", "lost")),
        format!(r#"{{"service":"power-service","keys":[{}]}}"#, key.replace("5a5a", "5a")),
        format!(r#"{{"service":"power-service","keys":[{}]}}"#, key.replace("bmc", "all")),
    ] {
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, &text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let error = KeyFile::load(&path).unwrap_err().to_string();
        assert!(error.contains("sealing.keys") && error.contains("seal-key export"), "{error}");
        assert!(!error.contains("5a5a"), "{error}");
    }
}

#[test]
fn a_changed_file_is_used_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sealing.keys");
    let mut root = KeyFile::for_tests();
    root.for_service(Service::Power, "r1").unwrap().save(&path).unwrap();
    let sealer = Sealer::from_file(&path, Service::Power, "r1", racks()).unwrap();
    let shared = sealer.clone();
    assert!(!sealer.reload().unwrap());
    let next = root.add_next(Purpose::Bmc, None, Timestamp::default()).unwrap();
    root.for_service(Service::Power, "r1").unwrap().save(&path).unwrap();
    assert!(sealer.reload().unwrap());
    assert_eq!(shared.states().get(&next), Some(&KeyState::Next));
    root.for_service(Service::Pxe, "r1").unwrap().save(&path).unwrap();
    sealer.reload().unwrap_err();
    assert_eq!(shared.states().len(), 2);
    let shown = format!("{sealer:?} {root:?}");
    assert!(shown.contains(&next) && !shown.contains("010101"), "{shown}");
}

fn fs_mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn sealed_files_are_hardly_larger_than_their_content() {
    let sealer = scheduler();
    // What cannot be compressed takes a third more, in base64.
    let mut noise = vec![0; 300 << 10];
    getrandom::fill(&mut noise).unwrap();
    let text = b"#cloud-config\n".repeat(20_000);
    let (own, other) = (Place::config_drive(R1, node(1)), Place::config_drive(R1, node(2)));
    for (content, most) in [(noise, 410 << 10), (text, 8 << 10), (Vec::new(), 1 << 10)] {
        let files = ConfigDrive::from([("openstack/latest/user_data".to_owned(), content)]);
        let sealed = sealer.seal_files(&own, &files).unwrap();
        assert!(serde_json::to_vec(&sealed).unwrap().len() < most, "{most}");
        assert_eq!(sealer.open_files(&own, &sealed).unwrap(), files);
        assert!(sealer.open_files(&other, &sealed).is_err());
    }
    let no_files = sealer.seal(&own, b"no files").unwrap();
    assert!(sealer.open_files(&own, &no_files).unwrap_err().to_string().contains("cannot unpack"));
}
