//! Sources of files: HTTP servers and permitted local directories.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use domain::image::{
    Algorithm,
    format::{FileFormat, ImageFormatError},
};
use futures::StreamExt as _;
use reqwest::{StatusCode, header};
use service_kit::outbound_http::{Outbound, OutboundClient, OutboundError, OutboundRequest, Purpose, Trust, redacted};
use tokio::io::AsyncWriteExt as _;

use super::{
    Cache, DownloadError, Hasher,
    content::{Expected, Head},
    free_space::SpaceCheck,
    local_file::{self, LocalFileError},
    room::SpaceError,
};

type Chunks = futures::stream::BoxStream<'static, Result<bytes::Bytes, SourceError>>;

/// Why a source cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// The URL is none, or its scheme is not supported.
    #[error("the URL must start with http://, https:// or file://")]
    Scheme,
    /// The request failed.
    #[error(transparent)]
    Http(#[from] OutboundError),
    /// The server responded with an error.
    #[error("the server responded with {0}")]
    Status(StatusCode),
    /// The file cannot be read.
    #[error("{0}")]
    File(io::Error),
    /// The file may not be read.
    #[error(transparent)]
    NotPermitted(#[from] LocalFileError),
    /// The download ended early.
    #[error("it ended after {done} of {total} bytes")]
    Incomplete {
        /// Bytes received.
        done: u64,
        /// Bytes announced.
        total: u64,
    },
}

impl SourceError {
    /// Returns whether another attempt fails, too.
    const fn is_permanent(&self) -> bool {
        match self {
            Self::Scheme => true,
            Self::Http(error) => error.is_permanent(),
            Self::Status(_) | Self::File(_) | Self::NotPermitted(_) | Self::Incomplete { .. } => false,
        }
    }
}

/// What to download, and where to.
#[derive(Debug, Clone, Copy)]
pub(super) struct FetchRequest<'r> {
    pub(super) url: &'r str,
    /// Name of the image, for messages.
    pub(super) name: &'r str,
    pub(super) algorithm: Algorithm,
    /// Path of the file to write.
    pub(super) path: &'r Path,
    /// What the content must be.
    pub(super) expected: Expected,
    /// Validator of the content that is already known.
    pub(super) known: Option<&'r str>,
    pub(super) purpose: Purpose,
}

/// Content of a source.
pub(super) enum Source {
    /// Unchanged since the given validator.
    Unchanged,
    /// New content.
    Content {
        /// Size in bytes; 0 if unknown.
        size: u64,
        /// The content.
        chunks: Chunks,
        /// Validator of the content, if the source provides one.
        validator: Option<String>,
    },
}

/// A downloaded file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fetched {
    /// Size in bytes.
    pub(super) size: u64,
    /// Format of the content.
    pub(super) format: FileFormat,
    /// Digest, hexadecimal.
    pub(super) hex: String,
    /// Validator of the content, if the source provides one.
    pub(super) validator: Option<String>,
}

impl Cache {
    /// Downloads a file. Returns `None` if it is unchanged since `request.known`.
    pub(super) async fn fetch(
        &self,
        request: FetchRequest<'_>,
        progress: impl Fn(u64, u64),
    ) -> Result<Option<Fetched>, DownloadError> {
        let FetchRequest { url, name, algorithm, path, expected, known, purpose } = request;
        let unreachable = |error: SourceError| DownloadError {
            is_final: error.is_permanent(),
            ..DownloadError::unreachable(format!("cannot download image {name} from {}: {error}", redacted(url)))
        };
        let disk = |error: io::Error| DownloadError::cache(format!("cannot write image {name} to the cache: {error}"));
        let max = if purpose == Purpose::Image { self.sources.max_image_bytes } else { u64::MAX };
        let check_size = |size: u64| {
            let text = || {
                format!(
                    "image {name} from {} is larger than {max} bytes; raise storage.max_image_bytes, and \
                     storage.max_cache_bytes if it is lower",
                    redacted(url)
                )
            };
            if size > max { Err(DownloadError::cache(text())) } else { Ok(()) }
        };
        let full = |error: SpaceError| DownloadError::no_room(name, &error);
        let strange = |error: ImageFormatError| DownloadError::format(name, url, &error);
        let (mut hasher, mut done) = (Hasher::new(algorithm), 0_u64);
        let (mut head, mut format) = (Head::default(), FileFormat::Empty);
        let source = self.sources.open(purpose, url, known).await.map_err(unreachable)?;
        let Source::Content { size: total, mut chunks, validator } = source else {
            return Ok(None);
        };
        check_size(total)?;
        let mut space = SpaceCheck::new((total > 0).then_some(total));
        if let Some(needed) = space.write(0) {
            self.make_room_for(needed).await.map_err(full)?;
        }
        let mut out = tokio::fs::File::create(path).await.map_err(disk)?;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(unreachable)?;
            hasher.update(&chunk);
            if let Some(head) = head.add(&chunk) {
                format = expected.check(head).map_err(strange)?;
            }
            let size = u64::try_from(chunk.len()).unwrap_or(0);
            check_size(done + size)?;
            if let Some(needed) = space.write(size) {
                self.make_room_for(needed).await.map_err(full)?;
            }
            out.write_all(&chunk).await.map_err(disk)?;
            done += size;
            progress(done, total);
        }
        if total > 0 && done != total {
            return Err(unreachable(SourceError::Incomplete { done, total }));
        }
        if let Some(head) = head.short() {
            format = expected.check(head).map_err(strange)?;
        }
        out.sync_all().await.map_err(disk)?;
        Ok(Some(Fetched { size: done, format, hex: hasher.finish(), validator }))
    }
}

/// Where files come from. Clones share the same connections.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    files_from: Arc<[PathBuf]>,
    /// Maximum size of an image, in bytes.
    max_image_bytes: u64,
    images: OutboundClient,
    boot_files: OutboundClient,
}

impl Sources {
    /// Permits the files below `files_from`, and servers by the rules of `outbound`. An image that is downloaded
    /// has at most `max_image_bytes`.
    pub(crate) fn new(
        files_from: Vec<PathBuf>,
        outbound: &Outbound,
        max_image_bytes: u64,
    ) -> Result<Self, OutboundError> {
        let client = |purpose| outbound.client(purpose, &Trust::System);
        Ok(Self {
            files_from: files_from.into(),
            // `fetch` stops at the limit, and names the setting.
            images: client(Purpose::Image)?.with_max_bytes(u64::MAX),
            max_image_bytes,
            boot_files: client(Purpose::BootFile)?,
        })
    }

    pub(super) async fn open(&self, purpose: Purpose, url: &str, known: Option<&str>) -> Result<Source, SourceError> {
        if let Some(path) = url.strip_prefix("file://") {
            return self.file(Path::new(path), known).await;
        }
        let request = OutboundRequest::get(url).map_err(|error| {
            if matches!(error, OutboundError::Url) { SourceError::Scheme } else { SourceError::Http(error) }
        })?;
        // Entity tags are quoted, dates are not (RFC 9110 §8.8).
        let request = match known {
            None => request,
            Some(tag) if tag.ends_with('"') => request.header(header::IF_NONE_MATCH, tag),
            Some(date) => request.header(header::IF_MODIFIED_SINCE, date),
        };
        let client = if purpose == Purpose::BootFile { &self.boot_files } else { &self.images };
        let response = client.send(request).await?;
        if known.is_some() && response.status() == StatusCode::NOT_MODIFIED {
            return Ok(Source::Unchanged);
        }
        if !response.status().is_success() {
            return Err(SourceError::Status(response.status()));
        }
        let size = response.content_length().unwrap_or(0);
        let mut validators = [header::ETAG, header::LAST_MODIFIED].into_iter();
        let validator = validators.find_map(|name| response.header(&name).map(str::to_owned));
        let chunks = futures::stream::try_unfold(response, async |mut response| {
            let chunk = response.chunk().await?;
            Ok(chunk.map(|chunk| (chunk, response)))
        });
        Ok(Source::Content { size, chunks: chunks.boxed(), validator })
    }

    async fn file(&self, path: &Path, known: Option<&str>) -> Result<Source, SourceError> {
        let file = tokio::fs::File::from_std(local_file::open(&self.files_from, path)?);
        let metadata = file.metadata().await.map_err(SourceError::File)?;
        let changed = metadata.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let validator = changed.map(|at| format!("{} bytes, modified at {} ns", metadata.len(), at.as_nanos()));
        if known.is_some() && validator.as_deref() == known {
            return Ok(Source::Unchanged);
        }
        let chunks = tokio_util::io::ReaderStream::with_capacity(file, 1 << 20);
        let chunks = chunks.map(|chunk| chunk.map_err(SourceError::File)).boxed();
        Ok(Source::Content { size: metadata.len(), chunks, validator })
    }
}
