//! Webhooks: what nodes become is told to whoever asked for it, by requests of ours (`/v1/webhooks`).
//!
//! The scheduler that leads tells. Its events are `node.changed` (a node that the webhook's query leaves, as it is now),
//! `node.left` (one that it does not leave, or no more, or that is gone) and `nodes.members` (which nodes there are: where
//! it is not known who left in the meantime). As with a list that goes on ([`super::events`]) states are told and not
//! changes: nothing is kept for a receiver that is away but how far it was told, and it is told later what is then. The
//! same may be told again, by another leader, or where an answer was lost: with the same `webhook-id`. Of one node nothing
//! is told before what came before it was taken.

mod round;
mod send;
mod target;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::id::NodeId;
use futures::{StreamExt as _, stream};
use keyspace::{
    Expect, View, key,
    store::Versioned,
    value::{Delivered, Sheet},
};
use serde_json::{Map, Value, json};
use service_kit::{clock, status::chain};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;
use wire_ironic::{
    error::{Class, Error},
    fields::NODE,
    links::Frame,
    query::List,
    version::Version,
};

pub use self::target::check;
use self::{
    round::{News, Told},
    send::{NotTaken, Receiver},
    target::Target,
};
use super::{Face, nodes::wanted};
use scheduler_core::{
    change_feed::{At, Batch},
    metrics,
};
use scheduler_core::{document::time, kinds::WEBHOOK_KIND, node_cache::NodeView};

/// How many there may be.
const MOST: usize = 64;
/// How often the leader looks which there are.
const LOOK: Duration = Duration::from_millis(500);
/// Between two looks at what changed, at least.
const PAUSE: Duration = Duration::from_millis(500);
/// The same, at most.
const QUIET: Duration = Duration::from_secs(5);
/// How often it is noted how far a receiver was told, at most; and while nothing was told, so that whoever leads next need
/// not look back far.
const NOTES: Duration = Duration::from_secs(5);
const IDLE_NOTES: Duration = Duration::from_secs(600);
/// Events of different nodes that are on their way to a receiver at the same time.
const AT_ONCE: usize = 8;

/// Tells while this replica leads.
pub(super) async fn carry(face: Arc<Face>) {
    let running: Arc<Mutex<HashSet<Uuid>>> = Arc::default();
    loop {
        tokio::select! {
            () = face.host.stopping() => return,
            () = sleep(LOOK) => {}
        }
        if !face.shared.registry.mesh.leads() {
            continue;
        }
        for path in face.shared.registry.view().paths(key::sheets(WEBHOOK_KIND.collection).path()) {
            let Some(id) = key::last(&path) else { continue };
            let mut known = running.lock().unwrap_or_else(PoisonError::into_inner);
            if face.enabled(id).is_none() || !known.insert(id) {
                continue;
            }
            let (face, running) = (Arc::clone(&face), Arc::clone(&running));
            face.host.clone().spawn(async move {
                tokio::select! {
                    () = face.host.stopping() => {}
                    () = face.tell_receiver(id) => {}
                }
                running.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            });
        }
    }
}

/// Refuses one that is too many.
///
/// # Errors
/// 409.
pub fn check_room(view: &View) -> Result<(), Error> {
    if view.paths(key::sheets(WEBHOOK_KIND.collection).path()).len() < MOST {
        return Ok(());
    }
    Err(Class::Conflict.says(format!("There are {MOST} webhooks already, which is the most; delete one first")))
}

/// A receiver, and how far it is.
struct Telling {
    id: Uuid,
    told: Told,
    at: At,
    progress: Delivered,
    /// What is noted is older than what is.
    is_news: bool,
    noted: Instant,
    failures: u32,
}

/// What is to be told at once.
struct Round {
    batch: Batch,
    news: Vec<News>,
    /// Nodes that are told of, as they are now: those that changed, or all.
    now: HashMap<NodeId, Arc<NodeView>>,
    frame: Frame,
}

impl Round {
    async fn tell(&self, receiver: &Receiver, id: Uuid, news: News) -> Result<News, NotTaken> {
        let (kind, name, data) = match news {
            News::Changed(node, revision) => {
                let shown = self.now.get(&node).map(|node| self.frame.shown(&node.whole));
                ("node.changed", format!("{node}.{revision}"), json!({"revision": revision, "node": shown}))
            }
            News::Left(node) => {
                let revision = self.batch.revision;
                ("node.left", format!("{node}.left.{revision}"), json!({"revision": revision, "uuid": node}))
            }
        };
        receiver.tell(&format!("{id}.{name}"), kind, data).await.map(|()| news)
    }
}

impl Face {
    /// A webhook that is to be told by this replica.
    fn enabled(&self, id: Uuid) -> Option<Versioned<Sheet>> {
        let sheet = self.shared.registry.view().get(&key::sheet_of(WEBHOOK_KIND.collection, id))?;
        let is_off = sheet.value.fields.get("enabled") == Some(&Value::Bool(false));
        (!is_off && self.shared.registry.mesh.leads()).then_some(sheet)
    }

    /// Whether it is to be told by this replica as it was.
    fn is_still(&self, id: Uuid, revision: i64) -> bool {
        self.enabled(id).is_some_and(|now| now.revision == revision)
    }

    /// Adds how far a webhook's receiver is to what clients keep of it.
    pub(super) fn add_progress(&self, id: Uuid, whole: &mut Map<String, Value>) {
        let progress = self.shared.registry.view().get(&key::delivered(id)).map(|read| read.value).unwrap_or_default();
        let text = |text: String| if text.is_empty() { Value::Null } else { Value::from(text) };
        whole.insert("delivered_revision".to_owned(), json!(progress.revision));
        whole.insert("delivered_at".to_owned(), time(progress.at));
        whole.insert("failing_since".to_owned(), time(progress.failing_since));
        whole.insert("last_error".to_owned(), text(progress.error));
    }

    /// Tells one receiver, as long as it is to be told by this replica.
    async fn tell_receiver(&self, id: Uuid) {
        let mut news = self.shared.registry.view().subscribe();
        let mut made: Option<(i64, Result<Receiver, String>, Telling)> = None;
        while let Some(sheet) = self.enabled(id) {
            // What was changed of it may be what it is told of.
            if made.as_ref().is_none_or(|(revision, ..)| *revision != sheet.revision) {
                let target = Target::read(&id.to_string(), &sheet.value.fields, &self.shared.registry.sealer);
                made = Some((sheet.revision, target.and_then(Receiver::new), self.begin_telling(id, sheet.created)));
            }
            let Some((_, receiver, telling)) = &mut made else { return };
            let outcome = match receiver {
                Ok(receiver) => self.round(receiver, telling, &|| self.is_still(id, sheet.revision)).await,
                Err(why) => Err(NotTaken { why: format!("it can not be used: {why}"), after: None, for_good: false }),
            };
            let pause = match outcome {
                Ok(()) => None,
                Err(not_taken) if not_taken.for_good => {
                    return self.switch_off(id, &sheet, telling, not_taken.why).await;
                }
                Err(not_taken) => Some(not_taken_so(telling, not_taken)),
            };
            let age = telling.noted.elapsed();
            if telling.is_news && age > NOTES || age > IDLE_NOTES {
                self.note(sheet.created, telling).await;
            }
            if let Some(pause) = pause {
                // A change of it is looked at before.
                let until = Instant::now() + pause;
                while Instant::now() < until && self.is_still(id, sheet.revision) {
                    sleep(PAUSE).await;
                }
                continue;
            }
            // What comes in the meantime is told together.
            sleep(PAUSE).await;
            drop(timeout(QUIET, news.next()).await);
        }
    }

    fn begin_telling(&self, id: Uuid, created: i64) -> Telling {
        let noted = self.shared.registry.view().get(&key::delivered(id)).map(|read| read.value);
        // A new one is told of what happens from its beginning on.
        let progress = noted.unwrap_or_else(|| Delivered { revision: created, ..Delivered::default() });
        let at = At::Revision(progress.revision);
        // The first note is made as soon as there is something to note.
        let noted = Instant::now().checked_sub(NOTES).unwrap_or_else(Instant::now);
        Telling { id, told: Told::default(), at, progress, is_news: false, noted, failures: 0 }
    }

    /// Tells what is new, and from then on that was told. Where it does not go on, as another one leads by now, it tells no
    /// more of what may be old.
    async fn round(
        &self,
        receiver: &Receiver,
        telling: &mut Telling,
        goes_on: &(dyn Fn() -> bool + Send + Sync),
    ) -> Result<(), NotTaken> {
        let round = self.look(&receiver.target().list, telling);
        let (id, revision) = (telling.id, round.batch.revision);
        {
            let mut sending =
                stream::iter(round.news.clone()).map(|news| round.tell(receiver, id, news)).buffer_unordered(AT_ONCE);
            while let Some(outcome) = sending.next().await {
                telling.told.took(outcome?);
                metrics::told_receiver();
                if !goes_on() {
                    return Ok(());
                }
            }
        }
        if round.batch.is_all {
            let data = json!({"revision": revision, "uuids": round.now.keys().collect::<Vec<_>>()});
            receiver.tell(&format!("{id}.members.{revision}"), "nodes.members", data).await?;
            metrics::told_receiver();
            telling.told.only(|node| round.now.contains_key(node));
        }
        if telling.failures > 0 {
            tracing::info!(webhook = %id, tries = telling.failures, "a webhook's receiver takes again what it is told");
        }
        if round.batch.is_all || !round.news.is_empty() || telling.progress.failing_since.is_some() {
            telling.progress.at = Some(clock::now());
            telling.is_news = true;
        }
        telling.told.took_all();
        telling.at = round.batch.at;
        telling.failures = 0;
        telling.progress.revision = telling.progress.revision.max(revision);
        (telling.progress.failing_since, telling.progress.error) = (None, String::new());
        Ok(())
    }

    /// What there is to tell.
    fn look(&self, list: &List, telling: &mut Telling) -> Round {
        let batch = self.shared.change_feed.since(telling.at);
        let parent = list.filters.iter().find(|(filter, _)| filter.name == "parent_node").map(|(_, operand)| {
            let ident = operand.written();
            self.find(&ident).map_or(ident, |node| node.node.to_string())
        });
        let is_of = |node: &NodeView| wanted(&node.whole, list, parent.as_deref());
        let is_first = telling.told.is_first();
        let those: Vec<_> = match batch.is_all || is_first {
            true => self.node_cache.those(is_of),
            false => batch
                .nodes
                .iter()
                .filter_map(|(node, _)| self.node_cache.get(*node))
                .filter(|node| is_of(node))
                .collect(),
        };
        let now: HashMap<NodeId, Arc<NodeView>> = those.into_iter().map(|node| (node.node, node)).collect();
        let changed = batch.nodes.iter().map(|(node, _)| (*node, now.get(node).map(|node| node.revision)));
        // Of all there are, who is not there is told by the list of those who are.
        let changed: Vec<_> = changed.filter(|(_, revision)| revision.is_some() || !batch.is_all).collect();
        if is_first {
            let named: HashSet<NodeId> = changed.iter().map(|(node, _)| *node).collect();
            let since = telling.progress.revision;
            let was = |node: &NodeView| if batch.is_all { node.revision <= since } else { !named.contains(&node.node) };
            now.values().filter(|node| was(node)).for_each(|node| telling.told.knew(node.node, node.revision));
        }
        let news = telling.told.news(&changed, &batch.gone);
        Round { news, now, frame: Frame::new(&NODE, Version::MAX, "", &list.columns), batch }
    }

    /// Notes how far a receiver is. Where that can not be done now it is done later.
    async fn note(&self, created: i64, telling: &mut Telling) {
        let noting = async {
            let mesh = &self.shared.registry.mesh;
            let (key, sheet) = (key::delivered(telling.id), key::sheet_of(WEBHOOK_KIND.collection, telling.id));
            let expect = Expect::same(mesh.view().get(&key).as_ref());
            let change = mesh.as_member()?.expect_created(&sheet, created);
            let change = change.put(&key, &telling.progress, expect).map_err(scheduler_core::Error::from)?;
            mesh.commit(change).await.map_err(scheduler_core::Error::from)
        };
        telling.noted = Instant::now();
        match noting.await {
            Ok(_) => telling.is_news = false,
            Err(error) => tracing::debug!(webhook = %telling.id, error = %chain(&error), "not noted yet"),
        }
    }

    /// A receiver that says that it is gone is told nothing more.
    async fn switch_off(&self, id: Uuid, sheet: &Versioned<Sheet>, telling: &mut Telling, why: String) {
        tracing::warn!(webhook = %id, why, "a webhook is disabled");
        telling.progress.failing_since.get_or_insert_with(clock::now);
        telling.progress.error = format!("{why}, by which it wants to be told nothing more: the webhook is disabled");
        let mut fields = sheet.value.fields.clone();
        fields.insert("enabled".to_owned(), Value::Bool(false));
        if let Err(error) = self.shared.change_sheet(WEBHOOK_KIND, id, sheet, fields).await {
            tracing::info!(webhook = %id, error = error.text, "it is not disabled yet");
            return sleep(PAUSE).await;
        }
        self.note(sheet.created, telling).await;
    }
}

/// Notes that something was not taken; how long to wait.
fn not_taken_so(telling: &mut Telling, not_taken: NotTaken) -> Duration {
    telling.failures = telling.failures.saturating_add(1);
    if telling.failures == 1 {
        tracing::warn!(webhook = %telling.id, why = not_taken.why, "a webhook's receiver does not take what it is told");
    }
    metrics::not_told_receiver();
    telling.progress.failing_since.get_or_insert_with(clock::now);
    telling.progress.error = not_taken.why;
    telling.is_news = true;
    round::pause(telling.failures, not_taken.after)
}
