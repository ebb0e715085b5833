//! Verifies that the store is the one that was known, and marks a restored backup in the store itself.

use super::{
    Pair, Store,
    connection::{Alarm, Compare, Operation, RaisedAlarm, Range, Transaction},
};
use crate::{
    Error, error, key,
    store_identity::{self, Known, LastWrite, Verdict},
    value::{Incarnation, RestoredBackup},
};

impl Store {
    /// Verifies that the store is the one that was known. A store of which nothing is known is taken as it is. A
    /// restored backup is marked in the store, so that all processes learn of it.
    ///
    /// # Errors
    /// [`Error::RestoredBackup`]; [`Error::Unavailable`].
    pub(crate) async fn verify(&self) -> Result<Verdict, Error> {
        // Before the request: what is learned meanwhile may be newer than the answer.
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
        let verdict = store_identity::judge(&known, &found, last);
        let marks = verdict == Verdict::RestoredBackup && is_known_as(&known.incarnation, &found.incarnation);
        if marks && found.incarnation.restored_backup.is_none() {
            let how = RestoredBackup { known: known.revision, found: found.revision };
            let marked = Incarnation { restored_backup: Some(how), ..known.incarnation };
            if let Err(error) = self.write_incarnation(&marked, marked_at).await {
                tracing::debug!(error = error::chain(&error), "cannot mark a restored backup");
            }
        }
        self.guard.apply_verdict(found, verdict)
    }

    /// Reads what there is, and the revision of the incarnation's key.
    pub(crate) async fn found(&self) -> Result<(Known, i64), Error> {
        let incarnation = key::incarnation();
        let range = Range::one(incarnation.path());
        let answer = self.ask("reading the incarnation", |member| member.range(range)).await?;
        let read = answer.pairs.first().map(|found| found.pair.read::<Incarnation>()).transpose()?;
        let marked_at = read.as_ref().map_or(0, |read| read.revision);
        let incarnation = read.map(|read| read.value).unwrap_or_default();
        Ok((Known { incarnation, cluster: answer.header.cluster, revision: answer.header.revision }, marked_at))
    }

    /// Reads what the revision of the last write that was seen holds now.
    async fn last_write(&self, last: &Pair) -> Result<LastWrite, Error> {
        match self.pair_at(last, Some(last.revision)).await {
            Ok(found) if found.as_ref() == Some(last) => Ok(LastWrite::Stands),
            Ok(_) => Ok(LastWrite::Differs),
            // Compacted: then the key must not be older now than it was.
            Err(Error::OutOfRange { .. }) => {
                let now = self.pair_at(last, None).await?;
                let is_older = now.is_some_and(|now| now.revision < last.revision);
                Ok(if is_older { LastWrite::Differs } else { LastWrite::Unknown })
            }
            Err(error) => Err(error),
        }
    }

    async fn pair_at(&self, pair: &Pair, revision: Option<i64>) -> Result<Option<Pair>, Error> {
        let range = Range::one(&pair.path).at(revision);
        let answer = self.ask("reading the last write", |member| member.range(range)).await?;
        Ok(answer.pairs.into_iter().next().map(|found| found.pair))
    }

    /// Returns the alarms that are raised.
    ///
    /// # Errors
    /// [`Error::Unavailable`]
    pub async fn alarms(&self) -> Result<Vec<Alarm>, Error> {
        Ok(self.raised_alarms().await?.into_iter().map(|raised| raised.alarm).collect())
    }

    /// Returns the alarms that are raised, with the members that raised them. etcd needs a quorum for that.
    ///
    /// # Errors
    /// [`Error::Unavailable`]
    pub async fn raised_alarms(&self) -> Result<Vec<RaisedAlarm>, Error> {
        self.ask("listing alarms", |member| member.alarms()).await
    }

    pub(crate) async fn write_incarnation(&self, value: &Incarnation, before: i64) -> Result<(), Error> {
        let incarnation = key::incarnation();
        let path = incarnation.path().to_owned();
        let value = serde_json::to_vec(value).map_err(|source| Error::Value { key: path.clone(), source })?;
        let transaction = Transaction {
            compares: vec![Compare::ModRevision(path.clone(), before)],
            then: vec![Operation::Put { path, value, lease: 0 }],
            otherwise: vec![],
        };
        let answer = self.ask("writing the incarnation", |member| member.transact(transaction)).await?;
        if answer.succeeded { Ok(()) } else { Err(Error::Conflict) }
    }

    /// Checks whether there is space again, after a write was refused for lack of it.
    ///
    /// # Errors
    /// [`Error::Unavailable`]
    pub async fn look_for_space(&self) -> Result<(), Error> {
        match self.alarms().await {
            Ok(alarms) if alarms.contains(&Alarm::NoSpace) => {}
            // etcd 3.5.28 shows alarms to its administrator only (issue 21663): the next write tells.
            Ok(_) | Err(Error::Forbidden { .. }) => self.guard.has_space(),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Whether a restored backup is of the store that was known, and not of another one: one service with a foreign data
/// folder must not stop all others.
fn is_known_as(known: &Incarnation, found: &Incarnation) -> bool {
    found.number <= known.number && (found.id == known.id || *found == Incarnation::default())
}
