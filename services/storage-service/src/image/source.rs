//! Where files come from: a server, or a folder that may be read.

use std::{
    fs,
    path::{Path, PathBuf},
};

use domain::{failure::Cause, image::Algorithm};
use futures::StreamExt as _;
use reqwest::{StatusCode, header};
use tokio::io::AsyncWriteExt as _;

use super::{Cache, Hasher};

type Pieces = futures::stream::BoxStream<'static, Result<bytes::Bytes, String>>;

/// What a source has.
pub(super) enum Source {
    /// The same as when it was marked so.
    Unchanged,
    /// A file of so many octets, 0: it does not say; and what tells this content from another.
    Has(u64, Pieces, Option<String>),
}

/// A file that was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fetched {
    /// Octets.
    pub(super) size: u64,
    /// What it hashes to.
    pub(super) hex: String,
    /// What tells this content from another at its source, where the source says so.
    pub(super) mark: Option<String>,
}

impl Cache {
    /// Fetches a file into `part`; none: it is the same as when it was marked `known`.
    pub(super) async fn fetch(
        &self,
        url: &str,
        name: &str,
        algorithm: Algorithm,
        part: &Path,
        known: Option<&str>,
        progress: impl Fn(u64, u64),
    ) -> Result<Option<Fetched>, (Cause, String)> {
        let away = |why: String| (Cause::ImageUnreachable, format!("image {name} can not be had from {url}: {why}"));
        let disk =
            |error: std::io::Error| (Cause::DiskError, format!("cannot write image {name} to the cache: {error}"));
        let (mut hasher, mut done) = (Hasher::new(algorithm), 0_u64);
        let Source::Has(total, mut pieces, mark) = self.source(url, known).await.map_err(away)? else {
            return Ok(None);
        };
        let mut out = tokio::fs::File::create(part).await.map_err(disk)?;
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(away)?;
            hasher.update(&piece);
            out.write_all(&piece).await.map_err(disk)?;
            done += u64::try_from(piece.len()).unwrap_or(0);
            progress(done, total);
        }
        if total > 0 && done != total {
            return Err(away(format!("it ended after {done} of {total} octets")));
        }
        out.sync_all().await.map_err(disk)?;
        Ok(Some(Fetched { size: done, hex: hasher.finish(), mark }))
    }

    pub(super) async fn source(&self, url: &str, known: Option<&str>) -> Result<Source, String> {
        if let Some(path) = url.strip_prefix("file://") {
            return self.file(Path::new(path), known).await;
        }
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err("it must begin with http://, https:// or file://".to_owned());
        }
        let request = self.client.get(url);
        // RFC 9110 §13.1: entity tags stand in quotes, dates do not.
        let request = match known {
            None => request,
            Some(tag) if tag.ends_with('"') => request.header(header::IF_NONE_MATCH, tag),
            Some(date) => request.header(header::IF_MODIFIED_SINCE, date),
        };
        let response = request.send().await.map_err(|error| service_kit::status::chain(&error))?;
        if known.is_some() && response.status() == StatusCode::NOT_MODIFIED {
            return Ok(Source::Unchanged);
        }
        if !response.status().is_success() {
            return Err(format!("the server answered {}", response.status()));
        }
        let size = response.content_length().unwrap_or(0);
        let marks = [header::ETAG, header::LAST_MODIFIED].into_iter();
        let mark = marks.filter_map(|name| response.headers().get(name)?.to_str().ok()).map(str::to_owned).next();
        let pieces = response.bytes_stream();
        Ok(Source::Has(
            size,
            pieces.map(|piece| piece.map_err(|error| service_kit::status::chain(&error))).boxed(),
            mark,
        ))
    }

    async fn file(&self, path: &Path, known: Option<&str>) -> Result<Source, String> {
        let path = self.allowed(path)?;
        let file = tokio::fs::File::open(&path).await.map_err(|error| error.to_string())?;
        let about = file.metadata().await.map_err(|error| error.to_string())?;
        let changed = about.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let mark = changed.map(|at| format!("{} octets of {} ns", about.len(), at.as_nanos()));
        if known.is_some() && mark.as_deref() == known {
            return Ok(Source::Unchanged);
        }
        let pieces = tokio_util::io::ReaderStream::with_capacity(file, 1 << 20);
        Ok(Source::Has(about.len(), pieces.map(|piece| piece.map_err(|error| error.to_string())).boxed(), mark))
    }

    /// A file that may be pulled: links are followed first, so that none leads out.
    fn allowed(&self, path: &Path) -> Result<PathBuf, String> {
        let real = fs::canonicalize(path).map_err(|error| error.to_string())?;
        let inside = self.files_from.iter().filter_map(|folder| fs::canonicalize(folder).ok());
        if inside.into_iter().any(|folder| real.starts_with(folder)) {
            return Ok(real);
        }
        Err("it lies in no folder that storage.files_from names".to_owned())
    }
}
