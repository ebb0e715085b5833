//! Maintenance of a store as a whole: status, snapshots, compaction and space, adopting a restored backup.

use std::time::Duration;

use domain::generation;

pub use crate::store::{Alarm, ClusterMember, MemberState};
use crate::{
    Error, Known, Store,
    access::{Present, Step},
    key,
    store::{
        Pair,
        connection::{Content, Keys, Range},
    },
    value::{Incarnation, RestoredBackup},
};

/// How long the next piece of a snapshot may take.
const PIECE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long defragmenting may take. The member serves no requests meanwhile, and copies everything that is in use.
const DEFRAGMENT_TIMEOUT: Duration = Duration::from_secs(300);

impl Store {
    /// Reads what the member in use reports about itself.
    ///
    /// # Errors
    /// [`Error::Unavailable`]
    pub async fn member_state(&self) -> Result<MemberState, Error> {
        self.ask("reading a member's status", |member| member.status()).await
    }

    /// Lists all members of the cluster.
    ///
    /// # Errors
    /// [`Error::Unavailable`]
    pub async fn cluster_members(&self) -> Result<Vec<ClusterMember>, Error> {
        self.ask("listing etcd's members", |member| member.members()).await
    }

    /// Reads the store's incarnation, cluster and revision.
    ///
    /// # Errors
    /// [`Error::Unavailable`]
    pub async fn standing(&self) -> Result<Known, Error> {
        self.found().await.map(|(found, _)| found)
    }

    /// Reads the pair at a path without decoding it.
    ///
    /// # Errors
    /// [`Error::Unavailable`]
    pub async fn pair(&self, path: &str) -> Result<Option<Pair>, Error> {
        self.get_pair(path).await
    }

    /// Finds the last revision that cannot be read because it was compacted, between 0 and the present revision `head`.
    ///
    /// # Errors
    /// [`Error::Unavailable`]
    pub async fn compacted(&self, head: i64) -> Result<i64, Error> {
        // A binary search: every revision up to that one is refused, and none after it.
        let (mut refused, mut read) = (0, head);
        while read - refused > 1 {
            let middle = refused + (read - refused) / 2;
            let keys = Keys::One(key::ROOT.to_owned());
            let range = Range { keys, revision: Some(middle), limit: 0, content: Content::Nothing };
            match self.ask("looking for the oldest revision", |member| member.range(range)).await {
                Ok(_) => read = middle,
                Err(Error::OutOfRange { .. }) => refused = middle,
                Err(error) => return Err(error),
            }
        }
        Ok(refused)
    }

    /// Streams etcd's own snapshot: `take` gets each piece and the number of bytes that are still to come.
    ///
    /// # Errors
    /// [`Error::Unavailable`], or the error of `take`.
    pub async fn snapshot<E: From<Error>>(&self, mut take: impl FnMut(&[u8], u64) -> Result<(), E>) -> Result<(), E> {
        let mut pieces = self.ask("asking for a snapshot", |member| member.snapshot()).await?;
        let doing = "reading a snapshot";
        loop {
            let piece = tokio::time::timeout(PIECE_TIMEOUT, pieces.piece()).await;
            let piece = piece.map_err(|_| Error::Unavailable { doing, source: None })?;
            match piece.map_err(|failure| failure.doing(doing))? {
                Some(piece) => take(&piece.bytes, piece.remaining)?,
                None => return Ok(()),
            }
        }
    }

    /// Reads etcd's users and roles. Only its administrator may.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; [`Error::Forbidden`]
    pub async fn access(&self) -> Result<Present, Error> {
        self.ask("reading etcd's roles", |member| member.access()).await
    }

    /// Carries out steps that [`steps`](crate::access::steps) returned. Only etcd's administrator may. While permissions
    /// are not checked yet, steps that do not depend on each other are sent together.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; [`Error::Forbidden`]; [`Error::Refused`]. Call it again with new steps then.
    pub async fn change_access(&self, steps: &[Step], present: &Present) -> Result<(), Error> {
        let one = |step: &Step| {
            let step = step.clone();
            async { self.ask("changing etcd's roles", |member| member.change_access(step)).await }
        };
        if present.enabled {
            // Each step makes requests that are under way outdated.
            for step in steps {
                one(step).await?;
            }
            return Ok(());
        }
        for stage in steps.chunk_by(|before, after| before.stage() == after.stage()) {
            futures::future::try_join_all(stage.iter().map(one)).await?;
        }
        Ok(())
    }

    /// Makes the member in use return unused space to its file system. It serves no requests meanwhile.
    ///
    ///
    /// # Errors
    /// [`Error::Unavailable`]
    pub async fn defragment(&self) -> Result<(), Error> {
        self.endpoints().ask("defragmenting", DEFRAGMENT_TIMEOUT, |member| member.defragment()).await
    }

    /// Marks the store as a restored backup before any process notices it.
    ///
    /// # Errors
    /// [`Error::Conflict`] if another process has just marked it.
    pub async fn mark_restored_backup(&self, how: RestoredBackup) -> Result<(), Error> {
        let (found, revision) = self.found().await?;
        let marked = Incarnation { restored_backup: Some(how), ..found.incarnation };
        self.write_incarnation(&marked, revision).await
    }

    /// Adopts the store as it is: gives it a new incarnation, whose number is above its own and above `highest`, the
    /// highest that is known. Returns the old and the new incarnation.
    ///
    /// # Errors
    /// [`Error::Conflict`] if another process adopted or marked it meanwhile; read it again.
    pub async fn adopt(&self, highest: generation::Incarnation) -> Result<(Incarnation, Incarnation), Error> {
        let (found, revision) = self.found().await?;
        let number = found.incarnation.number.max(highest).next();
        let after = Incarnation { id: uuid::Uuid::new_v4(), number, restored_backup: None };
        self.write_incarnation(&after, revision).await?;
        Ok((found.incarnation, after))
    }
}
