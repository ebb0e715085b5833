//! Streams a list of nodes and its changes as server-sent events (WHATWG HTML §9.2).
//!
//! `GET /v1/nodes` with `Accept: text/event-stream` takes the filters, the fields and the version of the list, and never
//! ends by itself. Events are `node` (the current state of a node that matches), `gone` (a node that does not, or no longer,
//! match) and `current` (later events are sent as changes happen). The id of an event is the store revision. A client that
//! reconnects with the last id (`Last-Event-ID`) receives the changes since then, and the ids of all matching nodes.
//!
//! A stream has no queue: a slow client receives fewer events, with the latest state.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::Response,
};
use domain::id::NodeId;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use service_kit::listener::{Class, Exhausted, ShareLimits, Shares};
use tokio::{sync::mpsc, time::sleep};
use tokio_stream::wrappers::ReceiverStream;
use wire_ironic::{
    error::Error,
    fields::NODE,
    limits,
    links::Frame,
    query,
    query::{List, Shape},
};

use super::{ApiRequest, RestApi, authz::NodeVisibility, node_document::NodeDocument, nodes::matches};
use scheduler_core::node_view::NodeView;

/// Minimum time between two batches of events of a stream.
const MIN_EVENT_INTERVAL: Duration = Duration::from_millis(100);
/// Interval of comments on an idle stream, by which a broken connection is noticed.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Maximum number of chunks that wait for the connection.
const MAX_QUEUED_CHUNKS: usize = 4;
/// Size at which a chunk is sent, in bytes.
const CHUNK_BYTES: usize = 64 << 10;

/// Room for open streams, of which each caller has a share. Each stream keeps 24 bytes per node.
#[derive(Debug, Clone)]
pub(super) struct EventStreams {
    shares: Arc<Mutex<Shares<String>>>,
    limits: ShareLimits,
}

/// An open stream; its room is freed on drop.
#[derive(Debug)]
struct StreamSlot {
    shares: Arc<Mutex<Shares<String>>>,
    caller: String,
}

impl EventStreams {
    pub(super) fn new(limits: ShareLimits) -> Self {
        Self { shares: Arc::new(Mutex::new(Shares::new(limits))), limits }
    }

    fn open(&self, caller: &str, class: Class) -> Result<StreamSlot, Error> {
        let taken = self.shares.lock().take(caller.to_owned(), class);
        let ShareLimits { total, each, .. } = self.limits;
        match taken {
            Ok(()) => Ok(StreamSlot { shares: Arc::clone(&self.shares), caller: caller.to_owned() }),
            Err(Exhausted::Holder) => {
                Err(limits::unread(429, &format!("This user has {each} event streams open; close one of them")))
            }
            Err(Exhausted::Total) => Err(limits::unread(
                503,
                &format!("{total} event streams are the maximum, and are open; close one, or ask another replica"),
            )),
        }
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        self.shares.lock().release(&self.caller);
    }
}

/// Nodes that a stream has sent.
struct SentNodes {
    /// Last sent revision of each node.
    nodes: HashMap<NodeId, i64>,
    /// Revision up to which the client knows all changes.
    since: i64,
}

impl RestApi {
    /// Opens a stream of a list of nodes.
    ///
    /// # Errors
    /// 400 for invalid filters, 429 if the caller has too many open streams, 503 if all callers together have.
    pub(super) fn follow_nodes(
        self: &Arc<Self>,
        request: ApiRequest,
        class: Class,
        since: Option<i64>,
    ) -> Result<Response, Error> {
        let list = query::list(&NODE, request.version, Shape::Plain, &request.pairs)?;
        self.check_filters(&list)?;
        let open = self.event_streams.open(&request.caller.account, class)?;
        let (sender, receiver) = mpsc::channel(MAX_QUEUED_CHUNKS);
        let (api, stopping) = (Arc::clone(self), self.host.clone());
        self.host.spawn(async move {
            let _open = open;
            let sent = SentNodes { nodes: HashMap::new(), since: since.unwrap_or(0) };
            tokio::select! {
                () = api.send_changes(&request, &list, sent, &sender) => {}
                () = sender.closed() => {}
                () = stopping.stopping() => {}
            }
        });
        let mut response = Response::new(Body::from_stream(ReceiverStream::new(receiver)));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }

    async fn send_changes(&self, request: &ApiRequest, list: &List, mut sent: SentNodes, sender: &mpsc::Sender<Chunk>) {
        let mut news = self.app.registry.view().subscribe();
        let mut is_first = true;
        loop {
            for chunk in self.changes(request, list, &mut sent, is_first) {
                if sender.send(Ok(chunk)).await.is_err() {
                    return;
                }
            }
            is_first = false;
            // Changes in the meantime are sent together.
            sleep(MIN_EVENT_INTERVAL).await;
            while tokio::time::timeout(KEEPALIVE_INTERVAL, news.next()).await.is_err() {
                if sender.send(Ok(Bytes::from_static(b": all is quiet\n\n"))).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Encodes the changes that the client does not know yet.
    fn changes(&self, request: &ApiRequest, list: &List, sent: &mut SentNodes, is_first: bool) -> Vec<Bytes> {
        let (parent, visibility) = (self.parent(request, list), NodeVisibility::of(&request.caller));
        let (all, frame) = (self.node_cache.all(), Frame::new(&NODE, request.version, &request.base, &list.columns));
        let is_of = |node: &&Arc<NodeView>| matches(node, list, parent.as_deref()) && visibility.includes(node);
        let (mut out, mut now) = (Chunks::default(), HashMap::with_capacity(sent.nodes.len()));
        let mut latest = sent.since;
        for node in all.iter().filter(is_of) {
            let known = sent.nodes.get(&node.node).copied().or_else(|| is_first.then_some(sent.since));
            if known.is_none_or(|known| known < node.revision) {
                out.event("node", node.revision, &frame.shown(&NodeDocument::new(node, visibility)));
            }
            latest = latest.max(node.revision);
            now.insert(node.node, node.revision);
        }
        for gone in sent.nodes.keys().filter(|node| !now.contains_key(node)) {
            out.event("gone", latest, &json!({"uuid": gone}));
        }
        if is_first {
            let members = if sent.since > 0 {
                json!({"nodes": now.keys().collect::<Vec<_>>()})
            } else {
                Value::Object(Map::new())
            };
            out.event("current", latest, &members);
        }
        *sent = SentNodes { nodes: now, since: latest };
        out.done()
    }
}

/// Chunk of a stream.
type Chunk = Result<Bytes, std::convert::Infallible>;

/// Encoded events, in chunks.
#[derive(Default)]
struct Chunks {
    full: Vec<Bytes>,
    last: Vec<u8>,
}

impl Chunks {
    fn event(&mut self, name: &str, id: i64, data: &Value) {
        // Serialized JSON contains no line breaks, so the data is one line.
        self.last.extend(format!("event: {name}\nid: {id}\ndata: {data}\n\n").into_bytes());
        if self.last.len() >= CHUNK_BYTES {
            self.full.push(std::mem::take(&mut self.last).into());
        }
    }

    fn done(mut self) -> Vec<Bytes> {
        if !self.last.is_empty() {
            self.full.push(self.last.into());
        }
        self.full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_in_the_data_do_not_break_an_event() {
        let mut chunks = Chunks::default();
        chunks.event("node", 7, &json!({"description": "two\nlines\r\n"}));
        let text = String::from_utf8(chunks.done().concat()).unwrap();
        assert_eq!(text, "event: node\nid: 7\ndata: {\"description\":\"two\\nlines\\r\\n\"}\n\n");
    }

    #[test]
    fn many_events_are_sent_in_chunks() {
        let mut chunks = Chunks::default();
        for id in 0..40 {
            chunks.event("node", id, &json!({"extra": "x".repeat(5000)}));
        }
        let done = chunks.done();
        assert!(done.len() > 1 && done.iter().all(|chunk| chunk.len() < 2 * CHUNK_BYTES));
    }
}
