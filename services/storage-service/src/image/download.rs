//! Downloads of files whose digest is known, and their place in the cache.

use std::{fs, path::Path, time::Duration};

use domain::{
    failure::Cause,
    image::{Digest, Encoding},
};
use service_kit::{
    outbound_http::{Purpose, redacted},
    status::chain,
};

use super::{
    Cache, Cached, Download, DownloadError, Expected, Wanted, remove_if_there,
    source::{FetchRequest, Fetched},
};
use crate::metrics;

/// Maximum number of attempts of a download.
const MAX_ATTEMPTS: u32 = 3;
/// Delay before a download is retried.
pub(super) const RETRY_DELAY: Duration = Duration::from_secs(2);

impl Cache {
    /// Downloads a file unless it is `known`, and converts it if its format is not served.
    pub(super) async fn download(&self, wanted: &Wanted<'_>, known: Option<Cached>) {
        let Wanted { digest, url, name, expected } = *wanted;
        tracing::info!(%digest, url = redacted(url), name, "downloading");
        let mut attempt = 0;
        let ended = loop {
            attempt += 1;
            let cached = match known.clone() {
                Some(known) => Ok(known),
                None => self.try_download(wanted).await,
            };
            let cached = match cached {
                Ok(cached) if expected == Expected::Disk(Encoding::Qcow2) && cached.raw.is_none() => {
                    self.convert(digest, name).await
                }
                cached => cached,
            };
            match cached {
                Ok(cached) => break Download::Done(cached),
                Err(error)
                    if !error.is_final
                        && error.cause == Cause::ImageUnreachable
                        && attempt < MAX_ATTEMPTS
                        && !self.host.is_stopping() =>
                {
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                Err(error) => {
                    tracing::warn!(%digest, cause = error.cause.word(), text = error.text, "download failed");
                    break error.failed(expected);
                }
            }
        };
        // What the end of the service interrupts has not failed: another replica or the next run does it.
        if self.host.is_stopping() && !matches!(ended, Download::Done(_)) {
            return;
        }
        metrics::downloaded(if matches!(ended, Download::Done(_)) { "done" } else { "failed" });
        self.set(digest, ended);
    }

    async fn try_download(&self, wanted: &Wanted<'_>) -> Result<Cached, DownloadError> {
        let (part, name) = (self.path(wanted.digest).with_extension("part"), wanted.name);
        let outcome = self.copy(wanted, &part).await;
        if outcome.is_ok() {
            self.store(&part, wanted.digest, name)?;
        } else {
            drop(fs::remove_file(&part));
        }
        outcome
    }

    pub(super) async fn copy(&self, wanted: &Wanted<'_>, part: &Path) -> Result<Cached, DownloadError> {
        let Wanted { digest, url, name, expected } = *wanted;
        let progress = |done, total| self.set(digest, Download::InProgress { done, total });
        let request = FetchRequest {
            url,
            name,
            algorithm: digest.algorithm,
            path: part,
            expected,
            known: None,
            purpose: Purpose::Image,
        };
        let fetched = self.fetch(request, progress).await?;
        let unchanged = || DownloadError::unreachable(format!("{} reports an unchanged file", redacted(url)));
        let Fetched { size, format, hex, .. } = fetched.ok_or_else(unchanged)?;
        // The digest that it has would tell a user about a file that the user cannot read.
        if hex != digest.hex() {
            let text = format!("image {name} from {} does not have the registered digest {digest}", redacted(url));
            return Err(DownloadError { cause: Cause::ImageDigest, text, is_final: true });
        }
        Ok(Cached { size, format, raw: None })
    }

    /// Gives a complete file that has its digest its place in the cache, and records it. One that is there already stays: its
    /// readers would find another file.
    pub(super) fn store(&self, part: &Path, digest: &Digest, name: &str) -> Result<(), DownloadError> {
        // First: one that is there already must not be evicted before its download has ended.
        self.note_use(digest);
        let _storing = self.storing.lock();
        if self.is_intact(digest) {
            remove_if_there(part);
            return Ok(());
        }
        durable_file::publish(part, &self.path(digest)).map_err(|error| {
            let error = chain(&error);
            DownloadError::cache(format!("cannot move image {name} into the cache: {error}"))
        })?;
        self.record(digest)
    }
}
