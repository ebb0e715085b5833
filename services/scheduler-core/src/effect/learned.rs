//! Kernels and ramdisks that a node names itself: registered images, or files without a known digest.

use domain::{
    failure::{Cause, Failure},
    id::ImageId,
    image::{Digest, Encoding, Image, Purpose},
    service::Service,
};
use keyspace::value::IronicRamdisk;
use proto::storage::v1::storage_service_client::StorageServiceClient;
use proto::storage::v1::{EnsureImageRequest, FileFormat, ImageState, LearnImageRequest};
use service_kit::{clock, status};

use super::NotMinted;
use crate::{Error, app_state::AppState, registry::Record};

/// Returns the kernel and the ramdisk that a node names. Repeat the call while it returns [`NotMinted::NotNow`]: files
/// with an unknown digest are being downloaded into a cache of the rack.
pub(super) async fn images(shared: &AppState, record: &Record, named: &IronicRamdisk) -> Result<[Image; 2], NotMinted> {
    // Both downloads start before the function waits for one of them.
    let (kernel, ramdisk) = tokio::join!(
        one(shared, record, &named.kernel, Purpose::Kernel),
        one(shared, record, &named.ramdisk, Purpose::Ramdisk),
    );
    Ok([kernel?, ramdisk?])
}

/// Returns an image with a known URL and digest.
pub(super) fn image(url: &str, digest: Digest, purpose: Purpose) -> Image {
    Image {
        id: ImageId::new(uuid::Uuid::nil()),
        name: url.rsplit('/').next().unwrap_or_default().to_owned(),
        url: url.to_owned(),
        digest,
        encoding: Encoding::Plain,
        purpose,
        unpacked_size: None,
    }
}

async fn one(shared: &AppState, record: &Record, named: &str, purpose: Purpose) -> Result<Image, NotMinted> {
    if !named.contains("://") {
        let found = shared.registry.image_named(named);
        return found.map(|found| found.value).map_err(|error| {
            let text = format!("driver_info names the boot file {named:?}: {}", status::chain(&error));
            NotMinted::Never(Failure { cause: Cause::RamdiskMissing, text, at: clock::now() })
        });
    }
    let line = shared.leaf_clients.to_owner(record.rack, Service::Storage, record.node)?;
    let request = LearnImageRequest { url: named.to_owned(), name: named.to_owned() };
    let answer = StorageServiceClient::new(line).learn_image(request).await;
    let answer = answer.map_err(|status| Error::Leaf(status.message().to_owned()))?.into_inner();
    match (answer.state(), answer.digest.parse(), answer.failure) {
        (ImageState::Done, Ok(digest), _) => Ok(image(named, digest, purpose)),
        (_, _, failure) => Err(not_cached(named, failure)),
    }
}

/// Returns an image as agents download it: QCOW2 is converted in a cache of the rack. Repeat the call as for [`images`].
pub(super) async fn served(shared: &AppState, record: &Record, image: Image) -> Result<Image, NotMinted> {
    if image.encoding != Encoding::Qcow2 {
        return Ok(image);
    }
    let line = shared.leaf_clients.to_owner(record.rack, Service::Storage, record.node)?;
    let answer = StorageServiceClient::new(line).ensure_image(request(image.clone(), Some(image.encoding))).await;
    let answer = answer.map_err(|status| Error::Leaf(status.message().to_owned()))?.into_inner();
    match (answer.state(), answer.served_digest.parse(), answer.failure) {
        (ImageState::Done, Ok(digest), _) => {
            let unpacked_size = answer.amount.map(|amount| amount.total);
            Ok(Image { digest, encoding: Encoding::Plain, unpacked_size, ..image })
        }
        (_, _, failure) => Err(not_cached(&image.name, failure)),
    }
}

/// Returns a request for a file. `encoding` is that of an image for a disk; boot files have any.
pub(super) fn request(image: Image, encoding: Option<Encoding>) -> EnsureImageRequest {
    let (digest, format) = (image.digest.to_string(), FileFormat::from(encoding));
    EnsureImageRequest { digest, url: image.url, name: image.name, format: format.into() }
}

/// Returns why a file is not in the cache.
fn not_cached(name: &str, failure: Option<proto::common::v1::Failure>) -> NotMinted {
    match failure.map(Failure::try_from) {
        Some(Ok(failure)) => NotMinted::Never(failure),
        Some(Err(error)) => NotMinted::NotNow(Error::Leaf(error.to_string())),
        None => NotMinted::NotNow(Error::Leaf(format!("{name} is on its way into the rack's cache"))),
    }
}
