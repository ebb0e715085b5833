//! Files of which nobody said what they must hash to: pulled, and known by their digest from then on.
//!
//! Kernels and ramdisks that Ironic's clients name are such files. Whoever asks gets the digest of what is at the source
//! now; what was learned before is taken where the source says that it is still the same.

use std::{fs, sync::PoisonError};

use domain::{
    failure::{Cause, Failure},
    image::{Algorithm, Digest},
};
use service_kit::clock;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::{Cache, FRESH, Fetched, Pull};

/// Sources that are remembered; the one that was learned first goes first.
const MOST: usize = 256;

/// How far the learning of a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Learning {
    /// It is pulled, or asked after.
    Underway {
        /// What it was before, and its mark then.
        before: Option<(Digest, Option<String>)>,
    },
    /// It is this, and in the cache.
    Known {
        /// What it hashes to.
        digest: Digest,
        /// What tells it from another at its source.
        mark: Option<String>,
        /// Since when.
        at: Instant,
    },
    /// It is not to be had.
    Failed {
        /// Why.
        failure: Failure,
        /// Since when.
        at: Instant,
    },
}

impl Cache {
    /// What is at a URL; its learning is begun where nothing fresh is known.
    pub(crate) fn learn(&self, url: &str, name: &str) -> Learning {
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match learned.get(url) {
            Some(Learning::Known { at, digest, .. }) if at.elapsed() < FRESH && self.path(digest).exists() => {
                return learned.get(url).cloned().unwrap_or(Learning::Underway { before: None });
            }
            Some(Learning::Failed { at, .. }) if at.elapsed() < FRESH => {
                return learned.get(url).cloned().unwrap_or(Learning::Underway { before: None });
            }
            Some(Learning::Underway { before }) => return Learning::Underway { before: before.clone() },
            Some(Learning::Known { digest, mark, .. }) if self.path(digest).exists() => {
                Some((digest.clone(), mark.clone()))
            }
            Some(Learning::Known { .. } | Learning::Failed { .. }) | None => None,
        };
        if learned.len() >= MOST {
            let oldest = learned.iter().filter_map(|(url, learning)| Some((ended(learning)?, url.clone()))).min();
            oldest.into_iter().for_each(|(_, url)| drop(learned.remove(&url)));
        }
        let begun = Learning::Underway { before: before.clone() };
        learned.insert(url.to_owned(), begun.clone());
        let (cache, url, name) = (self.clone(), url.to_owned(), name.to_owned());
        self.host.spawn(async move {
            let ended = match cache.try_learn(&url, &name, before).await {
                Ok((digest, mark)) => Learning::Known { digest, mark, at: Instant::now() },
                Err((cause, text)) => {
                    tracing::warn!(url, cause = cause.word(), text, "cannot learn what a file is");
                    Learning::Failed { failure: Failure { cause, text, at: clock::now() }, at: Instant::now() }
                }
            };
            cache.learned.lock().unwrap_or_else(PoisonError::into_inner).insert(url, ended);
        });
        begun
    }

    async fn try_learn(
        &self,
        url: &str,
        name: &str,
        before: Option<(Digest, Option<String>)>,
    ) -> Result<(Digest, Option<String>), (Cause, String)> {
        let part = self.folder.join(format!("{}.learned", hex::encode(Sha256::digest(url.as_bytes()))));
        let known = before.as_ref().and_then(|(_, mark)| mark.as_deref());
        let fetched = self.fetch(url, name, Algorithm::Sha256, &part, known, |_, _| {}).await;
        let fetched = fetched.inspect_err(|_| drop(fs::remove_file(&part)))?;
        let Some(Fetched { size, hex, mark }) = fetched else {
            let unasked = || (Cause::ImageUnreachable, format!("{url} says that it is unchanged, and was never had"));
            return before.ok_or_else(unasked);
        };
        let unkept = |why: &dyn std::fmt::Display| (Cause::DiskError, format!("cannot keep image {name}: {why}"));
        let digest: Digest = format!("sha256:{hex}").parse().map_err(|error| unkept(&error))?;
        fs::rename(&part, self.path(&digest)).map_err(|error| unkept(&error))?;
        self.set(&digest, Pull::Done { size });
        Ok((digest, mark))
    }
}

fn ended(learning: &Learning) -> Option<Instant> {
    match learning {
        Learning::Underway { .. } => None,
        Learning::Known { at, .. } | Learning::Failed { at, .. } => Some(*at),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use service_kit::Host;

    use super::*;

    async fn learn(cache: &Cache, url: &str) -> Learning {
        loop {
            let learning = cache.learn(url, "test");
            if !matches!(learning, Learning::Underway { .. }) {
                return learning;
            }
            tokio::task::yield_now().await;
        }
    }

    fn cache(folder: &Path) -> Cache {
        service_kit::tls::install_provider();
        Cache::open(folder.join("cache"), vec![folder.join("images")], Host::default()).unwrap()
    }

    fn digest(learning: &Learning) -> String {
        let Learning::Known { digest, .. } = learning else { panic!("{learning:?}") };
        digest.hex().to_owned()
    }

    #[tokio::test]
    async fn a_file_is_known_by_what_it_is_now_and_kept_under_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("images")).unwrap();
        let file = folder.path().join("images/kernel");
        fs::write(&file, b"one").unwrap();
        let (cache, url) = (cache(folder.path()), format!("file://{}", file.display()));
        let one = learn(&cache, &url).await;
        assert_eq!(digest(&one), hex::encode(Sha256::digest(b"one")));
        assert_eq!(cache.list().len(), 1);
        // What was learned a moment ago is the answer until it is older than that.
        fs::write(&file, b"another").unwrap();
        assert_eq!(learn(&cache, &url).await, one);
        let Learning::Known { digest: known, mark, .. } = one else { panic!("{one:?}") };
        let changed = cache.try_learn(&url, "test", Some((known, mark))).await.unwrap();
        assert_eq!(changed.0.hex(), hex::encode(Sha256::digest(b"another")));
        let same = cache.try_learn(&url, "test", Some(changed.clone())).await.unwrap();
        assert_eq!(same, changed);
    }

    #[tokio::test]
    async fn a_file_that_is_not_to_be_had_fails_with_its_url() {
        let folder = tempfile::tempdir().unwrap();
        let Learning::Failed { failure, .. } = learn(&cache(folder.path()), "ftp://h/kernel").await else { panic!() };
        assert!(failure.text.contains("ftp://h/kernel") && failure.text.contains("http://"), "{}", failure.text);
    }
}
