//! What an operator does to a store as a whole: looks at it, keeps copies of it, makes room in it, adopts it.

use std::time::Duration;

use domain::generation;
use etcd_client::{AlarmAction, AlarmType, Client, Compare, CompareOp, GetOptions, Txn, TxnOp};

use crate::{
    Error, Known, Store, key,
    store::Pair,
    value::{Incarnation, RestoredBackup},
};

/// How long the next piece of a copy may take.
const PIECE: Duration = Duration::from_secs(30);
/// How long making room may take: etcd answers nobody meanwhile, and copies what is in use.
const MAKING_ROOM: Duration = Duration::from_secs(300);

/// One member of etcd, as it tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberState {
    /// etcd's version.
    pub version: String,
    /// Its own id, and the leader's; 0: it knows none.
    pub id: u64,
    /// See `id`.
    pub leader: u64,
    /// The cluster's id.
    pub cluster: u64,
    /// Where its store stands.
    pub revision: i64,
    /// Octets of its database file, and those of them that hold something.
    pub size: u64,
    /// See `size`.
    pub in_use: u64,
    /// What it finds wrong with itself.
    pub errors: Vec<String>,
}

/// A member of the cluster, as etcd has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterMember {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Where it says that it answers.
    pub urls: Vec<String>,
}

/// An alarm that etcd raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// There is no space left, and nothing is written any more.
    NoSpace,
    /// A member found its data damaged.
    Corrupt,
}

impl Store {
    /// The member that this connection leads to.
    ///
    /// # Errors
    /// [`Error::Unavailable`]
    pub async fn member_state(&self) -> Result<MemberState, Error> {
        let status = self.ask("asking a member how it is", async |mut client| client.status().await).await?;
        let header = status.header();
        let octets = |size: i64| u64::try_from(size).unwrap_or(0);
        Ok(MemberState {
            version: status.version().to_owned(),
            id: header.map_or(0, etcd_client::ResponseHeader::member_id),
            leader: status.leader(),
            cluster: header.map_or(0, etcd_client::ResponseHeader::cluster_id),
            revision: header.map_or(0, etcd_client::ResponseHeader::revision),
            size: octets(status.db_size()),
            in_use: octets(status.raft_used_db_size()),
            errors: status.errors().to_vec(),
        })
    }

    /// All members of the cluster.
    ///
    /// # Errors
    /// [`Error::Unavailable`]
    pub async fn cluster_members(&self) -> Result<Vec<ClusterMember>, Error> {
        let answer = self.ask("asking for etcd's members", async |mut client| client.member_list().await).await?;
        let member = |member: &etcd_client::Member| ClusterMember {
            id: member.id(),
            name: member.name().to_owned(),
            urls: member.client_urls().to_vec(),
        };
        Ok(answer.members().iter().map(member).collect())
    }

    /// The alarms that are raised.
    ///
    /// # Errors
    /// [`Error::Unavailable`]
    pub async fn alarms(&self) -> Result<Vec<Alarm>, Error> {
        let answer = self
            .ask("asking for alarms", async |mut client| client.alarm(AlarmAction::Get, AlarmType::None, None).await)
            .await?;
        let known = answer.alarms().iter().filter_map(|alarm| match alarm.alarm() {
            AlarmType::None => None,
            AlarmType::Nospace => Some(Alarm::NoSpace),
            AlarmType::Corrupt => Some(Alarm::Corrupt),
        });
        Ok(known.collect())
    }

    /// What is there: incarnation, cluster, revision.
    ///
    /// # Errors
    /// [`Error::Unavailable`]
    pub async fn standing(&self) -> Result<Known, Error> {
        self.found().await.map(|(found, _)| found)
    }

    /// The pair at a path, whatever it holds.
    ///
    /// # Errors
    /// [`Error::Unavailable`]
    pub async fn pair(&self, path: &str) -> Result<Option<Pair>, Error> {
        self.get_pair(path).await
    }

    /// The revision up to which history was compacted, between 0 and `head`, where the store stands.
    ///
    /// # Errors
    /// [`Error::Unavailable`]
    pub async fn compacted(&self, head: i64) -> Result<i64, Error> {
        // Every revision up to the one that is looked for is refused, and none after it.
        let (mut refused, mut read) = (0, head);
        while read - refused > 1 {
            let middle = refused + (read - refused) / 2;
            let options = GetOptions::new().with_revision(middle).with_count_only();
            let counting = async |mut client: Client| client.get(key::ROOT, Some(options)).await;
            match self.ask("looking for the oldest revision", counting).await {
                Ok(_) => read = middle,
                Err(Error::Refused { source, .. }) if is_compacted(&source) => refused = middle,
                Err(error) => return Err(error),
            }
        }
        Ok(refused)
    }

    /// Streams etcd's own snapshot: `take` gets each piece and how many octets are still to come.
    ///
    /// # Errors
    /// [`Error::Unavailable`], or what `take` came to.
    pub async fn snapshot<E: From<Error>>(&self, mut take: impl FnMut(&[u8], u64) -> Result<(), E>) -> Result<(), E> {
        let asking = async |mut client: Client| client.snapshot().await;
        let mut pieces = self.ask("asking for a snapshot", asking).await?;
        let away = |source| Error::Unavailable { doing: "reading a snapshot", source };
        loop {
            let piece = tokio::time::timeout(PIECE, pieces.message()).await.map_err(|_| away(None))?;
            match piece.map_err(|source| away(Some(Box::new(source))))? {
                Some(piece) => take(piece.blob(), piece.remaining_bytes())?,
                None => return Ok(()),
            }
        }
    }

    /// Makes the member that this connection leads to give back the space that it does not use. It answers nobody
    /// meanwhile.
    ///
    /// # Errors
    /// [`Error::Unavailable`]
    pub async fn defragment(&self) -> Result<(), Error> {
        let making = async |mut client: Client| client.defragment().await;
        self.reach().ask("defragmenting", MAKING_ROOM, making).await.map(drop)
    }

    /// Says that the store is a restored backup, before anybody finds out.
    ///
    /// # Errors
    /// [`Error::Conflict`]: somebody else said so just now.
    pub async fn mark_restored_backup(&self, how: RestoredBackup) -> Result<(), Error> {
        let (found, revision) = self.found().await?;
        let marked = Incarnation { restored_backup: Some(how), ..found.incarnation };
        self.write_incarnation(&marked, revision).await
    }

    /// Adopts the store as it is: it gets a new incarnation, whose number is above its own and above `highest`, the
    /// highest that is known to have been. Says what it was and what it is.
    ///
    /// # Errors
    /// [`Error::Conflict`]: somebody else adopts it, or finds out that it went back; look again.
    pub async fn adopt(&self, highest: generation::Incarnation) -> Result<(Incarnation, Incarnation), Error> {
        let (found, revision) = self.found().await?;
        let number = found.incarnation.number.max(highest).next();
        let after = Incarnation { id: uuid::Uuid::new_v4(), number, restored_backup: None };
        self.write_incarnation(&after, revision).await?;
        Ok((found.incarnation, after))
    }

    pub(crate) async fn write_incarnation(&self, value: &Incarnation, before: i64) -> Result<(), Error> {
        let incarnation = key::incarnation();
        let path = incarnation.path();
        let json = serde_json::to_vec(value).map_err(|source| Error::Value { key: path.to_owned(), source })?;
        let is_same = Compare::mod_revision(path, CompareOp::Equal, before);
        let transaction = Txn::new().when([is_same]).and_then([TxnOp::put(path, json, None)]);
        let answer = self.ask("writing the incarnation", async |mut client| client.txn(transaction).await).await?;
        if answer.succeeded() { Ok(()) } else { Err(Error::Conflict) }
    }
}

fn is_compacted(error: &etcd_client::Error) -> bool {
    matches!(error, etcd_client::Error::GRpcStatus(status) if status.code() == tonic::Code::OutOfRange)
}
