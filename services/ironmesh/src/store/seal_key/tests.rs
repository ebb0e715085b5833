use domain::{id::InstanceId, time::Timestamp};
use keyspace::{
    key::Scope,
    seal::{KeyState, Place},
    testing::MemoryEtcd,
};
use serde_json::json;
use uuid::Uuid;

use super::*;

const RACK: RackId = RackId::new(Uuid::from_u128(1));
const OLD: &str = "test-config-drive";

/// A store, and root keys of which one for config drives is old.
struct Lab {
    etcd: MemoryEtcd,
    folder: tempfile::TempDir,
    keys: KeyFile,
    /// The key that took its place.
    active: String,
}

impl Lab {
    fn new() -> Self {
        let (etcd, folder, mut keys) = (MemoryEtcd::new(), tempfile::tempdir().unwrap(), KeyFile::for_tests());
        let rack = json!({"id": RACK, "name": "r1"});
        etcd.put_json(&key::rack(RACK), &serde_json::from_value(rack).unwrap()).unwrap();
        let active = keys.add_next(Purpose::ConfigDrive, None, Timestamp::default()).unwrap();
        keys.activate(&active).unwrap();
        let lab = Self { etcd, folder, keys, active };
        lab.keys.save(&lab.path()).unwrap();
        lab
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("sealing.keys")
    }

    /// A scheduler runs that has read its keys, of which this one is in a state.
    fn scheduler_with(&self, id: &str, state: KeyState) {
        let keys = BTreeMap::from([(id.to_owned(), state)]);
        let member =
            json!({"endpoint": "s:1", "weight": 1, "since": Timestamp::default(), "sealing_keys": json!(keys)});
        let scheduler = InstanceId::new(Uuid::from_u128(9));
        let member = serde_json::from_value(member).unwrap();
        self.etcd.put_json(&key::member(Scope::Datacenter, Service::Scheduler, scheduler), &member).unwrap();
    }

    /// A write that began earlier arrives: a record that is sealed with the active key of these.
    fn writes_sealed_with(&self, keys: KeyFile) {
        let racks = RackNames::Known(BTreeMap::from([(RACK, "r1".to_owned())]));
        let id = Uuid::from_u128(7);
        let sealed = Sealer::new(keys, racks).seal_files(&Place::bulk_drive(id), &BTreeMap::new()).unwrap();
        self.etcd.put_json(&key::bulk_drive(id), &sealed).unwrap();
    }
}

#[tokio::test]
async fn a_key_is_retired_only_if_nothing_uses_it_at_a_second_look_either() {
    type Meanwhile = fn(&Lab);
    // What happens while the writes end that began earlier, and what the refusal says; `None` if the key is removed.
    let cases: [(&str, Meanwhile, Option<&str>); 7] = [
        ("nothing", |_| {}, None),
        (
            "a scheduler starts with an old file",
            |lab| lab.scheduler_with(OLD, KeyState::Active),
            Some("still seal with"),
        ),
        ("a scheduler starts that only opens with it", |lab| lab.scheduler_with(OLD, KeyState::Old), None),
        ("a write arrives", |lab| lab.writes_sealed_with(KeyFile::for_tests()), Some("seal-key reseal")),
        ("a write with the new key arrives", |lab| lab.writes_sealed_with(lab.keys.clone()), None),
        (
            "the file is replaced by one in which it is active",
            |lab| KeyFile::for_tests().save(&lab.path()).unwrap(),
            Some("active"),
        ),
        ("the file is removed", |lab| fs::remove_file(lab.path()).unwrap(), Some("sealing.keys")),
    ];
    for (source, meanwhile, refusal) in cases {
        let lab = Lab::new();
        let store = lab.etcd.client().store();
        let retired = without(&store, &lab.path(), OLD, async { meanwhile(&lab) }).await;
        match (retired, refusal) {
            (Ok(keys), None) => {
                assert!(keys.key(OLD).is_none() && keys.key(&lab.active).is_some(), "{source}");
            }
            (Err(error), Some(words)) => assert!(format!("{error:#}").contains(words), "{source}: {error:#}"),
            (retired, _) => panic!("{source}: {retired:?}"),
        }
    }
}

#[tokio::test]
async fn a_key_that_is_in_use_is_refused_before_anything_is_waited_for() {
    let lab = Lab::new();
    lab.scheduler_with(OLD, KeyState::Active);
    let store = lab.etcd.client().store();
    let waiting = async { panic!("it waits") };
    assert!(without(&store, &lab.path(), OLD, waiting).await.is_err());
    let waiting = async { panic!("it waits") };
    assert!(without(&store, &lab.path(), &lab.active, waiting).await.is_err(), "the active key");
}

#[test]
fn keys_are_used_beside_each_other_and_changed_alone() {
    let folder = tempfile::tempdir().unwrap();
    let certs = folder.path().join("certs");
    fs::create_dir(&certs).unwrap();
    KeyFile::for_tests().save(&files::root(folder.path())).unwrap();
    let location = StoreLocation::of(folder.path());
    let open = || fs::File::open(&certs).unwrap();
    let pass = Root::load(&location, LockMode::Use).unwrap();
    assert!(open().try_lock_shared().is_ok(), "list runs beside a pass of reseal");
    assert!(open().try_lock().is_err(), "no key is retired during a pass");
    drop(pass);
    let change = Root::load(&location, LockMode::Change).unwrap();
    assert!(open().try_lock_shared().is_err(), "no pass begins during a change");
    drop(change);
}
