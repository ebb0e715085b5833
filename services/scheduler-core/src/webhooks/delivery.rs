//! Sends the events of webhooks while this scheduler leads.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use domain::{
    change_index::WatchPosition,
    id::NodeId,
    webhook_delivery::{DeliveredNodes, PendingEvent, retry_delay},
};
use futures::{StreamExt as _, stream};
use keyspace::{
    Expect, key,
    value::{Delivered, WebhookSpec},
};
use parking_lot::Mutex;
use service_kit::{clock, outbound_http::Outbound, status::chain};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::{
    InvalidWebhook, WebhookEvent, WebhookFormat, WebhookQuery,
    client::{DeliveryError, WebhookClient},
    config::WebhookConfig,
};
use crate::{
    AppState, Error, RequestContext, change_feed::Batch, metrics, node_view::NodeView, resource_store::Stored,
};

/// Interval at which the leader reads the list of webhooks.
const WEBHOOK_POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Minimum time between two deliveries to a receiver.
const MIN_DELIVERY_INTERVAL: Duration = Duration::from_millis(500);
/// Maximum time between two checks for changes.
const MAX_DELIVERY_INTERVAL: Duration = Duration::from_secs(5);
/// Minimum time between two writes of a receiver's progress.
const PROGRESS_WRITE_INTERVAL: Duration = Duration::from_secs(5);
/// Interval of these writes while there are no events, so that the next leader finds a recent revision.
const IDLE_PROGRESS_WRITE_INTERVAL: Duration = Duration::from_secs(600);
/// Maximum number of concurrent requests to a receiver. They are about different nodes.
const MAX_EVENTS_IN_FLIGHT: usize = 8;

/// Sends events while this replica leads, until the host stops.
pub async fn deliver(app: Arc<AppState>, format: Arc<dyn WebhookFormat>, outbound: Outbound) {
    let host = app.host.clone();
    let sender = Arc::new(DeliveryService { app, format, outbound });
    let running: Arc<Mutex<HashSet<Uuid>>> = Arc::default();
    while sender.app.leads_after(WEBHOOK_POLL_INTERVAL).await {
        for path in sender.app.registry.view().paths(key::webhooks().path()) {
            let Some(id) = key::last(&path) else { continue };
            let mut known = running.lock();
            if sender.enabled(id).is_none() || !known.insert(id) {
                continue;
            }
            let (sender, running, stop) = (Arc::clone(&sender), Arc::clone(&running), host.clone());
            host.spawn(async move {
                tokio::select! {
                    () = stop.stopping() => {}
                    () = sender.deliver_to(id) => {}
                }
                running.lock().remove(&id);
            });
        }
    }
}

/// Progress of a receiver.
struct DeliveryState {
    id: Uuid,
    delivered: DeliveredNodes,
    at: WatchPosition,
    progress: Delivered,
    /// Whether `progress` differs from what is stored.
    is_progress_unsaved: bool,
    saved_at: Instant,
    failures: u32,
}

/// Events of one round.
struct Round {
    batch: Batch,
    events: Vec<OutgoingEvent>,
    /// Current state of the matching nodes: the changed ones, or all.
    now: HashMap<NodeId, Arc<NodeView>>,
}

/// Event with what is sent of it.
#[derive(Clone)]
enum OutgoingEvent {
    Changed(Arc<NodeView>),
    Left(NodeId),
}

impl Round {
    async fn send(
        &self,
        receiver: &WebhookClient,
        id: Uuid,
        event: OutgoingEvent,
    ) -> Result<PendingEvent, DeliveryError> {
        let (sent, event) = match &event {
            OutgoingEvent::Changed(node) => {
                let revision = node.revision;
                (WebhookEvent::NodeChanged { node, revision }, PendingEvent::Changed(node.node, revision))
            }
            OutgoingEvent::Left(node) => {
                (WebhookEvent::NodeLeft { node: *node, revision: self.batch.revision }, PendingEvent::Left(*node))
            }
        };
        receiver.send(id, &sent).await.map(|()| event)
    }
}

/// Sends the events of all webhooks.
#[derive(Debug)]
struct DeliveryService {
    app: Arc<AppState>,
    format: Arc<dyn WebhookFormat>,
    outbound: Outbound,
}

/// A webhook that events are sent for, as it was read.
struct ActiveWebhook {
    revision: i64,
    receiver: Result<WebhookClient, InvalidWebhook>,
    state: DeliveryState,
}

impl DeliveryService {
    /// Returns a webhook if it is enabled and this replica leads.
    fn enabled(&self, id: Uuid) -> Option<Stored<WebhookSpec>> {
        let webhook = self.app.resource::<WebhookSpec>(id)?;
        (webhook.spec().enabled && self.app.registry.mesh.leads()).then_some(webhook)
    }

    /// Returns whether a webhook is still enabled, unchanged, and this replica leads.
    fn is_still_enabled(&self, id: Uuid, revision: i64) -> bool {
        self.enabled(id).is_some_and(|now| now.record.revision == revision)
    }

    /// Sends events to one receiver while its webhook is enabled and this replica leads.
    async fn deliver_to(&self, id: Uuid) {
        let mut news = self.app.registry.view().subscribe();
        let mut current: Option<ActiveWebhook> = None;
        while let Some(webhook) = self.enabled(id) {
            // A changed webhook may have another query.
            if current.as_ref().is_none_or(|current| current.revision != webhook.record.revision) {
                current = Some(self.read(&webhook));
            }
            let Some(ActiveWebhook { receiver, state, .. }) = &mut current else { return };
            let outcome = match receiver {
                Ok(receiver) => {
                    self.round(receiver, state, &|| self.is_still_enabled(id, webhook.record.revision)).await
                }
                Err(why) => Err(DeliveryError {
                    reason: format!("the webhook's configuration is invalid: {}", chain(why)),
                    retry_after: None,
                    is_final: false,
                }),
            };
            let retry_delay = match outcome {
                Ok(()) => None,
                Err(error) if error.is_final => {
                    return self.disable(&webhook, state, error.reason).await;
                }
                Err(error) => Some(record_failure(state, error)),
            };
            let age = state.saved_at.elapsed();
            if state.is_progress_unsaved && age > PROGRESS_WRITE_INTERVAL || age > IDLE_PROGRESS_WRITE_INTERVAL {
                self.save_progress(webhook.record.created, state).await;
            }
            if let Some(retry_delay) = retry_delay {
                // A changed webhook is retried at once.
                let until = Instant::now() + retry_delay;
                while Instant::now() < until && self.is_still_enabled(id, webhook.record.revision) {
                    sleep(MIN_DELIVERY_INTERVAL).await;
                }
                continue;
            }
            // Changes in the meantime are sent together.
            sleep(MIN_DELIVERY_INTERVAL).await;
            drop(timeout(MAX_DELIVERY_INTERVAL, news.next()).await);
        }
    }

    fn read(&self, webhook: &Stored<WebhookSpec>) -> ActiveWebhook {
        let config = WebhookConfig::read(webhook, &self.app.registry.sealer, &*self.format);
        ActiveWebhook {
            revision: webhook.record.revision,
            receiver: config.and_then(|config| WebhookClient::new(config, &self.outbound)),
            state: self.begin_delivery(webhook.id, webhook.record.created),
        }
    }

    fn begin_delivery(&self, id: Uuid, created: i64) -> DeliveryState {
        let saved = self.app.registry.view().get(&key::delivered(id)).map(|read| read.value);
        // A new webhook receives the changes since its creation.
        let progress = saved.unwrap_or_else(|| Delivered { revision: created, ..Delivered::default() });
        let at = WatchPosition::Revision(progress.revision);
        // The first progress is stored at once.
        let saved_at = Instant::now().checked_sub(PROGRESS_WRITE_INTERVAL).unwrap_or_else(Instant::now);
        DeliveryState {
            id,
            delivered: DeliveredNodes::default(),
            at,
            progress,
            is_progress_unsaved: false,
            saved_at,
            failures: 0,
        }
    }

    /// Sends the pending events and records them as delivered. Stops if `is_still_enabled` returns false, because another
    /// leader may send newer states.
    async fn round(
        &self,
        receiver: &WebhookClient,
        state: &mut DeliveryState,
        is_still_enabled: &(dyn Fn() -> bool + Send + Sync),
    ) -> Result<(), DeliveryError> {
        let round = self.next_round(&*receiver.config().query, state);
        let (id, revision) = (state.id, round.batch.revision);
        {
            let mut sending = stream::iter(round.events.clone())
                .map(|event| round.send(receiver, id, event))
                .buffer_unordered(MAX_EVENTS_IN_FLIGHT);
            while let Some(outcome) = sending.next().await {
                state.delivered.record(outcome?);
                metrics::webhook_event_delivered();
                if !is_still_enabled() {
                    return Ok(());
                }
            }
        }
        if round.batch.is_all {
            let members = WebhookEvent::NodesMembers { nodes: round.now.keys().copied().collect(), revision };
            receiver.send(id, &members).await?;
            metrics::webhook_event_delivered();
            state.delivered.retain(|node| round.now.contains_key(node));
        }
        if state.failures > 0 {
            tracing::info!(webhook = %id, attempts = state.failures, "webhook receiver accepts events again");
        }
        if round.batch.is_all || !round.events.is_empty() || state.progress.failing_since.is_some() {
            state.progress.at = Some(clock::now());
            state.is_progress_unsaved = true;
        }
        state.delivered.complete_round();
        state.at = round.batch.at;
        state.failures = 0;
        state.progress.revision = state.progress.revision.max(revision);
        (state.progress.failing_since, state.progress.error) = (None, String::new());
        Ok(())
    }

    /// Collects the pending events.
    fn next_round(&self, query: &dyn WebhookQuery, state: &mut DeliveryState) -> Round {
        let batch = self.app.change_feed.since(state.at);
        let matches = query.matcher(&self.app);
        let is_first = state.delivered.is_first();
        let matching: Vec<_> = match batch.is_all || is_first {
            true => self.app.node_cache.those(matches),
            false => batch
                .nodes
                .iter()
                .filter_map(|(node, _)| self.app.node_cache.get(*node))
                .filter(|node| matches(node))
                .collect(),
        };
        let now: HashMap<NodeId, Arc<NodeView>> = matching.into_iter().map(|node| (node.node, node)).collect();
        let changed = batch.nodes.iter().map(|(node, _)| (*node, now.get(node).map(|node| node.revision)));
        // If all nodes are listed, the missing ones follow from `nodes.members`.
        let changed: Vec<_> = changed.filter(|(_, revision)| revision.is_some() || !batch.is_all).collect();
        if is_first {
            let named: HashSet<NodeId> = changed.iter().map(|(node, _)| *node).collect();
            let since = state.progress.revision;
            let is_known =
                |node: &NodeView| if batch.is_all { node.revision <= since } else { !named.contains(&node.node) };
            now.values()
                .filter(|node| is_known(node))
                .for_each(|node| state.delivered.record_known(node.node, node.revision));
        }
        let pending = state.delivered.pending_events(&changed, &batch.gone);
        let outgoing = |event| match event {
            PendingEvent::Changed(node, _) => now.get(&node).cloned().map(OutgoingEvent::Changed),
            PendingEvent::Left(node) => Some(OutgoingEvent::Left(node)),
        };
        let events = pending.into_iter().filter_map(outgoing).collect();
        Round { events, now, batch }
    }

    /// Stores a receiver's progress. A failure is retried later.
    async fn save_progress(&self, created: i64, state: &mut DeliveryState) {
        let saving = async {
            let mesh = &self.app.registry.mesh;
            let (key, webhook) = (key::delivered(state.id), key::webhook(state.id));
            let expect = Expect::same(mesh.view().get(&key).as_ref());
            let change = mesh.as_member()?.expect_created(&webhook, created);
            let change = change.put(&key, &state.progress, expect).map_err(Error::from)?;
            mesh.commit(change).await.map_err(Error::from)
        };
        state.saved_at = Instant::now();
        match saving.await {
            Ok(_) => state.is_progress_unsaved = false,
            Err(error) => {
                tracing::debug!(webhook = %state.id, error = %chain(&error), "webhook progress not saved yet, will retry")
            }
        }
    }

    /// Disables a webhook whose receiver is gone.
    async fn disable(&self, webhook: &Stored<WebhookSpec>, state: &mut DeliveryState, why: String) {
        tracing::warn!(webhook = %webhook.id, why, "webhook disabled");
        state.progress.failing_since.get_or_insert_with(clock::now);
        state.progress.error = format!("{why}, which means that it wants no more events: the webhook is disabled");
        let disabled = WebhookSpec { enabled: false, ..webhook.spec().clone() };
        if let Err(error) = self.app.update_resource(&RequestContext::internal(), webhook, disabled).await {
            tracing::info!(webhook = %webhook.id, error = %chain(&error), "webhook not disabled yet, will retry");
            return sleep(MIN_DELIVERY_INTERVAL).await;
        }
        self.save_progress(webhook.record.created, state).await;
    }
}

/// Records a failed delivery. Returns the delay before the next attempt.
fn record_failure(state: &mut DeliveryState, error: DeliveryError) -> Duration {
    state.failures = state.failures.saturating_add(1);
    if state.failures == 1 {
        tracing::warn!(webhook = %state.id, why = error.reason, "webhook delivery failed, will retry");
    }
    metrics::webhook_event_failed();
    state.progress.failing_since.get_or_insert_with(clock::now);
    state.progress.error = error.reason;
    state.is_progress_unsaved = true;
    retry_delay(state.failures, error.retry_after)
}
