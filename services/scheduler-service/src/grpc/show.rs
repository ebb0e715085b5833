//! Records as the public API shows them.

use std::time::Duration;

use domain::{id::NodeId, service::Service, timeline};
use keyspace::{key, key::Scope, value::NodeSpec};
use proto::{
    api::v1 as wire,
    convert::time::{wire_duration, wire_time},
};
use service_kit::clock;

use super::Shared;
use scheduler_core::{Error, etag, registry::Record, work::seen};

/// The part of a boot's deadline after which silence is remarked on.
const SILENCE_FRACTION: u32 = 4;

/// A node.
pub(super) fn node(shared: &Shared, record: &Record) -> wire::Node {
    // The tag is read before the record, so that it is never of a later change than what is shown.
    let etag = etag(shared, record.node);
    let read = shared.registry.record(record.rack, record.node);
    let record = read.as_ref().unwrap_or(record);
    let rack = shared.registry.rack(record.rack).map(|rack| rack.value.name).unwrap_or_default();
    wire::Node {
        id: record.node.to_string(),
        name: record.intent.value.name.clone(),
        rack,
        intent: Some(intent(shared, record)),
        observed: Some(observed(shared, record)),
        generation: record.life.value.generation.number(),
        revision: u64::try_from(record.life.revision.max(record.intent.revision)).unwrap_or(0),
        owners: owners(shared, record),
        etag,
    }
}

/// A node's entity tag; empty if it was deleted.
fn etag(shared: &Shared, node: NodeId) -> String {
    shared.node_cache.get(node).map(|shown| etag::tag(shown.revision)).unwrap_or_default()
}

/// Checks the `etag` of a request against a node as it is now.
///
/// # Errors
/// Those of [`etag::check`].
pub(super) fn check_etag(shared: &Shared, tag: &str, record: &Record) -> Result<(), Error> {
    let revision = shared.node_cache.get(record.node).map_or(0, |shown| shown.revision);
    etag::check(tag, "node", &record.intent.value.name, revision)
}

/// Who looks after it, by service.
fn owners(shared: &Shared, record: &Record) -> Vec<wire::Owner> {
    let view = shared.registry.view();
    let owners = Service::ALL.into_iter().filter_map(|service| {
        let scope = Scope::of(service, record.rack);
        let owner = view.ring(scope, service)?.value.ring.owner(record.node)?;
        let claim = view.get(&key::claim(scope, service, record.node));
        Some(wire::Owner {
            service: wire::ServiceKind::from(service).into(),
            instance: owner.to_string(),
            endpoint: view.get(&key::member(scope, service, owner)).map(|it| it.value.endpoint).unwrap_or_default(),
            claimed_by: claim.as_ref().map(|claim| claim.value.instance.to_string()).unwrap_or_default(),
            token: claim.and_then(|claim| u64::try_from(claim.revision).ok()).unwrap_or(0),
        })
    });
    owners.collect()
}

fn intent(shared: &Shared, record: &Record) -> wire::NodeIntent {
    let intent = &record.intent.value;
    let image = intent.deployment.as_ref().and_then(|deployment| shared.registry.image(deployment.image));
    let (node, unspecified) = (shared.node_cache.get(record.node), NodeSpec::default());
    let spec = node.as_ref().map_or(&unspecified, |node| node.spec());
    wire::NodeIntent {
        bmc_address: intent.bmc.as_ref().map(|bmc| bmc.address.to_string()).unwrap_or_default(),
        bmc_user: intent.bmc.as_ref().map(|bmc| bmc.user.clone()).unwrap_or_default(),
        boot_mode: proto::common::v1::BootMode::from(intent.boot_mode).into(),
        image: image.map(|image| image.value.name).unwrap_or_default(),
        sign_of_life_timeout: intent
            .wait_for_life_seconds
            .map(|seconds| wire_duration(Duration::from_secs(seconds.into()))),
        boot_files_by_tftp: intent.boot_files_by_tftp,
        ports: record
            .ports
            .iter()
            .map(|(mac, port)| wire::Port {
                id: port.value.id.to_string(),
                mac: mac.to_string(),
                address: port.value.address.map(|address| address.to_string()).unwrap_or_default(),
            })
            .collect(),
        driver: intent.driver.to_string(),
        resource_class: spec.resource_class.clone().unwrap_or_default(),
        traits: spec.traits.clone(),
        owner: spec.owner.clone().unwrap_or_default(),
        maintenance: spec.maintenance,
        maintenance_reason: spec.maintenance_reason.clone().unwrap_or_default(),
    }
}

fn observed(shared: &Shared, record: &Record) -> wire::NodeObserved {
    let life = &record.life.value;
    let entries = shared.live_state.boot(record.node, life.generation);
    let diagnosis = looks_stopped(shared, record, &entries).then(|| timeline::diagnose(&entries)).flatten();
    let failure = record.failure();
    let power = record.power.as_ref();
    let settled = power.and_then(|power| power.settled.as_ref());
    let inspection = life.inspection.as_ref();
    wire::NodeObserved {
        state: life.state.to_string(),
        state_start_time: Some(wire_time(life.since)),
        power: power.map_or(0, |power| proto::common::v1::Power::from(power.power).into()),
        power_observe_time: power.map(|power| wire_time(power.seen_at)),
        waiting: seen::waiting(shared, record).map(|waiting| wire::Waiting {
            thing: waiting.thing.words().to_owned(),
            start_time: Some(wire_time(waiting.since)),
            expire_time: Some(wire_time(waiting.until)),
        }),
        next_step: failure.as_ref().map(|failure| failure.cause.next_step().to_owned()).unwrap_or_default(),
        last_failure: failure.map(Into::into),
        diagnosis: diagnosis.map(|(_, text)| text).unwrap_or_default(),
        operation: record.running().and_then(|_| operation(record)),
        last_entry: entries.last().cloned().map(Into::into),
        hardware: record.inventory.clone().map(|inventory| inventory.hardware.into()),
        power_settled_generation: settled.map_or(0, |settled| settled.generation.number()),
        power_failure: settled.and_then(|settled| settled.failure.clone()).map(Into::into),
        verbs: life.state.verbs().into_iter().map(|verb| wire::ProvisionVerb::from(verb).into()).collect(),
        inspection_start_time: inspection.map(|inspection| wire_time(inspection.started_at)),
        inspection_end_time: inspection.and_then(|it| it.finished_at).map(wire_time),
        inspection_remarks: inspection.map(|inspection| inspection.remarks.clone()).unwrap_or_default(),
    }
}

/// The latest operation of a node; `None` if it never had one.
pub(super) fn operation(record: &Record) -> Option<wire::Operation> {
    let operation = &record.operation.as_ref()?.value;
    Some(wire::Operation {
        id: operation.id.to_string(),
        node: record.node.to_string(),
        node_name: record.intent.value.name.clone(),
        phase: wire::OperationPhase::from(operation.phase).into(),
        start_time: Some(wire_time(operation.since)),
        end_time: operation.ended.map(wire_time),
        failure: operation.failure.clone().map(Into::into),
    })
}

/// Whether a boot that runs has been quiet for so long that it may have stopped: a healthy one gets no diagnosis.
fn looks_stopped(shared: &Shared, record: &Record, entries: &[timeline::Entry]) -> bool {
    let quiet = entries.last().map(|last| clock::now().since(last.at));
    record.life.value.state.is_busy() && quiet.is_some_and(|quiet| quiet > shared.limits.boot / SILENCE_FRACTION)
}
