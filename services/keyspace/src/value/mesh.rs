//! What ownership rests on (services/mesh/OWNERSHIP.md).

use std::collections::BTreeMap;

use domain::{
    generation::{self, InstructionVersion, Token},
    id::{InstanceId, SlotId},
    ring::Ring,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// Which store this is, and in which of its lives. A lower revision under the same incarnation is a restored backup.
/// Where there is none, it is the first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Incarnation {
    /// Drawn once.
    pub id: uuid::Uuid,
    /// One more with each backup that was adopted.
    #[serde(default)]
    pub number: generation::Incarnation,
    /// Somebody knew more than this store holds: nobody changes anything in it before it is adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_backup: Option<RestoredBackup>,
}

/// A store that is not what was known of it: a restored backup, or another store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredBackup {
    /// The revision that was known.
    pub known: i64,
    /// The one that it was at when that was noticed.
    pub found: i64,
}

/// A running instance of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Where it answers gRPC, as `host:port`.
    pub endpoint: String,
    /// Where machines reach it, where that is another address: `host:port`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub data_endpoint: String,
    /// Where agents that speak Ironic's protocol reach it, as `host:port`; empty: nowhere.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ironic_endpoint: String,
    /// Its weight in the ring.
    pub weight: u32,
    /// Its slot in the ring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<SlotId>,
    /// It was asked to stop and hands over.
    #[serde(default)]
    pub stopping: bool,
    /// Since when it runs.
    pub since: Timestamp,
}

/// The leader of a service in a rack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Election {
    /// The leader.
    pub instance: InstanceId,
}

/// A ring, and when it became what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRing {
    /// The ring.
    #[serde(flatten)]
    pub ring: Ring,
    /// When it was written.
    #[serde(default)]
    pub since: Timestamp,
    /// Since when each of those who are leaving is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left: BTreeMap<InstanceId, Timestamp>,
}

impl StoredRing {
    /// What is written at `now` after `before`.
    #[must_use]
    pub fn after(before: Option<&Self>, ring: Ring, now: Timestamp) -> Self {
        let since = |instance| before.and_then(|before| before.left.get(instance).copied()).unwrap_or(now);
        let left = ring.leaving.iter().map(|instance| (*instance, since(instance))).collect();
        Self { ring, since: now, left }
    }
}

/// The ring that an instance has made its own: it does nothing any more on nodes that this ring does not give it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The ring's mod-revision.
    pub epoch: i64,
}

/// An instance that is proven dead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dead {
    /// Who proved it, and how.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// Who owns a node for a service. Its mod-revision is the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The owner.
    pub instance: InstanceId,
    /// Since when.
    pub since: Timestamp,
    /// The revision of the claim that it took the place of, as its writer had read it; none: there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
    /// A person took it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<Broken>,
}

/// Who broke a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// Who.
    pub by: String,
    /// When.
    pub since: Timestamp,
}

/// What a service does or did to a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Journal {
    /// The highest instruction that was obeyed.
    pub highest: InstructionVersion,
    /// BMC sessions that were opened and are not known to be closed.
    pub sessions: Vec<Session>,
    /// The last act; outstanding while it has no outcome.
    pub entry: Option<JournalEntry>,
}

/// A BMC session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The BMC's id of it (IPMI 2.0 §13.18: the managed system session id); a number of ours where the BMC has none.
    pub id: u32,
    /// What it is closed by, where the BMC names its sessions by paths (DSP0266 §13.3.4); empty: by its id, or not at all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The claim that it belongs to.
    pub token: Token,
}

/// One act: it arms one command and its retransmissions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// The instruction that it serves.
    pub version: InstructionVersion,
    /// The owner's claim.
    pub token: Token,
    /// The BMC session that it goes through.
    pub session: u32,
    /// The command, in words.
    pub command: String,
    /// When it was journalled.
    pub at: Timestamp,
    /// How it ended; none: not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// How an act ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The BMC said yes.
    Done,
    /// The BMC said no; its completion code and our words.
    Refused(String),
    /// No answer came: it may have been carried out.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_of_before_there_were_paths_is_read_and_written_as_it_was() {
        let session = Session { id: 7, path: String::new(), token: Token::default() };
        let text = serde_json::to_string(&session).unwrap();
        assert!(!text.contains("path"), "{text}");
        assert_eq!(serde_json::from_str::<Session>(&text).unwrap(), session);
        let named = Session { path: "/redfish/v1/SessionService/Sessions/7".to_owned(), ..session };
        let text = serde_json::to_string(&named).unwrap();
        assert_eq!(serde_json::from_str::<Session>(&text).unwrap(), named);
    }
}
