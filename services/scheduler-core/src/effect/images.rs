//! Acts on the storage-service: caches everything that a boot needs in every replica.

use domain::{
    failure::{Cause, Failure},
    id::ImageId,
    image::{Image, Purpose},
    plan::Progress,
    provision::State,
    service::Service,
};
use keyspace::value::{BootFile, Protocol};
use proto::storage::v1::{EnsureImageRequest, ImageState, storage_service_client::StorageServiceClient};
use service_kit::clock;

use super::learned;
use crate::{app_state::AppState, registry::Record};

/// Returns the progress of fetching the images of a node's current work.
pub async fn ensure(shared: &AppState, record: &Record) -> Progress {
    let images = match wanted(shared, record) {
        Ok(images) => images,
        Err(failure) => return Progress::Failed(failure),
    };
    let replicas = shared.leaf_clients.replicas(record.rack, Service::Storage);
    let mut underway = replicas.is_empty() && !images.is_empty();
    for request in &images {
        let (mut done, mut failed, mut pulling) = (0, None, 0);
        for replica in &replicas {
            match one(shared, record, &replica.member.endpoint, request.clone()).await {
                Progress::Done(_) => done += 1,
                Progress::Failed(failure) => failed = Some(failure),
                Progress::Underway => pulling += 1,
                // A replica that does not respond cannot serve files either.
                Progress::Unknown => {}
            }
        }
        match failed {
            Some(failure) if done == 0 && pulling == 0 => return Progress::Failed(failure),
            _ => underway |= pulling > 0 || done == 0,
        }
    }
    if underway { Progress::Underway } else { Progress::Done(clock::now()) }
}

async fn one(shared: &AppState, record: &Record, endpoint: &str, request: EnsureImageRequest) -> Progress {
    let deadline = Some(std::time::Duration::from_secs(5));
    let Ok(line) = shared.leaf_clients.to(record.rack, Service::Storage, endpoint, deadline) else {
        return Progress::Unknown;
    };
    match StorageServiceClient::new(line).ensure_image(request).await {
        Err(status) => {
            tracing::info!(endpoint, %status, "a storage-service does not answer");
            Progress::Unknown
        }
        Ok(answer) => {
            let answer = answer.into_inner();
            match (answer.state(), answer.failure) {
                (ImageState::Done, _) => Progress::Done(clock::now()),
                (ImageState::Failed, Some(failure)) => {
                    Failure::try_from(failure).map_or(Progress::Unknown, Progress::Failed)
                }
                (ImageState::Failed | ImageState::Underway | ImageState::Unspecified, _) => Progress::Underway,
            }
        }
    }
}

/// Returns requests for the images that the work needs: kernel, ramdisk and the deployed image.
fn wanted(shared: &AppState, record: &Record) -> Result<Vec<EnsureImageRequest>, Failure> {
    let boot_files = match decided(record) {
        _ if record.protocol() == Protocol::StandIn => Vec::new(),
        Some(images) => images.into(),
        None => agent_images(shared, record)?.into(),
    };
    let mut images: Vec<_> = boot_files.into_iter().map(|image| learned::request(image, None)).collect();
    if let (State::Deploying { .. }, Some(deployment)) = (record.life.value.state, &record.intent.value.deployment) {
        let image = find(shared, Some(deployment.image), "the image")?;
        let encoding = image.encoding;
        images.push(learned::request(image, Some(encoding)));
    }
    Ok(images)
}

/// Returns the kernel and ramdisk that a node names by URL, as of its boot decision.
fn decided(record: &Record) -> Option<[Image; 2]> {
    let named = record.intent.value.ironic_ramdisk.as_ref()?;
    let decision = &record.boot.as_ref().filter(|boot| boot.value.protocol == Protocol::Ironic)?.value;
    let image = |file: &BootFile, url: &str, purpose| learned::image(url, file.digest.clone(), purpose);
    let kernel = image(decision.kernel.as_ref()?, &named.kernel, Purpose::Kernel);
    Some([kernel, image(decision.ramdisk.as_ref()?, &named.ramdisk, Purpose::Ramdisk)])
}

/// Returns the kernel and the ramdisk of the rack's agent.
pub fn agent_images(shared: &AppState, record: &Record) -> Result<[Image; 2], Failure> {
    let rack = shared.registry.rack(record.rack).map(|rack| rack.value);
    let (kernel, ramdisk) = rack.map_or((None, None), |rack| (rack.kernel, rack.ramdisk));
    Ok([find(shared, kernel, "the rack's kernel")?, find(shared, ramdisk, "the rack's ramdisk")?])
}

/// Finds a registered image. `what` describes it in the failure.
pub fn find(shared: &AppState, image: Option<ImageId>, what: &str) -> Result<Image, Failure> {
    let missing = |text: String| Failure { cause: Cause::RamdiskMissing, text, at: clock::now() };
    let image = image.ok_or_else(|| missing(format!("{what} is not set")))?;
    let found = shared.registry.image(image).map(|image| image.value);
    found.ok_or_else(|| missing(format!("{what} ({image}) is not registered any more")))
}
