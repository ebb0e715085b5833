//! Boot decision: minted by the node's owner, served by the pxe-service.

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
    seal::Place,
    value::{BootDecision, ConfigDrive, Deployment, Life, Operation, Part, Protocol, Work},
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

/// Length of a boot token, in bytes.
const TOKEN_BYTES: usize = 32;
/// Length of the key with which a deployed system phones home, in bytes.
const LIFE_KEY_BYTES: usize = 16;

/// Mints the boot decision of the current generation, with a sealed token, by a fenced write.
pub async fn mint(shared: &AppState, record: &Record, claim: Claim) -> Result<(), NotMinted> {
    let named = record.intent.value.ironic_ramdisk.as_ref();
    let protocol = record.protocol();
    let files = match named {
        _ if protocol == Protocol::StandIn => None,
        Some(named) => Some(learned::images(shared, record, named).await?),
        None => Some(images::agent_images(shared, record).map_err(NotMinted::Never)?),
    };
    let [kernel, ramdisk] = files.map_or([None, None], |files| files.map(|file| Some(file.into())));
    let (node, registry) = (record.node, &shared.registry);
    let mut boot_token = [0; TOKEN_BYTES];
    getrandom::fill(&mut boot_token)?;
    let mut life_key = [0; LIFE_KEY_BYTES];
    getrandom::fill(&mut life_key)?;
    let life_key = hex::encode(life_key);
    let work = work(shared, record, &life_key).await?;
    let rack = registry.rack(record.rack).map(|rack| rack.value.kernel_arguments).unwrap_or_default();
    let own = named.and_then(|named| named.arguments.as_ref());
    let arguments = own.map_or_else(|| Ok(rack.clone()), |own| own.with_default(&rack)).map_err(|error| {
        NotMinted::Never(Failure { cause: Cause::KernelArguments, text: error.to_string(), at: clock::now() })
    })?;
    let decision = BootDecision {
        generation: record.life.value.generation,
        token: claim.token(),
        minted_at: clock::now(),
        kernel,
        ramdisk,
        arguments,
        by_tftp: record.intent.value.boot_files_by_tftp,
        boot_token: registry
            .sealer
            .seal(&Place::boot_token(record.rack, node), &boot_token)
            .map_err(|source| Error::Sealed { node, source })?,
        work,
        protocol,
        steps: if protocol.is_ironics() { due_steps(record, made(record)) } else { Vec::new() },
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

/// Sends the next steps to the running agent, by a fenced write. The earlier steps stay in the record and show its progress.
pub async fn hand(shared: &AppState, record: &Record, claim: Claim) -> Result<(), Error> {
    let Some(read) = record.boot.as_ref() else { return Ok(()) };
    let from = read.value.part.map_or_else(|| made(record), |part| part.from);
    let decision = BootDecision { steps: due_steps(record, from), part: part(record, from), ..read.value.clone() };
    shared.registry.replace_claimed(&claim, &key::boot(record.rack, record.node), read, &decision).await
}

/// Adopts the agent's own clean steps as the operation's steps, by a fenced write. From then on they count as requested.
pub async fn take_steps(shared: &AppState, record: &Record, claim: Claim) -> Result<(), Error> {
    let Some((agent, read)) = record.agent.as_ref().zip(record.operation.as_ref()) else { return Ok(()) };
    let operation = Operation { steps: agent.lists.clone(), ..read.value.clone() };
    shared.registry.replace_claimed(&claim, &key::operation(record.rack, record.node), read, &operation).await
}

/// Returns the number of requested steps that are done.
fn made(record: &Record) -> u32 {
    record.operation.as_ref().map_or(0, |operation| operation.value.made)
}

/// Returns the agent's steps from one on, up to the last that is due.
fn due_steps(record: &Record, from: u32) -> Vec<Step> {
    record.operation.as_ref().map_or_else(Vec::new, |read| read.value.sent_steps(from, due(&read.value)))
}

/// Returns the range of the steps that are due, or `None` if none were requested.
fn part(record: &Record, from: u32) -> Option<Part> {
    let operation = &record.operation.as_ref()?.value;
    // An agent that only needs to run receives no steps.
    let to = if matches!(turn(Some(operation)), NextStep::Work(_)) { due(operation) } else { operation.made };
    (!operation.steps.is_empty()).then_some(Part { from, to })
}

/// Returns the agent's work. Disks are wiped only if the state says so, never as a default.
async fn work(shared: &AppState, record: &Record, life_key: &str) -> Result<Work, NotMinted> {
    match (record.life.value.state, &record.intent.value.deployment) {
        (State::Deploying { .. }, Some(deployment)) => write(shared, record, deployment, life_key).await,
        (State::Cleaning { manual: false, .. }, _) => Ok(Work::Wipe),
        // An agent with its own steps executes the requested ones and reports unknown ones.
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

/// Returns whether steps were requested.
fn steps(record: &Record) -> &[Step] {
    record.operation.as_ref().map(|operation| operation.value.steps.as_slice()).unwrap_or_default()
}

/// Returns whether an agent with its own steps executes them.
fn has_steps(record: &Record) -> bool {
    record.protocol().is_ironics() && !steps(record).is_empty()
}

/// Returns whether the due steps erase disks.
fn erases(record: &Record) -> bool {
    let mut due = due_steps(record, made(record)).into_iter();
    due.any(|step| step.interface == "deploy" && step.step.starts_with("erase_devices"))
}

async fn write(shared: &AppState, record: &Record, deployment: &Deployment, life_key: &str) -> Result<Work, NotMinted> {
    let intent = &record.intent.value;
    let (node, registry) = (record.node, &shared.registry);
    let image = images::find(shared, Some(deployment.image), "the image").map_err(NotMinted::Never)?;
    let image = learned::served(shared, record, image).await?;
    let (place, sealed) = (Place::config_drive(record.rack, node), |source| Error::Sealed { node, source });
    let mut files = ConfigDrive::new();
    if let Some(config_drive) = &deployment.config_drive {
        files = registry.sealer.open_files(&place, config_drive).map_err(sealed)?;
    }
    let phone_home = shared
        .leaf_clients
        .replicas(record.rack, Service::Pxe)
        .first()
        .map(|replica| format!("http://{}/life/{node}/{life_key}", replica.member.data_endpoint));
    files
        .entry("openstack/latest/meta_data.json".to_owned())
        .or_insert_with(|| wire_config_drive::meta_data(&node.to_string(), &intent.name, phone_home.as_deref()));
    let config_drive = registry.sealer.seal_files(&place, &files).map_err(sealed)?;
    Ok(Work::Write {
        name: image.name,
        digest: image.digest,
        encoding: image.encoding,
        unpacked_size: image.unpacked_size,
        config_drive,
    })
}

/// Instructs the pxe-service to serve the boot decision.
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
