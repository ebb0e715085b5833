//! Images.

use domain::{
    id::ImageId,
    image::{Encoding, Image, Purpose, checksum, format::Description},
};
use keyspace::{key, store::Versioned};
use proto::{
    api::v1::{
        CreateImageRequest, CreateImageResponse, DeleteImageRequest, DeleteImageResponse, GetImageRequest,
        GetImageResponse, Image as WireImage, ImageEncoding, ImagePurpose, ListImagesRequest, ListImagesResponse,
        image_service_server::ImageService,
    },
    convert::Invalid,
};
use tonic::{Request, Response, Status};

use super::{
    Shared,
    pages::{Page, Position},
};
use scheduler_core::{Error, RequestContext, etag};

type Answer<T> = Result<Response<T>, Status>;

fn shown(read: Versioned<Image>) -> WireImage {
    let image = read.value;
    WireImage {
        etag: etag::tag(read.revision),
        id: image.id.to_string(),
        name: image.name,
        url: image.url,
        digest: image.digest.to_string(),
        encoding: ImageEncoding::from(image.encoding).into(),
        purpose: ImagePurpose::from(image.purpose).into(),
        unpacked_size: image.unpacked_size.unwrap_or(0),
    }
}

fn decode(request: CreateImageRequest) -> Result<Image, Invalid> {
    if request.name.is_empty() || request.name.len() > 255 {
        return Err(Invalid::wrong("name", "must have 1 to 255 characters"));
    }
    if !["http://", "https://", "file://"].iter().any(|scheme| request.url.starts_with(scheme)) {
        return Err(Invalid::wrong("url", format!("{:?} must begin with http://, https:// or file://", request.url)));
    }
    domain::url_text::check(&request.url).map_err(|error| Invalid::wrong("url", error))?;
    let (encoding, purpose) = (request.encoding(), request.purpose());
    let explicit = (encoding != ImageEncoding::Unspecified).then(|| Encoding::try_from(encoding)).transpose()?;
    let purpose = if purpose == ImagePurpose::Unspecified { Purpose::Disk } else { Purpose::try_from(purpose)? };
    let encoding = match purpose {
        Purpose::Disk => {
            let described = Description { url: &request.url, encoding: explicit, ..Description::default() };
            described.encoding().map_err(|error| Invalid::wrong("encoding", error.to_string()))?
        }
        // The kernel unpacks a ramdisk itself.
        Purpose::Kernel | Purpose::Ramdisk => explicit.unwrap_or_default(),
    };
    Ok(Image {
        id: ImageId::new(uuid::Uuid::new_v4()),
        name: request.name,
        url: request.url,
        digest: checksum::parse(None, &request.digest).map_err(|error| Invalid::wrong("digest", error.to_string()))?,
        encoding,
        purpose,
        unpacked_size: (request.unpacked_size > 0).then_some(request.unpacked_size),
    })
}

#[tonic::async_trait]
impl ImageService for Shared {
    async fn create_image(&self, request: Request<CreateImageRequest>) -> Answer<CreateImageResponse> {
        let context = RequestContext::read(&request, "CreateImage", request.get_ref())?;
        let image = decode(request.into_inner()).map_err(Error::from)?;
        let anew = || {
            let image = self.registry.image_named(&image.name)?;
            Ok(CreateImageResponse { image: Some(shown(image)) })
        };
        let change = async {
            self.registry.create_image(&context, &image).await?;
            anew()
        };
        Ok(Response::new(self.once(&context, change, anew).await?))
    }

    async fn get_image(&self, request: Request<GetImageRequest>) -> Answer<GetImageResponse> {
        let image = self.registry.image_named(&request.into_inner().image)?;
        Ok(Response::new(GetImageResponse { image: Some(shown(image)) }))
    }

    async fn list_images(&self, request: Request<ListImagesRequest>) -> Answer<ListImagesResponse> {
        let page = Page::read(&mut request.into_inner()).map_err(Error::from)?;
        let images = self.registry.view().list(&key::images()).into_iter();
        let positioned = images.map(|(_, image)| (Position::of_id(image.value.id), image));
        let (images, next_page_token) = page.cut_unsorted(positioned);
        Ok(Response::new(ListImagesResponse { images: images.into_iter().map(shown).collect(), next_page_token }))
    }

    async fn delete_image(&self, request: Request<DeleteImageRequest>) -> Answer<DeleteImageResponse> {
        let context = RequestContext::read(&request, "DeleteImage", request.get_ref())?;
        let DeleteImageRequest { image, etag } = request.into_inner();
        let change = async {
            let read = self.registry.image_named(&image)?;
            etag::check(&etag, "image", &read.value.name, read.revision)?;
            self.registry.delete_image(&context, &read).await.map(|()| DeleteImageResponse {})
        };
        Ok(Response::new(self.once(&context, change, || Ok(DeleteImageResponse {})).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_a_url_that_is_requested_as_it_is_written() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (url, is_accepted) in [
            ("http://h/i.raw", true),
            ("file:///srv/images/i.raw", true),
            ("file:///srv/images/Rocky 9.raw", true),
            ("http://h/i.raw\r\n", false),
            ("http://h/\ti.raw", false),
            ("file:///srv/\0/i.raw", false),
            ("http://h/an image.raw", false),
            ("http://h/\u{202e}war.i", false),
            ("ftp://h/i.raw", false),
        ] {
            let (name, url, digest) = ("i".to_owned(), url.to_owned(), digest.clone());
            let decoded = decode(CreateImageRequest { name, url: url.clone(), digest, ..Default::default() });
            assert_eq!(decoded.is_ok(), is_accepted, "{url:?}: {decoded:?}");
        }
    }
}
