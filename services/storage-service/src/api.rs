//! gRPC handlers: decode the request, make one call, encode the response.

use domain::image::Digest;
use proto::{
    common::v1::Amount,
    convert::{Invalid, text},
    storage::v1::{
        CachedImage, EnsureImageRequest, EnsureImageResponse, ImageState, LearnImageRequest, LearnImageResponse,
        ListImagesRequest, ListImagesResponse, storage_service_server::StorageService,
    },
};
use tonic::{Request, Response, Status};

use crate::{
    Error,
    image::{Cache, DigestDiscovery, Download},
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
        let (state, amount, failure) = match self.cache.ensure(&digest, &request.url, &request.name) {
            Download::InProgress { done, total } => (ImageState::Underway, Some(Amount { done, total }), None),
            Download::Done { size } => (ImageState::Done, Some(Amount { done: size, total: size }), None),
            Download::Failed { failure, .. } => (ImageState::Failed, None, Some(failure.into())),
        };
        Ok(Response::new(EnsureImageResponse { state: state.into(), amount, failure }))
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
