use std::time::Duration;

use domain::{
    id::{InstanceId, SlotId},
    time::Timestamp,
};
use keyspace::{
    View,
    seal::{KeyFile, RackNames},
    testing::MemoryEtcd,
    value::Stamped,
};
use mesh::{Clock, DataDirLock, Endpoints, HostShare, MemberConfig, Reading, SafetyParams, SimulatedDataDir};
use serde_json::{Value, json};
use tokio::{
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};
use wire::work_response::Instruction;

use super::*;

const TOKEN: &[u8] = &[7; 32];
/// How long anything may take to be seen, in simulated time.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

#[test]
fn a_record_that_cannot_be_read_is_not_a_node_without_one() {
    let named = || NodeSpec { maintenance: true, ..NodeSpec::default() };
    assert_eq!(spec_of(Some(named()), true), Some(named()));
    assert_eq!(spec_of(None, false), Some(NodeSpec::default()));
    assert_eq!(spec_of(None, true), None, "it may name disks to skip");
}

#[test]
fn an_instruction_with_hints_for_disks_needs_an_agent_that_evaluates_them() {
    let hints = || wire::DiskHints { hints: [("serial".to_owned(), "S1".to_owned())].into() };
    let write = |root_device, skipped_disks| {
        Instruction::Write(wire::Write { root_device, skipped_disks, ..wire::Write::default() })
    };
    for (instruction, source, right) in [
        (Instruction::Wipe(wire::Wipe { skipped_disks: vec![hints()] }), "a disk to skip", 1),
        (Instruction::Wipe(wire::Wipe { skipped_disks: vec![] }), "all disks", 0),
        (write(Some(hints()), vec![]), "a root device", 1),
        (write(None, vec![hints()]), "a disk to skip", 1),
        (write(None, vec![]), "any disk", 0),
        (Instruction::Inspect(wire::Inspect {}), "nothing is written", 0),
        (Instruction::Rest(wire::work_response::Rest {}), "nothing is done", 0),
    ] {
        assert_eq!(needed_level(&instruction), right, "{instruction:?}: {source}");
    }
}

/// A replica of the service over a store in memory. It is killed when it is dropped.
struct Replica {
    agents: Agents,
    tasks: [AbortHandle; 2],
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

fn rack() -> RackId {
    "00000000-0000-0000-0000-000000000001".parse().unwrap()
}

fn node() -> NodeId {
    "00000000-0000-0000-0000-000000000002".parse().unwrap()
}

fn sealer() -> Sealer {
    Sealer::new(KeyFile::for_tests(), RackNames::Known(BTreeMap::from([(rack(), "r1".to_owned())])))
}

fn caller() -> Caller {
    Caller { node: node(), generation: Generation::from_number(1), key: "key of the agent".to_owned() }
}

#[expect(clippy::disallowed_methods, reason = "a Host ends its tasks in order; a replica is killed here")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
    tokio::spawn(task).abort_handle()
}

impl Replica {
    /// Starts a replica in the slot with this number, and waits until it owns the node.
    async fn up(etcd: &MemoryEtcd, slot: &str) -> Self {
        let (store, view, host) = (etcd.client().store(), View::default(), Host::default());
        let (service, scope) = (Service::Inventory, Scope::Rack(rack()));
        let (started, booted) = (Instant::now(), Duration::from_secs(1000));
        let clock = Clock::new(move || {
            let since = started.elapsed();
            Reading { boot: booted + since, wall: Timestamp::default().plus(since) }
        });
        let safety = SafetyParams::default().dangerous_clock(clock);
        let endpoints = Endpoints { endpoint: format!("replica-{slot}"), ..Endpoints::default() };
        let share = HostShare::default();
        let config = MemberConfig { service, scope, endpoints, safety, sealer: None, share };
        let mesh = Mesh::new(config, store, view.clone());
        let slot: SlotId = format!("00000000-0000-0000-0000-00000000000{slot}").parse().unwrap();
        let place = SimulatedDataDir { last: None, slot, boot: String::new() };
        let lock = DataDirLock::dangerous_simulated(place, |_| {});
        let (followed, store, prefixes) = (view.clone(), mesh.store().clone(), key::followed(scope, service));
        let following = spawn(async move { followed.follow(store, prefixes, None, std::future::pending()).await });
        let (member, stop) = (mesh.clone(), host.clone());
        let living = spawn(async move {
            member.view().reaches(1).await;
            member.live(stop, lock).await;
        });
        let (timeline, heartbeats) = (Timeline::new("inventory-service".to_owned()), Heartbeats::default());
        let agents = Agents { rack: rack(), mesh, sealer: sealer(), timeline, heartbeats, host };
        let owning = async {
            while !agents.mesh.owns(node()) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(WAIT_TIMEOUT, owning).await.unwrap();
        Self { agents, tasks: [following, living] }
    }

    /// Calls for work as soon as the rules of the mesh allow it.
    async fn work(&self) -> Instruction {
        let beginning = async {
            loop {
                match self.agents.begin(&caller()).await {
                    Ok((_, response)) => return response.instruction.unwrap(),
                    Err(Error::Mesh(_)) => sleep(Duration::from_millis(5)).await,
                    Err(error) => panic!("{error:?}"),
                }
            }
        };
        timeout(WAIT_TIMEOUT, beginning).await.unwrap()
    }

    /// Says hello as soon as the rules of the mesh allow it, and waits until the binding is seen.
    async fn hello(&self, feature_level: u32) {
        let greeting = async {
            while let Err(error) = self.agents.hello(&caller(), TOKEN, feature_level).await {
                assert!(matches!(error, Error::Mesh(_)), "{error:?}");
                sleep(Duration::from_millis(5)).await;
            }
            self.sees(|seen| seen.feature_level == feature_level).await;
        };
        timeout(WAIT_TIMEOUT, greeting).await.unwrap();
    }

    async fn sees(&self, is_so: impl Fn(&AgentSeen) -> bool) {
        let seeing = async {
            while !self.agents.seen(node()).is_some_and(|seen| is_so(&seen.value)) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(WAIT_TIMEOUT, seeing).await.unwrap();
    }
}

/// Stores a node, what its agent is booted for, and a storage-service.
fn furnish(etcd: &MemoryEtcd, work: &Value, properties: &Value) {
    let sealer = sealer();
    let file = json!({"name": "f", "digest": format!("sha256:{}", "0".repeat(64))});
    let decision: BootDecision = serde_json::from_value(json!({
        "generation": 1, "token": 1, "minted_at": Timestamp::default(), "kernel": file, "ramdisk": file, "arguments": "",
        "boot_token": sealer.seal(&Place::boot_token(rack(), node()), TOKEN).unwrap(), "work": work,
    }))
    .unwrap();
    let named = json!({"id": rack(), "name": "r1"});
    etcd.put_json(&key::rack(rack()), &serde_json::from_value(named).unwrap()).unwrap();
    let spec: NodeSpec = serde_json::from_value(json!({"properties": properties})).unwrap();
    etcd.put_json(&key::boot(rack(), node()), &decision).unwrap();
    etcd.put_json(&key::node_spec(rack(), node()), &Stamped::created(spec, Timestamp::default())).unwrap();
    let member = json!({"endpoint": "s:1", "data_endpoint": "s:2", "weight": 1, "since": Timestamp::default()});
    let storage: InstanceId = "00000000-0000-0000-0000-000000000009".parse().unwrap();
    let member = serde_json::from_value(member).unwrap();
    etcd.put_json(&key::member(Scope::Rack(rack()), Service::Storage, storage), &member).unwrap();
}

/// What an agent is booted for, as its decision has it.
fn to_do(work: &str) -> Value {
    match work {
        "write" => {
            let sealer = sealer();
            let drive = sealer.seal_files(&Place::config_drive(rack(), node()), &BTreeMap::default()).unwrap();
            let digest = format!("sha256:{}", "1".repeat(64));
            json!({"do": work, "name": "i", "digest": digest, "encoding": "plain", "config_drive": drive})
        }
        _ => json!({"do": work}),
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_would_ignore_hints_gets_no_work_and_the_work_fails() {
    let (root, skip) = (json!({"root_device": {"serial": "S"}}), json!({"skip_block_devices": [{"serial": "S"}]}));
    // Work, properties of the node, feature level of the agent, whether it is given the work.
    for (work, properties, level, is_given) in [
        ("wipe", &skip, 0, false),
        ("wipe", &skip, 1, true),
        ("wipe", &root, 0, true),
        ("wipe", &json!({}), 0, true),
        ("write", &root, 0, false),
        ("write", &skip, 0, false),
        ("write", &skip, 1, true),
        ("write", &json!({}), 0, true),
        ("inspect", &skip, 0, true),
    ] {
        let etcd = MemoryEtcd::new();
        furnish(&etcd, &to_do(work), properties);
        let replica = Replica::up(&etcd, "1").await;
        replica.hello(level).await;
        let instruction = replica.work().await;
        let is_rest = matches!(instruction, Instruction::Rest(_));
        assert_eq!(!is_rest, is_given, "{work} {properties} by an agent of level {level}: {instruction:?}");
        if !is_given {
            let failed = |seen: &AgentSeen| match &seen.work {
                AgentWork::Failed { failure } => failure.text.contains("build the ramdisk anew"),
                AgentWork::Underway | AgentWork::Done { .. } => false,
            };
            replica.sees(failed).await;
            assert!(matches!(replica.work().await, Instruction::Rest(_)), "it stays refused");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_agent_is_able_to_do_is_known_after_a_restart_and_by_another_replica() {
    let skip = json!({"skip_block_devices": [{"serial": "S"}]});
    // What becomes of the replica between hello and work.
    for next in ["1", "2"] {
        let etcd = MemoryEtcd::new();
        furnish(&etcd, &to_do("wipe"), &skip);
        let first = Replica::up(&etcd, "1").await;
        first.hello(1).await;
        drop(first);
        let second = Replica::up(&etcd, next).await;
        let instruction = second.work().await;
        assert!(matches!(instruction, Instruction::Wipe(_)), "by the replica in slot {next}: {instruction:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_a_service_of_an_earlier_version_bound_tells_its_level_with_the_next_hello() {
    let etcd = MemoryEtcd::new();
    furnish(&etcd, &to_do("wipe"), &json!({"skip_block_devices": [{"serial": "S"}]}));
    let replica = Replica::up(&etcd, "1").await;
    // Such a service stored no level.
    replica.hello(0).await;
    replica.hello(1).await;
    assert!(matches!(replica.work().await, Instruction::Wipe(_)));
}
