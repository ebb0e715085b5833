//! What the canned answers are made of.

use domain::time::Timestamp;
use proto::{
    api::v1::{
        Boot, Bulk, BulkNode, BulkNodeProgress, BulkState, Node, NodeIntent, NodeObserved, Operation, OperationPhase,
        Owner, Port, ProvisionVerb, ServiceKind, Waiting,
    },
    common::v1::{Amount, BootMode, Disk, Failure, Hardware, Nic, Power, TimelineEntry},
    convert::time::{WireTime, wire_time},
};

/// The time in all canned answers: 2026-01-31T12:01:00Z.
pub(super) const NOW: i64 = 1_769_860_860_000;
/// When what they tell of began.
pub(super) const BEGIN: i64 = NOW - 60_000;

/// A time in an answer.
pub(super) fn time(millis: i64) -> Option<WireTime> {
    Some(wire_time(Timestamp::from_millis(millis)))
}

fn operation(id: &str, phase: OperationPhase) -> Option<Operation> {
    Some(Operation { id: id.to_owned(), phase: phase.into(), start_time: time(BEGIN), ..Default::default() })
}

fn entry(at: i64, by: &str, mark: &str, subject: &str) -> TimelineEntry {
    TimelineEntry {
        observe_time: time(BEGIN + at),
        by: by.to_owned(),
        mark: mark.to_owned(),
        subject: subject.to_owned(),
        amount: None,
    }
}

pub(super) fn node(name: &str, number: u8) -> Node {
    let intent = NodeIntent {
        bmc_address: format!("10.77.2.{number}:623"),
        bmc_user: "admin".to_owned(),
        boot_mode: BootMode::Uefi.into(),
        image: "debian".to_owned(),
        ports: vec![Port {
            id: format!("00000000-0000-4000-8000-0000000001{number:02}"),
            mac: format!("52:54:00:00:00:{number:02x}"),
            address: format!("10.77.1.{}", 100 + number),
        }],
        ..Default::default()
    };
    let observed = NodeObserved {
        state: "active".to_owned(),
        state_start_time: time(BEGIN),
        power: Power::On.into(),
        power_observe_time: time(BEGIN),
        verbs: vec![ProvisionVerb::Rebuild.into(), ProvisionVerb::Undeploy.into()],
        ..Default::default()
    };
    Node {
        id: format!("00000000-0000-4000-8000-0000000000{number:02}"),
        name: name.to_owned(),
        rack: "r1".to_owned(),
        intent: Some(intent),
        observed: Some(observed),
        generation: 7,
        revision: 100,
        etag: "\"100\"".to_owned(),
        owners: vec![Owner {
            service: ServiceKind::Power.into(),
            instance: "3f2a77aa-0000-4000-8000-000000000001".to_owned(),
            endpoint: "10.77.2.2:7001".to_owned(),
            claimed_by: "3f2a77aa-0000-4000-8000-000000000001".to_owned(),
            token: 99,
        }],
    }
}

pub(super) fn failed(mut node: Node) -> Node {
    if let Some(observed) = &mut node.observed {
        observed.state = "deploy failed".to_owned();
        observed.last_failure = Some(Failure {
            cause: "IMAGE_DIGEST".to_owned(),
            text: "the image hashes to sha256:9f86d081, not to sha256:ba7816bf".to_owned(),
            occur_time: time(BEGIN + 42_000),
        });
        observed.next_step = "compute the digest again and register the image anew: ironmesh image create …".to_owned();
        observed.verbs = vec![ProvisionVerb::Deploy.into(), ProvisionVerb::Undeploy.into()];
        observed.hardware = Some(hardware());
    }
    node.revision = 120;
    node
}

fn hardware() -> Hardware {
    let disk = Disk { name: "vda".to_owned(), size_bytes: 4 << 30, model: "QEMU".to_owned(), ..Default::default() };
    let nic = Nic { name: "eth0".to_owned(), mac: "52:54:00:00:00:02".to_owned(), carrier: true, booted_from: true };
    Hardware {
        manufacturer: "QEMU".to_owned(),
        product: "Standard PC\u{1b}[2J".to_owned(),
        cpu_model: "QEMU Virtual CPU".to_owned(),
        cpu_arch: "x86_64".to_owned(),
        cpu_count: 2,
        memory_bytes: 768 << 20,
        boot_mode: BootMode::Uefi.into(),
        disks: vec![disk],
        nics: vec![nic],
        ..Default::default()
    }
}

pub(super) fn deploying(mut node: Node, done: u64) -> Node {
    if let Some(observed) = &mut node.observed {
        observed.state = "deploying".to_owned();
        observed.operation = operation("00000000-0000-4000-8000-000000000900", OperationPhase::Deploy);
        observed.waiting = Some(Waiting {
            thing: "its agent to do the work".to_owned(),
            start_time: time(BEGIN),
            expire_time: time(NOW),
        });
        let mut entry = entry(0, "inventory-service", "IMAGE_PROGRESS", "debian to vda");
        entry.amount = Some(Amount { done, total: 100 });
        observed.last_entry = Some(entry);
    }
    node.revision = 110;
    node
}

pub(super) fn manageable(mut node: Node) -> Node {
    node.intent.get_or_insert_default().image = String::new();
    let observed = node.observed.get_or_insert_default();
    observed.state = "manageable".to_owned();
    observed.verbs = [ProvisionVerb::Provide, ProvisionVerb::Inspect, ProvisionVerb::Adopt].map(i32::from).to_vec();
    node
}

/// At work, and waiting for its agent.
pub(super) fn busy(mut node: Node, state: &str) -> Node {
    let observed = node.observed.get_or_insert_default();
    observed.state = state.to_owned();
    observed.operation = operation("00000000-0000-4000-8000-000000000901", OperationPhase::Inspect);
    let thing = if state == "adopting" { "an answer of its BMC" } else { "its agent to call" };
    observed.waiting = Some(Waiting { thing: thing.to_owned(), start_time: time(BEGIN), expire_time: time(NOW) });
    observed.inspection_start_time = time(BEGIN);
    node.revision = 110;
    node
}

pub(super) fn inspected(mut node: Node) -> Node {
    let observed = node.observed.get_or_insert_default();
    observed.hardware = Some(hardware());
    (observed.inspection_start_time, observed.inspection_end_time) = (time(BEGIN), time(BEGIN + 42_000));
    observed.inspection_remarks = vec!["eth1 has the MAC 52:54:00:00:00:02 of node n2, where it stays".to_owned()];
    node.revision = 120;
    node
}

pub(super) fn adopted(mut node: Node, image: &str) -> Node {
    node.intent.get_or_insert_default().image = image.to_owned();
    node.observed.get_or_insert_default().state = "active".to_owned();
    node.revision = 120;
    node
}

pub(super) fn boots() -> Vec<Boot> {
    let (pxe, power) = ("pxe-service at 10.77.1.2", "power-service at 10.77.2.2:7001");
    let agent = "inventory-service at 10.77.1.4";
    let before = Boot { generation: 3, entries: vec![entry(-90_000, power, "POWER_ON", "")] };
    let mut progress = entry(41_000, agent, "IMAGE_PROGRESS", "debian to vda");
    progress.amount = Some(Amount { done: 30, total: 120 });
    let entries = vec![
        entry(0, power, "POWER_OFF", ""),
        entry(1_200, power, "POWER_ON", ""),
        entry(9_700, pxe, "DHCP_DISCOVER", "PXE (UEFI x86-64)"),
        entry(10_700, pxe, "DHCP_DISCOVER", "PXE (UEFI x86-64)"),
        entry(10_710, pxe, "DHCP_ACK", "10.77.1.102 PXE (UEFI x86-64)"),
        entry(10_800, pxe, "LOADER_SENT", "snponly.efi"),
        entry(13_100, pxe, "SCRIPT_SENT", ""),
        entry(15_000, pxe, "RAMDISK_SENT", "ramdisk"),
        entry(24_400, agent, "AGENT_HELLO", ""),
        progress,
        entry(42_000, agent, "AGENT_FAILED", "the image hashes to sha256:9f86d081, not to sha256:ba7816bf"),
        entry(42_100, agent, "SOMETHING_NEW", "of a later release"),
    ];
    vec![before, Boot { generation: 7, entries }]
}

/// A deploy of two nodes, of which so many have ended; the second fails.
pub(super) fn bulk(ended: u32, state: BulkState) -> Bulk {
    let one = |name: &str, progress: BulkNodeProgress, failure: &str| BulkNode {
        node_name: name.to_owned(),
        progress: progress.into(),
        failure: failure.to_owned(),
        ..Default::default()
    };
    let nodes = match ended {
        0 => [one("n1", BulkNodeProgress::Running, ""), one("n2", BulkNodeProgress::Waiting, "")],
        1 => [one("n1", BulkNodeProgress::Done, ""), one("n2", BulkNodeProgress::Running, "")],
        _ => [
            one("n1", BulkNodeProgress::Done, ""),
            one("n2", BulkNodeProgress::Failed, "IMAGE_DIGEST: the image hashes to another"),
        ],
    };
    Bulk {
        id: "00000000-0000-4000-8000-000000000700".to_owned(),
        verb: ProvisionVerb::Deploy.into(),
        image: "debian".to_owned(),
        state: state.into(),
        start_time: time(BEGIN),
        end_time: time(NOW).filter(|_| ended > 1),
        waiting: u32::from(ended == 0),
        running: u32::from(ended < 2),
        done: ended.min(1),
        failed: u32::from(ended > 1),
        nodes: nodes.into(),
        ..Default::default()
    }
}
