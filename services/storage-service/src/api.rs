//! gRPC handlers: decode the request, make one call, encode the response.

use domain::image::{Digest, Encoding};
use proto::{
    common::v1::Amount,
    convert::{Invalid, text},
    storage::v1::{
        CachedImage, EnsureImageRequest, EnsureImageResponse, FileFormat, ImageState, LearnImageRequest,
        LearnImageResponse, ListImagesRequest, ListImagesResponse, storage_service_server::StorageService,
    },
};
use tonic::{Request, Response, Status};

use crate::{
    Error,
    image::{Cache, DigestDiscovery, Download, Expected, Wanted},
};

#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) cache: Cache,
}

#[tonic::async_trait]
impl StorageService for Api {
    async fn ensure_image(
        &self,
        request: Request<EnsureImageRequest>,
    ) -> Result<Response<EnsureImageResponse>, Status> {
        let request = request.into_inner();
        let digest: Digest = text("digest", &request.digest).map_err(Error::from)?;
        if request.url.is_empty() {
            return Err(Error::from(Invalid::Missing("url")).into());
        }
        let expected = match request.format() {
            FileFormat::Unspecified => Expected::BootFile,
            FileFormat::Raw => Expected::Disk(Encoding::Plain),
            FileFormat::Gzip => Expected::Disk(Encoding::Gzip),
            FileFormat::Zstd => Expected::Disk(Encoding::Zstd),
            FileFormat::Qcow2 => Expected::Disk(Encoding::Qcow2),
        };
        let wanted = Wanted { digest: &digest, url: &request.url, name: &request.name, expected };
        let (state, amount, failure, served) = match self.cache.ensure(&wanted) {
            Download::InProgress { done, total } => (ImageState::Underway, Some(Amount { done, total }), None, None),
            Download::Unverified { total } => (ImageState::Underway, Some(Amount { done: 0, total }), None, None),
            Download::Done(cached) => {
                let amount = Amount { done: cached.size, total: cached.size };
                (ImageState::Done, Some(amount), None, Some(cached.raw.unwrap_or_else(|| digest.clone())))
            }
            Download::Failed { failure, .. } => (ImageState::Failed, None, Some(failure.into()), None),
        };
        let served_digest = served.map(|served| served.to_string()).unwrap_or_default();
        Ok(Response::new(EnsureImageResponse { state: state.into(), amount, failure, served_digest }))
    }

    async fn learn_image(&self, request: Request<LearnImageRequest>) -> Result<Response<LearnImageResponse>, Status> {
        let LearnImageRequest { url, name } = request.into_inner();
        if url.is_empty() {
            return Err(Error::from(Invalid::Missing("url")).into());
        }
        let (state, digest, failure) = match self.cache.discover_digest(&url, &name) {
            DigestDiscovery::InProgress { .. } => (ImageState::Underway, String::new(), None),
            DigestDiscovery::Known { digest, .. } => (ImageState::Done, digest.to_string(), None),
            DigestDiscovery::Failed { failure, .. } => (ImageState::Failed, String::new(), Some(failure.into())),
        };
        Ok(Response::new(LearnImageResponse { state: state.into(), digest, failure }))
    }

    async fn list_images(&self, _: Request<ListImagesRequest>) -> Result<Response<ListImagesResponse>, Status> {
        let images = self.cache.list().into_iter();
        let images = images.map(|(digest, size_bytes)| CachedImage { digest: digest.to_string(), size_bytes });
        Ok(Response::new(ListImagesResponse { images: images.collect() }))
    }
}
