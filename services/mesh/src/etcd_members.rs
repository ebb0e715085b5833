//! Follows the members of etcd while the service runs: a cluster that grows, shrinks or moves to other hosts takes all its
//! services along, although their configurations name members of long ago.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use durable_file::Access;
use keyspace::{Error, Store, store::ClusterMember};
use service_kit::{Host, config::Common, status};
use tokio::sync::watch;

/// How often the members are listed.
const POLL_INTERVAL: Duration = Duration::from_secs(30);
/// Pause after a member did not answer, before the members are listed; it doubles with each further one in a row, up to
/// [`POLL_INTERVAL`].
const INITIAL_DELAY: Duration = Duration::from_secs(1);
/// The file in the data directory with the members that were last listed, one URL a line.
const NOTE: &str = "etcd.members";

/// Returns the members of etcd to begin with: those of the configuration, and if the service follows etcd's members those
/// that it noted in its data directory when it last ran.
#[must_use]
pub fn known_etcd_members(common: &Common) -> Vec<String> {
    let noted = if common.etcd_discovery { noted(&common.data) } else { Vec::new() };
    let mut all = common.etcd.clone();
    all.extend(noted.into_iter().filter(|url| !common.etcd.contains(url)));
    all
}

/// Reads the members that were noted when they were last listed.
fn noted(data: &Path) -> Vec<String> {
    let text = match durable_file::read(&data.join(NOTE), "it is written again when etcd answers") {
        Ok(text) => text,
        Err(error) if error.is_missing() => return Vec::new(),
        Err(error) => {
            tracing::warn!(error = %status::chain(&error), "ignoring the noted members of etcd");
            return Vec::new();
        }
    };
    let text = String::from_utf8_lossy(&text);
    // Etcd requires TLS; anything else is damage.
    text.lines().map(str::trim).filter(|line| line.starts_with("https://")).map(str::to_owned).collect()
}

fn note(data: &Path, members: &[String]) {
    let text = format!("{}\n", members.join("\n"));
    if let Err(error) = durable_file::write(&data.join(NOTE), text.as_bytes(), Access::Owner) {
        tracing::warn!(error = %status::chain(&error), "cannot note the members of etcd");
    }
}

/// Returns the client URLs of the members that serve clients: learners and members that have never run do not.
fn client_urls(listed: &[ClusterMember]) -> BTreeSet<String> {
    let serving = listed.iter().filter(|member| !member.is_learner);
    let urls = serving.flat_map(|member| &member.client_urls);
    urls.filter(|url| url.starts_with("https://")).map(|url| url.trim_end_matches('/').to_owned()).collect()
}

/// Returns the members to use from now on if they differ from those in use. A list without a usable member changes nothing.
fn changed(in_use: &[String], listed: &[ClusterMember]) -> Option<Vec<String>> {
    let urls = client_urls(listed);
    let is_same = urls.iter().eq(in_use.iter().collect::<BTreeSet<_>>());
    (!urls.is_empty() && !is_same).then(|| urls.into_iter().collect())
}

/// Returns how long to wait before the members are listed after so many failures in a row. `spread`, from 0 to 999, spreads
/// the services, so that not all of them ask at the same moment.
fn pause(failures: u32, spread: u32) -> Duration {
    let longest = if failures == 0 {
        POLL_INTERVAL
    } else {
        POLL_INTERVAL.min(INITIAL_DELAY * 2_u32.saturating_pow(failures.min(8) - 1))
    };
    // From half of it to all of it.
    longest / 2 + longest / 2 * spread.min(999) / 1000
}

fn spread() -> u32 {
    // The lowest bits of a random UUID are random.
    u32::try_from(uuid::Uuid::new_v4().as_u128() % 1000).unwrap_or(0)
}

/// Lists the members and tells which ones to use.
pub(crate) struct EtcdDiscovery {
    /// The store whose members are listed. Its connections follow `members` as those of every other store do.
    pub(crate) store: Store,
    /// The data directory.
    pub(crate) data: PathBuf,
    /// The members in use.
    pub(crate) members: watch::Sender<Vec<String>>,
}

impl EtcdDiscovery {
    /// Follows the members until the host stops.
    pub(crate) async fn follow(self, host: Host) {
        tokio::select! {
            biased;
            () = host.stopping() => {}
            () = self.poll() => {}
        }
    }

    async fn poll(self) {
        let mut departures = self.store.departures();
        let (mut failures, mut is_noted, mut is_forbidden) = (0_u32, false, false);
        loop {
            departures.mark_unchanged();
            match self.store.cluster_members().await {
                Ok(listed) => {
                    failures = 0;
                    let new = changed(&self.members.borrow(), &listed);
                    if new.is_some() || !is_noted {
                        let members = new.as_ref().map_or_else(|| self.members.borrow().clone(), Clone::clone);
                        note(&self.data, &members);
                        is_noted = true;
                    }
                    if let Some(members) = new {
                        tracing::info!(?members, "the members of etcd have changed");
                        self.members.send_replace(members);
                    }
                }
                Err(error @ Error::Forbidden { .. }) => {
                    if !is_forbidden {
                        let error = status::chain(&error);
                        tracing::warn!(
                            error,
                            "etcd does not list its members to this service, using those that are known"
                        );
                    }
                    (is_forbidden, failures) = (true, 0);
                }
                Err(error) => {
                    failures += 1;
                    tracing::debug!(error = %status::chain(&error), "cannot list the members of etcd");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause(failures, spread())) => {}
                // A member that does not answer may have been removed.
                Ok(()) = departures.changed() => tokio::time::sleep(pause(failures.max(1), spread())).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use keyspace::testing::MemoryEtcd;

    use super::*;

    fn member(name: &str, urls: &[&str], is_learner: bool) -> ClusterMember {
        let client_urls = urls.iter().map(|url| (*url).to_owned()).collect();
        ClusterMember { name: name.to_owned(), client_urls, is_learner, ..ClusterMember::default() }
    }

    fn urls(all: &[&str]) -> Vec<String> {
        all.iter().map(|url| (*url).to_owned()).collect()
    }

    const A: &str = "https://10.0.0.1:2379";
    const B: &str = "https://10.0.0.2:2379";
    const C: &str = "https://10.0.0.3:2379";

    #[test]
    fn members_are_changed_only_for_others_that_serve_clients() {
        // Why, those in use, the list, and those to use from then on if they change.
        type Case = (&'static str, Vec<&'static str>, Vec<ClusterMember>, Option<Vec<&'static str>>);
        let table: Vec<Case> = vec![
            ("the same one", vec![A], vec![member("a", &[A], false)], None),
            ("one more", vec![A], vec![member("a", &[A], false), member("b", &[B], false)], Some(vec![A, B])),
            ("a learner", vec![A], vec![member("a", &[A], false), member("b", &[B], true)], None),
            ("one that has never run", vec![A], vec![member("a", &[A], false), member("", &[], false)], None),
            (
                "one was removed",
                vec![A, B, C],
                vec![member("a", &[A], false), member("c", &[C], false)],
                Some(vec![A, C]),
            ),
            ("another order", vec![B, A], vec![member("a", &[A], false), member("b", &[B], false)], None),
            ("all others", vec![A], vec![member("b", &[B], false), member("c", &[C], false)], Some(vec![B, C])),
            ("an empty list", vec![A], vec![], None),
            ("learners alone", vec![A], vec![member("b", &[B], true)], None),
            ("without TLS", vec![A], vec![member("a", &["http://10.0.0.1:2379"], false)], None),
            ("a slash at the end", vec![A], vec![member("a", &["https://10.0.0.1:2379/"], false)], None),
            ("two URLs", vec![A], vec![member("a", &[A, C], false)], Some(vec![A, C])),
        ];
        for (why, in_use, listed, expected) in table {
            assert_eq!(changed(&urls(&in_use), &listed), expected.map(|all| urls(&all)), "{why}");
        }
    }

    #[test]
    fn pauses_are_bounded_and_spread() {
        // Failures in a row, and the shortest and the longest pause in milliseconds.
        let table = [
            (0, 15_000, 29_985),
            (1, 500, 1000),
            (2, 1000, 2000),
            (3, 2000, 4000),
            (5, 8000, 16_000),
            (9, 15_000, 30_000),
        ];
        for (failures, least, most) in table {
            let (shortest, longest) = (pause(failures, 0).as_millis(), pause(failures, 999).as_millis());
            assert!(shortest >= least && longest <= most && shortest < longest, "{failures}: {shortest} to {longest}");
        }
        assert!(pause(u32::MAX, u32::MAX) <= POLL_INTERVAL);
    }

    #[test]
    fn a_service_begins_with_the_configured_members_and_those_that_were_noted() {
        // The note if there is one, whether it is used, and the members.
        let table: [(Option<&str>, bool, &[&str]); 7] = [
            (None, true, &[A]),
            (Some("https://10.0.0.2:2379\nhttps://10.0.0.3:2379\n"), true, &[A, B, C]),
            (Some("https://10.0.0.2:2379\n"), false, &[A]),
            (Some("https://10.0.0.1:2379\nhttps://10.0.0.2:2379\n"), true, &[A, B]),
            (Some(""), true, &[A]),
            (Some("\u{0}\u{1}damaged\nhttp://10.0.0.3:2379\n"), true, &[A]),
            (Some("https://10.0.0.2:2379"), true, &[A, B]),
        ];
        for (text, etcd_discovery, expected) in table {
            let data = tempfile::tempdir().unwrap();
            if let Some(text) = text {
                std::fs::write(data.path().join(NOTE), text).unwrap();
            }
            let common = Common { etcd: urls(&[A]), etcd_discovery, data: data.path().to_owned(), ..Common::default() };
            assert_eq!(known_etcd_members(&common), urls(expected), "{text:?}");
        }
        let data = tempfile::tempdir().unwrap();
        note(data.path(), &urls(&[B, C]));
        assert_eq!(noted(data.path()), urls(&[B, C]));
    }

    #[tokio::test(start_paused = true)]
    async fn members_that_change_while_a_service_runs_are_noted_and_used() {
        let (etcd, host, data) = (MemoryEtcd::new(), Host::default(), tempfile::tempdir().unwrap());
        etcd.set_members(vec![member("a", &[A], false)]);
        let (members, mut seen) = watch::channel(urls(&[A]));
        let discovery = EtcdDiscovery { store: etcd.client().store(), data: data.path().to_owned(), members };
        host.spawn(discovery.follow(host.clone()));
        etcd.set_members(vec![member("a", &[A], false), member("b", &[B], false), member("c", &[C], true)]);
        seen.changed().await.unwrap();
        assert_eq!(*seen.borrow_and_update(), urls(&[A, B]));
        assert_eq!(noted(data.path()), urls(&[A, B]));
        // The store that is away changes nothing, and what it says afterwards is heard.
        etcd.stop();
        tokio::time::sleep(POLL_INTERVAL * 3).await;
        assert!(!seen.has_changed().unwrap());
        etcd.set_members(vec![member("b", &[B], false)]);
        etcd.start();
        seen.changed().await.unwrap();
        assert_eq!((seen.borrow_and_update().clone(), noted(data.path())), (urls(&[B]), urls(&[B])));
    }
}
