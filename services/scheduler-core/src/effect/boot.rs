//! The boot decision: minted by the node's owner, answered by the pxe-service.

use domain::{
    failure::{Cause, Failure},
    plan::Progress,
    provision::State,
    service::Service,
    step::Step,
    step_plan::NextStep,
};
use keyspace::{
    Expect, key,
    value::{BootDecision, BootFile, ConfigDrive, Deployment, Life, Operation, Part, Protocol, Work},
};
use mesh::Claim;
use proto::pxe::v1::{EnsureBootRequest, pxe_service_client::PxeServiceClient};
use service_kit::{clock, status};
use sha2::{Digest as _, Sha256};

use super::{NotMinted, images, learned, version};
use crate::{
    Error,
    app_state::AppState,
    registry::{Record, due, turn},
};

/// Octets of a boot token.
const TOKEN: usize = 32;
/// Octets of the key that a deployed system phones home with.
const LIFE_KEY: usize = 16;

/// Mints the decision of the present generation, with its token sealed, by a fenced write.
pub async fn mint(shared: &AppState, record: &Record, claim: Claim) -> Result<(), NotMinted> {
    let named = record.intent.value.ironic_ramdisk.as_ref();
    let [kernel, ramdisk] = match named {
        Some(named) => learned::images(shared, record, named).await?,
        None => images::agent_images(shared, record).map_err(NotMinted::Never)?,
    };
    let (node, registry) = (record.node, &shared.registry);
    let mut boot_token = [0; TOKEN];
    getrandom::fill(&mut boot_token)?;
    let mut life_key = [0; LIFE_KEY];
    getrandom::fill(&mut life_key)?;
    let life_key = hex::encode(life_key);
    let work = work(shared, record, &life_key)?;
    let rack = registry.rack(record.rack).map(|rack| rack.value.kernel_arguments).unwrap_or_default();
    let own = named.and_then(|named| named.arguments.as_deref());
    let decision = BootDecision {
        generation: record.life.value.generation,
        token: claim.token(),
        minted_at: clock::now(),
        kernel: BootFile { name: kernel.name, digest: kernel.digest },
        ramdisk: BootFile { name: ramdisk.name, digest: ramdisk.digest },
        arguments: own.map_or_else(|| rack.clone(), |own| own.replace("%default%", &rack)),
        by_tftp: record.intent.value.boot_files_by_tftp,
        boot_token: registry
            .sealer
            .seal(&format!("{node}/boot-token"), &boot_token)
            .map_err(|source| Error::Sealed { node, source })?,
        work,
        protocol: if named.is_some() { Protocol::Ironic } else { Protocol::Ironmesh },
        steps: if named.is_some() { due_steps(record, made(record)) } else { Vec::new() },
        part: part(record, made(record)),
    };
    let life = Life { life_key_hash: hex::encode(Sha256::digest(life_key.as_bytes())), ..record.life.value.clone() };
    let change = registry
        .mesh
        .fenced(&claim)
        .put(&key::life(record.rack, node), &life, Expect::Revision(record.life.revision))?
        .put(&key::boot(record.rack, node), &decision, Expect::same(record.boot.as_ref()))?;
    registry.mesh.commit(change).await?;
    Ok(())
}

/// Sends the next steps to the running agent, by a fenced write. The earlier steps stay in the record, which shows the
/// agent's progress.
pub async fn hand(shared: &AppState, record: &Record, claim: Claim) -> Result<(), Error> {
    let Some(read) = record.boot.as_ref() else { return Ok(()) };
    let from = read.value.part.map_or_else(|| made(record), |part| part.from);
    let decision = BootDecision { steps: due_steps(record, from), part: part(record, from), ..read.value.clone() };
    let change = shared.registry.mesh.fenced(&claim).put(
        &key::boot(record.rack, record.node),
        &decision,
        Expect::Revision(read.revision),
    )?;
    shared.registry.mesh.commit(change).await?;
    Ok(())
}

/// Makes the steps that the agent would clean by those of the operation, by a fenced write: they are a course from then on,
/// as if a person had named them.
pub async fn take_steps(shared: &AppState, record: &Record, claim: Claim) -> Result<(), Error> {
    let Some((agent, read)) = record.agent.as_ref().zip(record.operation.as_ref()) else { return Ok(()) };
    let operation = Operation { steps: agent.lists.clone(), ..read.value.clone() };
    let change = shared.registry.mesh.fenced(&claim).put(
        &key::operation(record.rack, record.node),
        &operation,
        Expect::Revision(read.revision),
    )?;
    shared.registry.mesh.commit(change).await?;
    Ok(())
}

/// How many of the named steps are made.
fn made(record: &Record) -> u32 {
    record.operation.as_ref().map_or(0, |operation| operation.value.made)
}

/// The steps from one on that are an agent's, up to the last that is due.
fn due_steps(record: &Record, from: u32) -> Vec<Step> {
    let to = record.operation.as_ref().map_or(0, |operation| due(&operation.value));
    let place = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let part = steps(record).get(place(from)..place(to)).unwrap_or_default();
    part.iter().filter(|step| step.reserved().is_none()).cloned().collect()
}

/// Where what is due stands; none where no steps were named.
fn part(record: &Record, from: u32) -> Option<Part> {
    let operation = &record.operation.as_ref()?.value;
    // An agent that is only to be there is handed nothing.
    let to = if matches!(turn(Some(operation)), NextStep::Work(_)) { due(operation) } else { operation.made };
    (!operation.steps.is_empty()).then_some(Part { from, to })
}

/// What the agent is to do. Disks are wiped where that is what the state says, and never because nothing else fits.
fn work(shared: &AppState, record: &Record, life_key: &str) -> Result<Work, NotMinted> {
    match (record.life.value.state, &record.intent.value.deployment) {
        (State::Deploying { .. }, Some(deployment)) => write(shared, record, deployment, life_key),
        (State::Cleaning { manual: false, .. }, _) => Ok(Work::Wipe),
        // An agent with steps of its own makes those that are named, and says of any other that it has none.
        (State::Cleaning { manual: true, .. }, _) if has_steps(record) => Ok(Work::Wipe),
        (State::Servicing { .. }, _) if has_steps(record) => Ok(Work::Service),
        // A cleaning wipes disks only if its steps say so.
        (State::Cleaning { manual: true, .. }, _) if erases(record) => Ok(Work::Wipe),
        (State::Inspecting { .. }, _) => Ok(Work::Inspect),
        (state, _) => {
            let text = format!("nothing is known that an agent could do for a node that is {state}");
            Err(NotMinted::Never(Failure { cause: Cause::Deadline, text, at: clock::now() }))
        }
    }
}

/// The steps that a person named.
fn steps(record: &Record) -> &[Step] {
    record.operation.as_ref().map(|operation| operation.value.steps.as_slice()).unwrap_or_default()
}

/// Whether they are made by an agent that has steps of its own.
fn has_steps(record: &Record) -> bool {
    record.intent.value.ironic_ramdisk.is_some() && !steps(record).is_empty()
}

/// Whether those that are due make the disks forget.
fn erases(record: &Record) -> bool {
    due_steps(record, made(record))
        .iter()
        .any(|step| step.interface == "deploy" && step.step.starts_with("erase_devices"))
}

fn write(shared: &AppState, record: &Record, deployment: &Deployment, life_key: &str) -> Result<Work, NotMinted> {
    let intent = &record.intent.value;
    let (node, registry) = (record.node, &shared.registry);
    let image = images::find(shared, Some(deployment.image), "the image").map_err(NotMinted::Never)?;
    let sealed = |source| Error::Sealed { node, source };
    let mut files = ConfigDrive::new();
    if let Some(config_drive) = &deployment.config_drive {
        files = registry.sealer.open_json(&format!("{node}/config-drive"), config_drive).map_err(sealed)?;
    }
    let phone_home = shared
        .leaf_clients
        .replicas(record.rack, Service::Pxe)
        .first()
        .map(|replica| format!("http://{}/life/{node}/{life_key}", replica.member.data_endpoint));
    files
        .entry("openstack/latest/meta_data.json".to_owned())
        .or_insert_with(|| wire_config_drive::meta_data(&node.to_string(), &intent.name, phone_home.as_deref()));
    let config_drive = registry.sealer.seal_json(&format!("{node}/config-drive"), &files).map_err(sealed)?;
    Ok(Work::Write {
        name: image.name,
        digest: image.digest,
        encoding: image.encoding,
        unpacked_size: image.unpacked_size,
        config_drive,
    })
}

/// Has the pxe-service answer by the decision.
pub async fn ensure(shared: &AppState, record: &Record, claim: Claim) -> Progress {
    let line = match shared.leaf_clients.to_owner(record.rack, Service::Pxe, record.node) {
        Ok(line) => line,
        Err(error) => {
            tracing::info!(node = %record.node, %error, "no pxe-service");
            return Progress::Underway;
        }
    };
    let request = EnsureBootRequest { node: record.node.to_string(), version: Some(version(record, claim).into()) };
    match PxeServiceClient::new(line).ensure_boot(request).await {
        Ok(_) => Progress::Done(clock::now()),
        Err(status) if status::reason(&status).as_deref() == Some("BOOT_FILE") => {
            let text = status.message().to_owned();
            Progress::Failed(Failure { cause: Cause::RamdiskMissing, text, at: clock::now() })
        }
        Err(status) => {
            tracing::info!(node = %record.node, %status, "the pxe-service is not ready");
            Progress::Underway
        }
    }
}
