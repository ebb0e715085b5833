//! Webhooks: sends the states of nodes to the URLs that clients registered.
//!
//! The leading scheduler sends. An event carries a state, not a change: for an unreachable receiver only the delivered
//! revision is stored, and later it receives the state at that time. An event may be sent again, by another leader or after
//! a lost response, with the same `webhook-id`. The events of one node are sent in order.
//!
//! Which nodes a query selects, and how a node is written, belongs to the API that the nodes' documents are part of; its
//! front end implements [`WebhookFormat`].

mod client;
mod config;
mod delivery;

use std::fmt;

use domain::{id::NodeId, time::Timestamp};
use keyspace::{
    key,
    value::{Stamped, WebhookSpec},
};
use uuid::Uuid;

use self::config::check_webhook;
pub use self::delivery::deliver;
pub use crate::error::{InvalidQuery, InvalidWebhook};
use crate::{AppState, Error, RequestContext, node_view::NodeView, resource_store::Stored};

/// Maximum number of webhooks.
const MAX_WEBHOOKS: usize = 64;

/// Returns whether a node matches a query.
pub type NodeMatcher<'q> = Box<dyn Fn(&NodeView) -> bool + Send + Sync + 'q>;

/// The language of queries, and the form of events.
pub trait WebhookFormat: fmt::Debug + Send + Sync {
    /// Compiles the query of a webhook. An empty one selects all nodes.
    ///
    /// # Errors
    /// The query is invalid.
    fn compile(&self, query: &str) -> Result<Box<dyn WebhookQuery>, InvalidQuery>;
}

/// Compiled query of a webhook: the nodes that it selects, and what is sent of them.
pub trait WebhookQuery: fmt::Debug + Send + Sync {
    /// Resolves the names in the query, as they are now. The matcher is called under the lock of the node cache, so it must
    /// not read that cache.
    fn matcher(&self, app: &AppState) -> NodeMatcher<'_>;

    /// Encodes an event that is sent at a time.
    fn encode(&self, event: &WebhookEvent<'_>, at: Timestamp) -> String;
}

/// Event that is sent to a receiver, at a revision of the store.
#[derive(Debug, Clone)]
pub enum WebhookEvent<'n> {
    /// The current state of a node that matches the webhook's query.
    NodeChanged {
        /// The node.
        node: &'n NodeView,
        /// Revision of the node's last change.
        revision: i64,
    },
    /// A node does not, or no longer, match, or was deleted.
    NodeLeft {
        /// The node.
        node: NodeId,
        /// Revision up to which changes are known.
        revision: i64,
    },
    /// All matching nodes, if it is not known which ones left.
    NodesMembers {
        /// The nodes.
        nodes: Vec<NodeId>,
        /// Revision up to which changes are known.
        revision: i64,
    },
}

impl WebhookEvent<'_> {
    /// Name of the event's type.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::NodeChanged { .. } => "node.changed",
            Self::NodeLeft { .. } => "node.left",
            Self::NodesMembers { .. } => "nodes.members",
        }
    }

    /// Identifies the event among those of its webhook. A repetition has the same id.
    fn id(&self) -> String {
        match self {
            Self::NodeChanged { node, revision } => format!("{}.{revision}", node.node),
            Self::NodeLeft { node, revision } => format!("{node}.left.{revision}"),
            Self::NodesMembers { revision, .. } => format!("members.{revision}"),
        }
    }
}

/// Creates a webhook.
///
/// # Errors
/// [`Error::Webhook`] if it cannot work, [`Error::TooMany`], and those of [`AppState::create_resource`].
pub async fn create_webhook(
    context: &RequestContext,
    app: &AppState,
    format: &dyn WebhookFormat,
    id: Uuid,
    spec: WebhookSpec,
) -> Result<Stamped<WebhookSpec>, Error> {
    app.check_id_is_free::<WebhookSpec>(id)?;
    check_webhook(format, &spec)?;
    if app.registry.view().paths(key::webhooks().path()).len() >= MAX_WEBHOOKS {
        return Err(Error::TooMany { what: "webhooks", max: MAX_WEBHOOKS });
    }
    app.create_resource(context, id, spec).await
}

/// Changes a webhook.
///
/// # Errors
/// [`Error::Webhook`] if it cannot work; [`Error::NotUnique`] if another one has its name; a conflict if it has changed.
pub async fn update_webhook(
    context: &RequestContext,
    app: &AppState,
    format: &dyn WebhookFormat,
    before: &Stored<WebhookSpec>,
    spec: WebhookSpec,
) -> Result<Stamped<WebhookSpec>, Error> {
    check_webhook(format, &spec)?;
    app.update_resource(context, before, spec).await
}
