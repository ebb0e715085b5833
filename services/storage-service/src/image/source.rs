//! Sources of files: HTTP servers and permitted local directories.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use domain::image::{
    Algorithm,
    format::{FileFormat, ImageFormatError},
};
use futures::StreamExt as _;
use reqwest::{StatusCode, header};
use tokio::io::AsyncWriteExt as _;

use super::{
    Cache, DownloadError, Hasher,
    content::{Expected, Head},
};

type Chunks = futures::stream::BoxStream<'static, Result<bytes::Bytes, SourceError>>;

/// Why a source cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// The scheme of the URL is not supported.
    #[error("the URL must start with http://, https:// or file://")]
    Scheme,
    /// The request failed.
    #[error("{}", service_kit::status::chain(.0))]
    Http(reqwest::Error),
    /// The server responded with an error.
    #[error("the server responded with {0}")]
    Status(StatusCode),
    /// The file cannot be read.
    #[error("{0}")]
    File(io::Error),
    /// The file lies outside the permitted directories.
    #[error("it is in no directory of storage.files_from")]
    NotPermitted,
    /// The download ended early.
    #[error("it ended after {done} of {total} bytes")]
    Incomplete {
        /// Bytes received.
        done: u64,
        /// Bytes announced.
        total: u64,
    },
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
        let FetchRequest { url, name, algorithm, path, expected, known } = request;
        let unreachable = |error: SourceError| {
            DownloadError::unreachable(format!("cannot download image {name} from {url}: {error}"))
        };
        let disk = |error: io::Error| DownloadError::disk(format!("cannot write image {name} to the cache: {error}"));
        let strange = |error: ImageFormatError| DownloadError::format(name, url, &error);
        let (mut hasher, mut done) = (Hasher::new(algorithm), 0_u64);
        let (mut head, mut format) = (Head::default(), FileFormat::Empty);
        let source = self.source(url, known).await.map_err(unreachable)?;
        let Source::Content { size: total, mut chunks, validator } = source else {
            return Ok(None);
        };
        let mut out = tokio::fs::File::create(path).await.map_err(disk)?;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(unreachable)?;
            hasher.update(&chunk);
            if let Some(head) = head.add(&chunk) {
                format = expected.check(head).map_err(strange)?;
            }
            out.write_all(&chunk).await.map_err(disk)?;
            done += u64::try_from(chunk.len()).unwrap_or(0);
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

    pub(super) async fn source(&self, url: &str, known: Option<&str>) -> Result<Source, SourceError> {
        if let Some(path) = url.strip_prefix("file://") {
            return self.file(Path::new(path), known).await;
        }
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(SourceError::Scheme);
        }
        let request = self.client.get(url);
        // Entity tags are quoted, dates are not (RFC 9110 §8.8).
        let request = match known {
            None => request,
            Some(tag) if tag.ends_with('"') => request.header(header::IF_NONE_MATCH, tag),
            Some(date) => request.header(header::IF_MODIFIED_SINCE, date),
        };
        let response = request.send().await.map_err(SourceError::Http)?;
        if known.is_some() && response.status() == StatusCode::NOT_MODIFIED {
            return Ok(Source::Unchanged);
        }
        if !response.status().is_success() {
            return Err(SourceError::Status(response.status()));
        }
        let size = response.content_length().unwrap_or(0);
        let validators = [header::ETAG, header::LAST_MODIFIED].into_iter();
        let validator =
            validators.filter_map(|name| response.headers().get(name)?.to_str().ok()).map(str::to_owned).next();
        let chunks = response.bytes_stream().map(|chunk| chunk.map_err(SourceError::Http)).boxed();
        Ok(Source::Content { size, chunks, validator })
    }

    async fn file(&self, path: &Path, known: Option<&str>) -> Result<Source, SourceError> {
        let path = self.permitted(path)?;
        let file = tokio::fs::File::open(&path).await.map_err(SourceError::File)?;
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

    /// Resolves a path, links included, and checks that it lies in a permitted directory.
    fn permitted(&self, path: &Path) -> Result<PathBuf, SourceError> {
        let real = fs::canonicalize(path).map_err(SourceError::File)?;
        let inside = self.files_from.iter().filter_map(|folder| fs::canonicalize(folder).ok());
        if inside.into_iter().any(|folder| real.starts_with(folder)) {
            return Ok(real);
        }
        Err(SourceError::NotPermitted)
    }
}
