//! Allocations: a node is found for whoever wants one.
//!
//! An allocation is stored first and given its node by a second write, so that it survives whoever accepted it: one
//! that was left over is taken up by the leader of the schedulers.

use std::{sync::Arc, time::Duration};

use keyspace::{Expect, key, store::Revised, value::Sheet};
use serde_json::{Map, Value, json};
use service_kit::{Host, clock};
use uuid::Uuid;
use wire_ironic::{
    error::{Class, Error, text},
    links,
};

use super::{
    Ask, Face,
    answer::Answer,
    fault::fault,
    kinds::ALLOCATION_KIND,
    place::{Wish, choose},
};

/// How often allocations that nobody is at are looked for.
const SWEEP: Duration = Duration::from_secs(2);
/// Nodes that are tried for one allocation, while others take them.
const TRIES: u32 = 20;

impl Face {
    pub(super) async fn create_allocation(
        &self,
        ask: &Ask,
        id: Uuid,
        said: Map<String, Value>,
    ) -> Result<Answer, Error> {
        let backfill = said.get("node").and_then(Value::as_str).map(str::to_owned);
        if backfill.is_none() && said.get("resource_class").and_then(Value::as_str).is_none() {
            return Err(Class::Invalid.says("The resource_class field is mandatory when not backfilling"));
        }
        let mut said = said;
        self.resolve_candidates(ask, &mut said)?;
        said.insert("state".to_owned(), json!("allocating"));
        if let Some(node) = backfill {
            return self.backfill(ask, id, said, &node).await;
        }
        let sheet = self.fresh(ALLOCATION_KIND, id, said)?;
        self.store_new(ALLOCATION_KIND, id, &sheet).await?;
        let body = self.whole_sheet(ask, ALLOCATION_KIND, id, &sheet);
        self.place(id).await;
        Ok(Answer::created(body, links::location(&ask.base, &format!("allocations/{id}"))))
    }

    /// Candidates are kept by their ids.
    fn resolve_candidates(&self, ask: &Ask, said: &mut Map<String, Value>) -> Result<(), Error> {
        let Some(Value::Array(named)) = said.get("candidate_nodes").cloned() else { return Ok(()) };
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for ident in named.iter().filter_map(Value::as_str) {
            match self.find_for(ask, ident) {
                Some(node) => found.push(json!(node.node.to_string())),
                None => missing.push(ident.to_owned()),
            }
        }
        if !missing.is_empty() {
            return Err(Class::Invalid.says(format!("Nodes cannot be found: {}", missing.join(", "))));
        }
        said.insert("candidate_nodes".to_owned(), Value::Array(found));
        Ok(())
    }

    /// An allocation for a node that is in use already.
    async fn backfill(&self, ask: &Ask, id: Uuid, mut said: Map<String, Value>, ident: &str) -> Result<Answer, Error> {
        let missing = || Class::Invalid.says(format!("Node {ident} could not be found."));
        let node = self.find_for(ask, ident).ok_or_else(missing)?;
        let word = |name: &str| node.whole.get(name).and_then(Value::as_str).unwrap_or_default();
        if word("provision_state") != "active" {
            let state = word("provision_state");
            return Err(text::wrong_state("allocation backfill", &node.node.to_string(), Some(state)));
        }
        let instance = word("instance_uuid").to_owned();
        let id = instance.parse().unwrap_or(id);
        said.remove("node");
        said.insert("state".to_owned(), json!("active"));
        said.insert("node_uuid".to_owned(), json!(node.node.to_string()));
        if said.get("resource_class").is_none_or(Value::is_null) {
            said.insert("resource_class".to_owned(), node.whole.get("resource_class").cloned().unwrap_or_default());
        }
        let sheet = self.fresh(ALLOCATION_KIND, id, said)?;
        self.store_new(ALLOCATION_KIND, id, &sheet).await?;
        self.change_node(&ask.condition, ident, node.node, |before| {
            let mut after = before.clone();
            after.insert("allocation_uuid".to_owned(), json!(id.to_string()));
            after.insert("instance_uuid".to_owned(), json!(id.to_string()));
            Ok(after)
        })
        .await?;
        let body = self.whole_sheet(ask, ALLOCATION_KIND, id, &sheet);
        Ok(Answer::created(body, links::location(&ask.base, &format!("allocations/{id}"))))
    }

    /// Gives an allocation its node, or says why there is none. What comes in the way is tried again by the sweep.
    async fn place(&self, id: Uuid) {
        for _ in 0..TRIES {
            let Ok((_, before)) = self.sheet(ALLOCATION_KIND, &id.to_string()) else { return };
            let wish = Wish::read(id, &before.value.fields);
            if before.value.fields.get("state") != Some(&json!("allocating")) {
                return;
            }
            let all = self.shelf.all();
            let outcome = match choose(&wish, all.iter().map(|node| &node.whole)) {
                Ok(node) => self.give(id, &before, &node, &wish).await,
                Err(why) => self.fail(id, &before, &why).await,
            };
            match outcome {
                Ok(()) => return,
                Err(error) if error.is_conflict() => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => {
                    tracing::warn!(%id, error = %service_kit::status::chain(&error), "an allocation waits");
                    return;
                }
            }
        }
    }

    async fn give(&self, id: Uuid, before: &Revised<Sheet>, node: &str, wish: &Wish) -> Result<(), crate::Error> {
        let registry = &self.shared.registry;
        let conflict = || crate::Error::from(mesh::Error::Store(keyspace::Error::Conflict));
        let node = node.parse().map_err(|_| conflict())?;
        let held = registry.held(node).ok_or_else(conflict)?;
        let mut sheet = held.sheet.as_ref().map(|sheet| sheet.value.clone()).unwrap_or_default();
        sheet.fields.insert("instance_uuid".to_owned(), json!(id.to_string()));
        sheet.fields.insert("allocation_uuid".to_owned(), json!(id.to_string()));
        if !wish.traits.is_empty() {
            let info = sheet.fields.entry("instance_info").or_insert_with(|| json!({}));
            if let Value::Object(info) = info {
                info.insert("traits".to_owned(), json!(wish.traits));
            }
        }
        let change = registry.add_sheet(registry.mesh.as_member()?, &held, &held.intent.value, &sheet)?;
        let allocation = changed(before, &[("state", json!("active")), ("node_uuid", json!(node.to_string()))]);
        let key = key::sheet_of(ALLOCATION_KIND.collection, id);
        registry.commit(change.put(&key, &allocation, Expect::Revision(before.revision))?).await
    }

    async fn fail(&self, id: Uuid, before: &Revised<Sheet>, why: &str) -> Result<(), crate::Error> {
        let registry = &self.shared.registry;
        let text = format!("Failed to process allocation {id}: {why}.");
        let allocation = changed(before, &[("state", json!("error")), ("last_error", json!(text))]);
        let key = key::sheet_of(ALLOCATION_KIND.collection, id);
        let change = registry.mesh.as_member()?.put(&key, &allocation, Expect::Revision(before.revision))?;
        registry.commit(change).await
    }

    pub(super) async fn delete_allocation(&self, id: Uuid, before: &Revised<Sheet>) -> Result<Answer, Error> {
        let node = before.value.fields.get("node_uuid").and_then(Value::as_str).and_then(|node| self.find(node));
        let internal = |error: crate::Error| fault(&id.to_string(), &error);
        let registry = &self.shared.registry;
        let mut change = registry.mesh.as_member().map_err(|error| internal(error.into()))?;
        if let Some(node) = node {
            let in_maintenance = node.whole.get("maintenance").and_then(Value::as_bool).unwrap_or_default();
            if node.whole.get("provision_state") == Some(&json!("active")) && !in_maintenance {
                let text = format!("Allocation {id} can not be deleted: its node {} is active", node.node);
                return Err(Class::Conflict.says(text));
            }
            if let Some(held) = registry.held(node.node) {
                let mut sheet = held.sheet.as_ref().map(|sheet| sheet.value.clone()).unwrap_or_default();
                for field in ["instance_uuid", "allocation_uuid"] {
                    sheet.fields.remove(field);
                }
                if let Some(Value::Object(info)) = sheet.fields.get_mut("instance_info") {
                    info.remove("traits");
                }
                change = registry.add_sheet(change, &held, &held.intent.value, &sheet).map_err(internal)?;
            }
        }
        if let Some(name) = before.value.fields.get("name").and_then(Value::as_str) {
            change = change.clear(&key::name(ALLOCATION_KIND.collection, name));
        }
        let key = key::sheet_of(ALLOCATION_KIND.collection, id);
        registry.commit(change.delete(&key, Expect::Revision(before.revision))).await.map_err(internal)?;
        Ok(Answer::done())
    }
}

fn changed(before: &Revised<Sheet>, fields: &[(&str, Value)]) -> Sheet {
    let mut sheet = before.value.clone();
    sheet.fields.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    sheet.updated_at = Some(clock::now());
    sheet
}

/// Takes up what whoever accepted it left over, while this replica leads.
pub(super) async fn sweep(host: Host, face: Arc<Face>) {
    loop {
        tokio::select! {
            () = host.stopping() => return,
            () = tokio::time::sleep(SWEEP) => {}
        }
        if !face.shared.registry.mesh.leads() {
            continue;
        }
        let old = clock::now();
        for (path, sheet) in face.shared.registry.view().list(&key::sheets(ALLOCATION_KIND.collection)) {
            let waits = sheet.value.fields.get("state") == Some(&json!("allocating"));
            if waits
                && old.since(sheet.value.created_at) > SWEEP
                && let Some(id) = key::last(&path)
            {
                face.place(id).await;
            }
        }
    }
}
