//! Serializes a page of nodes while it is sent, so that a long page needs neither a copy of its nodes nor memory for its
//! whole text.

use std::{convert::Infallible, sync::Arc, vec};

use axum::body::{Body, Bytes};
use domain::policy::Caller;
use serde_json::Value;
use wire_ironic::{
    fields::NODE,
    links::Frame,
    query::{self, List},
};

use super::{ApiRequest, authz::NodeVisibility, node_document::NodeDocument};
use scheduler_core::node_view::NodeView;

/// Size at which a chunk is sent, in bytes.
const CHUNK_BYTES: usize = 64 << 10;

/// Remaining part of a page.
#[derive(Debug)]
pub(super) struct Page {
    frame: Frame,
    /// Sender of the request.
    caller: Arc<Caller>,
    nodes: vec::IntoIter<Arc<NodeView>>,
    /// Link to the next page.
    next: Option<String>,
    at: At,
}

/// Position in the serialized page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Begin,
    Members,
    End,
}

impl Page {
    /// Prepares a page of these nodes.
    pub(super) fn new(request: &ApiRequest, list: &List, nodes: Vec<Arc<NodeView>>) -> Self {
        let last = nodes.last().map(|node| node.node.to_string()).unwrap_or_default();
        Self {
            frame: Frame::new(&NODE, request.version, &request.base, &list.columns),
            caller: Arc::clone(&request.caller),
            next: query::next_page(&NODE, list, &request.base, nodes.len(), &last),
            nodes: nodes.into_iter(),
            at: At::Begin,
        }
    }

    /// Returns the HTTP body. A page of one chunk is not streamed.
    pub(super) fn body(mut self) -> Body {
        let first = self.next().unwrap_or_default();
        if self.at == At::End {
            return Body::from(first);
        }
        let chunks = std::iter::once(first).chain(self).map(Ok::<_, Infallible>);
        Body::from_stream(futures::stream::iter(chunks))
    }
}

impl Iterator for Page {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.at == At::End {
            return None;
        }
        let mut chunk = Vec::with_capacity(CHUNK_BYTES + (CHUNK_BYTES >> 2));
        if self.at == At::Begin {
            chunk.extend_from_slice(format!("{{\"{}\":[", NODE.plural).as_bytes());
        }
        let visibility = NodeVisibility::of(&self.caller);
        while chunk.len() < CHUNK_BYTES {
            let Some(node) = self.nodes.next() else {
                chunk.push(b']');
                if let Some(next) = self.next.take() {
                    chunk.extend_from_slice(format!(",\"next\":{}", Value::String(next)).as_bytes());
                }
                chunk.push(b'}');
                self.at = At::End;
                break;
            };
            if self.at == At::Members {
                chunk.push(b',');
            }
            self.at = At::Members;
            // Writing to a `Vec` and serializing a map with text keys cannot fail.
            let _ = serde_json::to_writer(&mut chunk, &self.frame.around(&NodeDocument::new(&node, visibility)));
        }
        Some(chunk.into())
    }
}

#[cfg(test)]
mod tests {
    use keyspace::value::NodeSpec;
    use serde_json::json;
    use wire_ironic::{
        links,
        query::{self, Shape},
        version::Version,
    };

    use super::*;
    use crate::{condition::Condition, test_node::node};

    fn page(count: u128) -> (Vec<Value>, Vec<Bytes>) {
        let request = ApiRequest {
            version: Version::MAX,
            method: "GET".to_owned(),
            path: "nodes".to_owned(),
            pairs: Vec::new(),
            body: Value::Null,
            base: "http://h".to_owned(),
            caller: Arc::new(Caller::unrestricted("ann")),
            owner: None,
            is_forwarded: false,
            condition: Condition::default(),
            follows: None,
        };
        let list = query::list(&NODE, request.version, Shape::Detail, &[]).unwrap();
        let spec: NodeSpec = serde_json::from_value(json!({"driver_info": {"ipmi_password": "seen"}})).unwrap();
        let nodes = (0..count).map(|number| Arc::new(node(number, "\"n\"", spec.clone())));
        let nodes: Vec<_> = nodes.collect();
        let shown = |node: &Arc<NodeView>| {
            links::shown(&NODE, Version::MAX, "http://h", &list.columns, &NodeDocument::unrestricted(node))
        };
        (nodes.iter().map(|node| Value::Object(shown(node))).collect(), Page::new(&request, &list, nodes).collect())
    }

    #[test]
    fn a_page_is_the_same_in_one_chunk_and_in_many() {
        for count in [0, 1, 2, 500] {
            let (expected, chunks) = page(count);
            let whole: Value = serde_json::from_slice(&chunks.concat()).unwrap();
            assert_eq!(whole, json!({ "nodes": expected }), "{count}");
            assert!(!whole.to_string().contains("seen"));
            assert_eq!(chunks.len() > 1, count > 100, "{count}");
            assert!(chunks.iter().all(|chunk| chunk.len() < 2 * CHUNK_BYTES));
        }
    }
}
