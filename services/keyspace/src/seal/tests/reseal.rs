//! Records are sealed again while others write them.

use domain::{driver::Driver, generation::Generation, id::PortId, kernel_arguments::KernelArguments, net::MacAddr};
use serde_json::json;

use super::*;
use crate::{
    Change, Expect, Store,
    testing::{Call, CallKind, Delivery, MemoryEtcd},
    value::{
        Bmc, Deployment, Incarnation, Intent, Ipmi, NodeSpec, Port, PortSpec, Rack, RawData, Stamped, WebhookSpec,
        set_bmc,
    },
};

const BULK: Uuid = Uuid::from_u128(70);
const HOOK: Uuid = Uuid::from_u128(71);
const PORT: PortId = PortId::new(Uuid::from_u128(72));
const MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);

fn rack(id: RackId, name: &str) -> Rack {
    Rack {
        id,
        name: name.to_owned(),
        network: None,
        kernel: None,
        ramdisk: None,
        kernel_arguments: KernelArguments::default(),
    }
}

fn intent(rack: RackId, node: NodeId, password: &[u8], sealer: &Sealer) -> Intent {
    let password = sealer.seal(&Place::bmc_password(rack, node), password).unwrap();
    let key = Some(sealer.seal(&Place::bmc_key(rack, node), b"kg").unwrap());
    let (ipmi, user) = (Ipmi { key, ..Ipmi::default() }, "admin".to_owned());
    let data = sealer.seal(&Place::raw_data(rack, node), b"raw").unwrap();
    let raw_data = Some(RawData { generation: Generation::from_number(1), address: None, data });
    let files = ConfigDrive::from([("f".to_owned(), b"content".to_vec())]);
    let config_drive = Some(sealer.seal_files(&Place::config_drive(rack, node), &files).unwrap());
    Intent {
        bmc: Some(Bmc { address: "10.0.0.5:623".parse().unwrap(), user, password, ipmi, redfish: None }),
        deployment: Some(Deployment { image: domain::id::ImageId::new(Uuid::nil()), config_drive }),
        raw_data,
        ..Intent::new("n".to_owned(), Driver::Ipmi, Timestamp::default())
    }
}

fn is_secret(key: &str, _: &serde_json::Value) -> bool {
    key.contains("password") || key == "secret"
}

/// What clients specified of a node: its BMC password is the intent's, and it has a secret of its own.
fn spec(node: NodeId, intent: &Intent, sealer: &Sealer) -> Stamped<NodeSpec> {
    let mut spec: NodeSpec = serde_json::from_value(json!({"driver_info": {"deep": {"a_password": "own"}}})).unwrap();
    seal_record(&mut spec, &node.to_string(), is_secret, sealer).unwrap();
    set_bmc(spec.driver_info.as_mut().unwrap(), intent.bmc.as_ref().unwrap());
    Stamped::created(spec, Timestamp::default())
}

/// A store of two racks with records of all kinds.
async fn furnish(store: &Store, sealer: &Sealer) {
    let incarnation = Incarnation { id: Uuid::from_u128(1), ..Incarnation::default() };
    let mut change = Change::new().put(&key::incarnation(), &incarnation, Expect::Absent).unwrap();
    for (at, name) in [(R1, "r1"), (R2, "r2")] {
        change = change.put(&key::rack(at), &rack(at, name), Expect::Absent).unwrap();
        for node in [1, 2].map(|number| node(number + u128::from(at == R2) * 10)) {
            let intent = intent(at, node, b"pass", sealer);
            change = change
                .put(&key::node_spec(at, node), &spec(node, &intent, sealer), Expect::Absent)
                .unwrap()
                .put(&key::intent(at, node), &intent, Expect::Absent)
                .unwrap();
        }
    }
    let drive = sealer.seal_files(&Place::bulk_drive(BULK), &ConfigDrive::new()).unwrap();
    let mut hook: WebhookSpec = serde_json::from_value(json!({"delivery_info": {"secret": "whsec_x"}})).unwrap();
    seal_record(&mut hook, &HOOK.to_string(), is_secret, sealer).unwrap();
    let hook = Stamped::created(hook, Timestamp::default());
    let mut port: PortSpec = serde_json::from_value(json!({"extra": {"password": "p0rt"}})).unwrap();
    seal_record(&mut port, &PORT.to_string(), is_secret, sealer).unwrap();
    let spec = Some(Stamped::created(port, Timestamp::default()));
    let port = Port { id: PORT, node: node(1), address: None, spec };
    let change = change.put(&key::port(R1, MAC), &port, Expect::Absent).unwrap();
    let change = change.put(&key::bulk_drive(BULK), &drive, Expect::Absent).unwrap();
    store.commit(change.put(&key::webhook(HOOK), &hook, Expect::Absent).unwrap()).await.unwrap();
}

/// The keys of the tests after a rotation of all purposes.
fn rotated() -> KeyFile {
    let mut keys = KeyFile::for_tests();
    for purpose in Purpose::ALL {
        let next = keys.add_next(purpose, None, Timestamp::default()).unwrap();
        keys.activate(&next).unwrap();
    }
    keys
}

fn without_old(mut keys: KeyFile) -> Sealer {
    keys.keys.retain(|key| key.state != KeyState::Old);
    Sealer::new(keys, racks())
}

async fn check_all_opens(store: &Store, sealer: &Sealer) {
    for (at, node) in [(R1, node(1)), (R1, node(2)), (R2, node(11)), (R2, node(12))] {
        let intent = store.get(&key::intent(at, node)).await.unwrap().unwrap().value;
        let bmc = intent.bmc.unwrap();
        assert_eq!(sealer.open(&Place::bmc_password(at, node), &bmc.password).unwrap().expose(), b"pass");
        assert_eq!(sealer.open(&Place::bmc_key(at, node), &bmc.ipmi.key.unwrap()).unwrap().expose(), b"kg");
        assert_eq!(sealer.open(&Place::raw_data(at, node), &intent.raw_data.unwrap().data).unwrap().expose(), b"raw");
        let drive = intent.deployment.unwrap().config_drive.unwrap();
        assert_eq!(sealer.open_files(&Place::config_drive(at, node), &drive).unwrap()["f"], b"content");
        let spec = store.get(&key::node_spec(at, node)).await.unwrap().unwrap().value.spec;
        let password = open_driver_info(&spec.driver_info.unwrap(), (at, node), "ipmi_password", sealer);
        assert_eq!(password.unwrap().unwrap().expose(), b"pass");
    }
    let drive = store.get(&key::bulk_drive(BULK)).await.unwrap().unwrap().value;
    sealer.open_files(&Place::bulk_drive(BULK), &drive).unwrap();
    let port = store.get(&key::port(R1, MAC)).await.unwrap().unwrap().value.spec.unwrap().spec;
    let password = open_text(&port.extra, &format!("{PORT}/extra"), "password", sealer);
    assert_eq!(password.unwrap().unwrap().expose(), b"p0rt");
    let hook = store.get(&key::webhook(HOOK)).await.unwrap().unwrap().value.spec;
    let secret = open_text(&hook.delivery_info, &format!("{HOOK}/delivery_info"), "secret", sealer);
    assert_eq!(secret.unwrap().unwrap().expose(), b"whsec_x");
}

#[tokio::test]
async fn every_record_is_sealed_again_once_and_then_needs_no_old_key() {
    let store = MemoryEtcd::new().client().store();
    furnish(&store, &scheduler()).await;
    let used: Vec<_> = usage(&store).await.unwrap().into_iter().map(|(key, records)| (key, records.len())).collect();
    let used: Vec<_> = used.iter().map(|(key, records)| (key.as_str(), *records)).collect();
    assert_eq!(used, [("test-bmc", 8), ("test-config-drive", 5), ("test-specification", 6)]);
    let (keys, same) = (rotated(), reseal(&store, &scheduler()).await.unwrap());
    // Passwords that were taken from intents become secrets of the specification, under the same keys.
    assert_eq!((same.rewritten, same.failed), (4, vec![]));
    let sealer = Sealer::new(keys.clone(), racks());
    check_all_opens(&store, &sealer).await;
    let first = reseal(&store, &sealer).await.unwrap();
    assert_eq!((first.seen, first.rewritten, first.failed), (11, 11, vec![]));
    assert!(!usage(&store).await.unwrap().keys().any(|key| key.starts_with("test-")));
    check_all_opens(&store, &without_old(keys)).await;
    assert_eq!(reseal(&store, &sealer).await.unwrap().rewritten, 0);
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_is_cut_off_at_any_write_is_continued_by_the_next() {
    for writes in 0..10 {
        let etcd = MemoryEtcd::new();
        let store = etcd.client().store();
        furnish(&store, &scheduler()).await;
        let keys = rotated();
        let sealer = Sealer::new(keys.clone(), racks());
        let client = etcd.client();
        let mut left = writes;
        // The write after these is carried out, and its answer is lost with the process.
        client.set_plan(move |call: &Call| match (call.kind, left) {
            (CallKind::Write, 0) => Delivery::UNANSWERED,
            (CallKind::Write, _) => {
                left -= 1;
                Delivery::PROMPT
            }
            (_, _) => Delivery::PROMPT,
        });
        reseal(&client.store(), &sealer).await.unwrap_err();
        check_all_opens(&store, &sealer).await;
        assert!(reseal(&store, &sealer).await.unwrap().failed.is_empty());
        check_all_opens(&store, &without_old(keys)).await;
    }
}

#[tokio::test]
async fn a_writer_is_neither_undone_nor_stopped_by_a_pass() {
    let etcd = MemoryEtcd::new();
    let (store, writer) = (etcd.client().store(), etcd.client().store());
    furnish(&store, &scheduler()).await;
    let keys = rotated();
    let sealer = Sealer::new(keys.clone(), racks());
    // Another process changes the node all the time, by what it reads, with a sealer that does not know of the activation.
    let intent_key = key::intent(R1, node(1));
    let write = async {
        let mut written = 0;
        while written < 200 {
            let mut read = writer.get(&intent_key).await.unwrap().unwrap();
            read.value.wait_for_life_seconds = Some(read.value.wait_for_life_seconds.unwrap_or_default() + 1);
            tokio::task::yield_now().await;
            let change = Change::new().put(&intent_key, &read.value, Expect::Revision(read.revision)).unwrap();
            match writer.commit(change).await {
                Ok(_) => written += 1,
                Err(Error::Conflict) => {}
                Err(error) => panic!("{error}"),
            }
            tokio::task::yield_now().await;
        }
    };
    let pass = async {
        for _ in 0..20 {
            let result = reseal(&store, &sealer).await.unwrap();
            for (path, _) in result.failed {
                assert_eq!(path, intent_key.path());
            }
        }
    };
    tokio::join!(write, pass);
    let read = store.get(&intent_key).await.unwrap().unwrap();
    assert_eq!(read.value.wait_for_life_seconds, Some(200), "no write was lost");
    assert!(reseal(&store, &sealer).await.unwrap().failed.is_empty());
    check_all_opens(&store, &without_old(keys)).await;
}

#[tokio::test]
async fn a_record_that_does_not_open_is_named_and_a_restored_backup_is_not_written_to() {
    let store = MemoryEtcd::new().client().store();
    let sealer = Sealer::new(rotated(), racks());
    furnish(&store, &scheduler()).await;
    let strange = Sealer::new(KeyFile::create(Timestamp::default()).unwrap(), racks());
    let read = store.get(&key::intent(R1, node(1))).await.unwrap().unwrap();
    let lost = intent(R1, node(1), b"x", &strange);
    let change = Change::new().put(&key::intent(R1, node(1)), &lost, Expect::Revision(read.revision)).unwrap();
    store.commit(change).await.unwrap();
    let result = reseal(&store, &sealer).await.unwrap();
    let [(path, why)] = result.failed.as_slice() else { panic!("{result:?}") };
    assert!(path == key::intent(R1, node(1)).path() && why.contains(&lost.bmc.as_ref().unwrap().password.key), "{why}");
    assert_eq!(result.rewritten, 10);
    let store = MemoryEtcd::new().client().store();
    furnish(&store, &scheduler()).await;
    let read = store.get(&key::incarnation()).await.unwrap().unwrap();
    let mark = crate::value::RestoredBackup { known: 9, found: 1 };
    let marked = Incarnation { restored_backup: Some(mark), ..read.value };
    let change = Change::new().put(&key::incarnation(), &marked, Expect::Revision(read.revision)).unwrap();
    store.commit(change).await.unwrap();
    let before = usage(&store).await.unwrap();
    assert!(matches!(reseal(&store, &sealer).await, Err(Error::RestoredBackup(_))));
    assert_eq!(usage(&store).await.unwrap(), before);
}

#[test]
fn a_node_that_moves_is_sealed_for_its_new_rack() {
    let (sealer, moved) = (scheduler(), node(1));
    let mut intent = intent(R1, moved, b"pass", &sealer);
    let mut record = spec(moved, &intent, &sealer).spec;
    assert!(!reseal_intent(&mut intent, moved, R1, R1, &sealer).unwrap());
    assert!(reseal_intent(&mut intent, moved, R1, R2, &sealer).unwrap());
    assert!(reseal_spec(&mut record, moved, R1, &sealer).unwrap());
    let root = KeyFile::for_tests();
    let password = intent.bmc.unwrap().password;
    let (here, there) = (Place::bmc_password(R2, moved), Place::bmc_password(R1, moved));
    assert_eq!(leaf(&root, Service::Power, "r2").open(&here, &password).unwrap().expose(), b"pass");
    leaf(&root, Service::Power, "r1").open(&there, &password).unwrap_err();
    let opened = open_driver_info(&record.driver_info.unwrap(), (R2, moved), "ipmi_password", &sealer);
    assert_eq!(opened.unwrap().unwrap().expose(), b"pass");
}
