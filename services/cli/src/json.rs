//! Answers for programs: complete, snake_case, stable. Times are RFC 3339; what is not known is null.

use proto::{
    api::v1::{
        Allocation, AllocationSpec, AntiAffinity, Boot, Bulk, CreateJoinTokenResponse, DatacenterStatus, Event, Host,
        Image, JoinToken, Lock, Node, NodeIntent, NodeObserved, Operation, PlacementOrder, PlanAllocationResponse,
        Rack, Webhook,
    },
    common::v1::{BootMode, Failure, Hardware, Power, TimelineEntry},
    convert::time::WireTime,
};
use serde_json::{Value, json};

use crate::{human, words};

pub(crate) fn time(time: Option<WireTime>) -> Value {
    human::at(time).map_or(Value::Null, |at| Value::String(at.to_string()))
}

fn text(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { Value::String(text.to_owned()) }
}

fn list<T>(items: &[T], shown: impl Fn(&T) -> Value) -> Value {
    items.iter().map(shown).collect()
}

fn boot_mode(mode: BootMode) -> Value {
    match mode {
        BootMode::Unspecified => Value::Null,
        BootMode::Bios => json!("bios"),
        BootMode::Uefi => json!("uefi"),
    }
}

fn power(power: Power) -> Value {
    match power {
        Power::Unspecified => Value::Null,
        Power::On => json!("on"),
        Power::Off => json!("off"),
    }
}

/// A webhook.
pub(crate) fn webhook(one: &Webhook) -> Value {
    json!({
        "id": one.id,
        "name": one.name,
        "url": one.url,
        "query": text(&one.query),
        "enabled": one.enabled,
        "since": time(one.create_time),
        "delivered": time(one.last_delivery_time),
        "failing_since": time(one.failure_start_time),
        "reason": text(&one.reason),
        "etag": one.etag,
    })
}

/// An allocation.
pub(crate) fn allocation(one: &Allocation) -> Value {
    json!({
        "id": one.id,
        "name": text(&one.name),
        "spec": one.spec.as_ref().map(spec),
        "state": text(words::allocation_state(one.state())),
        "node": text(&one.node),
        "node_name": text(&one.node_name),
        "rack": if one.node.is_empty() { Value::Null } else { json!(one.rack) },
        "reason": text(&one.reason),
        "since": time(one.create_time),
        "queue_until": time(one.queue_expire_time),
        "place_in_queue": (one.place_in_queue > 0).then_some(one.place_in_queue),
        "etag": one.etag,
    })
}

fn spec(spec: &AllocationSpec) -> Value {
    let order = match spec.order() {
        PlacementOrder::Unspecified => Value::Null,
        PlacementOrder::Spread => json!("spread"),
        PlacementOrder::Pack => json!("pack"),
    };
    let anti_affinity = match spec.anti_affinity() {
        AntiAffinity::Unspecified => Value::Null,
        AntiAffinity::Rack => json!("rack"),
        AntiAffinity::PowerDomain => json!("power-domain"),
    };
    json!({
        "resource_class": spec.resource_class,
        "traits": spec.traits,
        "capabilities": spec.capabilities,
        "candidates": spec.candidates,
        "owner": text(&spec.owner),
        "order": order,
        "group": text(&spec.group),
        "anti_affinity": anti_affinity,
    })
}

/// Result of a dry run of an allocation.
pub(crate) fn plan(plan: &PlanAllocationResponse) -> Value {
    json!({
        "node": text(&plan.node),
        "refusal": text(&plan.refusal),
        "fitting": plan.fitting,
        "reasons": list(&plan.reasons, |one| json!({ "why_not": one.why_not, "nodes": one.nodes })),
        "verdicts": list(&plan.verdicts, |one| json!({
            "node": one.node, "node_name": text(&one.node_name), "rack": one.rack, "why_not": text(&one.why_not),
        })),
    })
}

/// A node.
pub(crate) fn node(node: &Node) -> Value {
    json!({
        "id": node.id,
        "name": node.name,
        "rack": node.rack,
        "generation": node.generation,
        "revision": node.revision,
        "etag": node.etag,
        "intent": node.intent.as_ref().map(intent),
        "observed": node.observed.as_ref().map(observed),
        "owners": list(&node.owners, |owner| json!({
            "service": text(words::service(owner.service())), "instance": owner.instance, "endpoint": text(&owner.endpoint),
            "claimed_by": text(&owner.claimed_by), "token": (owner.token > 0).then_some(owner.token),
        })),
    })
}

fn intent(intent: &NodeIntent) -> Value {
    json!({
        "bmc_address": intent.bmc_address,
        "bmc_user": intent.bmc_user,
        "boot_mode": boot_mode(intent.boot_mode()),
        "image": text(&intent.image),
        "wait_for_life_seconds": intent.sign_of_life_timeout.map_or(0, |timeout| timeout.seconds),
        "boot_files_by_tftp": intent.boot_files_by_tftp,
        "ports": list(&intent.ports, |port| json!({
            "id": port.id, "mac": port.mac, "address": text(&port.address),
        })),
        "driver": text(&intent.driver),
        "resource_class": text(&intent.resource_class),
        "traits": intent.traits,
        "owner": text(&intent.owner),
        "maintenance": intent.maintenance,
        "maintenance_reason": text(&intent.maintenance_reason),
    })
}

fn observed(observed: &NodeObserved) -> Value {
    json!({
        "state": observed.state,
        "state_since": time(observed.state_start_time),
        "power": power(observed.power()),
        "power_seen_at": time(observed.power_observe_time),
        "waiting": observed.waiting.as_ref().map(|waiting| json!({
            "thing": waiting.thing, "since": time(waiting.start_time), "until": time(waiting.expire_time),
        })),
        "last_failure": observed.last_failure.as_ref().map(failure),
        "next_step": text(&observed.next_step),
        "diagnosis": text(&observed.diagnosis),
        "operation": observed.operation.as_ref().map(operation),
        "last_entry": observed.last_entry.as_ref().map(entry),
        "hardware": observed.hardware.as_ref().map(hardware),
        "verbs": observed.verbs().map(words::verb).collect::<Vec<_>>(),
        "inspection_started_at": time(observed.inspection_start_time),
        "inspection_finished_at": time(observed.inspection_end_time),
        "inspection_remarks": observed.inspection_remarks,
    })
}

/// A failure.
pub(crate) fn failure(failure: &Failure) -> Value {
    json!({ "cause": failure.cause, "text": failure.text, "at": time(failure.occur_time) })
}

fn hardware(hardware: &Hardware) -> Value {
    json!({
        "manufacturer": hardware.manufacturer,
        "product": hardware.product,
        "serial": hardware.serial,
        "uuid": hardware.uuid,
        "cpu_model": hardware.cpu_model,
        "cpu_arch": hardware.cpu_arch,
        "cpu_count": hardware.cpu_count,
        "memory_bytes": hardware.memory_bytes,
        "boot_mode": boot_mode(hardware.boot_mode()),
        "disks": list(&hardware.disks, |disk| json!({
            "name": disk.name, "size_bytes": disk.size_bytes, "serial": disk.serial, "model": disk.model,
            "rotational": disk.rotational,
        })),
        "nics": list(&hardware.nics, |nic| json!({
            "name": nic.name, "mac": nic.mac, "carrier": nic.carrier, "booted_from": nic.booted_from,
        })),
    })
}

fn entry(entry: &TimelineEntry) -> Value {
    json!({
        "at": time(entry.observe_time),
        "by": entry.by,
        "mark": entry.mark,
        "subject": entry.subject,
        "amount": entry.amount.map(|amount| json!({ "done": amount.done, "total": amount.total })),
    })
}

/// A boot.
pub(crate) fn boot(boot: &Boot) -> Value {
    json!({ "generation": boot.generation, "entries": list(&boot.entries, entry) })
}

/// An image.
pub(crate) fn image(image: &Image) -> Value {
    json!({
        "id": image.id,
        "name": image.name,
        "url": image.url,
        "digest": image.digest,
        "encoding": text(words::encoding(image.encoding())),
        "purpose": text(words::purpose(image.purpose())),
        "unpacked_size": (image.unpacked_size > 0).then_some(image.unpacked_size),
        "etag": image.etag,
    })
}

/// A rack.
pub(crate) fn rack(rack: &Rack) -> Value {
    json!({
        "id": rack.id,
        "name": rack.name,
        "etag": rack.etag,
        "subnet": text(&rack.subnet),
        "first_address": text(&rack.first_address),
        "last_address": text(&rack.last_address),
        "router": text(&rack.router),
        "server_identifier": text(&rack.server_identifier),
        "kernel": text(&rack.kernel),
        "ramdisk": text(&rack.ramdisk),
        "kernel_arguments": rack.kernel_arguments,
        "replicas": list(&rack.replicas, |replica| json!({
            "service": text(words::service(replica.service())), "instance": replica.instance, "endpoint": replica.endpoint,
            "host": text(&replica.host), "leader": replica.leader, "stopping": replica.stopping, "owns": replica.owns,
            "since": time(replica.join_time), "acknowledged": replica.acknowledged,
        })),
        "rings": list(&rack.rings, |ring| json!({
            "service": text(words::service(ring.service())), "epoch": ring.epoch, "since": time(ring.update_time), "leader": text(&ring.leader),
            "leaving": list(&ring.leaving, |leaving| json!({
                "instance": leaving.instance, "since": time(leaving.leave_time), "present": leaving.present,
            })),
        })),
        "unknown_macs": list(&rack.unknown_macs, |unknown| json!({
            "mac": unknown.mac, "seen_at": time(unknown.last_request_time), "firmware": unknown.firmware,
        })),
    })
}

/// An operation.
pub(crate) fn operation(operation: &Operation) -> Value {
    json!({
        "id": operation.id,
        "node": operation.node,
        "node_name": operation.node_name,
        "phase": text(&words::phase(operation.phase())),
        "since": time(operation.start_time),
        "ended": time(operation.end_time),
        "failure": operation.failure.as_ref().map(failure),
    })
}

/// A bulk.
pub(crate) fn bulk(bulk: &Bulk) -> Value {
    let limits = bulk.limits.unwrap_or_default();
    json!({
        "id": bulk.id,
        "etag": bulk.etag,
        "verb": text(&words::verb(bulk.verb())),
        "image": text(&bulk.image),
        "state": text(words::bulk_state(bulk.state())),
        "reason": text(&bulk.reason),
        "since": time(bulk.start_time),
        "ended": time(bulk.end_time),
        "limits": {
            "at_once": limits.at_once, "max_failures": limits.max_failures, "canary": limits.canary,
            "pause_after_canary": limits.pause_after_canary,
        },
        "waiting": bulk.waiting, "running": bulk.running, "done": bulk.done, "failed": bulk.failed,
        "skipped": bulk.skipped,
        "nodes": list(&bulk.nodes, |one| json!({
            "node": one.node, "node_name": one.node_name, "progress": text(words::progress(one.progress())), "failure": text(&one.failure),
            "operation": text(&one.operation),
        })),
    })
}

/// A lock.
pub(crate) fn lock(lock: &Lock) -> Value {
    json!({
        "node": lock.node,
        "node_name": lock.node_name,
        "rack": lock.rack,
        "service": text(words::service(lock.service())),
        "holder": lock.holder,
        "endpoint": text(&lock.endpoint),
        "purpose": lock.purpose,
        "since": time(lock.start_time),
        "deadline": time(lock.expire_time),
        "token": lock.token,
        "broken_by": text(&lock.broken_by),
        "broken_at": time(lock.break_time),
    })
}

/// An event.
pub(crate) fn event(event: &Event) -> Value {
    json!({
        "at": time(event.occur_time),
        "node": text(&event.node),
        "node_name": text(&event.node_name),
        "kind": event.kind,
        "text": event.text,
    })
}

/// A host.
pub(crate) fn host(host: &Host) -> Value {
    json!({
        "name": host.name,
        "state": text(words::host_state(host.state())),
        "advertise": host.advertise,
        "services": list(&host.services, |service| json!({
            "service": text(words::service(service.service())), "rack": service.rack, "instance": text(&service.instance),
            "endpoint": text(&service.endpoint), "owns": service.owns, "since": time(service.join_time),
        })),
        "store": host.store,
        "authority": host.authority,
        "weight": host.weight,
        "joined_at": time(host.join_time),
        "drained_by": text(&host.drained_by),
        "drained_at": time(host.drain_time),
    })
}

/// A join token, without its secret.
pub(crate) fn token(token: &JoinToken) -> Value {
    json!({
        "id": token.id,
        "rack": (!token.services.is_empty()).then_some(&token.rack),
        "services": token.services().map(words::service).collect::<Vec<_>>(),
        "store": token.store,
        "scheduler": token.scheduler,
        "uses": token.uses,
        "hosts": token.hosts,
        "created_by": text(&token.created_by),
        "expires_at": time(token.expire_time),
    })
}

/// A new join token, with its secret and the command that is typed on the host.
pub(crate) fn new_token(made: &CreateJoinTokenResponse, token: &JoinToken, command: &str) -> Value {
    let mut value = self::token(token);
    value["token"] = json!(made.secret);
    value["authority"] = json!(made.authority);
    value["command"] = json!(command);
    value
}

/// The status of a datacenter.
pub(crate) fn status(status: &DatacenterStatus) -> Value {
    let store = status.store.clone().unwrap_or_default();
    json!({
        "datacenter": status.datacenter,
        "store": {
            "usable": store.usable, "reason": text(&store.reason), "unusable_since": time(store.unusable_time),
            "revision": store.revision, "hosts": store.hosts,
        },
        "schedulers": list(&status.schedulers, |scheduler| json!({
            "instance": scheduler.instance, "endpoint": scheduler.endpoint, "host": text(&scheduler.host),
            "leader": scheduler.leader, "stopping": scheduler.stopping,
        })),
        "hosts": list(&status.hosts, host),
        "racks": list(&status.racks, |rack| json!({
            "name": rack.name, "hosts": rack.hosts,
            "services": list(&rack.services, |service| json!({
                "service": text(words::service(service.service())), "running": service.running, "led": service.led,
            })),
            "nodes": list(&rack.nodes, |count| json!({ "state": count.state, "nodes": count.nodes })),
        })),
        "problems": list(&status.problems, |problem| json!({
            "severity": text(words::severity(problem.severity())), "reason": problem.reason, "subject": problem.subject,
            "text": problem.text, "next_step": text(&problem.next_step),
        })),
    })
}
