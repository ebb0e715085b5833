//! Looking whether the store is the one that was known, and saying in it where it is not.

use etcd_client::{Client, GetOptions};
use tonic::Code;

use super::{Pair, Store};
use crate::{
    Error,
    care::Alarm,
    key,
    lineage::{self, Known, LastWrite, Verdict},
    value::{Incarnation, RestoredBackup},
};

impl Store {
    /// Looks whether the store is the one that was known. A store that was not known before is taken as it is. One that
    /// went back is marked, so that everybody learns of it.
    ///
    /// # Errors
    /// [`Error::RestoredBackup`], or it is away.
    pub(crate) async fn look(&self) -> Result<Verdict, Error> {
        // Before it is asked: what is learnt meanwhile may be newer than the answer.
        let (known, last) = (self.guard.known(), self.guard.last());
        let (found, marked_at) = self.found().await?;
        let Some(known) = known else {
            self.guard.begin(found);
            return Ok(Verdict::Same);
        };
        let last = match last {
            Some(last) if last.revision <= found.revision => Box::pin(self.last_write(&last)).await?,
            Some(_) | None => LastWrite::Unknown,
        };
        let verdict = lineage::judge(&known, &found, last);
        let marks = verdict == Verdict::RestoredBackup && is_known_as(&known.incarnation, &found.incarnation);
        if marks && found.incarnation.restored_backup.is_none() {
            let how = RestoredBackup { known: known.revision, found: found.revision };
            let marked = Incarnation { restored_backup: Some(how), ..known.incarnation };
            if let Err(error) = self.write_incarnation(&marked, marked_at).await {
                tracing::debug!(error = crate::error_chain(&error), "cannot mark a store that went back");
            }
        }
        self.guard.judged(found, verdict)
    }

    /// What is there, and the revision of the incarnation's key.
    pub(crate) async fn found(&self) -> Result<(Known, i64), Error> {
        let incarnation = key::incarnation();
        let reading = async |mut client: Client| client.get(incarnation.path(), None).await;
        let answer = self.ask("reading the incarnation", reading).await?;
        let (cluster, revision) = answer.header().map_or((0, 0), |header| (header.cluster_id(), header.revision()));
        let read = answer.kvs().first().map(|pair| Pair::from_etcd(pair).read::<Incarnation>()).transpose()?;
        let marked_at = read.as_ref().map_or(0, |read| read.revision);
        let incarnation = read.map(|read| read.value).unwrap_or_default();
        Ok((Known { incarnation, cluster, revision }, marked_at))
    }

    /// What the revision of the last write that was seen holds now.
    async fn last_write(&self, last: &Pair) -> Result<LastWrite, Error> {
        match self.pair_at(last, Some(last.revision)).await {
            Ok(found) if found.as_ref() == Some(last) => Ok(LastWrite::Stands),
            Ok(_) => Ok(LastWrite::Differs),
            // Compacted; then it must not be older now than it was.
            Err(Error::Refused { source, .. }) if is_out_of_range(&source) => {
                let now = self.pair_at(last, None).await?;
                let is_older = now.is_some_and(|now| now.revision < last.revision);
                Ok(if is_older { LastWrite::Differs } else { LastWrite::Unknown })
            }
            Err(error) => Err(error),
        }
    }

    async fn pair_at(&self, pair: &Pair, revision: Option<i64>) -> Result<Option<Pair>, Error> {
        let options = revision.map(|revision| GetOptions::new().with_revision(revision));
        let reading = async |mut client: Client| client.get(pair.path.as_str(), options).await;
        let answer = self.ask("reading what was written last", reading).await?;
        Ok(answer.kvs().first().map(Pair::from_etcd))
    }

    /// Looks whether there is space again, after a write was refused for want of it.
    ///
    /// # Errors
    /// [`Error::Unavailable`]
    pub async fn look_for_space(&self) -> Result<(), Error> {
        if !self.alarms().await?.contains(&Alarm::NoSpace) {
            self.guard.has_space();
        }
        Ok(())
    }
}

/// Whether a store that went back is the one that was known, at an earlier time, and not another one: what one service
/// with a foreign data folder believes must not stop all others.
fn is_known_as(known: &Incarnation, found: &Incarnation) -> bool {
    found.number <= known.number && (found.id == known.id || *found == Incarnation::default())
}

fn is_out_of_range(error: &etcd_client::Error) -> bool {
    matches!(error, etcd_client::Error::GRpcStatus(status) if status.code() == Code::OutOfRange)
}
