//! Webhooks (`/v1/webhooks`), and the form of their events: a query is that of a list of nodes, and a node is written as
//! the list shows it.

use domain::time::Timestamp;
use keyspace::{
    key,
    value::{Stamped, WebhookSpec},
};
use reqwest::Url;
use scheduler_core::{
    AppState, Error, RequestContext,
    node_view::NodeView,
    resource_store::Stored,
    webhooks::{self, InvalidQuery, NodeMatcher, WebhookEvent, WebhookFormat, WebhookQuery},
};
use serde_json::{Map, Value, json};
use uuid::Uuid;
use wire_ironic::{
    fields::{NODE, Resource, WEBHOOK},
    links::Frame,
    query::{self, List, Shape},
    version::Version,
};

use super::{
    RestApi,
    collections::IronicCollection,
    node_document::NodeDocument,
    nodes::{find, matches},
    records::time,
};

/// Paging and sorting parameters, which do not apply to webhooks.
const PAGING_PARAMETERS: &[&str] = &["limit", "marker", "sort_key", "sort_dir", "detail"];

/// Queries and events of webhooks in the words of Ironic's API.
#[derive(Debug, Clone, Copy, Default)]
pub struct IronicWebhooks;

/// Query of a webhook.
#[derive(Debug)]
struct NodeQuery {
    list: List,
    frame: Frame,
}

impl WebhookFormat for IronicWebhooks {
    fn compile(&self, query: &str) -> Result<Box<dyn WebhookQuery>, InvalidQuery> {
        let list = parse(query)?;
        let frame = Frame::new(&NODE, Version::MAX, "", &list.columns);
        Ok(Box::new(NodeQuery { list, frame }))
    }
}

impl WebhookQuery for NodeQuery {
    fn matcher(&self, app: &AppState) -> NodeMatcher<'_> {
        let parent = self.list.filters.iter().find(|(filter, _)| filter.name == "parent_node").map(|(_, operand)| {
            let ident = operand.to_text();
            find(app, &ident).map_or(ident, |node| node.node.to_string())
        });
        Box::new(move |node| matches(node, &self.list, parent.as_deref()))
    }

    fn encode(&self, event: &WebhookEvent<'_>, at: Timestamp) -> String {
        let data = match event {
            WebhookEvent::NodeChanged { node, revision } => {
                json!({"revision": revision, "node": self.shown(node)})
            }
            WebhookEvent::NodeLeft { node, revision } => json!({"revision": revision, "uuid": node}),
            WebhookEvent::NodesMembers { nodes, revision } => json!({"revision": revision, "uuids": nodes}),
        };
        json!({"type": event.kind(), "timestamp": at.to_string(), "data": data}).to_string()
    }
}

impl NodeQuery {
    fn shown(&self, node: &NodeView) -> Value {
        self.frame.shown(&NodeDocument::unrestricted(node))
    }
}

impl IronicCollection for WebhookSpec {
    const RESOURCE: &'static Resource = &WEBHOOK;
    const NOUN: &'static str = "Webhook";
    const IS_NAMED: bool = true;

    async fn create(app: &AppState, context: &RequestContext, id: Uuid, spec: Self) -> Result<Stamped<Self>, Error> {
        webhooks::create_webhook(context, app, &IronicWebhooks, id, spec).await
    }

    async fn update(
        app: &AppState,
        context: &RequestContext,
        before: &Stored<Self>,
        spec: Self,
    ) -> Result<Stamped<Self>, Error> {
        webhooks::update_webhook(context, app, &IronicWebhooks, before, spec).await
    }

    fn complete(api: &RestApi, id: Uuid, document: &mut Map<String, Value>) {
        let progress = api.app.registry.view().get(&key::delivered(id)).map(|read| read.value).unwrap_or_default();
        let error = if progress.error.is_empty() { Value::Null } else { Value::from(progress.error) };
        document.insert("delivered_revision".to_owned(), Value::from(progress.revision));
        document.insert("delivered_at".to_owned(), time(progress.at));
        document.insert("failing_since".to_owned(), time(progress.failing_since));
        document.insert("last_error".to_owned(), error);
    }
}

/// Parses a query. Without `fields` nodes are sent with all their fields.
fn parse(text: &str) -> Result<List, InvalidQuery> {
    let invalid = |why: String| InvalidQuery { reason: format!("query {text:?}: {why}") };
    let url = Url::parse(&format!("http://nodes/?{text}")).map_err(|why| invalid(why.to_string()))?;
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    if let Some((name, _)) = pairs.iter().find(|(name, _)| PAGING_PARAMETERS.contains(&name.as_str())) {
        return Err(invalid(format!(
            "a webhook is told of all nodes that its filters leave, so that {name} says nothing"
        )));
    }
    let shape = if pairs.iter().any(|(name, _)| name == "fields") { Shape::Plain } else { Shape::Detail };
    query::list(&NODE, Version::MAX, shape, &pairs).map_err(|error| InvalidQuery { reason: error.text })
}

#[cfg(test)]
mod tests {
    use domain::id::NodeId;

    use super::*;

    fn refusal(query: &str) -> String {
        IronicWebhooks.compile(query).map_or_else(|why| why.reason, |_| String::new())
    }

    #[test]
    fn a_query_is_that_of_a_list_of_nodes_without_paging() {
        for query in ["", "provision_state=active", "fields=uuid,name&owner=me&maintenance=false"] {
            assert_eq!(refusal(query), "", "{query}");
        }
        for (query, says) in [
            ("colour=red", "colour"),
            ("limit=3", "query \"limit=3\": a webhook is told"),
            ("fields=nothing", "nothing"),
        ] {
            assert!(refusal(query).contains(says), "{query}: {:?}", refusal(query));
        }
    }

    #[test]
    fn an_event_is_written_with_its_type_its_time_and_its_revision() {
        let query = IronicWebhooks.compile("").unwrap();
        let node = NodeId::new(Uuid::from_u128(1));
        let body = query.encode(&WebhookEvent::NodeLeft { node, revision: 7 }, Timestamp::default());
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&body["type"], &body["data"]["revision"]), (&json!("node.left"), &json!(7)));
        assert_eq!(body["data"]["uuid"], json!(node.to_string()));
        assert!(body["timestamp"].is_string());
    }
}
