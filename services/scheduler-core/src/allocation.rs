//! Allocations: a node is found for whoever wants one, now or when one becomes free.
//!
//! An allocation is stored first and given its node by a second write, so that it survives whoever accepted it: one
//! that was left over, or waits in the queue, is taken up by the leader of the schedulers, the oldest first. A newer one
//! is not given what an older one waits for. Allocations of one group are given their nodes one after the other: each
//! such write is conditional on the last one of the group.

mod choose;
mod wish;

pub use choose::{Why, is_free};
pub use wish::{Apart, Order, Placement, Wish};

use std::{sync::Arc, time::Duration};

use keyspace::{
    Expect, key,
    store::Versioned,
    value::{Holder, Sheet},
};
use serde_json::{Value, json};
use service_kit::{clock, status::chain};
use uuid::Uuid;

use self::choose::{Around, choose, in_use, why_not};
use crate::{Error, app_state::AppState, node_cache::NodeView};

/// The collection of their sheets, and the kind of their names.
pub const COLLECTION: &str = "allocation";
/// The kind of the key that every node of a group is given under.
const GROUP: &str = "allocation-group";
/// How often those that nobody is at are looked for.
const SWEEP: Duration = Duration::from_millis(500);
/// How long whoever accepted one is left alone with it.
const GRACE: Duration = Duration::from_secs(2);
/// Nodes that are tried for one allocation, while others take them.
const TRIES: u32 = 20;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);
/// Allocations in the queue.
const LONGEST_QUEUE: usize = 1000;

/// An allocation as it is stored.
pub type Stored = (Uuid, Versioned<Sheet>);

/// What else is there when a node is chosen.
#[derive(Debug, Default)]
pub struct Surroundings<'a> {
    /// The revision of the group's key; none: there is none.
    group: Option<i64>,
    mates: Vec<Arc<NodeView>>,
    used: Vec<Arc<NodeView>>,
    /// Those that wait longer.
    ahead: &'a [Wish],
}

impl Surroundings<'_> {
    fn around(&self) -> Around<'_> {
        Around {
            mates: self.mates.iter().map(|mate| &mate.whole).collect(),
            ahead: self.ahead,
            in_use: in_use(self.used.iter().map(|node| &node.whole)),
        }
    }

    /// Each node, and why it is none for a wish; none: it is one.
    pub fn judge<'a>(
        &'a self,
        wish: &'a Wish,
        nodes: &'a [Arc<NodeView>],
    ) -> impl Iterator<Item = (&'a Arc<NodeView>, Option<Why>)> {
        let around = self.around();
        nodes.iter().map(move |node| (node, why_not(wish, &node.whole, &around)))
    }

    /// The id of the node, or why there is none.
    pub fn choose(&self, wish: &Wish, nodes: &[Arc<NodeView>]) -> Result<String, String> {
        choose(wish, nodes.iter().map(|node| &node.whole), &self.around())
    }
}

impl AppState {
    /// All allocations, the oldest first.
    pub fn allocations(&self) -> Vec<Stored> {
        let all = self.registry.view().list(&key::sheets(COLLECTION)).into_iter();
        let mut all: Vec<_> = all.filter_map(|(path, sheet)| Some((key::last(&path)?, sheet))).collect();
        all.sort_by_key(|(id, sheet)| (sheet.value.created_at, *id));
        all
    }

    /// Those that wait in the queue, the oldest first.
    pub fn waiting_allocations(&self) -> Vec<(Uuid, Wish)> {
        let now = clock::now();
        let all = self.allocations().into_iter().filter(|(_, sheet)| is_allocating(&sheet.value));
        let wishes = all.map(|(id, sheet)| (id, Wish::read(id, &sheet.value.fields)));
        wishes.filter(|(_, wish)| wish.waits(now)).collect()
    }

    /// What counts for an allocation beside the nodes, where these wait longer.
    pub fn surroundings<'a>(&self, id: Uuid, wish: &Wish, ahead: &'a [Wish]) -> Surroundings<'a> {
        let Placement { group, order, .. } = &wish.placement;
        // Before its members: who is given a node meanwhile makes this one be tried again.
        let revision = (!group.is_empty()).then(|| self.registry.view().get(&key::name(GROUP, group)));
        let mates = if group.is_empty() { Vec::new() } else { self.mates(id, group) };
        let used = match order {
            Order::Spread | Order::Pack if group.is_empty() => {
                self.node_cache.those(|node| node.whole.get("instance_uuid").is_some_and(Value::is_string))
            }
            Order::Any | Order::Spread | Order::Pack => Vec::new(),
        };
        Surroundings { group: revision.flatten().map(|read| read.revision), mates, used, ahead }
    }

    /// The nodes of a group's other allocations.
    fn mates(&self, id: Uuid, group: &str) -> Vec<Arc<NodeView>> {
        let all = self.allocations().into_iter().filter(|(other, _)| *other != id);
        let of_group = all.filter(|(id, sheet)| Wish::read(*id, &sheet.value.fields).placement.group == group);
        let nodes = of_group.filter_map(|(_, sheet)| sheet.value.fields.get("node_uuid")?.as_str()?.parse().ok());
        nodes.filter_map(|node| self.node_cache.get(node)).collect()
    }

    /// Stores a new allocation for a wish and gives it its node, where there is one.
    ///
    /// # Errors
    /// Its name is another one's; the queue is full.
    pub async fn allocate(&self, id: Uuid, wish: &Wish) -> Result<(), Error> {
        if wish.placement.queue_until.is_some() && self.waiting_allocations().len() >= LONGEST_QUEUE {
            let text = format!("{LONGEST_QUEUE} allocations wait already; see: ironmesh allocation list");
            return Err(Error::InUse(text));
        }
        let sheet = Sheet { fields: wish.fields(), created_at: clock::now(), updated_at: None };
        let mut change = self.registry.mesh.as_member()?.put(&key::sheet_of(COLLECTION, id), &sheet, Expect::Absent)?;
        if let Some(name) = &wish.name {
            if let Some(other) = self.registry.view().get(&key::name(COLLECTION, name)) {
                let (value, holder) = (name.clone(), other.value.id.to_string());
                return Err(Error::Taken { what: "the name", value, kind: COLLECTION.to_owned(), holder });
            }
            let holder = Holder { kind: COLLECTION.to_owned(), id, name: name.clone() };
            change = change.put(&key::name(COLLECTION, name), &holder, Expect::Absent)?;
        }
        self.registry.commit(change).await?;
        self.place(id).await;
        Ok(())
    }

    /// Gives a new allocation its node, or says why there is none; one that waits goes on waiting.
    pub async fn place(&self, id: Uuid) {
        let queue = self.waiting_allocations().into_iter();
        let ahead: Vec<_> = queue.take_while(|(other, _)| *other != id).map(|(_, wish)| wish).collect();
        self.place_behind(id, &ahead).await;
    }

    /// The same, where these wait longer. What comes in the way is tried again by the sweep.
    async fn place_behind(&self, id: Uuid, ahead: &[Wish]) {
        for _ in 0..TRIES {
            let key = key::sheet_of(COLLECTION, id);
            let Some(before) = self.registry.view().get(&key).filter(|sheet| is_allocating(&sheet.value)) else {
                return;
            };
            let wish = Wish::read(id, &before.value.fields);
            let surroundings = self.surroundings(id, &wish, ahead);
            let outcome = match surroundings.choose(&wish, &self.node_cache.those(|node| is_free(&node.whole))) {
                Ok(node) => self.give(id, &before, &node, &wish, &surroundings).await,
                Err(_) if wish.waits(clock::now()) => return,
                Err(why) => self.fail(id, &before, &why).await,
            };
            match outcome {
                Ok(()) => return,
                Err(error) if error.is_conflict() => tokio::time::sleep(PAUSE).await,
                Err(error) => {
                    tracing::warn!(%id, error = %chain(&error), "an allocation waits");
                    return;
                }
            }
        }
    }

    async fn give(
        &self,
        id: Uuid,
        before: &Versioned<Sheet>,
        node: &str,
        wish: &Wish,
        surroundings: &Surroundings<'_>,
    ) -> Result<(), Error> {
        let registry = &self.registry;
        let conflict = || Error::from(mesh::Error::Store(keyspace::Error::Conflict));
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
        let mut change = change.put(&key::sheet_of(COLLECTION, id), &allocation, Expect::Revision(before.revision))?;
        let group = &wish.placement.group;
        if !group.is_empty() {
            let last = Holder { kind: COLLECTION.to_owned(), id, name: group.clone() };
            let expect = surroundings.group.map_or(Expect::Absent, Expect::Revision);
            change = change.put(&key::name(GROUP, group), &last, expect)?;
        }
        registry.commit(change).await
    }

    async fn fail(&self, id: Uuid, before: &Versioned<Sheet>, why: &str) -> Result<(), Error> {
        let text = format!("Failed to process allocation {id}: {why}.");
        let allocation = changed(before, &[("state", json!("error")), ("last_error", json!(text))]);
        let key = key::sheet_of(COLLECTION, id);
        let change = self.registry.mesh.as_member()?.put(&key, &allocation, Expect::Revision(before.revision))?;
        self.registry.commit(change).await
    }

    /// Why an allocation can not be given up; none: it can.
    pub fn holds(&self, id: Uuid, sheet: &Sheet) -> Option<String> {
        let node = sheet.fields.get("node_uuid").and_then(Value::as_str)?.parse().ok()?;
        let node = self.node_cache.get(node)?;
        let in_maintenance = node.whole.get("maintenance").and_then(Value::as_bool).unwrap_or_default();
        let is_active = node.whole.get("provision_state") == Some(&json!("active"));
        (is_active && !in_maintenance)
            .then(|| format!("Allocation {id} can not be deleted: its node {} is active", node.node))
    }

    /// Forgets an allocation; its node is anybody's again.
    ///
    /// # Errors
    /// Its node is in use.
    pub async fn release(&self, id: Uuid, before: &Versioned<Sheet>) -> Result<(), Error> {
        if let Some(why) = self.holds(id, &before.value) {
            return Err(Error::InUse(why));
        }
        let registry = &self.registry;
        let mut change = registry.mesh.as_member()?;
        let fields = &before.value.fields;
        let node = fields.get("node_uuid").and_then(Value::as_str).and_then(|node| node.parse().ok());
        if let Some(held) = node.and_then(|node| registry.held(node)) {
            let mut sheet = held.sheet.as_ref().map(|sheet| sheet.value.clone()).unwrap_or_default();
            for field in ["instance_uuid", "allocation_uuid"] {
                sheet.fields.remove(field);
            }
            if let Some(Value::Object(info)) = sheet.fields.get_mut("instance_info") {
                info.remove("traits");
            }
            change = registry.add_sheet(change, &held, &held.intent.value, &sheet)?;
        }
        if let Some(name) = fields.get("name").and_then(Value::as_str) {
            change = change.clear(&key::name(COLLECTION, name));
        }
        let group = Wish::read(id, fields).placement.group;
        if !group.is_empty() && self.mates(id, &group).is_empty() {
            let last = key::name(GROUP, &group);
            if let Some(read) = registry.view().get(&last) {
                change = change.delete(&last, Expect::Revision(read.revision));
            }
        }
        let key = key::sheet_of(COLLECTION, id);
        registry.commit(change.delete(&key, Expect::Revision(before.revision))).await
    }
}

/// Whether it has no node yet, and may get one.
pub fn is_allocating(sheet: &Sheet) -> bool {
    sheet.fields.get("state") == Some(&json!("allocating"))
}

fn changed(before: &Versioned<Sheet>, fields: &[(&str, Value)]) -> Sheet {
    let mut sheet = before.value.clone();
    sheet.fields.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    sheet.updated_at = Some(clock::now());
    sheet
}

/// Takes up what whoever accepted it left over, and what waits, the oldest first, while this replica leads.
pub async fn sweep(shared: Arc<AppState>) {
    loop {
        tokio::select! {
            () = shared.host.stopping() => return,
            () = tokio::time::sleep(SWEEP) => {}
        }
        if !shared.registry.mesh.leads() {
            continue;
        }
        let now = clock::now();
        let left: Vec<_> = shared.allocations().into_iter().filter(|(_, sheet)| is_allocating(&sheet.value)).collect();
        if left.is_empty() {
            continue;
        }
        // Where nothing is free there is nothing to be looked at for each of them.
        let has_free = !shared.node_cache.those(|node| is_free(&node.whole)).is_empty();
        // Those that were looked at and wait on.
        let mut ahead = Vec::new();
        for (id, sheet) in left {
            let wish = Wish::read(id, &sheet.value.fields);
            let waits = wish.waits(now);
            if if waits { has_free } else { now.since(sheet.value.created_at) > GRACE } {
                shared.place_behind(id, &ahead).await;
            }
            let stored = shared.registry.view().get(&key::sheet_of(COLLECTION, id));
            if waits && stored.is_some_and(|sheet| is_allocating(&sheet.value)) {
                ahead.push(wish);
            }
        }
    }
}
