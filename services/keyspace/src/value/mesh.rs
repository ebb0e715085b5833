//! The values of the ownership protocol (services/mesh/OWNERSHIP.md).

use std::collections::BTreeMap;

use domain::{
    generation::{self, InstructionVersion, Token},
    id::{InstanceId, SlotId},
    ring::Ring,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::KeyState;

/// Identity of a store and of its present life. A lower revision under the same incarnation is a restored backup.
/// A store without this key is in its first life.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Incarnation {
    /// Random id, drawn once per incarnation.
    pub id: uuid::Uuid,
    /// Increased by one with each backup that was adopted.
    #[serde(default)]
    pub number: generation::Incarnation,
    /// Set if a process knew a later revision than this store has. Nothing is written to it until it is adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_backup: Option<RestoredBackup>,
}

/// How a store was recognized as a restored backup, or as another store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredBackup {
    /// The revision that was known.
    pub known: i64,
    /// The revision of the store when that was noticed.
    pub found: i64,
}

/// A certificate of the mesh's CA that was revoked. Services need its serial number only, which is in the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedCertificate {
    /// What it was issued for, such as its URI.
    pub subject: String,
    /// When it was revoked.
    pub at: Timestamp,
    /// Why, as in RFC 5280 §5.3.1: `key-compromise`.
    pub reason: String,
    /// When it expires: from then on it needs not be revoked.
    pub expires: Timestamp,
}

/// The weight of members of versions that know no `weight_percent`.
const fn full_share() -> u32 {
    100
}

/// A running instance of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Member {
    /// Address of its gRPC API, as `host:port`.
    pub endpoint: String,
    /// Address at which nodes reach it, as `host:port`, if it is another one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub data_endpoint: String,
    /// Address at which agents that speak Ironic's protocol reach it, as `host:port`; empty if there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ironic_endpoint: String,
    /// 1. Versions that know no `weight_percent` give the members of a ring these weights.
    pub weight: u32,
    /// Its weight in the ring, in percent of a full share.
    #[serde(default = "full_share")]
    pub weight_percent: u32,
    /// The host that it runs on; empty if it was not told.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Its slot in the ring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<SlotId>,
    /// Whether it was asked to stop and is handing over.
    #[serde(default)]
    pub stopping: bool,
    /// When it started.
    pub since: Timestamp,
    /// The sealing keys that it uses, by their ids. Keys are rotated only as far as all members have them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sealing_keys: BTreeMap<String, KeyState>,
}

/// The leader of a service in a rack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Election {
    /// The leader.
    pub instance: InstanceId,
}

/// A ring and the times of its changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRing {
    /// The ring.
    #[serde(flatten)]
    pub ring: Ring,
    /// When it was written.
    #[serde(default)]
    pub since: Timestamp,
    /// When each leaving instance began to leave.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left: BTreeMap<InstanceId, Timestamp>,
}

impl StoredRing {
    /// The value to write at `now` after `before`.
    #[must_use]
    pub fn after(before: Option<&Self>, ring: Ring, now: Timestamp) -> Self {
        let since = |instance| before.and_then(|before| before.left.get(instance).copied()).unwrap_or(now);
        let left = ring.leaving.iter().map(|instance| (*instance, since(instance))).collect();
        Self { ring, since: now, left }
    }
}

/// The ring that an instance follows: it does not act on nodes that this ring gives to another instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The ring's mod-revision.
    pub epoch: i64,
}

/// An instance that is proven dead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dead {
    /// What proved it, and how.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// The owner of a node for a service. The key's mod revision is the owner's token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The owner.
    pub instance: InstanceId,
    /// Since when.
    pub since: Timestamp,
    /// The revision of the claim that this one replaced, as its writer had read it. `None` if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
    /// Set if an operator broke the claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<Broken>,
}

/// Who broke a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// The user.
    pub by: String,
    /// When.
    pub since: Timestamp,
}

/// What a service does or did to a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Journal {
    /// The highest instruction that was carried out.
    pub highest: InstructionVersion,
    /// BMC sessions that were opened and are not known to be closed.
    pub sessions: Vec<Session>,
    /// The last command. It is outstanding while it has no outcome.
    pub entry: Option<JournalEntry>,
}

/// A BMC session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The BMC's session id (IPMI 2.0 §13.18: managed system session id), or a number of ours if the BMC has none.
    pub id: u32,
    /// The session's URI, if the BMC closes sessions by URI (DSP0266 §13.3.4). Empty: by its id, or not at all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The claim under which it was opened.
    pub token: Token,
}

/// One command to a BMC and its retransmissions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// The instruction that it serves.
    pub version: InstructionVersion,
    /// The owner's claim.
    pub token: Token,
    /// The BMC session that it goes through.
    pub session: u32,
    /// The command, for operators.
    pub command: String,
    /// When it was written to the journal.
    pub at: Timestamp,
    /// How it ended. `None` while that is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The BMC carried it out.
    Done,
    /// The BMC refused it: its completion code and a description.
    Refused(String),
    /// There was no answer: it may have been carried out.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_versions_without_weights_have_a_full_share_and_read_those_with_one() {
        let before = r#"{"endpoint": "a:1", "weight": 1, "since": "2026-01-01T00:00:00Z"}"#;
        let member: Member = serde_json::from_str(before).unwrap();
        assert_eq!((member.weight_percent, member.host.as_str()), (100, ""));
        let text = serde_json::to_string(&Member { weight_percent: 250, ..member }).unwrap();
        assert!(text.contains("\"weight\":1,") && !text.contains("host"), "{text}");
    }

    #[test]
    fn a_session_without_a_path_is_read_and_written_without_one() {
        let session = Session { id: 7, path: String::new(), token: Token::default() };
        let text = serde_json::to_string(&session).unwrap();
        assert!(!text.contains("path"), "{text}");
        assert_eq!(serde_json::from_str::<Session>(&text).unwrap(), session);
        let named = Session { path: "/redfish/v1/SessionService/Sessions/7".to_owned(), ..session };
        let text = serde_json::to_string(&named).unwrap();
        assert_eq!(serde_json::from_str::<Session>(&text).unwrap(), named);
    }
}
