//! Rewrites the store with the present keys, and finds what is sealed with which key.
//!
//! The pass repeats nothing that is done, so that it can be killed at any point and run again. Each record is rewritten by a
//! transaction that is conditional on its revision and on the store's incarnation: a writer that was faster is not undone,
//! and the record is read again. Boot decisions are left as they are: the conversation with an agent is bound to the
//! revision of its decision, and a decision ends with its boot.

use std::collections::BTreeMap;

use domain::id::{NodeId, RackId};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use uuid::Uuid;

use super::{
    Place, Sealer,
    reseal::{reseal_intent, reseal_one, reseal_record, reseal_spec},
};
use crate::{
    Change, Error, Expect, Key, Store,
    collection::Collection,
    error::chain,
    key::{self, Parsed},
    value::{
        AllocationSpec, ChassisSpec, DeployTemplateSpec, InspectionRuleSpec, PortgroupSpec, RunbookSpec,
        VolumeConnectorSpec, VolumeTargetSpec, WebhookSpec,
    },
};

/// How often a record is read and rewritten if another process keeps writing it.
const MAX_ATTEMPTS: u32 = 8;

/// Result of a pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Number of records with secrets that were looked at.
    pub seen: usize,
    /// Number of records that were rewritten.
    pub rewritten: usize,
    /// Records that could not be rewritten, with the reason.
    pub failed: Vec<(String, String)>,
}

/// The records that are sealed with each key, by the key's id.
pub type Usage = BTreeMap<String, Vec<String>>;

/// Finds which records are sealed with which keys.
///
/// # Errors
/// [`Error::Unavailable`]; [`Error::Value`] if a value is not JSON.
pub async fn usage(store: &Store) -> Result<Usage, Error> {
    let mut usage = Usage::new();
    for prefix in prefixes(store).await? {
        let (pairs, _) = store.list_pairs(&prefix).await?;
        for pair in pairs {
            let mut keys = Vec::new();
            add_keys(&pair.read::<Value>()?.value, &mut keys);
            keys.sort();
            keys.dedup();
            for key in keys {
                usage.entry(key).or_default().push(pair.path.clone());
            }
        }
    }
    Ok(usage)
}

/// Adds the ids of the keys with which a document's secrets are sealed.
fn add_keys(value: &Value, keys: &mut Vec<String>) {
    match value {
        Value::Object(members) => match (members.len(), members.get("key"), members.get("sealed")) {
            (2, Some(Value::String(key)), Some(Value::String(_))) => keys.push(key.clone()),
            _ => members.values().for_each(|value| add_keys(value, keys)),
        },
        Value::Array(items) => items.iter().for_each(|value| add_keys(value, keys)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Seals every secret again that is not sealed with the present key of its place, except for those of boot decisions.
///
/// # Errors
/// [`Error::Unavailable`] if etcd does not answer, [`Error::RestoredBackup`] if the store is one; what was rewritten stays.
/// A record that cannot be rewritten is in the result.
pub async fn reseal(store: &Store, sealer: &Sealer) -> Result<Resealed, Error> {
    let mut pass = Pass { store, sealer, result: Resealed::default() };
    for prefix in prefixes(store).await? {
        let (pairs, _) = store.list_pairs(&prefix).await?;
        for path in pairs.into_iter().map(|pair| pair.path) {
            if let Some(parsed) = key::parse(&path) {
                pass.record(parsed).await?;
            }
        }
    }
    Ok(pass.result)
}

struct Pass<'s> {
    store: &'s Store,
    sealer: &'s Sealer,
    result: Resealed,
}

impl Pass<'_> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "most keys have no secrets")]
    async fn record(&mut self, parsed: Parsed) -> Result<(), Error> {
        let sealer = self.sealer;
        match parsed {
            Parsed::Intent { rack, node } => {
                let again = |intent: &mut _| reseal_intent(intent, node, rack, rack, sealer);
                self.rewrite(&key::intent(rack, node), again).await
            }
            Parsed::NodeSpec { rack, node } => {
                let key = key::node_spec(rack, node);
                self.rewrite(&key, |stored| reseal_spec(&mut stored.spec, node, rack, sealer)).await
            }
            Parsed::Port { rack, mac } => {
                self.rewrite(&key::port(rack, mac), |port| {
                    let id = port.id.to_string();
                    port.spec.as_mut().map_or(Ok(false), |stored| reseal_record(&mut stored.spec, &id, sealer))
                })
                .await
            }
            Parsed::BulkDrive { id } => {
                let place = Place::bulk_drive(id);
                self.rewrite(&key::bulk_drive(id), |sealed| reseal_one(sealed, &place, &place, sealer)).await
            }
            Parsed::Chassis { id } => self.resource::<ChassisSpec>(id).await,
            Parsed::Portgroup { id } => self.resource::<PortgroupSpec>(id).await,
            Parsed::DeployTemplate { id } => self.resource::<DeployTemplateSpec>(id).await,
            Parsed::Runbook { id } => self.resource::<RunbookSpec>(id).await,
            Parsed::InspectionRule { id } => self.resource::<InspectionRuleSpec>(id).await,
            Parsed::VolumeConnector { id } => self.resource::<VolumeConnectorSpec>(id).await,
            Parsed::VolumeTarget { id } => self.resource::<VolumeTargetSpec>(id).await,
            Parsed::Allocation { id } => self.resource::<AllocationSpec>(id).await,
            Parsed::Webhook { id } => self.resource::<WebhookSpec>(id).await,
            _ => Ok(()),
        }
    }

    async fn resource<T: Collection>(&mut self, id: Uuid) -> Result<(), Error> {
        let sealer = self.sealer;
        self.rewrite(&T::key(id), |stored| reseal_record(&mut stored.spec, &id.to_string(), sealer)).await
    }

    /// Rewrites a record if `again` changes it. Errors of the record itself go into the result.
    async fn rewrite<V: Serialize + DeserializeOwned>(
        &mut self,
        key: &Key<V>,
        again: impl Fn(&mut V) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        self.result.seen += 1;
        match self.try_rewrite(key, again).await {
            Ok(true) => self.result.rewritten += 1,
            Ok(false) => {}
            Err(error) if error.is_away() => return Err(error),
            Err(error) => self.result.failed.push((key.path().to_owned(), chain(&error))),
        }
        Ok(())
    }

    async fn try_rewrite<V: Serialize + DeserializeOwned>(
        &self,
        key: &Key<V>,
        again: impl Fn(&mut V) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        let mut attempts = 0;
        loop {
            let Some(mut read) = self.store.get(key).await? else { return Ok(false) };
            if !again(&mut read.value)? {
                return Ok(false);
            }
            let incarnation = self.store.get(&key::incarnation()).await?;
            if let Some(how) = incarnation.as_ref().and_then(|read| read.value.restored_backup) {
                return Err(Error::RestoredBackup(how));
            }
            let change = Change::new().expect(&key::incarnation(), Expect::same(incarnation.as_ref())).put(
                key,
                &read.value,
                Expect::Revision(read.revision),
            )?;
            attempts += 1;
            match self.store.commit(change).await {
                Ok(_) => return Ok(true),
                Err(error @ Error::Conflict) if attempts >= MAX_ATTEMPTS => return Err(error),
                Err(Error::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The prefixes of all keys whose values may have secrets.
async fn prefixes(store: &Store) -> Result<Vec<String>, Error> {
    let resources = [
        folder(&key::bulk_drive(Uuid::nil())),
        ChassisSpec::all().path().to_owned(),
        PortgroupSpec::all().path().to_owned(),
        DeployTemplateSpec::all().path().to_owned(),
        RunbookSpec::all().path().to_owned(),
        InspectionRuleSpec::all().path().to_owned(),
        VolumeConnectorSpec::all().path().to_owned(),
        VolumeTargetSpec::all().path().to_owned(),
        AllocationSpec::all().path().to_owned(),
        WebhookSpec::all().path().to_owned(),
    ];
    let racks = store.list(&key::racks()).await?;
    Ok(racks.iter().flat_map(|(_, rack)| of_rack(rack.value.id)).chain(resources).collect())
}

fn of_rack(rack: RackId) -> [String; 3] {
    [
        key::node_prefix(rack),
        folder(&key::node_spec(rack, NodeId::new(Uuid::nil()))),
        key::ports(rack).path().to_owned(),
    ]
}

/// The prefix of a key and its siblings.
fn folder<V>(key: &Key<V>) -> String {
    let path = key.path();
    path.rsplit_once('/').map_or_else(|| path.to_owned(), |(above, _)| format!("{above}/"))
}
